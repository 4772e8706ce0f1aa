"""Current names of parameters that older versions named otherwise.

Checkpoints of version 0.1.0 and patterns in its configs (`optimizer.freeze` and others) stay valid: arrays are renamed
when they are read, and a pattern is compared with both names of a parameter.
"""

import re
from collections.abc import Callable, Iterable

import jax

# (beginning of a name in 0.1.0, its current form); the first that matches applies. Other names are unchanged.
_PREFIXES = (
    ("encoder/", "encoders/vision/"),
    ("fuser/changes/seen/", "connectors/vision/frame_difference/appearance/"),
    ("fuser/changes/here/", "connectors/vision/frame_difference/position_out/"),
    ("fuser/changes/anywhere/", "connectors/vision/frame_difference/frame_out/"),
    ("fuser/changes/", "connectors/vision/frame_difference/"),
    ("fuser/similarities/weigh/", "connectors/vision/frame_similarity/hidden/"),
    ("fuser/similarities/tell/", "connectors/vision/frame_similarity/out/"),
    ("fuser/", "connectors/vision/"),
    ("decoder/blocks/self_norm/", "decoder/blocks/attention_norm/"),
    ("decoder/blocks/self_attention/", "decoder/blocks/attention/"),
    ("events/blocks/self_norm/", "events/blocks/attention_norm/"),
    ("events/blocks/self_attention/", "events/blocks/attention/"),
    ("events/point/", "events/pointer_query/"),
    ("events/pointed/", "events/pointer_key/"),
    ("events/shift/", "events/offset/"),
)


def modern_name(name: str) -> str:
    """The current name of a parameter or running statistic, of its current name or that of version 0.1.0."""
    for old, new in _PREFIXES:
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def legacy_name(name: str) -> str:
    """The name in version 0.1.0 of a parameter or running statistic."""
    for old, new in _PREFIXES:
        if name.startswith(new):
            return old + name[len(new) :]
    return name


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a regular expression occurs in the name of a parameter, or in its name in version 0.1.0."""
    names = {name, legacy_name(name)}
    return any(re.search(pattern, name) for pattern in patterns for name in names)


def rename_parameters(tree, rename: Callable[[str], str]):
    """The pytree with every string key of its dicts renamed, at any depth.

    A training state holds its parameters, their averages and the arrays of the optimizer in dicts by parameter name.
    """

    def visit(node):
        if not isinstance(node, dict):
            return node
        return {
            rename(key) if isinstance(key, str) else key: rename_parameters(value, rename)
            for key, value in node.items()
        }

    return jax.tree.map(visit, tree, is_leaf=lambda node: isinstance(node, dict))
