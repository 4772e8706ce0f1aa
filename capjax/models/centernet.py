"""The object detector CenterNet (Zhou et al. 2019) on MobileNetV3 (Howard et al. 2019), for COCO's 80 categories.

It finds objects as the peaks of one heat map for each category, and needs no suppression of overlapping boxes. The
network is that of github.com/610265158/mobilenetv3_centernet, with batch norms folded into the convolutions.

b: images, h w: height and width, c: channels, k: peaks.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Real

from capjax.models.encoders.parts import Conv

# Height and width of the images, and pixels of an image for each cell of the output.
SIZE, STRIDE = 512, 4
CATEGORIES = 80
# 1/6 as the published network has it, in half precision.
_SIXTH = 0.1666259765625
# (kernel, stride, channels inside, channels out, channels of the gate or 0, hard swish instead of ReLU) of each block.
_BLOCKS = (
    (3, 1, 16, 16, 0, False),
    (3, 2, 64, 24, 0, False),
    (3, 1, 72, 24, 0, False),
    (5, 2, 72, 32, 24, False),
    (5, 1, 96, 32, 24, False),
    (5, 1, 96, 32, 24, False),
    (3, 2, 192, 64, 0, True),
    (3, 1, 160, 64, 0, True),
    (3, 1, 144, 64, 0, True),
    (3, 1, 144, 64, 0, True),
    (3, 1, 384, 88, 96, True),
    (3, 1, 528, 88, 136, True),
    (5, 2, 528, 120, 136, True),
    (5, 1, 720, 120, 184, True),
    (5, 1, 720, 120, 184, True),
)


def _hard_sigmoid(x: jax.Array) -> jax.Array:
    return jax.nn.relu6(x + 3.0) * _SIXTH


def _hard_swish(x: jax.Array) -> jax.Array:
    return x * _hard_sigmoid(x)


def _conv(c_in: int, c_out: int, size: int = 1, **options) -> Conv:
    return Conv(c_in, c_out, size, **{"bias": True, "padding": "same", **options})


class _Gate(nnx.Module):
    """Weights each channel by a function of the mean of all channels (Hu et al. 2018)."""

    def __init__(self, c: int, hidden: int, activate, *, bias: bool = True):
        self.reduce = _conv(c, hidden)
        self.expand = _conv(hidden, c, bias=bias)
        self.activate = activate

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        mean = x.mean((1, 2), keepdims=True)
        return x * self.activate(self.expand(jax.nn.relu(self.reduce(mean))))


class _Block(nnx.Module):
    """Expansion, depthwise convolution, gate, projection; with a residual if the shape stays the same."""

    def __init__(self, c_in: int, size: int, stride: int, inside: int, c_out: int, gate: int, hard_swish: bool):
        self.activate = _hard_swish if hard_swish else jax.nn.relu
        self.expand = _conv(c_in, inside) if inside != c_in else None
        self.depthwise = _conv(inside, inside, size, stride=stride, depthwise=True)
        self.gate = _Gate(inside, gate, _hard_sigmoid) if gate else None
        self.project = _conv(inside, c_out)
        self.residual = stride == 1 and c_in == c_out

    def expanded(self, x: Float[Array, "b h w c_in"]) -> Float[Array, "b h w c_inside"]:
        return x if self.expand is None else self.activate(self.expand(x))

    def __call__(
        self, x: Float[Array, "b h w c_in"], expanded: Float[Array, "b h w c_inside"]
    ) -> Float[Array, "b h_out w_out c_out"]:
        out = self.activate(self.depthwise(expanded))
        if self.gate is not None:
            out = self.gate(out)
        out = self.project(out)
        return x + out if self.residual else out


class _Separable(nnx.Module):
    """A depthwise convolution and a 1x1 convolution."""

    def __init__(self, c_in: int, c_out: int, size: int):
        self.depthwise = _conv(c_in, c_in, size, depthwise=True, bias=False)
        self.pointwise = _conv(c_in, c_out)

    def __call__(self, x: Float[Array, "b h w c_in"]) -> Float[Array, "b h w c_out"]:
        return self.pointwise(self.depthwise(x))


class _Lateral(nnx.Module):
    """Features of the backbone as the head takes them."""

    def __init__(self, c_in: int, hidden: int, c_out: int):
        self.reduce = _conv(c_in, hidden)
        self.separable = _Separable(hidden, c_out, 5)

    def __call__(self, x: Float[Array, "b h w c_in"]) -> Float[Array, "b h w c_out"]:
        return self.separable(jax.nn.relu(self.reduce(x)))


class _Upsample(nnx.Module):
    """The sum of two separable convolutions, at twice the height and width."""

    def __init__(self, c_in: int, c_out: int):
        self.small, self.large = _Separable(c_in, c_out, 3), _Separable(c_in, c_out, 5)

    def __call__(self, x: Float[Array, "b h w c_in"]) -> Float[Array, "b h_out w_out c_out"]:
        return _doubled(_doubled(self.small(x) + self.large(x), axis=1), axis=2)


def _doubled(x: jax.Array, *, axis: int) -> jax.Array:
    """Resizes bilinearly as TensorFlow 1 did: each value stays where it is, and the mean with the next comes after it;
    after the last it comes again."""
    following = jnp.concatenate([jax.lax.slice_in_dim(x, 1, None, axis=axis), x.take(jnp.array([-1]), axis)], axis)
    shape = [*x.shape]
    shape[axis] *= 2
    return jnp.stack([x, (x + following) / 2], axis + 1).reshape(shape)


class Heatmaps(NamedTuple):
    """The output of the network for each cell.

    Attributes:
      scores: of each category, 0 to 1.
      extents: distances to the left, top, right and bottom of the box, in pixels.
    """

    scores: Float[Array, "b h w categories"]
    extents: Float[Array, "b h w 4"]


class Peaks(NamedTuple):
    """The strongest peaks, in descending order of their scores; a score of 0 is none.

    Attributes:
      boxes: (x0, y0, x1, y1) in pixels.
      scores: 0 to 1.
      categories: numbers of categories.
    """

    boxes: Float[Array, "b k 4"]
    scores: Float[Array, "b k"]
    categories: Int[Array, "b k"]


class CenterNet(nnx.Module):
    """Images to heat maps of objects. Parameters are 0 until they are loaded."""

    def __init__(self):
        self.stem = _conv(3, 16, 3, stride=2)
        blocks, c_in = [], 16
        for size, stride, inside, c_out, gate, hard_swish in _BLOCKS:
            blocks.append(_Block(c_in, size, stride, inside, c_out, gate, hard_swish))
            c_in = c_out
        self.blocks = nnx.List(blocks)
        self.top = _conv(c_in, 480)
        # At 1/4, 1/8 and 1/16 of the image's side.
        self.laterals = nnx.List([_Lateral(72, 18, 64), _Lateral(96, 24, 96), _Lateral(88, 22, 128)])
        self.upsamples = nnx.List([_Upsample(192, 64), _Upsample(256, 96), _Upsample(480, 128)])
        self.gate = _Gate(128, 32, jax.nn.sigmoid, bias=False)
        self.scores, self.extents = _Separable(128, CATEGORIES, 3), _Separable(128, 4, 3)

    def __call__(self, images: Real[Array, "b h w 3"]) -> Heatmaps:
        """The heat maps of RGB images in 0..255, whose sides are multiples of 32."""
        x, features = _hard_swish(self.stem(images.astype(jnp.float32))), []
        for number, block in enumerate(self.blocks):
            expanded = block.expanded(x)
            x = block(x, expanded)
            if number in (3, 5, 11):
                features.append(x if number == 11 else expanded)
        x = _hard_swish(self.top(x))
        for lateral, upsample, feature in reversed(
            list(zip(self.laterals, self.upsamples, features, strict=True))
        ):  # fmt: skip
            x = jax.nn.relu(jnp.concatenate([lateral(feature), upsample(x)], axis=-1))
        x = self.gate(x)
        return Heatmaps(jax.nn.sigmoid(self.scores(x)), self.extents(x) * 16.0)


def find_peaks(maps: Heatmaps, count: int) -> Peaks:
    """Returns the strongest peaks of the heat maps: cells whose score is the largest of the 3 x 3 around them."""
    scores = maps.scores
    b, h, w, categories = scores.shape
    largest = jax.lax.reduce_window(scores, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")
    values, index = jax.lax.top_k(jnp.where(scores == largest, scores, 0.0).reshape(b, -1), count)
    cell = index // categories
    extents = jnp.take_along_axis(maps.extents.reshape(b, h * w, 4), cell[..., None], axis=1)
    x, y = STRIDE * (cell % w), STRIDE * (cell // w)
    left, top, right, bottom = jnp.moveaxis(extents, -1, 0)
    boxes = jnp.stack([x - left, y - top, x + right, y + bottom], axis=-1)
    return Peaks(boxes, values, index % categories)
