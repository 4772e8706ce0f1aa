"""A pretrained encoder with fixed weights: frames to features, for feature datasets and for models trained on them."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, NotRequired, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float16, Float32, UInt8

from capjax.data.batch import empty_media, set_frames, set_times
from capjax.digests import read_digests, warn_without_digests, write_digests
from capjax.files import read_bytes, read_json, write_bytes, write_text
from capjax.metrics.json_types import Rule, between
from capjax.metrics.messages import shorten
from capjax.models import pretrained
from capjax.models.encoders import ENCODERS, encode_clip
from capjax.models.encoders.clip import group_times, over_time, time_stride
from capjax.models.pure_model import Arrays, PureModel, batch_stats_of, params_of

# Files in the folder of a frozen encoder.
_DESCRIPTION, _WEIGHTS = "encoder.json", "encoder.safetensors"


class EncoderJson(TypedDict):
    """The parts of encoder.json that are read again; `Extractor.describe` of data_prep/features.py has all."""

    encoder: str
    image_size: Annotated[int, between(1, 2**14)]
    options: NotRequired[dict | None]
    clip: NotRequired[Annotated[int, between(1, 2**20)]]
    feature_shape: Annotated[list[int], Rule("a list of 3", lambda shape: len(shape) == 3)]
    weights_file: NotRequired[str]


class FrozenEncoder:
    """An encoder with fixed weights.

    Args:
      name: A name in ENCODERS.
      weights: Parameters and batch statistics by name.
      image_size: Height and width of the frames.
      options: Keyword arguments of the encoder.
      clip_frames: Frames that an encoder over time sees together; longer videos are cut into clips.

    Attributes:
      params, batch_stats: The weights.
      over_time: Whether the encoder sees clips of frames, rather than single frames.
      clip_frames: Frames per clip; 1 unless `over_time`.
      stride: Frames per feature grid; 1 unless `over_time`.
      feature_shape: (rows, columns, channels) of a feature grid.
    """

    def __init__(
        self, name: str, weights: Mapping, *, image_size: int, options: Mapping | None = None, clip_frames: int = 1
    ):
        self.image_size = image_size
        self._pure_model = make_encoder(name, image_size=image_size, options=options)
        shapes = self._pure_model.shapes | self._pure_model.batch_stat_shapes
        if wrong := [key for key in shapes if key not in weights or weights[key].shape != shapes[key].shape]:
            raise ValueError(
                f"the weights are not of {name} with these options: {shorten(wrong)} are missing or misshaped"
            )
        self.params: Arrays = {key: weights[key] for key in self._pure_model.shapes}
        self.batch_stats: Arrays = {key: weights[key] for key in self._pure_model.batch_stat_shapes}
        encoder = self._pure_model.bind(self._pure_model.shapes, self._pure_model.batch_stat_shapes)
        self.over_time, self.stride = over_time(encoder), time_stride(encoder)
        self.clip_frames = clip_frames if self.over_time else 1
        self.feature_shape = (*encoder.grid(image_size, image_size), encoder.width)

    @classmethod
    def from_pretrained(
        cls, name: str, source: str, *, image_size: int, options: Mapping | None = None, clip_frames: int = 1
    ) -> tuple["FrozenEncoder", Path]:
        """Returns an encoder with pretrained weights, and the weight file.

        Args:
          source: A path or `pip:NAME`, see `capjax.models.pretrained`.

        Raises:
          WeightsError: The weights cannot be found, or are not of this encoder.
        """
        module = make_encoder_module(name, image_size=image_size, options=options)
        path = pretrained.load_pretrained(module, source)
        weights = params_of(module) | batch_stats_of(module)
        return cls(name, weights, image_size=image_size, options=options, clip_frames=clip_frames), path

    @classmethod
    def load(cls, directory: Path) -> "FrozenEncoder":
        """Returns the encoder saved in a folder, such as the `encoder/` of a workdir or a feature dataset.

        Raises:
          FileNotFoundError, ValueError: A file is missing or damaged.
        """
        remedy, path = f"copy {directory} again", directory / _WEIGHTS
        if read_digests(directory) is None:
            warn_without_digests(directory)
        about = read_json(directory / _DESCRIPTION, remedy, EncoderJson)
        try:
            weights = pretrained.parse_safetensors(read_bytes(path, remedy))
        except pretrained.WeightsError as error:
            raise ValueError(f"{path} is damaged: {error}; {remedy}") from error
        try:
            encoder = cls(
                about["encoder"], weights, image_size=about["image_size"], options=about.get("options"),
                clip_frames=about.get("clip", 1),
            )  # fmt: skip
        except (TypeError, ValueError, ArithmeticError) as error:  # an unknown encoder, or options that it lacks
            raise ValueError(
                f"{directory / _DESCRIPTION} and {_WEIGHTS} do not go together ({error}); {remedy}"
            ) from error
        if tuple(about["feature_shape"]) != encoder.feature_shape:
            raise ValueError(
                f"{directory / _DESCRIPTION}: feature_shape is {about['feature_shape']}, and this encoder has "
                f"{list(encoder.feature_shape)}; {remedy}"
            )
        return encoder

    def save(self, directory: Path, description: Mapping):
        """Writes the weights and a JSON description, with the keys that `load` reads, into a folder."""
        from safetensors.numpy import save

        directory.mkdir(parents=True, exist_ok=True)
        weights = {name: np.ascontiguousarray(value) for name, value in (self.params | self.batch_stats).items()}
        write_bytes(directory / _WEIGHTS, save(weights))
        write_text(directory / _DESCRIPTION, json.dumps(description, indent=1) + "\n")
        write_digests(directory, (_DESCRIPTION, _WEIGHTS))

    def bind(self, params: Arrays, batch_stats: Arrays) -> nnx.Module:
        """Returns the module with explicit weights, for functions that are traced."""
        return self._pure_model.bind(params, batch_stats)

    def extract(
        self, params: Arrays, batch_stats: Arrays, frames: UInt8[Array, "b t h w 3"], times: Float32[Array, "b t"],
        mask: Bool[Array, "b t"],
    ) -> Float16[Array, "b groups n d"]:  # fmt: skip
        """Computes features with explicit weights, as a function that can be jitted or exported."""
        features, *_ = encode_clip(self.bind(params, batch_stats), frames, times, mask)
        # Feature datasets store float16, so models were trained on no more digits.
        return features.astype(np.float16)

    @cached_property
    def _jitted(self):
        return jax.jit(self.extract)

    def __call__(
        self, frames: UInt8[Array, "b t h w 3"], times: Float32[Array, "b t"], mask: Bool[Array, "b t"]
    ) -> Float16[Array, "b groups n d"]:
        """Computes features on the default device; with an encoder over time, one grid per `stride` frames."""
        return self._jitted(self.params, self.batch_stats, frames, times, mask)

    def group_times(self, times: Float32[np.ndarray, " t"]) -> Float32[np.ndarray, " groups"]:
        """Returns the time of each feature grid of a video with frames at `times`."""
        if self.stride == 1:
            return times
        mask = jnp.ones((1, len(times)), bool)
        return np.asarray(group_times(jnp.asarray(times[None]), mask, self.stride)[0][0])

    def encode_video(
        self, jpegs: Sequence[bytes], times: Float32[np.ndarray, " t"]
    ) -> tuple[Float16[np.ndarray, "groups n d"], Float32[np.ndarray, " groups"]]:
        """Returns the features of all frames of a video, clip by clip, and the time of each feature grid."""
        clips = []
        for start in range(0, len(jpegs), self.clip_frames):
            clip = slice(start, start + self.clip_frames)
            batch = empty_media(1, self.clip_frames, image_size=self.image_size)
            set_times(batch, 0, times[clip])
            set_frames(batch, 0, jpegs[clip])
            clips.append(np.asarray(self(batch["frames"], batch["frame_times"], batch["frame_mask"]))[0])
        grid_times = self.group_times(times)
        return np.concatenate(clips)[: len(grid_times)], grid_times


def make_encoder(name: str, *, image_size: int, options: Mapping | None = None) -> PureModel:
    """Returns an encoder alone as pure functions."""

    def make(key):
        return ENCODERS.make(name, image_size=image_size, dtype=jnp.float32, rngs=nnx.Rngs(key), **(options or {}))

    return PureModel.of(make)


def make_encoder_module(name: str, *, image_size: int | None = None, options: Mapping | None = None) -> nnx.Module:
    """Returns an encoder with abstract weights; `image_size` None is the encoder's default."""
    size = {} if image_size is None else {"image_size": image_size}
    return nnx.eval_shape(lambda: ENCODERS.make(name, rngs=nnx.Rngs(0), **size, **(options or {})))
