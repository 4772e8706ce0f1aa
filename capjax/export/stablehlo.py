"""Writes StableHLO programs for JAX alone: `jax.export` programs that take their weights as an argument.

    pixels.jax_export      weights, {frames, frame_times, frame_mask, prefix, ...} -> {tokens, scores, ...}
    features.jax_export    for models that take features: the same with `features` in place of `frames`
    extract.jax_export     for models that take features: weights, {frames, frame_times, frame_mask} -> {features}
    weights.safetensors

A model that takes features has pixels.jax_export only if its encoder sees one frame at a time.
"""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jax import export
from safetensors.numpy import save_file

from capjax.export.jax_programs import ExportModel, JaxProgram


def write(model: ExportModel, directory: Path) -> dict[str, Mapping[str, tuple[tuple, str]]]:
    """Writes the programs and the weights.

    Returns:
      Inputs of each program: {file: {input: (shape, dtype)}}.
    """
    directory.mkdir(parents=True)
    programs = dict(model.programs)
    generate = programs.pop("generate")
    if model.parts.extractor is None:
        programs["pixels"] = generate
    else:
        programs["features"] = generate
        if not model.parts.extractor.over_time:
            programs["pixels"] = _joined(model, programs["extract"], generate)
    weights = {name: np.asarray(value) for name, value in model.weights.items()}
    abstract = {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in weights.items()}
    for name, program in programs.items():
        exported = export.export(jax.jit(program.call), platforms=model.platforms)(abstract, program.specs())
        (directory / f"{name}.jax_export").write_bytes(exported.serialize())
    path = directory / "weights.safetensors"
    save_file(weights, path)
    path.chmod(0o644)  # safetensors makes it readable for its owner only
    return {f"{name}.jax_export": program.inputs for name, program in programs.items()}


def _joined(model: ExportModel, extract: JaxProgram, generate: JaxProgram) -> JaxProgram:
    """The program from pixels through features to hypotheses."""

    def call(weights, batch):
        batch = dict(batch)
        frames = batch.pop("frames")
        times, mask = (batch[name].reshape(-1, 1) for name in ("frame_times", "frame_mask"))
        clips = {"frames": frames.reshape(-1, 1, *frames.shape[2:]), "frame_times": times, "frame_mask": mask}
        features = extract.call(weights, clips)["features"]
        batch["features"] = features.reshape(*frames.shape[:2], *features.shape[2:])
        return generate.call(weights, batch)

    inputs = {name: value for name, value in generate.inputs.items() if name != "features"}
    (_, *frame_shape), dtype = extract.inputs["frames"][0][1:], extract.inputs["frames"][1]
    return JaxProgram(call, {"frames": (("b", model.frames, *frame_shape), dtype)} | inputs)
