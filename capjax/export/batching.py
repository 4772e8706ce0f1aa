"""TensorFlow Serving's batching configuration of an export."""

from collections.abc import Mapping

from ml_collections import ConfigDict

BATCHING_FILE = "batching_params.pbtxt"
# Each is compiled once; the last is the largest batch.
_SIZES = (1, 8, 32)


def batching_parameters(metadata: Mapping, config: ConfigDict) -> str:
    """Returns the BatchingParameters message of TensorFlow Serving as text.

    It is empty for models whose requests cannot be joined along the first axis: videos have any number of frames, and
    sampling takes a key.

    Args:
      metadata: contents of export.json.
      config: config of the model, with the decoding options of the export.
    """
    if "image_bytes" not in metadata["signatures"]["serving_default"] or config.decode.method == "sample":
        return ""
    lines = [
        "# The photos of several requests are captioned together.",
        f"max_batch_size {{ value: {_SIZES[-1]} }}",
        "batch_timeout_micros { value: 5000 }",
        "max_enqueued_batches { value: 64 }",
        "num_batch_threads { value: 2 }",
        *(f"allowed_batch_sizes: {size}" for size in _SIZES),
    ]
    return "\n".join(lines) + "\n"
