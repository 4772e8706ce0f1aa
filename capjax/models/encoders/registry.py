"""The registry of encoders, in a module of its own so that encoder modules can import it."""

from capjax.registry import Registry

ENCODERS = Registry("encoder")
