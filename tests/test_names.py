"""The names of 0.1 that were replaced by the field's terms do not come back.

Each entry of `REPLACED` is an identifier, the part of the tree in which it had the replaced meaning, and its successor.
"""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TREES = ("capjax", "data_prep", "launch", "configs", "tests")
EVERYWHERE = ""

REPLACED = [
    ("Fuser", EVERYWHERE, "Connector"),
    ("fuser", EVERYWHERE, "connector"),
    ("FrameChanges", EVERYWHERE, "FrameDifference"),
    ("FrameSimilarities", EVERYWHERE, "FrameSimilarity"),
    ("changes", "capjax/models/captioner.py", "frame_difference"),
    ("similarities", "capjax/models/captioner.py", "frame_similarity"),
    ("stats", "capjax/models", "batch_stats"),
    ("stats", "capjax/train", "batch_stats"),
    ("stats", "capjax/decode", "batch_stats"),
    ("of_x", EVERYWHERE, "dx"),
    ("of_out", EVERYWHERE, "dout"),
    # A SentencePiece piece is the text of a token; elsewhere than in the vocabulary there are tokens only.
    *(
        ("pieces", f"capjax/{package}", "tokens")
        for package in ("data", "models", "decode", "train", "evals", "predict")
    ),
    ("places", "capjax/models", "positions"),
    ("places", "capjax/decode", "positions"),
    ("Seen", EVERYWHERE, "MediaSample"),
    ("watch", "capjax/predict/localize.py", "localize"),
    ("Watched", EVERYWHERE, "LocalizedVideo"),
    ("Functional", "capjax", "PureModel"),
    ("functional", "capjax", "pure_model"),
    ("Place", "capjax/parallel", "ProcessInfo"),
    ("meet", "capjax/parallel", "rendezvous"),
    ("at", "capjax/parallel", "heartbeat"),
    ("Others", "capjax/parallel", "Peers"),
    ("verdict", "capjax/parallel", "status"),
    ("Ballot", EVERYWHERE, "SignalAllReduce"),
    ("blame", EVERYWHERE, "attribute_failure"),
    ("leave", "capjax/parallel", "shut_down"),
    ("Rules", EVERYWHERE, "ShardingRules"),
    ("table", "capjax/parallel", "logical_axis_rules"),
    ("Served", EVERYWHERE, "SavedModelGenerator"),
    ("stand_in", EVERYWHERE, "dummy_vocabulary"),
    ("dense_traps", EVERYWHERE, "dense_warnings"),
    ("forms", "capjax/evals", "output formats"),
    ("to_form", EVERYWHERE, "to_output_format"),
    ("beams", "capjax", "num_beams"),
    ("neighbours", EVERYWHERE, "neighbors"),
    ("accumulate", "capjax/train", "gradient_accumulation_steps"),
    ("rates", "capjax/train", "lr_multipliers"),
]
MODULES = [
    "raw", "watch", "changes", "functional", "meeting", "lookout", "served", "stand_in", "dense_traps", "pairs", "ids",
    "forms",
]  # fmt: skip
CONFIG_KEYS = [
    "data.captions", "data.frames", "data.events", "decode.beams", "decode.neighbours", "decode.consensus",
    "train.accumulate", "optimizer.rates", "eval.form", "model.changes", "model.similarities", "mesh.rules",
]  # fmt: skip
# Local variables that do not say what they hold.
VAGUE = ("found", "told", "there", "known", "seen", "here")
# British spelling, as a part of an identifier.
BRITISH = re.compile(
    r"behaviour|cancelled|centre|colour|favour|grey|(label|model)l(ed|ing)|neighbour|(initial|material|normal|optim|random|quant)is",
    re.IGNORECASE,
)
# These read the old names in order to translate them.
TRANSLATORS = (
    "capjax/config/aliases.py",
    "capjax/models/parameter_aliases.py",
    "capjax/_deprecated.py",
    "tests/config/test_aliases.py",
)


def sources(part: str = EVERYWHERE) -> list[Path]:
    """The Python files below a part of the tree, but for those that exist to read old names, and this one."""
    trees = [part] if part else TREES
    files = [
        path
        for tree in trees
        for path in sorted((ROOT / tree).rglob("*.py") if (ROOT / tree).is_dir() else [ROOT / tree])
    ]
    exempt = {ROOT / name for name in TRANSLATORS} | {Path(__file__).resolve()}
    return [path for path in files if path not in exempt and "fixtures" not in path.parts]


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def identifiers(path: Path) -> set[str]:
    """Names that a module defines, stores, or takes as a parameter or keyword."""
    names = set()
    for node in ast.walk(parsed(path)):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.alias(name=name):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name) | ast.arg(arg=name):
                names.add(name)
            case ast.keyword(arg=str(name)):
                names.add(name)
    return names


@pytest.mark.parametrize(("name", "part", "successor"), REPLACED)
def test_a_replaced_name_is_gone(name, part, successor):
    users = [str(path.relative_to(ROOT)) for path in sources(part) if name in identifiers(path)]
    assert not users, f"{name} is now {successor}; still in {users}"


def test_replaced_modules_are_gone():
    assert not [path for path in sources("capjax") if path.stem in MODULES]


@pytest.mark.parametrize("key", CONFIG_KEYS)
def test_a_replaced_config_key_is_gone(key):
    pattern = re.compile(rf"\bconfig\.{re.escape(key)}\b(?!\.)")
    assert not [path for path in sources() if pattern.search(path.read_text())]


@pytest.mark.parametrize("name", VAGUE)
def test_local_variables_say_what_they_hold(name):
    users = []
    for part in TREES:
        for path in sources(part):
            stored = (
                node.id
                for node in ast.walk(parsed(path))
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            )
            if name in stored:
                users.append(str(path.relative_to(ROOT)))
    assert not users


def test_identifiers_have_american_spelling():
    """As those of JAX have."""
    british = {
        (str(path.relative_to(ROOT)), name) for path in sources() for name in identifiers(path) if BRITISH.search(name)
    }
    assert not british


@pytest.mark.parametrize("word", ["floor", "room", "door"])
def test_packages_are_not_called_rooms(word):
    files = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *sources("capjax"),
        *sources("data_prep"),
        ROOT / "launch.py",
    ]
    prose = re.compile(rf"\b(the|a|this|one|its|same|lower|of) {word}s?\b")
    assert not [path for path in files if prose.search(path.read_text())]
