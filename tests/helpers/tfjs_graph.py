"""Runs a graph model of TensorFlow.js node by node with TensorFlow: the oracle of networks that were published so."""

import base64
import json
import math
from pathlib import Path

import numpy as np

_DTYPES = {"DT_FLOAT": "float32", "DT_INT32": "int32"}


class GraphModel:
    """A graph model: `NAME.json` with one file of weights beside it.

    Attributes:
      nodes: {name: node}.
      tensors: {name: value} of the weights.
    """

    def __init__(self, path: Path):
        about = json.loads(path.read_text())
        self.nodes = {node["name"]: node for node in about["modelTopology"]["node"]}
        (group,) = about["weightsManifest"]
        data, start = b"".join((path.parent / name).read_bytes() for name in group["paths"]), 0
        self.tensors = {}
        for weight in group["weights"]:
            dtype = np.dtype(weight.get("quantization", weight)["dtype"])
            count = math.prod(weight["shape"])
            value = np.frombuffer(data, dtype, count, start).reshape(weight["shape"])
            self.tensors[weight["name"]] = value.astype(weight["dtype"])
            start += count * dtype.itemsize

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """The values of nodes."""
        values = {**self.tensors, **inputs}
        for name in outputs:
            self._compute(name, values)
        return [np.asarray(values[name]) for name in outputs]

    def _compute(self, name: str, values: dict):
        if name in values:
            return
        name, _, output = name.partition(":")
        node = self.nodes[name]
        for source in node["input"]:
            self._compute(source, values)
        result = run_node(node["op"], [values[source] for source in node["input"]], attributes(node))
        for number, value in enumerate(result if isinstance(result, tuple) else (result,)):
            values[f"{name}:{number}" if number else name] = value
        assert not output or f"{name}:{output}" in values


def attributes(node: dict) -> dict:
    """The attributes of a node as plain values."""

    def text(value: str) -> str:
        return base64.b64decode(value).decode()

    plain = {}
    for name, value in node.get("attr", {}).items():
        ((kind, content),) = value.items()
        if kind == "list":
            content = [int(i) for i in content.get("i", ())] or [text(s) for s in content.get("s", ())]
        plain[name] = {"s": text, "i": int}.get(kind, lambda same: same)(content)
    return plain


def run_node(op: str, inputs: list, attr: dict):
    """The output of a node, or several, by TensorFlow's operation of the same name."""
    import tensorflow as tf

    raw = tf.raw_ops
    spatial = {name: attr[name] for name in ("strides", "padding") if name in attr}
    simple = {"Relu": raw.Relu, "Relu6": raw.Relu6, "Sigmoid": raw.Sigmoid, "Identity": tf.identity}
    binary = {
        "Add": raw.AddV2, "Mul": raw.Mul, "Sub": raw.Sub, "Equal": raw.Equal, "FloorDiv": raw.FloorDiv,
        "FloorMod": raw.FloorMod,
    }  # fmt: skip
    if op in simple:
        return simple[op](**{"input" if op == "Identity" else "x" if op == "Sigmoid" else "features": inputs[0]})
    if op in binary:
        return binary[op](x=inputs[0], y=inputs[1])
    if op in ("Conv2D", "_FusedConv2D"):
        return _fused(raw.Conv2D(input=inputs[0], filter=inputs[1], **spatial), inputs[2:], attr)
    if op in ("DepthwiseConv2dNative", "FusedDepthwiseConv2dNative"):
        return _fused(raw.DepthwiseConv2dNative(input=inputs[0], filter=inputs[1], **spatial), inputs[2:], attr)
    if op == "Mean":
        return raw.Mean(input=inputs[0], axis=inputs[1], keep_dims=attr["keep_dims"])
    if op == "ResizeBilinear":
        options = {name: attr[name] for name in ("align_corners", "half_pixel_centers")}
        return raw.ResizeBilinear(images=inputs[0], size=inputs[1], **options)
    if op == "ConcatV2":
        return raw.ConcatV2(values=inputs[:-1], axis=int(inputs[-1]))
    if op == "MaxPool":
        return raw.MaxPool(input=inputs[0], ksize=attr["ksize"], **spatial)
    if op == "Cast":
        return tf.cast(inputs[0], _DTYPES[attr["DstT"]])
    if op == "Reshape":
        return tf.reshape(*inputs)
    if op == "ExpandDims":
        return tf.expand_dims(*inputs)
    if op == "TopKV2":
        return tuple(raw.TopKV2(input=inputs[0], k=inputs[1]))
    if op == "GatherV2":
        return tf.gather(inputs[0], inputs[1], axis=int(inputs[2]))
    if op == "StridedSlice":
        masks = {name: value for name, value in attr.items() if name.endswith("_mask")}
        return raw.StridedSlice(input=inputs[0], begin=inputs[1], end=inputs[2], strides=inputs[3], **masks)
    raise NotImplementedError(op)


def _fused(value, rest: list, attr: dict):
    """The operations that were fused into a convolution."""
    import tensorflow as tf

    for name in attr.get("fused_ops", ()):
        value = {"BiasAdd": lambda x: tf.nn.bias_add(x, rest[0]), "Relu": tf.nn.relu}[name](value)
    return value
