"""The model card of an export: the model, its training data, its scores, and how to call it."""

from collections.abc import Mapping

from ml_collections import ConfigDict

from capjax.data.photo import MAX_FILE_BYTES, MAX_PIXELS
from capjax.evals.evaluate import ScoresJson
from capjax.export.batching import BATCHING_FILE, batching_parameters
from capjax.files import read_json
from capjax.workdir.layout import Workdir

_TASKS = {
    "caption": "captions {media}",
    "summary": "summarizes videos",
    "dense": "finds events in videos and captions each of them",
}
_INPUTS = {
    "image_bytes": f"JPEG files of at most {MAX_PIXELS:,} pixels and {MAX_FILE_BYTES:,} bytes",
    "frames_bytes": "JPEG files of a video's frames in order; an empty string for no frame",
    "frame_times": "times of the frames in seconds from the start",
    "frame_mask": "true for frames, false for padding",
    "pixels": "RGB, 0 to 255, the whole picture resized to a square",
    "features": "output of the frozen encoder; rounded to float16",
    "duration": "duration of the video in seconds",
    "lang": 'the language to write; "" for the first',
    "key": "two numbers, the seed of sampling",
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


def make(metadata: Mapping, config: ConfigDict, files: Workdir) -> str:
    """Returns the card as Markdown.

    Args:
      metadata: contents of export.json.
      config: config of the model, with the decoding options of the export.
      files: workdir of the training run.
    """
    data, decode = config.data, config.decode
    task = _TASKS[data.task].format(media="photos" if data.num_frames == 1 else "photos and videos")
    size = f"{data.num_frames} frames of {metadata['image_size']} x {metadata['image_size']} pixels"
    if data.num_frames == 1:
        size = f"{metadata['image_size']} x {metadata['image_size']} pixels"
    encoder = f"{config.model.encoder.name}{' (frozen)' if data.features or config.model.encoder.frozen else ''}"
    lines = [
        f"# {config.name or 'captioner'}", "",
        f"This model {task}, in {', '.join(metadata['languages'])}. It is step {metadata['step']} of a run of capjax: "
        f"{encoder}, {config.model.decoder.name} decoder of width {config.model.width}, {metadata['parameters']:,} "
        f"parameters, input of {size}. Exported for {', '.join(metadata['platforms'])}.",
        "", "## Data", "",
        f"Trained on {', '.join(f'`{part}`' for part in data.train)}; evaluated on `{data.eval}`."
        + (f" Other data: {metadata['external_data']['details']}." if metadata["external_data"]["used"] else ""),
        "", *_scores(config, files),
        "## Settings", "", "| setting | value |", "|---|---|",
        *(f"| decode.{name} | {value} |" for name, value in decode.items()),
        "", "All other settings are in `config.json`.", "",
        *_signatures(metadata),
        *_serving(metadata, config),
        *_stablehlo(metadata),
        "## Limits", "",
        *_limits(metadata, config),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _scores(config: ConfigDict, files: Workdir) -> list[str]:
    path = files.path / "scores.json"
    lines = ["## Scores", ""]
    if not path.is_file():
        return [*lines, "None: the workdir had no `scores.json` at export.", ""]
    report = read_json(path, "evaluate again with --mode=eval", ScoresJson)
    trained = files.config().decode.to_dict()
    changed = [f"{name} = {value!r}" for name, value in trained.items() if config.decode.to_dict().get(name) != value]
    lines += [f"Scores of the checkpoint on `{report['split']}` (step {report['step']})."]
    if changed:
        lines[-1] += (
            f" They were computed with {', '.join(f'decode.{each}' for each in changed)}; this export has other "
            "options, and `launch.py --mode=eval --model=EXPORT` computes its own scores."
        )
    lines += ["", "| language | metric | score | signature |", "|---|---|---|---|"]
    for lang, scores in report["scores"].items():
        signatures = report["signatures"].get(lang, {})
        whole = signatures.get("dense", "")
        for key, value in scores.items():
            signature = signatures.get(key, whole).replace("|", "\\|")  # a bare | would end the column
            lines.append(f"| {lang} | {key} | {value:.4f} | {signature} |")
    return [*lines, "", *(f"- {warning}" for warning in report["warnings"]), ""]


def _signatures(metadata: Mapping) -> list[str]:
    lines = ["## Signatures", "", "| signature | input | shape | type | meaning |", "|---|---|---|---|---|"]
    for name, inputs in metadata["signatures"].items():
        for key, (shape, dtype) in inputs.items():
            shown = ", ".join("any" if size is None else str(size) for size in shape)
            lines.append(f"| {name} | {key} | {shown} | {dtype} | {_INPUTS[key]} |")
            name = ""
    return lines


def _serving(metadata: Mapping, config: ConfigDict) -> list[str]:
    dense = config.data.task == "dense"
    out = (
        "`caption`, `score`, `start` and `end` (seconds), each [batch, events], of which the first `count` [batch] are "
        "events in order of start; the others are empty"
        if dense
        else "`caption`, strings in UTF-8, and `score`, the length-normalized log-probability, each [batch]"
    )
    first = next(iter(metadata["signatures"]["serving_default"]))
    body = '{"b64": "..."}'
    if first == "frames_bytes":
        body = f'{{"frames_bytes": [{body}], "frame_times": [0.0]' + (', "duration": 4.0' if dense else "") + "}"
    return [
        "", f"All return {out}; and `error` [batch], why a row has no {'events' if dense else 'caption'}, such as a "
        "damaged file, a file that is not JPEG or an unknown language; empty where the row is answered. Other rows are "
        "not affected.",
        "", "TensorFlow Serving loads this folder as a version of a model:", "", "```sh",
        'docker run -p 8501:8501 -v "$PWD":/models/captioner/1 -e MODEL_NAME=captioner tensorflow/serving',
        "curl http://localhost:8501/v1/models/captioner:predict -d "
        f"'{{\"instances\": [{body}]}}'", "```", "",
        "Each batch size is compiled at its first request; the warm-up requests in `assets.extra` compile a batch of 1 "
        "when the model is loaded." + (
            f" To caption the photos of several requests together, add `--enable_batching "
            f"--batching_parameters_file=/models/captioner/1/{BATCHING_FILE}` after the image."
            if batching_parameters(metadata, config)
            else " Leave `--enable_batching` out: inputs of two requests cannot be joined, as their shapes differ."
        ), "",
    ]  # fmt: skip


def _stablehlo(metadata: Mapping) -> list[str]:
    file = next(name for name in ("pixels.jax_export", "features.jax_export") if name in metadata["stablehlo"])
    inputs = metadata["stablehlo"][file]
    lang, prefix = next(iter(metadata["prefixes"].items()))
    values = {"frame_mask": "np.ones", "duration": "np.ones"}
    arrays = [
        f'    "{name}": {values.get(name, "np.zeros")}({[1 if size == "b" else size for size in shape]}, "{dtype}"),'
        for name, (shape, dtype) in inputs.items() if name != "prefix"
    ]  # fmt: skip
    arrays.append(f'    "prefix": np.array([{prefix}], "int32"),  # {lang}')
    return [
        "## Without TensorFlow", "", "JAX runs the programs in `stablehlo/` at any batch size:", "", "```python",
        _PROGRAM.format(file=file, arrays="\n".join(arrays)), "```", "",
        f"Prefixes of all languages: {', '.join(f'{lang} {ids}' for lang, ids in metadata['prefixes'].items())}.", "",
    ]  # fmt: skip


def _limits(metadata: Mapping, config: ConfigDict) -> list[str]:
    lines = [
        "- Captions resemble the training captions: the model knows only their objects and words, and repeats their "
        "mistakes.",
        "- Photos are JPEG files, turned upright by their EXIF orientation. Their pixels equal those of training, "
        "except for CMYK files, which differ slightly. A file that was cut and then given an end marker is not "
        "recognized as damaged.",
    ]
    if config.decode.method == "sample":
        lines.append(
            "- Captions are sampled: the same `key` and batch give the same captions. `serving_default` always uses "
            "the same key."
        )
    if config.data.num_frames > 1 or config.data.task == "dense":
        lines += [f"- Of more than {config.data.num_frames} frames, that many evenly spaced ones are used. Divide "
                  "videos that are much longer than the training videos into windows."]  # fmt: skip
    return lines
