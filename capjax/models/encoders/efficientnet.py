"""EfficientNet (Tan & Le 2019) and EfficientNet-Lite, its variant with ReLU6 and without squeeze-excite.

b: images, h w: height and width, c: channels, d: width.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Real

from capjax.models.encoders.parts import IMAGENET_MEAN, IMAGENET_STD, Conv, ConvNorm, draw_kernels, halved, normalize
from capjax.models.encoders.receptive_field import Strided
from capjax.models.encoders.registry import ENCODERS
from capjax.models.encoders.tap import tap
from capjax.models.layers import drop_path, split

# Stages of B0: (expansion, kernel, stride, channels, blocks); table 1 of the paper.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
# Width factor, depth factor, image size.
_SCALES = {
    0: (1.0, 1.0, 224), 1: (1.0, 1.1, 240), 2: (1.1, 1.2, 260), 3: (1.2, 1.4, 300),
    4: (1.4, 1.8, 380), 5: (1.6, 2.2, 456), 6: (1.8, 2.6, 528), 7: (2.0, 3.1, 600),
}  # fmt: skip
_LITE_SIZES = {0: 224, 1: 240, 2: 260, 3: 280, 4: 300}


def round_channels(channels: int, factor: float) -> int:
    """channels * factor, rounded to a multiple of 8 and by no more than a tenth downwards."""
    scaled = channels * factor
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


class SqueezeExcite(nnx.Module):
    """Weights each channel by a gate computed from the mean of all channels (Hu et al. 2018)."""

    def __init__(self, c: int, hidden: int, *, dtype):
        self.reduce = Conv(c, hidden, 1, bias=True, dtype=dtype)
        self.expand = Conv(hidden, c, 1, bias=True, dtype=dtype)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        mean = x.mean((1, 2), keepdims=True, dtype=jnp.float32)
        return x * jax.nn.sigmoid(self.expand(jax.nn.silu(self.reduce(mean))))


class MBConv(nnx.Module):
    """Expansion, depthwise convolution, squeeze-excite, projection; with a residual if the shape stays the same."""

    def __init__(
        self, c_in: int, c_out: int, size: int, *, expansion: int, stride: int, lite: bool, drop: float,
        dtype, **norm,
    ):  # fmt: skip
        c = c_in * expansion
        options = {"dtype": dtype, **norm}
        self.expand = ConvNorm(c_in, c, 1, **options) if expansion != 1 else None
        self.depthwise = ConvNorm(c, c, size, stride=stride, depthwise=True, **options)
        self.squeeze_excite = None if lite else SqueezeExcite(c, max(1, c_in // 4), dtype=dtype)
        self.project = ConvNorm(c, c_out, 1, **options)
        self.residual, self.drop, self.lite = stride == 1 and c_in == c_out, drop, lite

    def __call__(self, images: Float[Array, "b h w c"], *, train: bool, key) -> Float[Array, "b h_out w_out c_out"]:
        activate = jax.nn.relu6 if self.lite else jax.nn.silu
        x = images if self.expand is None else activate(self.expand(images, train=train))
        x = activate(self.depthwise(x, train=train))
        if self.squeeze_excite is not None:
            x = self.squeeze_excite(x)
        x = self.project(x, train=train)
        return images + drop_path(x, self.drop, key) if self.residual else x


class EfficientNet(nnx.Module):
    """The grid is the output of the last 1x1 convolution, which the classifier would pool.

    Args:
      scale: the number in the name, 0 to 7, or 0 to 4 for EfficientNet-Lite.
      lite: EfficientNet-Lite.
      stages: (expansion, kernel, stride, channels, blocks) of each stage, before scaling.
      padding: `symmetric` for weights trained in PyTorch, `same` for weights trained in TensorFlow.
      epsilon: of the batch norms: 1e-5 in PyTorch, 1e-3 in TensorFlow and in torchvision's B5 to B7.
      stochastic_depth: rate of the last block; it grows linearly from 0 at the first.
      mean, std: of the RGB values, in 0..255.
    """

    def __init__(
        self, *, scale: int, lite: bool = False, stages=STAGES, padding: str = "symmetric", epsilon: float = 1e-5,
        stochastic_depth: float = 0.2, image_size: int | None = None, mean=IMAGENET_MEAN, std=IMAGENET_STD,
        dtype=jnp.float32, rngs,
    ):  # fmt: skip
        wide, deep, natural = _SCALES[scale]
        options = {"padding": padding, "epsilon": epsilon, "dtype": dtype}
        # Lite keeps B0's stem, head, and number of blocks in the first and last stage.
        stem, head = (32, 1280) if lite else (round_channels(32, wide), round_channels(1280, wide))
        repeats = [math.ceil(blocks * deep) for *_, blocks in stages]
        if lite:
            repeats[0], repeats[-1] = stages[0][-1], stages[-1][-1]
        self.stem = ConvNorm(3, stem, 3, stride=2, **options)
        built, c_in, done = [], stem, 0
        for (expansion, size, stride, channels, _), count in zip(stages, repeats, strict=True):
            c_out, blocks = round_channels(channels, wide), []
            for i in range(count):
                drop, step = stochastic_depth * done / sum(repeats), 1 if i else stride
                blocks.append(
                    MBConv(c_in, c_out, size, expansion=expansion, stride=step, lite=lite, drop=drop, **options)
                )
                c_in, done = c_out, done + 1
            built.append(nnx.List(blocks))
        self.stages = nnx.List(built)
        self.head = ConvNorm(c_in, head, 1, **options)
        self.width, self.image_size = head, image_size or (_LITE_SIZES[scale] if lite else natural)
        self.strided = (
            Strided(3, 2, padding), *(Strided(size, 2, padding) for _, size, stride, _, _ in stages if stride == 2)
        )  # fmt: skip
        self.halvings = 1 + sum(stride == 2 for _, _, stride, _, _ in stages)
        self.lite, self.mean, self.std, self.dtype = lite, tuple(mean), tuple(std), dtype
        draw_kernels(self, rngs)

    def grid(self, h: int, w: int) -> tuple[int, int]:
        """(rows, columns) of the output for an image of h x w pixels."""
        return halved(h, self.halvings), halved(w, self.halvings)

    def __call__(
        self, images: Real[Array, "b h w 3"], *, train: bool = False, key=None
    ) -> Float[Array, "b rows columns d"]:
        """The grids of images in 0..255. Stochastic depth comes with a `key`."""
        activate = jax.nn.relu6 if self.lite else jax.nn.silu
        x = tap("stem", activate(self.stem(normalize(images, self.mean, self.std, self.dtype), train=train)))
        blocks = {
            f"stages/{number}/{i}": block for number, stage in enumerate(self.stages) for i, block in enumerate(stage)
        }
        for (name, block), block_key in zip(blocks.items(), split(key, len(blocks)), strict=True):
            x = tap(name, block(x, train=train, key=block_key))
        return tap("head", activate(self.head(x, train=train)))


for _scale in _SCALES:
    ENCODERS.register(f"efficientnet_b{_scale}", scale=_scale, epsilon=1e-5 if _scale < 5 else 1e-3)(EfficientNet)
    # For the TensorFlow weights that timm converted.
    ENCODERS.register(f"tf_efficientnet_b{_scale}", scale=_scale, padding="same", epsilon=1e-3)(EfficientNet)
for _scale in _LITE_SIZES:
    ENCODERS.register(
        f"efficientnet_lite{_scale}", scale=_scale, lite=True, padding="same", epsilon=1e-3,
        mean=(127.0,) * 3, std=(128.0,) * 3,
    )(EfficientNet)  # fmt: skip
