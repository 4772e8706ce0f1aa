"""The model card that travels inside an export: what the model is, what it learned from, its scores, how to ask it."""

import json
from collections.abc import Mapping

from ml_collections import ConfigDict

from capjax.config import flatten
from capjax.workdir.layout import Workdir

_WHAT = {
    "caption": "captions {of}",
    "summary": "summarises videos",
    "dense": "finds events in videos and captions each",
}
_INPUTS = {
    "image_bytes": "JPEG files",
    "frames_bytes": "JPEG files of a video's frames in order, an empty string where there is none",
    "frame_times": "seconds of the frames from the beginning",
    "frame_mask": "True where there is a frame",
    "pixels": "RGB, 0 to 255, the whole picture squashed to a square",
    "features": "of the frozen encoder; rounded to float16",
    "duration": "seconds of the video",
    "lang": 'the language to write; "" for the first',
    "key": "two numbers that choose the samples",
}

_PROGRAM = """\
import numpy as np
from jax import export
from safetensors.numpy import load_file
from sentencepiece import SentencePieceProcessor

with open("stablehlo/{file}", "rb") as file:
    program = export.deserialize(bytearray(file.read()))
inputs = {{
{arrays}
}}
out = program.call(load_file("stablehlo/weights.safetensors"), inputs)
vocabulary = SentencePieceProcessor("vocabulary.model")
print(vocabulary.decode(np.asarray(out["tokens"])[0].tolist()))"""


def make(about: Mapping, config: ConfigDict, files: Workdir) -> str:
    """The card as Markdown.

    Args:
      about: what export.json holds; config: the model's, with the decoding options that it was exported with.
    """
    data, decode = config.data, config.decode
    what = _WHAT[data.task].format(of="photos" if data.num_frames == 1 else "photos and videos")
    of = f"{data.num_frames} frames of {about['image_size']} x {about['image_size']} pixels"
    if data.num_frames == 1:
        of = f"{about['image_size']} x {about['image_size']} pixels"
    encoder = f"{config.model.encoder.name}{' (frozen)' if data.features or config.model.encoder.frozen else ''}"
    lines = [
        f"# {config.name or 'captioner'}", "",
        f"This model {what}, in {', '.join(about['languages'])}. It is step {about['step']} of a training with capjax: "
        f"{encoder}, {config.model.decoder.name} decoder of width {config.model.width}, {about['parameters']:,} "
        f"parameters, {of}. Exported for {', '.join(about['platforms'])}.",
        "", "## Data", "",
        f"Trained on {', '.join(f'`{part}`' for part in data.train)}; evaluated on `{data.eval}`."
        + (f" From elsewhere: {about['external_data']['details']}." if about["external_data"]["used"] else ""),
        "", *_scores(config, files),
        "## Settings", "", "| setting | value |", "|---|---|",
        *(f"| decode.{name} | {value} |" for name, value in flatten(decode)),
        "", "All others are in `config.json`.", "",
        *_signatures(about),
        *_serving(about, config),
        *_stablehlo(about),
        "## Limits", "",
        *_limits(about, config),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _scores(config: ConfigDict, files: Workdir) -> list[str]:
    path = files.path / "scores.json"
    lines = ["## Scores", ""]
    if not path.is_file():
        return [*lines, "None: the workdir had no `scores.json` when the model was exported.", ""]
    found = json.loads(path.read_text())
    trained = files.config().decode.to_dict()
    changed = [f"{name} = {value!r}" for name, value in trained.items() if config.decode.to_dict().get(name) != value]
    lines += [f"Of the checkpoint on `{found['split']}` (step {found['step']})."]
    if changed:
        lines[-1] += (
            f" They were decoded with {', '.join(f'decode.{each}' for each in changed)}, and this export decodes with "
            "other options: its own scores are what `launch.py --mode=eval --model=EXPORT` gives."
        )
    lines += ["", "| language | metric | score | signature |", "|---|---|---|---|"]
    for lang, scores in found["scores"].items():
        signatures = found["signatures"].get(lang, {})
        whole = signatures.get("dense", "")
        for key, value in scores.items():
            signature = signatures.get(key, whole).replace("|", "\\|")  # which would end a column
            lines.append(f"| {lang} | {key} | {value:.4f} | {signature} |")
    return [*lines, "", *(f"- {warning}" for warning in found["warnings"]), ""]


def _signatures(about: Mapping) -> list[str]:
    lines = ["## Signatures", "", "| signature | input | shape | type | what |", "|---|---|---|---|---|"]
    for name, inputs in about["signatures"].items():
        for key, (shape, dtype) in inputs.items():
            shown = ", ".join("any" if size is None else str(size) for size in shape)
            lines.append(f"| {name} | {key} | {shown} | {dtype} | {_INPUTS[key]} |")
            name = ""
    return lines


def _serving(about: Mapping, config: ConfigDict) -> list[str]:
    dense = config.data.task == "dense"
    out = (
        "`caption`, `score`, `start` and `end` (seconds), each [batch, events], of which the first `count` [batch] are "
        "events, in order of start; the others are empty"
        if dense
        else "`caption`, strings in UTF-8, and `score`, the length-normalized log-probability, each [batch]"
    )
    first = next(iter(about["signatures"]["serving_default"]))
    body = '{"b64": "..."}'
    if first == "frames_bytes":
        body = f'{{"frames_bytes": [{body}], "frame_times": [0.0]' + (', "duration": 4.0' if dense else "") + "}"
    return [
        "", f"All give {out}.", "", "TensorFlow Serving takes this folder as a version of a model:", "", "```sh",
        'docker run -p 8501:8501 -v "$PWD":/models/captioner/1 -e MODEL_NAME=captioner tensorflow/serving',
        "curl http://localhost:8501/v1/models/captioner:predict -d "
        f"'{{\"instances\": [{body}]}}'", "```", "",
        "Each batch size is compiled when it first comes; `assets.extra` has requests that compile a batch of 1 at "
        "loading. With batching, name few `allowed_batch_sizes`.", "",
    ]  # fmt: skip


def _stablehlo(about: Mapping) -> list[str]:
    file = next(name for name in ("pixels.jax_export", "features.jax_export") if name in about["stablehlo"])
    inputs = about["stablehlo"][file]
    lang, prefix = next(iter(about["prefixes"].items()))
    values = {"frame_mask": "np.ones", "duration": "np.ones"}
    arrays = [
        f'    "{name}": {values.get(name, "np.zeros")}({[1 if size == "b" else size for size in shape]}, "{dtype}"),'
        for name, (shape, dtype) in inputs.items() if name != "prefix"
    ]  # fmt: skip
    arrays.append(f'    "prefix": np.array([{prefix}], "int32"),  # of {lang}')
    return [
        "## Without TensorFlow", "", "JAX alone runs `stablehlo/`, at any batch size:", "", "```python",
        _PROGRAM.format(file=file, arrays="\n".join(arrays)), "```", "",
        f"Prefixes of all languages: {', '.join(f'{lang} {ids}' for lang, ids in about['prefixes'].items())}.", "",
    ]  # fmt: skip


def _limits(about: Mapping, config: ConfigDict) -> list[str]:
    lines = [
        "- It says what its training captions would have said: it knows their objects, words and mistakes alone.",
        "- Pictures are JPEG files; they are turned upright by EXIF. Those in printers' colours (CMYK) differ a little "
        "from what the training saw, all others give the very pixels that it would have seen.",
    ]
    if config.decode.method == "sample":
        lines += ["- Words are drawn at random: the same `key` and batch give the same captions, another key others. "
                  "`serving_default` always draws with the same key."]  # fmt: skip
    if config.data.num_frames > 1 or config.data.task == "dense":
        lines += [f"- From more than {config.data.num_frames} frames, that many are taken at even distances. A video "
                  "far longer than those of the training is better cut into windows first."]  # fmt: skip
    return lines
