"""Images to feature grids. Importing this package registers every encoder by name."""

from capjax.models.encoders.registry import ENCODERS

__all__ = ["ENCODERS"]
