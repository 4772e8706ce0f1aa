"""Signatures of a SavedModel: photos, videos, pixels or features in, captions or events out.

    serving_default   as `photo`, or as `video` for a model of videos, in the first language
    photo             image_bytes [b], JPEG files
    video             frames_bytes [b, n], JPEG files, or an empty string for no frame; frame_times [b, n] (s)
    pixels            pixels uint8 [b, size, size, 3]; for videos [b, n, size, size, 3] with frame_times and frame_mask
    features          features [b, n, positions, d]; for videos with frame_times and frame_mask [b, n]

All but serving_default take `lang` [b], "" for the first language. Signatures for videos of a model that finds events
take `duration` [b] (s). For a model that samples, all but serving_default take `key`, two numbers.

Outputs:

    caption [b], score [b]
    caption, score, start, end [b, e] and count [b]     for a model that finds events: the first `count`, in order

b: batch, n: frames given, t: frames of the model's input, e: events.
"""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from capjax.export.jax_programs import ExportModel
from capjax.export.jpeg import decode_jpegs
from capjax.export.text import Detokenizer, EventReader, EventTensors, in_order

DEFAULT = "serving_default"


class Signatures:
    """Makes the signatures of a model.

    Args:
      model: the model.
      methods: `ExportModel.programs` by name, as TensorFlow functions from {name: tensor} to {name: tensor}.

    Attributes:
      all: the signatures by name, as tf.functions.
    """

    def __init__(self, model: ExportModel, methods: Mapping[str, Callable]):
        self._model, self._methods = model, methods
        generator = model.parts.generator
        self._detokenize = Detokenizer(generator.vocabulary)
        self._read_events = EventReader(generator.times, self._detokenize) if generator.times else None
        self._samples = generator.options.method == "sample"
        self._dense, self._extractor = model.predictor.dense, model.parts.extractor
        self._takes_videos = model.parts.videos
        self._stride = self._extractor.stride if self._extractor else 1
        self.all: dict[str, tf.types.experimental.PolymorphicFunction] = {}
        if not self._dense:
            self._add("photo", {"image_bytes": ((None,), tf.string)}, self._photo)
        times = {"frame_times": ((None, None), tf.float32)}
        masked = times | {"frame_mask": ((None, None), tf.bool)}
        size = model.parts.image_size
        if self._takes_videos:
            self._add("video", {"frames_bytes": ((None, None), tf.string)} | times, self._video)
            self._add("pixels", {"pixels": ((None, None, size, size, 3), tf.uint8)} | masked, self._frames)
        else:
            self._add("pixels", {"pixels": ((None, size, size, 3), tf.uint8)}, self._picture)
        if self._extractor:
            assert model.predictor.feature_shape is not None
            n, (rows, columns, channels) = None if self._takes_videos else 1, model.predictor.feature_shape
            features = {"features": ((None, n, rows * columns, channels), tf.float32)}
            self._add("features", features | (masked if self._takes_videos else {}), self._features)
        self.all = self._default() | self.all

    # ---- Making signatures

    def _add(self, name: str, inputs: Mapping, prepare: Callable):
        """Adds a signature whose inputs `prepare` turns into {features or frames, frame_times, frame_mask}."""
        inputs = dict(inputs)
        if self._dense:
            inputs["duration"] = (None,), tf.float32
        given = tuple(inputs)
        inputs["lang"] = (None,), tf.string
        if self._samples:
            inputs["key"] = (2,), tf.int32

        def call(**tensors):
            batch = prepare(*(tensors[name] for name in given if name != "duration"))
            return self._answer(batch, tensors["lang"], tensors.get("duration"), tensors.get("key"))

        self.all[name] = _function(name, call, inputs)

    def _default(self) -> dict[str, Callable]:
        """The first signature, with media as its only inputs."""
        inner = self.all["video" if self._takes_videos else "photo"]
        omitted = ("lang", "key")
        inputs = {spec.name: (spec.shape, spec.dtype) for spec in inner.input_signature if spec.name not in omitted}

        def call(**tensors):
            b = tf.shape(next(iter(tensors.values())))[0]
            more = {"key": tf.zeros(2, tf.int32)} if self._samples else {}
            return inner(*tensors.values(), tf.fill([b], ""), *more.values())

        return {DEFAULT: _function(DEFAULT, call, inputs)}

    # ---- Inputs

    def _photo(self, image_bytes):
        return self._picture(decode_jpegs(image_bytes, self._model.parts.image_size, self._model.parts.picture))

    def _picture(self, pixels):
        return self._frames(pixels[:, None], *_photo_time(tf.shape(pixels)[0]))

    def _video(self, frames_bytes, frame_times):
        mask = frames_bytes != ""
        if not self._uses_all_frames:
            (frames_bytes, frame_times), mask = pick([frames_bytes, frame_times], mask, self._model.frames)
        shape = tf.shape(frames_bytes)
        size = self._model.parts.image_size
        pixels = decode_jpegs(tf.reshape(frames_bytes, [-1]), size, self._model.parts.picture, allow_empty=True)
        return self._frames(tf.reshape(pixels, [shape[0], shape[1], size, size, 3]), frame_times, mask)

    def _frames(self, frames, times, mask):
        """Picks the frames of the model's input, or extracts their features."""
        if not self._uses_all_frames:
            (frames, times), mask = pick([frames, times], mask, self._model.frames)
            if not self._extractor:
                return {"frames": frames, "frame_times": times, "frame_mask": mask}
        return self._features(*self._extract(frames, times, mask))

    def _features(self, features, times=None, mask=None):
        if times is None:
            times, mask = _photo_time(tf.shape(features)[0])
        (features, times), mask = pick([features, times], mask, self._model.frames)
        return {"features": tf.cast(features, tf.float16), "frame_times": times, "frame_mask": mask}

    @property
    def _uses_all_frames(self) -> bool:
        """Whether the encoder sees all frames, and some of its features are picked."""
        return self._extractor is not None and self._extractor.over_time

    def _extract(self, frames, times, mask):
        """Features of all frames, extracted clip by clip, with their times and mask."""
        assert self._extractor is not None
        clip = self._extractor.clip_frames if self._extractor.over_time else 1
        shape = tf.shape(frames)
        b, missing = shape[0], -shape[1] % clip
        frames = tf.pad(frames, [[0, 0], [0, missing], [0, 0], [0, 0], [0, 0]])
        times, mask = (tf.pad(each, [[0, 0], [0, missing]]) for each in (times, mask))
        clips = {
            "frames": tf.reshape(frames, [-1, clip, *frames.shape[2:]]),
            "frame_times": tf.reshape(times, [-1, clip]),
            "frame_mask": tf.reshape(mask, [-1, clip]),
        }
        features = self._methods["extract"](clips)["features"]
        features = tf.reshape(features, [b, -1, *features.shape[2:]])
        if self._stride == 1:
            return features, times, mask
        real = tf.reshape(mask, [b, -1, self._stride])
        total = tf.reduce_sum(tf.where(real, tf.reshape(times, [b, -1, self._stride]), 0.0), -1)
        count = tf.reduce_sum(tf.cast(real, tf.float32), -1)
        return features, total / tf.maximum(count, 1.0), count > 0

    # ---- Outputs

    def _answer(self, batch: dict, lang, duration, key) -> dict:
        batch["prefix"] = self._prefix(lang)
        if duration is not None:
            batch["duration"] = duration
        if key is not None:
            batch["key"] = tf.bitcast(key, tf.uint32)
        # A row without any frame would be a softmax over nothing.
        has_frames = tf.reduce_any(batch["frame_mask"], axis=1)
        batch["frame_mask"] |= ~has_frames[:, None]
        outputs = self._methods["generate"](batch)
        if not self._dense:
            texts = tf.where(has_frames, self._detokenize(outputs["tokens"]), "")
            return {"caption": texts, "score": outputs["scores"]}
        if self._read_events is not None:
            events = self._read_events(outputs["tokens"], outputs["token_log_probs"], duration)
        else:
            events = self._proposed(outputs, duration)
        valid = events.valid & has_frames[:, None]
        return {
            "caption": tf.where(valid, events.text, ""),
            "score": events.score,
            "start": events.start,
            "end": events.end,
            "count": tf.reduce_sum(tf.cast(valid, tf.int32), axis=1),
        }

    def _proposed(self, outputs: dict, duration) -> EventTensors:
        """Events that queries found, in order of start."""
        text = self._detokenize(outputs["tokens"])
        start, end = tf.unstack(tf.cast(outputs["times"] * duration[:, None, None], tf.float64), axis=-1)
        counted = tf.range(tf.shape(text)[1])[None] < outputs["count"][:, None]
        return in_order(
            EventTensors(counted & (end > start) & (text != ""), start, end, text, outputs["confidence"]), by_time=True
        )

    def _prefix(self, lang):
        """Prefixes int32 [b, p] of languages [b]; an unknown language is an error that lists the known ones."""
        prefixes = self._model.prefixes()
        languages = tf.constant(list(prefixes))
        lang = tf.where(lang == "", languages[0], lang)
        is_language = lang[:, None] == languages
        unknown = tf.boolean_mask(lang, ~tf.reduce_any(is_language, axis=1))
        message = f"lang: the model writes {', '.join(prefixes)}; it was not trained on"
        with tf.control_dependencies([tf.debugging.Assert(tf.size(unknown) == 0, [message, unknown])]):
            rows = tf.argmax(tf.cast(is_language, tf.int32), axis=1)
        return tf.gather(tf.constant(list(prefixes.values()), tf.int32), rows)


def _function(name: str, call: Callable, inputs: Mapping) -> Callable:
    """Makes a tf.function of a function of keyword arguments."""
    specs = [tf.TensorSpec(shape, dtype, name=key) for key, (shape, dtype) in inputs.items()]

    def ordered(*tensors):
        return call(**dict(zip(inputs, tensors, strict=True)))

    ordered.__name__ = name
    return tf.function(ordered, input_signature=specs, autograph=False)


def _photo_time(b):
    """Times and mask of photos: one frame at time 0."""
    return tf.zeros([b, 1]), tf.ones([b, 1], tf.bool)


def pick(arrays: list, mask, max_frames: int):
    """Picks the frames that evaluation picks, see `pick_frames`: from arrays [b, n, ...] and their mask to
    ([b, max_frames, ...] each, bool [b, max_frames]). Missing frames come last."""
    num_given = tf.shape(mask)[1]
    n = tf.maximum(num_given, 1)
    # Without any frame, a blank one to index.
    arrays = [tf.cond(num_given > 0, lambda a=a: a, lambda a=a: _blank(a)) for a in arrays]
    mask = tf.cond(num_given > 0, lambda: mask, lambda: tf.zeros([tf.shape(mask)[0], 1], tf.bool))
    order = tf.argsort(tf.cast(~mask, tf.int32), axis=1, stable=True)
    count = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)[:, None]
    position = tf.range(max_frames)[None]
    middle = np.arange(max_frames) + 0.5
    spread = tf.cast(tf.floor(middle[None] * (tf.cast(count, tf.float64) / max_frames)), tf.int32)
    index = tf.where(count > max_frames, spread, tf.minimum(position, n - 1))
    index = tf.gather(order, index, batch_dims=1)
    picked = [tf.gather(each, index, batch_dims=1) for each in arrays]
    return picked, position < count


def _blank(array):
    shape = tf.concat([tf.shape(array)[:1], [1], tf.shape(array)[2:]], 0)
    return tf.fill(shape, "") if array.dtype == tf.string else tf.zeros(shape, array.dtype)
