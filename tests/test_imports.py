"""Imports between the packages of capjax go down only, by the layers of docs/architecture.md."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the bottom. Packages of one layer may import each other, but never in a circle.
LAYERS = (
    ("_deprecated", "configs", "metrics", "text", "plugins", "registry", "config", "extras", "files", "digests",
     "runtime", "pages", "beam_options"),
    ("data", "parallel"),
    ("models",),
    ("decode",),
    ("workdir",),
    ("train", "evals"),
    ("predict",),
    ("compile", "export", "compress", "explain", "analyze", "bulk"),
    ("serve",),
    ("__main__", "cli", "commands", "jobs"),
)  # fmt: skip
LAYER = {package: number for number, packages in enumerate(LAYERS) for package in packages}


def imported_modules(source: str, package: str) -> set[str]:
    """The modules that a source file of `package` imports anywhere in it, dotted."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join(filter(None, [*parts[: len(parts) - node.level + 1], node.module]))
            # `from capjax import config` imports a module, `from capjax.config import load` a name.
            modules.update(f"{base}.{alias.name}" for alias in node.names)
    return modules


def package_of(module: str) -> str | None:
    """The package or top-level module of capjax that a dotted name lies in; None for others, and for capjax itself."""
    parts = module.split(".")
    if parts[0] != "capjax" or len(parts) < 2:
        return None
    folder = ROOT / "capjax"
    return parts[1] if (folder / parts[1]).is_dir() or (folder / f"{parts[1]}.py").is_file() else None


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "capjax").rglob("*.py"))
}
IMPORTS = {
    module: imported_modules(path.read_text(), module if path.name == "__init__.py" else module.rpartition(".")[0])
    for module, path in MODULES.items()
}
# (importing module, its package, imported package); `import capjax` itself is the users' entry point, above all layers.
EDGES = {
    (module, package, imported)
    for module, names in IMPORTS.items()
    if (package := package_of(module))
    for imported in map(package_of, names)
    if imported and imported != package
}


def test_every_package_has_a_layer():
    assert {package for module in MODULES if (package := package_of(module))} <= LAYER.keys()


def test_imports_go_down():
    upward = {
        f"{module} imports capjax.{imported}"
        for module, package, imported in EDGES
        if LAYER.get(imported, 0) > LAYER.get(package, len(LAYERS))
    }
    assert not upward


def test_imports_form_no_circle():
    graph: dict[str, set[str]] = {package: set() for package in LAYER}
    for _, package, imported in EDGES:
        graph.setdefault(package, set()).add(imported)
    # Remove packages that import nothing that is left, until none can be removed.
    while leaves := {package for package, imported in graph.items() if not imported & graph.keys()}:
        graph = {package: imported for package, imported in graph.items() if package not in leaves}
    assert not graph, f"each of these imports another of them: {', '.join(sorted(graph))}"


def test_metrics_import_nothing_else_of_capjax():
    assert not {edge for edge in EDGES if edge[1] == "metrics"}


def test_prediction_imports_nothing_from_training():
    reached, pending = set(), ["predict"]
    while pending:
        reached.add(package := pending.pop())
        pending += [imported for _, importing, imported in EDGES if importing == package and imported not in reached]
    assert "train" not in reached


def test_nothing_in_capjax_imports_data_prep():
    assert not {module for module, names in IMPORTS.items() if any(name.split(".")[0] == "data_prep" for name in names)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import capjax.data.photo as photo", {"capjax.data.photo"}),
        ("from capjax import config as config_lib", {"capjax.config"}),
        ("def f():\n    from capjax.evals import dense, page", {"capjax.evals.dense", "capjax.evals.page"}),
        ("from . import page", {"capjax.evals.page"}),
        ("from ..data.photo import Photo", {"capjax.data.photo.Photo"}),
    ],
)
def test_all_forms_of_imports_are_seen(source, expected):
    assert imported_modules(source, "capjax.evals") == expected
