"""The table of encoders, apart so that encoder modules can import it."""

from capjax.registry import Registry

ENCODERS = Registry("encoder")
