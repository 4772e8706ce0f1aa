"""The optional dependencies of capjax: which extra of `pip install 'capjax[EXTRA]'` brings a module."""

import importlib.metadata
import re
import sys

# Top-level module -> extra. A module that several extras bring has the smallest.
_EXTRAS = {
    **dict.fromkeys(
        ("jax", "jaxlib", "jaxtyping", "flax", "optax", "orbax", "grain", "tensorflow_datasets", "array_record",
         "sentencepiece", "ml_collections", "absl", "PIL", "simplejpeg", "cv2", "safetensors", "tqdm", "av",
         "py3langid"),
        "train",
    ),
    **dict.fromkeys(("jinja2", "markupsafe", "sklearn"), "analyze"),
    "clu": "tensorboard", "tensorboard": "tensorboard", "tensorflow": "export", "pycocoevalcap": "meteor",
    "sacrebleu": "sacrebleu", "apache_beam": "beam", "libtpu": "tpu", "wandb": "wandb", "mlflow": "mlflow",
    "gcsfs": "gcs", "matplotlib": "explain", "skimage": "explain", "yaml": "gke",
    "pillow_heif": "heic", "redis": "redis", "pyarrow": "parquet",
    **dict.fromkeys(("fastapi", "starlette", "uvicorn", "pebble", "prometheus_client", "pydantic"), "serve"),
}  # fmt: skip
# PACKAGE[EXTRAS]VERSIONS ; MARKERS
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[([\w,-]+)\])?[^;]*;?(.*)")


def explain(error: ModuleNotFoundError) -> str | None:
    """Returns a line that names the extra to install; None where no extra has the missing module."""
    module = (error.name or "").partition(".")[0]
    if module not in _EXTRAS:
        return None
    return f"{module} is not installed: pip install 'capjax[{_EXTRAS[module]}]'"


def missing_packages() -> dict[str, list[str]]:
    """Returns for each extra the packages that are not installed; empty: the extra is complete."""
    names = importlib.metadata.metadata("capjax").get_all("Provides-Extra") or ()
    return {extra: _missing("capjax", extra) for extra in names}


def _missing(distribution: str, extra: str) -> list[str]:
    """The packages of an extra of an installed distribution that are not installed."""
    missing = []
    for requirement in importlib.metadata.requires(distribution) or ():
        match = _REQUIREMENT.match(requirement)
        if match is None:
            continue
        package, options, markers = match.groups()
        if re.search(rf"extra == ['\"]{extra}['\"]", markers) and package != "capjax" and _applies(markers):
            try:
                importlib.metadata.distribution(package)
            except importlib.metadata.PackageNotFoundError:
                missing.append(package)
                continue
            for option in filter(None, (options or "").split(",")):
                missing += _missing(package, option)
    return missing


def _applies(markers: str) -> bool:
    """Whether a requirement is for this platform; other conditions than sys.platform are taken to be met."""
    platform = re.search(r"sys_platform (==|!=) ['\"](\w+)['\"]", markers)
    return platform is None or (platform[1] == "==") == (sys.platform == platform[2])
