"""Decoders: memory to logits. Importing this package registers every decoder by name."""

from capjax.models.decoders import recurrent, transformer  # noqa: F401
from capjax.models.decoders.registry import DECODERS

__all__ = ["DECODERS"]
