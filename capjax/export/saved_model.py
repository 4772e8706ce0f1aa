"""Writes a TensorFlow SavedModel, with warm-up requests.

Weights are variables in its checkpoint: constants of a graph are limited to 2 GB.
"""

import io
from pathlib import Path
from typing import cast

import numpy as np
import tensorflow as tf
from jax.interpreters.mlir import make_ir_context
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo
from jaxlib.mlir.passmanager import PassManager
from orbax.export import JaxModule
from PIL import Image
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from capjax.export import warmup
from capjax.export.jax_programs import ExportModel
from capjax.export.signatures import Signatures
from capjax.files import write_bytes

# The newest version of StableHLO that TensorFlow 2.21 reads.
STABLEHLO_VERSION = "1.13.7"


def write(model: ExportModel, directory: Path) -> dict[str, dict]:
    """Writes the SavedModel into `directory`.

    Returns:
      Inputs of each signature: {signature: {input: (shape, dtype)}}.
    """
    programs = model.programs
    symbolic = {
        name: {key: ",".join(map(str, shape)) for key, (shape, _) in program.inputs.items()}
        for name, program in programs.items()
    }
    lowering = {"native_serialization_platforms": model.platforms, "with_gradient": False}
    module = JaxModule(
        model.weights, {name: program.call for name, program in programs.items()}, trainable=False,
        input_polymorphic_shape=symbolic, jax2tf_kwargs=dict.fromkeys(programs, lowering),
    )  # fmt: skip
    signatures = Signatures(model, module.methods).all
    tf.saved_model.save(module.export_module(), str(directory), signatures=signatures)
    _convert_programs(directory)
    requests = [(name, _request(call.input_signature)) for name, call in signatures.items()]
    warmup.write(requests, directory / "assets.extra" / "tf_serving_warmup_requests")
    return {
        name: {spec.name: (spec.shape.as_list(), spec.dtype.name) for spec in call.input_signature}
        for name, call in signatures.items()
    }


def _convert_programs(directory: Path):
    """Converts the programs of a SavedModel to StableHLO that TensorFlow reads: JAX writes a newer version, and
    composite operations, inside which TensorFlow does not refine the batch size."""
    path = directory / "saved_model.pb"
    saved = SavedModel.FromString(path.read_bytes())
    for function in saved.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.op == "XlaCallModule":
                node.attr["module"].s = _convert(node.attr["module"].s)
    write_bytes(path, saved.SerializeToString(deterministic=True))
    (directory / "fingerprint.pb").unlink(missing_ok=True)  # it is the fingerprint of the former file


def _convert(program: bytes) -> bytes:
    """Returns a serialized program in STABLEHLO_VERSION, without composite operations."""
    stablehlo.register_stablehlo_passes()
    with make_ir_context():
        module = ir.Module.parse(stablehlo.deserialize_portable_artifact_str(program))
        PassManager.parse("builtin.module(func.func(stablehlo-legalize-composite-to-call))").run(module.operation)
        bytecode = cast(bytes, module.operation.get_asm(binary=True))
        return stablehlo.serialize_portable_artifact_str(bytecode, STABLEHLO_VERSION)


def _request(specs) -> dict[str, np.ndarray]:
    """Inputs of a signature for one gray photo, or one video of one frame."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(file, "JPEG")

    def value(spec):
        shape = [size or 1 for size in spec.shape]
        if spec.dtype == tf.string:
            return np.full(shape, b"" if spec.name == "lang" else file.getvalue(), object)
        return np.full(shape, spec.name in ("frame_mask", "duration"), spec.dtype.as_numpy_dtype)

    return {spec.name: value(spec) for spec in specs}
