"""ResNet (He et al. 2016), in torchvision's form: the stride of a bottleneck is at its 3x3 convolution.

b: images or clips, t: frames, h w: height and width, c: channels, d: width.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Real

from capjax.models.encoders import clip
from capjax.models.encoders.parts import IMAGENET_MEAN, IMAGENET_STD, ConvNorm, draw_kernels, halved, normalize
from capjax.models.encoders.receptive_field import Strided
from capjax.models.encoders.registry import ENCODERS
from capjax.models.encoders.tap import tap

STEMS = {"imagenet": (7, 2), "small": (3, 2), "patch": (4, 4)}  # size, stride


def _max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h_out w_out c"]:
    """3x3, stride 2, one pixel of padding."""
    return nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


class ResidualBlock(nnx.Module):
    """Convolutions 3x3 and 3x3, or 1x1, 3x3 and 1x1 in a bottleneck, with a residual."""

    def __init__(self, c_in: int, c: int, *, bottleneck: bool, stride: int, dtype):
        c_out = 4 * c if bottleneck else c
        # (size, channels, stride) of each convolution
        plan = [(1, c, 1), (3, c, stride), (1, c_out, 1)] if bottleneck else [(3, c, stride), (3, c, 1)]
        convs = []
        for i, (size, channels, s) in enumerate(plan):
            # The last norm starts at zero, so that each block starts as the identity (Goyal et al. 2017, section 5.1).
            is_last = i == len(plan) - 1
            c_before = plan[i - 1][1] if i else c_in
            convs.append(ConvNorm(c_before, channels, size, stride=s, epsilon=1e-5, zero=is_last, dtype=dtype))
        self.convs = nnx.List(convs)
        same_shape = stride == 1 and c_in == c_out
        self.shortcut = None if same_shape else ConvNorm(c_in, c_out, 1, stride=stride, epsilon=1e-5, dtype=dtype)

    def __call__(self, x: Float[Array, "b h w c_in"], *, train: bool) -> Float[Array, "b h_out w_out c_out"]:
        residual = x if self.shortcut is None else self.shortcut(x, train=train)
        for i, conv in enumerate(self.convs):
            x = conv(x if i == 0 else jax.nn.relu(x), train=train)
        return jax.nn.relu(x + residual)


@ENCODERS.register("resnet10_slim", depths=(1, 1, 1, 1), channels=32, stem="small", image_size=96)
@ENCODERS.register("resnet18", depths=(2, 2, 2, 2))
@ENCODERS.register("resnet34", depths=(3, 4, 6, 3))
@ENCODERS.register("resnet50", depths=(3, 4, 6, 3), bottleneck=True)
@ENCODERS.register("resnet101", depths=(3, 4, 23, 3), bottleneck=True)
@ENCODERS.register("resnet152", depths=(3, 8, 36, 3), bottleneck=True)
class ResNet(nnx.Module):
    """The grid is the output of the last stage.

    Args:
      depths: number of blocks in each stage; every stage after the first halves the image.
      channels: of the first stage; each further stage doubles them.
      bottleneck: blocks have three convolutions, and four times the channels at their output.
      stem: `imagenet`: 7x7 and a max pool, together stride 4; `small`, for small images: 3x3 with stride 2; `patch`:
        4x4 with stride 4.
      differences: the stem also sees the differences to the previous and the next frame, pixel by pixel (RGB difference
        of Wang et al. 2016). The encoder then takes clips.
      mean, std: of the RGB values, in 0..255.

    Raises:
      ValueError: an unknown stem.
    """

    def __init__(
        self, *, depths, channels: int = 64, bottleneck: bool = False, stem: str = "imagenet",
        differences: bool = False, image_size: int = 224, mean=IMAGENET_MEAN, std=IMAGENET_STD, dtype=jnp.float32, rngs,
    ):  # fmt: skip
        if stem not in STEMS:
            raise ValueError(f"stem {stem!r}: expected {', '.join(map(repr, STEMS))}")
        size, stem_stride = STEMS[stem]
        # Patches are adjacent, even if the image is not a whole number of them.
        padding = "same" if stem == "patch" else "symmetric"
        c_image = 9 if differences else 3
        self.stem = ConvNorm(c_image, channels, size, stride=stem_stride, epsilon=1e-5, padding=padding, dtype=dtype)
        stages, c_in = [], channels
        for stage, depth in enumerate(depths):
            c, blocks = channels * 2**stage, []
            for i in range(depth):
                stride = 2 if stage and i == 0 else 1
                blocks.append(ResidualBlock(c_in, c, bottleneck=bottleneck, stride=stride, dtype=dtype))
                c_in = 4 * c if bottleneck else c
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)
        self.width, self.image_size, self.pool = c_in, image_size, stem == "imagenet"
        self.halvings = len(depths) + (stem != "small")
        stages_strided = [Strided(3, 2)] * (len(depths) - 1)
        self.strided = (Strided(size, stem_stride, padding), *([Strided(3, 2)] if self.pool else []), *stages_strided)
        self.over_time, self.time_stride = differences, 1
        self.mean, self.std, self.dtype = tuple(mean), tuple(std), dtype
        draw_kernels(self, rngs)

    def grid(self, h: int, w: int) -> tuple[int, int]:
        """(rows, columns) of the output for an image of h x w pixels."""
        return halved(h, self.halvings), halved(w, self.halvings)

    def __call__(
        self, images: Real[Array, "b *t h w 3"], times: Float[Array, "b t"] | None = None,
        mask: Bool[Array, "b t"] | None = None, *, train: bool = False, key=None,
    ) -> Float[Array, "b *t rows columns d"]:  # fmt: skip
        """The grids of images in 0..255; with `differences`, of clips with their mask. Nothing is random."""
        if not self.over_time:
            return self._grids(normalize(images, self.mean, self.std, self.dtype), train)
        assert mask is not None  # encoders over time get the mask of a clip
        x = normalize(images, self.mean, self.std, self.dtype, axes="b t h w")
        x = jnp.concatenate([x, clip.differences(x, mask)], axis=-1)
        x = self._grids(x.reshape(-1, *x.shape[2:]), train)
        return x.reshape(*images.shape[:2], *x.shape[1:])

    def _grids(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b rows columns d"]:
        x = tap("stem", jax.nn.relu(self.stem(x, train=train)))
        if self.pool:
            x = _max_pool(x)
        for number, stage in enumerate(self.stages):
            for i, block in enumerate(stage):
                x = tap(f"stages/{number}/{i}", block(x, train=train))
        return x
