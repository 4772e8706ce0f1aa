"""Warm-up requests, which TensorFlow Serving runs when it loads a model, so that no client waits for compilation:
`assets.extra/tf_serving_warmup_requests`, TFRecords of PredictionLog.

The package with Serving's messages depends on its own TensorFlow, so the fields needed are declared here, as in
tensorflow_serving/apis (prediction_log.proto, predict.proto, model.proto).
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework.tensor_pb2 import TensorProto

# A model name is required; Serving ignores which.
_NAME = "capjax"
_PACKAGE = "tensorflow.serving"


def write(requests: Iterable[tuple[str, Mapping[str, np.ndarray]]], path: Path):
    """Writes requests, each (signature, {input: array})."""
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
    """Reads the requests that `write` wrote."""
    message, requests = _message(), []
    for record in tf.compat.v1.io.tf_record_iterator(str(path)):
        request = message.FromString(record).predict_log.request
        protos = {name: value.SerializeToString() for name, value in request.inputs.items()}
        inputs = {name: tf.make_ndarray(TensorProto.FromString(value)) for name, value in protos.items()}
        requests.append((request.model_spec.signature_name, inputs))
    return requests


def _message() -> Any:
    """The class of PredictionLog, with the fields of a prediction only."""
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
    # A separate pool: the process may have Serving's messages too, and a pool holds each name once.
    pool = descriptor_pool.DescriptorPool()
    for serialized in (*_with_dependencies(tensor.file), file.SerializeToString()):
        pool.AddSerializedFile(serialized)
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
    """A file's serialized descriptor, after those of its dependencies."""
    serialized: dict[str, bytes] = {}

    def visit(descriptor):
        for dependency in descriptor.dependencies:
            visit(dependency)
        serialized.setdefault(descriptor.name, descriptor.serialized_pb)

    visit(file)
    return list(serialized.values())
