"""Warm-up requests, which TensorFlow Serving runs when it loads a model, so that no client waits for compilation:
`assets.extra/tf_serving_warmup_requests`, TFRecords of PredictionLog.

The package with Serving's messages depends on its own TensorFlow, so the fields needed are declared here, as in
tensorflow_serving/apis (prediction_log.proto, predict.proto, model.proto).
"""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework.tensor_pb2 import TensorProto

# A model name is required; Serving ignores which.
_NAME = "capjax"
# Not Serving's own package, whose messages the process may have too. Requests do not contain the names of messages.
_PACKAGE = "capjax.serving"


def write(requests: Iterable[tuple[str, Mapping[str, np.ndarray]]], path: Path):
    """Writes requests, each (signature, {input: array})."""
    path.parent.mkdir(parents=True, exist_ok=True)
    message = prediction_log()
    with tf.io.TFRecordWriter(str(path)) as file:
        for signature, inputs in requests:
            log = message()
            request = log.predict_log.request
            request.model_spec.name, request.model_spec.signature_name = _NAME, signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            file.write(log.SerializeToString(deterministic=True))


@cache
def prediction_log() -> Any:
    """Returns the class of PredictionLog, with the fields of a prediction only."""
    tensor = TensorProto.DESCRIPTOR
    file = descriptor_pb2.FileDescriptorProto(
        name="capjax/prediction_log.proto", package=_PACKAGE, syntax="proto3", dependency=[tensor.file.name]
    )
    _add(file.message_type, "ModelSpec", {"name": (1, "string"), "signature_name": (3, "string")})
    inputs = (2, f"{_PACKAGE}.PredictRequest.InputsEntry")
    request = _add(file.message_type, "PredictRequest", {"model_spec": (1, f"{_PACKAGE}.ModelSpec"), "inputs": inputs})
    request.field[-1].label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    entry = _add(request.nested_type, "InputsEntry", {"key": (1, "string"), "value": (2, tensor.full_name)})
    entry.options.map_entry = True
    _add(file.message_type, "PredictLog", {"request": (1, f"{_PACKAGE}.PredictRequest")})
    _add(file.message_type, "PredictionLog", {"predict_log": (6, f"{_PACKAGE}.PredictLog")})
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.PredictionLog"))


def _add(messages, name: str, fields: Mapping[str, tuple[int, str]]):
    """Adds a message with fields {name: (number, `string` or the name of a message)}, and returns it."""
    message, kinds = messages.add(name=name), descriptor_pb2.FieldDescriptorProto
    for field_name, (number, kind) in fields.items():
        field = message.field.add(name=field_name, number=number, label=kinds.LABEL_OPTIONAL)
        if kind == "string":
            field.type = kinds.TYPE_STRING
        else:
            field.type, field.type_name = kinds.TYPE_MESSAGE, f".{kind}"
    return message
