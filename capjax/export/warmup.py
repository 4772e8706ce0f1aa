"""Requests that TensorFlow Serving answers itself when it loads a model, so that the first client waits for no
compilation: `assets.extra/tf_serving_warmup_requests`, TFRecords of its PredictionLog.

Its messages come in a package that brings a TensorFlow of its own; the fields that are needed are described here, as
tensorflow_serving/apis has them (prediction_log.proto, predict.proto, model.proto).
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework.tensor_pb2 import TensorProto

# Of a model's name, which is for the server to give, only that there is one matters.
_NAME = "capjax"
_PACKAGE = "tensorflow.serving"


def write(requests: Iterable[tuple[str, Mapping[str, np.ndarray]]], path: Path):
    """Writes requests, (signature, {input: array}) each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    message = _message()
    with tf.io.TFRecordWriter(str(path)) as file:
        for signature, inputs in requests:
            log = message()
            request = log.predict_log.request
            request.model_spec.name, request.model_spec.signature_name = _NAME, signature
            for name, value in inputs.items():
                request.inputs[name].ParseFromString(tf.make_tensor_proto(value).SerializeToString())
            file.write(log.SerializeToString(deterministic=True))


def read(path: Path) -> list[tuple[str, dict[str, np.ndarray]]]:
    """What `write` wrote."""
    message, found = _message(), []
    for record in tf.compat.v1.io.tf_record_iterator(str(path)):
        request = message.FromString(record).predict_log.request
        protos = {name: value.SerializeToString() for name, value in request.inputs.items()}
        inputs = {name: tf.make_ndarray(TensorProto.FromString(value)) for name, value in protos.items()}
        found.append((request.model_spec.signature_name, inputs))
    return found


def _message() -> type:
    """The class of PredictionLog, with the fields of a prediction alone."""
    tensor = TensorProto.DESCRIPTOR
    file = descriptor_pb2.FileDescriptorProto(
        name="capjax/prediction_log.proto", package=_PACKAGE, syntax="proto3", dependency=[tensor.file.name]
    )
    _add(file, "ModelSpec", {"name": (1, "string"), "signature_name": (3, "string")})
    request = _add(file, "PredictRequest", {"model_spec": (1, f"{_PACKAGE}.ModelSpec")})
    entry = request.nested_type.add(name="InputsEntry")
    entry.options.map_entry = True
    _fields(entry, {"key": (1, "string"), "value": (2, tensor.full_name)})
    _fields(request, {"inputs": (2, f"{_PACKAGE}.PredictRequest.InputsEntry")})
    request.field[-1].label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    _add(file, "PredictLog", {"request": (1, f"{_PACKAGE}.PredictRequest")})
    _add(file, "PredictionLog", {"predict_log": (6, f"{_PACKAGE}.PredictLog")})
    # A pool of its own: a program may have Serving's messages too, and names may be taken once a pool.
    pool = descriptor_pool.DescriptorPool()
    for each in (*_with_dependencies(tensor.file), file.SerializeToString()):
        pool.AddSerializedFile(each)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.PredictionLog"))


def _add(file, name: str, fields: Mapping[str, tuple[int, str]]):
    message = file.message_type.add(name=name)
    _fields(message, fields)
    return message


def _fields(message, fields: Mapping[str, tuple[int, str]]):
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, (number, kind) in fields.items():
        field = message.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL)
        if kind == "string":
            field.type = kinds.TYPE_STRING
        else:
            field.type, field.type_name = kinds.TYPE_MESSAGE, f".{kind}"


def _with_dependencies(file) -> list[bytes]:
    """A file's description after those of all that it needs, serialized."""
    found = {}

    def visit(each):
        for needed in each.dependencies:
            visit(needed)
        found.setdefault(each.name, each.serialized_pb)

    visit(file)
    return list(found.values())
