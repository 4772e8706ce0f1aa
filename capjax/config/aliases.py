"""Old names of settings, which configs, command lines, workdirs and exports may still have.

A name that is read through this table is reported by one warning, which `warn` logs.
"""

import functools
import logging

from ml_collections import ConfigDict

from capjax.registry import nearest

# Names of capjax 0.1.
OLD_NAMES = {
    "data.captions": "data.captions_per_item",
    "data.frames": "data.num_frames",
    "data.events": "data.max_events",
    "model.changes": "model.frame_difference",
    "model.similarities": "model.frame_similarity",
    "optimizer.rates": "optimizer.lr_multipliers",
    "train.accumulate": "train.gradient_accumulation_steps",
    "decode.beams": "decode.num_beams",
    "decode.neighbours": "decode.num_neighbors",
    "decode.consensus": "decode.consensus_weight",
    "eval.form": "eval.output_format",
    "mesh.rules": "mesh.logical_axis_rules",
}
OLD_STAGE_NAMES = {"frames": "num_frames"}  # in a stage of data.curriculum
OLD_IMPORT = ("import common", "from capjax.config import default_config")

# By last component. A group has an old name only where the group has the new one and no setting of the old name.
_OLD_KEYS = {old.rpartition(".")[2]: (old, new) for old, new in OLD_NAMES.items()}

log = logging.getLogger("capjax")
# Old names that were read since the last `warn`.
_read: dict[str, str] = {}


def rename(key: str) -> str:
    """Returns the present name of a dotted key."""
    if key not in OLD_NAMES:
        return key
    _read[key] = OLD_NAMES[key]
    return OLD_NAMES[key]


def rename_stages(stages):
    """Returns the value of data.curriculum with present names. What is no curriculum is returned as it is."""
    return tuple(_rename_stage(stage) for stage in stages) if isinstance(stages, (tuple, list)) else stages


def _rename_stage(stage):
    if not (isinstance(stage, (tuple, list)) and len(stage) == 2 and isinstance(stage[1], dict)):
        return stage
    for old in OLD_STAGE_NAMES.keys() & stage[1].keys():
        _read[f"data.curriculum: {old}"] = OLD_STAGE_NAMES[old]
    return (stage[0], {OLD_STAGE_NAMES.get(name, name): value for name, value in stage[1].items()})


def note_old_import():
    """Notes that a config file has imported the defaults by their old module, for the next `warn`."""
    _read[OLD_IMPORT[0]] = OLD_IMPORT[1]


def warn(source: str):
    """Logs a warning that lists the old names read since the last call, if any. `source` names where they stand."""
    names = "; ".join(f"{old} -> {new}" for old, new in sorted(_read.items()))
    _read.clear()
    if names:
        _warn_once(source, names)


@functools.cache  # a workdir's config is read several times in a run
def _warn_once(source: str, names: str):
    log.warning("%s uses old names of settings: %s", source, names)


class AliasedConfigDict(ConfigDict):
    """A ConfigDict whose settings can also be read and set by their old names."""

    def _present(self, key: str) -> str:
        if key in self or key not in _OLD_KEYS:
            return key
        old, new = _OLD_KEYS[key]
        name = new.rpartition(".")[2]
        if name not in self:
            return key
        _read[old] = new
        return name

    def __getitem__(self, key: str):
        return super().__getitem__(self._present(key))

    def __setitem__(self, key: str, value):
        key = self._present(key)
        if self.is_locked and key not in self:
            raise KeyError(f"there is no setting {key!r} in this group; {nearest(key, self.keys())}")
        super().__setitem__(key, value)
