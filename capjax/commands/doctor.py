"""`capjax doctor`: versions, devices, extras and the compilation cache."""

import argparse
import importlib.metadata
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from capjax import extras
from capjax.metrics.cache import cache_dir
from capjax.metrics.signature import version

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the report; returns the exit status."""
    argparse.ArgumentParser(prog="capjax doctor", description=__doc__).parse_args(argv)
    print(f"capjax {version()}, Python {platform.python_version()}, {platform.platform()}")
    print(f"packages: {', '.join(_versions())}")
    print(f"devices: {_devices()}")
    print("extras:")
    for extra, packages in extras.missing_packages().items():
        print(f"  {extra:<12}{'missing ' + ', '.join(packages) if packages else 'installed'}")
    for what, path in (("compilation cache", cache_dir()), ("current directory", Path())):
        print(f"{what}: {path.resolve()}, {_free_space(path) / 2**30:.1f} GiB free")
    return 0


def _versions() -> list[str]:
    installed = []
    for package in _PACKAGES:
        try:
            installed.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def _devices() -> str:
    try:
        from capjax import runtime

        runtime.start()
        import jax

        devices = jax.devices()
    except ModuleNotFoundError as error:
        return extras.explain(error) or str(error)
    except RuntimeError as error:  # a driver or plug-in that does not start
        return f"JAX finds none: {error}"
    return f"{len(devices)} {devices[0].platform} ({devices[0].device_kind})"


def _free_space(path: Path) -> int:
    """Bytes that are free on the file system of a folder, which need not exist."""
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
