"""The detector's files as they were published, with random weights in place of its own."""

import gzip
import json
import math
from pathlib import Path

import numpy as np

_GRAPH = Path(__file__).resolve().parents[1] / "fixtures" / "centernet_graph.json.gz"


def write_published_files(folder: Path, seed: int = 0) -> Path:
    """Writes centernet.json, with the nodes and constants of the published graph, and centernet.bin; returns the first.

    Weights are such that activations keep their size from layer to layer.
    """
    graph = json.loads(gzip.decompress(_GRAPH.read_bytes()))
    constants = graph.pop("constants")
    rng, data = np.random.default_rng(seed), []
    for weight in graph["weightsManifest"][0]["weights"]:
        shape, name = weight["shape"], weight["name"]
        if name in constants:
            value = np.asarray(constants[name])
        elif len(shape) == 1:
            value = rng.normal(0, 0.1, shape)
        else:
            fan_in = math.prod(shape[:2]) * (1 if name.endswith("depthwise_weights") else shape[2])
            value = rng.normal(0, (1 / 50 if shape[2] == 3 else 1.2) / fan_in**0.5, shape)
        data.append(value.astype(weight.get("quantization", weight)["dtype"]).tobytes())
    (folder / "centernet.bin").write_bytes(b"".join(data))
    path = folder / "centernet.json"
    path.write_text(json.dumps(graph))
    return path
