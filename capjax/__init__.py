"""From photos and videos to captions: training, decoding and scoring in JAX.

>>> import capjax
>>> capjax.load("runs/demo").caption(["photo.jpg"])
"""

__all__ = ["load"]


def load(workdir, **decode):
    """The trained model of a workdir: see `capjax.predict.load`."""
    from capjax.predict import load  # imported when used: it brings JAX

    return load(workdir, **decode)
