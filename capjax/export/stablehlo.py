"""A model as StableHLO, for JAX alone: `jax.export` programs that take their weights, which lie beside them, as
arguments.

    pixels.jax_export      weights, {frames, frame_times, frame_mask, prefix, ...} -> {tokens, scores, ...}
    features.jax_export    of a model that is fed features: the same from `features` in place of `frames`
    extract.jax_export     of such a model: weights, {frames, frame_times, frame_mask} -> {features}
    weights.safetensors

A model that is fed features has pixels.jax_export where its encoder sees one frame at a time.
"""

from pathlib import Path

import jax
import numpy as np
from jax import export
from safetensors.numpy import save_file

from capjax.export.jax_programs import Model, Program


def write(model: Model, directory: Path) -> dict[str, dict]:
    """Writes the programs and the weights.

    Returns:
      What each program takes: {file: {input: (shape, dtype)}}.
    """
    directory.mkdir(parents=True)
    programs = dict(model.programs)
    generate = programs.pop("generate")
    if "extract" not in programs:
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
    path.chmod(0o644)  # it is made for its owner alone
    return {f"{name}.jax_export": program.inputs for name, program in programs.items()}


def _joined(model: Model, extract: Program, generate: Program) -> Program:
    """Pixels to hypotheses by way of features."""

    def call(weights, batch):
        batch = dict(batch)
        frames = batch.pop("frames")
        times, mask = (batch[name].reshape(-1, 1) for name in ("frame_times", "frame_mask"))
        clips = {"frames": frames.reshape(-1, 1, *frames.shape[2:]), "frame_times": times, "frame_mask": mask}
        features = extract.call(weights, clips)["features"]
        batch["features"] = features.reshape(*frames.shape[:2], *features.shape[2:])
        return generate.call(weights, batch)

    inputs = {name: value for name, value in generate.inputs.items() if name != "features"}
    (_, *of_frame), dtype = extract.inputs["frames"][0][1:], extract.inputs["frames"][1]
    return Program(call, {"frames": (("b", model.frames, *of_frame), dtype)} | inputs)
