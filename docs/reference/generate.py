"""Pages of the documentation that are generated from the code: home, config reference, commands, Python API.

mkdocs runs this file through its plug-in `gen-files`.
"""

import contextlib
import io
import re
from pathlib import Path

import mkdocs_gen_files

from capjax import cli
from capjax.config import defaults
from capjax.config.settings import Group
from data_prep import cli as prepare
from data_prep.readers import READERS

ROOT = Path(__file__).resolve().parents[2]
# Modules of the Python reference, with the heading of each part.
MODULES = {
    "Prediction": ["capjax.predict.predictor", "capjax.predict.localize", "capjax.decode.results"],
    "Scores": [
        "capjax.metrics.scoring",
        "capjax.metrics.metric",
        "capjax.metrics.registry",
        "capjax.metrics.dense",
        "capjax.metrics.significance",
        "capjax.metrics.diversity",
    ],
    "Analysis": ["capjax.analyze.analysis", "capjax.analyze.findings", "capjax.analyze.caption_errors"],
    "Config": ["capjax.config.loading", "capjax.config.settings"],
    "Data": ["capjax.data.record", "capjax.data.batch", "capjax.data.pipeline"],
    "Models": ["capjax.models.captioner", "capjax.models.memory", "capjax.models.pure_model", "capjax.models.build"],
    "Decoding": ["capjax.decode.generator", "capjax.decode.search", "capjax.decode.sampling"],
    "Training": ["capjax.train.loop", "capjax.train.step", "capjax.train.losses", "capjax.train.optimizer"],
    "Runs on disk": ["capjax.workdir"],
    "Parallelism": ["capjax.parallel.mesh", "capjax.parallel.sharding_rules"],
    "Registries": ["capjax.registry"],
}


def home() -> str:
    """The README, with its links relative to docs/."""
    text = (ROOT / "README.md").read_text()
    text = re.sub(r"\]\(docs/", "](", text)
    return re.sub(r"\]\((CONTRIBUTING\.md|CHANGELOG\.md|CITATION\.cff|examples/.*?)\)", "]", text)


def config_reference() -> str:
    """One table for each group of settings."""
    lines = [
        "# Config reference",
        "",
        "Every setting, with its default. On the command line: `--config.KEY=VALUE`. In a config file: "
        "`config.KEY = VALUE`.",
    ]

    def cell(text: str) -> str:
        return text.replace("|", "\\|").replace("\n", " ")

    def add(group: Group, prefix: str, depth: int):
        if prefix:
            lines.extend(["", f"{'#' * depth} {prefix}", "", group.doc, ""])
        settings = {name: member for name, member in group.members.items() if not isinstance(member, Group)}
        if settings:
            lines.extend(["", "| Key | Default | Meaning |", "|---|---|---|"])
        for name, setting in settings.items():
            expected = f" Expected: {setting.check.expected}." if setting.check else ""
            default = f"`{cell(repr(setting.default))}`" if setting.default != "" else "empty"
            key = f"{prefix}.{name}" if prefix else name
            lines.append(f"| `{key}` | {default} | {cell(setting.doc + expected)} |")
        for name, member in group.members.items():
            if isinstance(member, Group):
                add(member, f"{prefix}.{name}" if prefix else name, min(depth + bool(prefix), 4))

    add(defaults.ROOT, "", 2)
    return "\n".join(lines) + "\n"


def help_text(run, *words: str) -> str:
    """The text that a command prints for `--help`."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        run([*words, "--help"])
    return out.getvalue()


def commands() -> str:
    """The help of every command."""
    overview = help_text(cli.main)
    names = re.findall(r"^    (\w+)  ", overview, flags=re.MULTILINE)
    lines = ["# Commands", "", "```text", overview.rstrip(), "```"]
    for name in names:
        lines += ["", f"## capjax {name}", "", "```text", help_text(cli.main, name).rstrip(), "```"]
    for name in sorted([*READERS.names(), "vocabulary", "features"]):
        text = help_text(prepare.main, name).rstrip()
        lines += ["", f"### capjax prepare {name}", "", "```text", text, "```"]
    return "\n".join(lines) + "\n"


def python_reference() -> str:
    """The docstrings of the public modules, through mkdocstrings."""
    lines = ["# Python reference"]
    for heading, modules in MODULES.items():
        lines += ["", f"## {heading}", ""]
        lines += [f"::: {module}\n" for module in modules]
    return "\n".join(lines) + "\n"


PAGES = {
    "index.md": home,
    "reference/config.md": config_reference,
    "reference/commands.md": commands,
    "reference/python.md": python_reference,
}

for path, make in PAGES.items():
    with mkdocs_gen_files.open(path, "w") as file:
        file.write(make())
