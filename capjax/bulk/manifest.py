"""The manifest of an output folder: what the captions in it are made from, so that no other job adds to them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from capjax.bulk.inputs import Inputs
from capjax.bulk.shards import Shards
from capjax.files import is_url, make_folder, read_json, write_text
from capjax.metrics.messages import show_value
from capjax.parallel import hosts
from capjax.predict import Predictor
from capjax.workdir.layout import Workdir

FILE = "manifest.json"
# Entries that help a reader and may differ between two starts of one job.
_INFORMATIVE = ("workdir", "input")


def make_manifest(inputs: Inputs, predictor: Predictor, workdir: Path, options: Mapping, shards: Shards) -> dict:
    """Returns the manifest of a job. In a job of several processes all of them call it."""
    return {
        "inputs": inputs.descriptions(),
        "model": {"workdir": str(workdir), "step": predictor.step, "digest": _model_digest(predictor, workdir)},
        "options": dict(options),
        "shards": {"count": shards.count, "format": shards.format},
    }


def _model_digest(predictor: Predictor, workdir: Path) -> str:
    """A digest of the weights and the vocabulary."""
    parts, digest = predictor.parts(), hashlib.blake2b(digest_size=16)
    weights = [parts.params, parts.batch_stats]
    if parts.extractor:
        weights += [parts.extractor.params, parts.extractor.batch_stats]
    for arrays in weights:
        for name in sorted(arrays):
            digest.update(name.encode() + hosts.allgather(arrays[name]).tobytes())
    digest.update(Workdir(workdir).vocabulary_path.read_bytes())
    return digest.hexdigest()


def write_or_check(folder: Path, manifest: Mapping):
    """Writes the manifest into an output folder, or compares it with the one that is there.

    Raises:
      ValueError: the folder holds captions of another job; the message says what differs.
      WriteError: the folder cannot be written.
    """
    path = folder / FILE
    if not path.is_file():
        if not is_url(folder):
            make_folder(folder)
        if any(each.name.startswith("captions-") for each in folder.iterdir()):
            raise ValueError(f"{folder} holds captions and no {FILE}; give another folder with --output")
        write_text(path, json.dumps(manifest, ensure_ascii=False, indent=1) + "\n")
        return
    existing = read_json(path, "give another folder with --output", dict)
    if differences := _differences(existing, json.loads(json.dumps(manifest))):
        raise ValueError(
            f"{folder} holds captions of another job: {'; '.join(differences)}. Give the same inputs, model and "
            "options to continue it, or another folder with --output"
        )


def _differences(old: object, new: object, name: str = "") -> list[str]:
    """Lines about the values that differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in dict.fromkeys((*new, *old)) if key not in _INFORMATIVE]
        return [line for key in keys for line in _differences(old.get(key), new.get(key), f"{name} {key}".strip())]
    if isinstance(old, Sequence) and isinstance(new, Sequence) and len(old) == len(new) and name == "inputs":
        rows = enumerate(zip(old, new, strict=True), 1)
        return [line for number, pair in rows for line in _differences(*pair, f"input {number}:")]
    if old == new:
        return []
    if name == "inputs":
        return [f"inputs: {_count(new)}, were {_count(old)}"]
    if name.endswith("digest"):
        return [f"{name.removesuffix(' digest')} {'other weights' if 'model' in name else 'other ids'}"]
    return [f"{name} is {show_value(new)}, was {show_value(old)}"]


def _count(inputs: object) -> str:
    return str(len(inputs)) if isinstance(inputs, list) else show_value(inputs)
