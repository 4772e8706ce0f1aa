"""Calls of exported models."""

from collections.abc import Callable
from pathlib import Path


def signature(folder: Path, name: str) -> Callable[..., dict]:
    """The signature of a SavedModel as a function of arrays that returns lists."""
    import tensorflow as tf

    call = tf.saved_model.load(str(folder)).signatures[name]
    specs = call.structured_input_signature[1]

    def answer(**inputs):
        out = call(**{key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()})
        return {key: value.numpy().tolist() for key, value in out.items()}

    return answer


def texts(captions) -> list[str]:
    return [caption.text for caption in captions]
