"""I3D, an Inception-v1 inflated over time (Carreira & Zisserman 2017; Szegedy et al. 2015), in pytorch-i3d's form.

b: batch, t: frames, h w: height and width, c: channels, k: size of a kernel.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Real

from capjax.models.encoders.clip import Grids, group_frames
from capjax.models.encoders.parts import BatchNorm, Conv3d, draw_kernels, normalize
from capjax.models.encoders.receptive_field import Strided
from capjax.models.encoders.registry import ENCODERS
from capjax.models.encoders.tap import tap

# Channels of the branches of each block: 1x1; 1x1 and 3x3; 1x1 and 3x3; 1x1 after a pool (Szegedy et al. 2015, table
# 1). By stage: Mixed_3b and c, Mixed_4b to f, Mixed_5b and c.
STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)  # fmt: skip
# Sizes (time, rows, columns) of the pool after the stem and of the pools before the stages.
POOLS = ((1, 3, 3), (1, 3, 3), (3, 3, 3), (2, 2, 2))


def inflate(kernel: Float[np.ndarray, "k k c_in c_out"], frames: int) -> Float[np.ndarray, "{frames} k k c_in c_out"]:
    """Repeats a 2D kernel over time (section 2.4).

    On a still video the result equals that of the 2D kernel on one image, except at the first and last frames, beside
    which there are zeros.
    """
    return np.repeat(np.asarray(kernel)[None], frames, axis=0) / frames


def max_pool(x: Float[Array, "b t h w c"], size, strides) -> Float[Array, "b t_out h_out w_out c"]:
    """Max pooling over time, rows and columns of x >= 0, padded with zeros as TensorFlow's SAME.

    One axis after another, by maxima of shifted slices, because the gradient of XLA's pooling is slow on CPU.
    """
    for axis, (k, s) in enumerate(zip(size, strides, strict=True), start=1):
        if k == s == 1:
            continue
        length = x.shape[axis]
        out = -(-length // s)
        total = max((out - 1) * s + k - length, 0)
        pads = [(0, 0)] * x.ndim
        pads[axis] = (total // 2, total - total // 2)
        x = jnp.pad(x, pads)
        parts = [jax.lax.slice_in_dim(x, i, i + (out - 1) * s + 1, s, axis) for i in range(k)]
        x = parts[0]
        for part in parts[1:]:
            x = jnp.maximum(x, part)
    return x


class ConvNormRelu(nnx.Module):
    """Convolution, batch norm and ReLU; the output is zero at padding frames, as beyond the ends of a clip."""

    def __init__(self, c_in: int, c_out: int, size=(1, 1, 1), **options):
        self.conv = Conv3d(c_in, c_out, size, **options)
        self.norm = BatchNorm(c_out, epsilon=1e-3, dtype=options["dtype"])

    def __call__(
        self, x: Float[Array, "b t h w c_in"], mask: Bool[Array, "b t_out 1 1 1"], *, train: bool
    ) -> Float[Array, "b t_out h_out w_out c_out"]:
        """The mask is of the frames of the output."""
        return jnp.where(mask, jax.nn.relu(self.norm(self.conv(x), train=train, mask=mask)), 0)


class InceptionBlock(nnx.Module):
    """An Inception block: the concatenation of four branches."""

    def __init__(self, c_in: int, channels, *, dtype):
        plain, reduced_a, wide_a, reduced_b, wide_b, pooled = channels
        cube = (3, 3, 3)
        self.plain = ConvNormRelu(c_in, plain, dtype=dtype)
        self.reduce_a = ConvNormRelu(c_in, reduced_a, dtype=dtype)
        self.wide_a = ConvNormRelu(reduced_a, wide_a, cube, dtype=dtype)
        self.reduce_b = ConvNormRelu(c_in, reduced_b, dtype=dtype)
        self.wide_b = ConvNormRelu(reduced_b, wide_b, cube, dtype=dtype)
        self.pooled = ConvNormRelu(c_in, pooled, dtype=dtype)

    def __call__(
        self, x: Float[Array, "b t h w c_in"], mask: Bool[Array, "b t 1 1 1"], *, train: bool
    ) -> Float[Array, "b t h w c_out"]:
        branches = [self.plain(x, mask, train=train)]
        for reduce, wide in ((self.reduce_a, self.wide_a), (self.reduce_b, self.wide_b)):
            branches.append(wide(reduce(x, mask, train=train), mask, train=train))
        branches.append(self.pooled(max_pool(x, (3, 3, 3), (1, 1, 1)), mask, train=train))
        return jnp.concatenate(branches, axis=-1)


@ENCODERS.register(
    "i3d_slim", multiplier=0.25, depths=(1, 2, 0), stem=(3, 5, 5), time_strides=(2, 1, 1, 1, 1),
    space_strides=(2, 2, 2, 2, 1), image_size=64,
)  # fmt: skip
@ENCODERS.register("i3d")
class I3D(nnx.Module):
    """The grid is the output of the last block (Mixed_5c), which the classifier would pool.

    The features of real frames do not depend on the content of the padding frames that follow; nor on their number, if
    real and padding frames are both whole groups of `time_stride` frames (otherwise zeros are padded at another side,
    as in TensorFlow).

    Args:
      multiplier: factor on all channels.
      depths: number of blocks in each of the three stages, from the first of STAGES.
      stem: size of the first convolution, in time and space.
      time_strides, space_strides: of the stem, the pool after it, and the pools before each stage.
      padding: of the stem in space: `same`, or `symmetric` for weights inflated from torchvision's GoogLeNet.
      mean, std: of the RGB values, in 0..255.

    Raises:
      ValueError: an option has an impossible value; the message says which.
    """

    over_time = True

    def __init__(
        self, *, multiplier: float = 1.0, depths=(2, 5, 2), stem=(7, 7, 7), time_strides=(2, 1, 1, 2, 2),
        space_strides=(2, 2, 2, 2, 2), padding: str = "same", image_size: int = 224, mean=(127.5,) * 3,
        std=(127.5,) * 3, dtype=jnp.float32, rngs,
    ):  # fmt: skip
        depths, time_strides, space_strides = tuple(depths), tuple(time_strides), tuple(space_strides)
        if len(depths) != 3 or not all(0 <= d <= len(stage) for d, stage in zip(depths, STAGES, strict=True)):
            raise ValueError(f"depths {depths}: expected three, at most {', '.join(str(len(x)) for x in STAGES)}")
        if not all(len(x) == 5 and set(x) <= {1, 2} for x in (time_strides, space_strides)):
            raise ValueError(f"time_strides {time_strides}, space_strides {space_strides}: expected five of 1 or 2")

        def scaled(channels: int) -> int:
            return max(4, round(channels * multiplier))

        self._strides = tuple((time, space, space) for time, space in zip(time_strides, space_strides, strict=True))
        windows = [(stem[1], padding), *((pool[1], "same") for pool in POOLS)]
        self.strided = tuple(
            Strided(kernel, stride, side)
            for (kernel, side), stride in zip(windows, space_strides, strict=True)
            if stride > 1
        )
        first, second = scaled(64), scaled(192)
        self.stem = ConvNormRelu(3, first, tuple(stem), strides=self._strides[0], padding=padding, dtype=dtype)
        self.reduce = ConvNormRelu(first, first, dtype=dtype)
        self.wide = ConvNormRelu(first, second, (3, 3, 3), dtype=dtype)
        stages, c = [], second
        for depth, plan in zip(depths, STAGES, strict=True):
            blocks = []
            for planned in plan[:depth]:
                channels = tuple(scaled(number) for number in planned)
                blocks.append(InceptionBlock(c, channels, dtype=dtype))
                plain, _, wide_a, _, wide_b, pooled = channels
                c = plain + wide_a + wide_b + pooled
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)
        self.width, self.image_size = c, image_size
        self.time_stride = 2 ** sum(stride == 2 for stride in time_strides)
        self.mean, self.std, self.dtype = tuple(mean), tuple(std), dtype
        draw_kernels(self, rngs)

    def grid(self, h: int, w: int) -> tuple[int, int]:
        """(rows, columns) of the output for frames of h x w pixels."""
        for _, rows, columns in self._strides:
            h, w = -(-h // rows), -(-w // columns)
        return h, w

    def __call__(
        self, frames: Real[Array, "b t h w 3"], times: Float[Array, "b t"] | None, mask: Bool[Array, "b t"], *,
        train: bool = False, key=None,
    ) -> Grids:  # fmt: skip
        """The grids of frames in 0..255. Times are not used, and nothing is random."""
        real = [mask[:, :, None, None, None]]
        for time, _, _ in self._strides:
            real.append(group_frames(real[-1], time).any(2))
        x = jnp.where(real[0], normalize(frames, self.mean, self.std, self.dtype, axes="b t h w"), 0)
        x = self._pool(tap("stem", self.stem(x, real[1], train=train)), 1)
        x = tap("wide", self.wide(self.reduce(x, real[2], train=train), real[2], train=train))
        for number, stage in enumerate(self.stages, start=2):
            x = self._pool(x, number)
            for i, block in enumerate(stage):
                x = tap(f"stages/{number - 2}/{i}", block(x, real[number + 1], train=train))
        return x

    def _pool(self, x: Float[Array, "b t h w c"], number: int) -> Float[Array, "b t_out h_out w_out c"]:
        # A pool with a stride of 1 is left out, so that a slim network keeps its grid.
        size, strides = POOLS[number - 1], self._strides[number]
        return x if strides == (1, 1, 1) else max_pool(x, size, strides)
