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
    error [b]    why a row has no caption or events, such as a damaged file; empty where it is answered

Rows with errors do not affect the others. A batch without rows has an answer without rows.

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
        """Adds a signature. `prepare` turns its inputs into {features or frames, frame_times, frame_mask}, and errors
        [b]."""
        inputs = dict(inputs)
        if self._dense:
            inputs["duration"] = (None,), tf.float32
        given = tuple(inputs)
        inputs["lang"] = (None,), tf.string
        if self._samples:
            inputs["key"] = (2,), tf.int32

        def call(**tensors):
            b, key = tf.shape(tensors["lang"])[0], tensors.pop("key", None)
            tensors = {name: _with_row(tensor) for name, tensor in tensors.items()}
            batch, error = prepare(*(tensors[name] for name in given if name != "duration"))
            answer = self._answer(batch, error, tensors["lang"], tensors.get("duration"), key)
            return {name: value[:b] for name, value in answer.items()}

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
        pixels, error = decode_jpegs(image_bytes, self._model.parts.image_size, self._model.parts.picture)
        return self._picture(pixels)[0], _prefixed("image_bytes: ", error)

    def _picture(self, pixels):
        return self._frames(pixels[:, None], *_photo_time(tf.shape(pixels)[0]))

    def _video(self, frames_bytes, frame_times):
        mask = frames_bytes != ""
        number = tf.zeros_like(mask, tf.int32) + tf.range(tf.shape(mask)[1])
        if not self._uses_all_frames:
            arrays = [frames_bytes, frame_times, number]
            (frames_bytes, frame_times, number), mask = pick(arrays, mask, self._model.frames)
        shape = tf.shape(frames_bytes)
        size = self._model.parts.image_size
        files = tf.reshape(tf.where(mask, frames_bytes, ""), [-1])
        pixels, errors = decode_jpegs(files, size, self._model.parts.picture, allow_empty=True)
        errors = tf.reshape(errors, shape[:2])
        errors = _prefixed(tf.strings.join(["frames_bytes: frame ", tf.strings.as_string(number), ": "]), errors)
        first = tf.argmax(tf.cast(errors != "", tf.int32), axis=1)
        batch, _ = self._frames(tf.reshape(pixels, [shape[0], shape[1], size, size, 3]), frame_times, mask)
        return batch, tf.gather(errors, first, batch_dims=1)

    def _frames(self, frames, times, mask):
        """Picks the frames of the model's input, or extracts their features."""
        if not self._uses_all_frames:
            (frames, times), mask = pick([frames, times], mask, self._model.frames)
            if not self._extractor:
                batch = {"frames": frames, "frame_times": times, "frame_mask": mask}
                return batch, tf.fill(tf.shape(mask)[:1], "")
        return self._features(*self._extract(frames, times, mask))

    def _features(self, features, times=None, mask=None):
        if times is None:
            times, mask = _photo_time(tf.shape(features)[0])
        (features, times), mask = pick([features, times], mask, self._model.frames)
        features = tf.cast(features, tf.float16)
        is_finite = tf.reduce_all(tf.math.is_finite(features), axis=[2, 3]) | ~mask
        error = tf.where(tf.reduce_all(is_finite, 1), "", "features: expected numbers within the range of float16")
        return {"features": features, "frame_times": times, "frame_mask": mask}, error

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

    def _answer(self, batch: dict, error, lang, duration, key) -> dict:
        batch["prefix"], lang_error = self._prefix(lang)
        mask = batch["frame_mask"]
        errors = [lang_error, error, _unless(tf.reduce_any(mask, axis=1), "no frame")]
        is_time = tf.math.is_finite(batch["frame_times"]) | ~mask
        errors.append(_unless(tf.reduce_all(is_time, axis=1), "frame_times: expected seconds"))
        if duration is not None:
            is_duration = tf.math.is_finite(duration) & (duration > 0)
            errors.append(_unless(is_duration, "duration: expected seconds above 0"))
            batch["duration"] = duration = tf.where(is_duration, duration, 1.0)
        error = _first(errors)
        is_answered = error == ""
        # A row without any frame would be a softmax over nothing.
        batch["frame_mask"] = mask | ~is_answered[:, None]
        # Rows that are answered come first, so that random numbers are those of a batch of them alone.
        order = tf.argsort(tf.cast(~is_answered, tf.int32), stable=True)
        batch = {name: tf.gather(value, order) for name, value in batch.items()}
        if key is not None:
            batch["key"] = tf.bitcast(key, tf.uint32)
        outputs = self._methods["generate"](batch)
        outputs = {name: tf.gather(value, tf.math.invert_permutation(order)) for name, value in outputs.items()}
        if not self._dense:
            texts = tf.where(is_answered, self._detokenize(outputs["tokens"]), "")
            return {"caption": texts, "score": tf.where(is_answered, outputs["scores"], 0.0), "error": error}
        if self._read_events is not None:
            events = self._read_events(outputs["tokens"], outputs["token_log_probs"], duration)
        else:
            events = self._proposed(outputs, duration)
        valid = events.valid & is_answered[:, None]
        return {
            "caption": tf.where(valid, events.text, ""),
            "score": tf.where(valid, events.score, 0.0),
            "start": tf.where(valid, events.start, 0.0),
            "end": tf.where(valid, events.end, 0.0),
            "count": tf.reduce_sum(tf.cast(valid, tf.int32), axis=1),
            "error": error,
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
        """Prefixes int32 [b, p] of languages [b], and errors [b], which list the languages of the model."""
        prefixes = self._model.prefixes()
        languages = tf.constant(list(prefixes))
        lang = tf.where(lang == "", languages[0], lang)
        is_language = lang[:, None] == languages
        message = f"lang: the model writes {', '.join(prefixes)}; it was not trained on "
        error = _unless(tf.reduce_any(is_language, axis=1), tf.strings.join([message, tf.strings.substr(lang, 0, 40)]))
        rows = tf.argmax(tf.cast(is_language, tf.int32), axis=1)
        return tf.gather(tf.constant(list(prefixes.values()), tf.int32), rows), error


def _function(name: str, call: Callable, inputs: Mapping) -> Callable:
    """Makes a tf.function of a function of keyword arguments."""
    specs = [tf.TensorSpec(shape, dtype, name=key) for key, (shape, dtype) in inputs.items()]

    def ordered(*tensors):
        return call(**dict(zip(inputs, tensors, strict=True)))

    ordered.__name__ = name
    return tf.function(ordered, input_signature=specs, autograph=False)


def _with_row(tensor):
    """A batch [b, ...] with a blank row if it has none: programs of XLA have no empty batches."""
    shape = tf.shape(tensor)
    missing = tf.concat([tf.maximum(1 - shape[:1], 0), shape[1:]], 0)
    return tf.ensure_shape(tf.concat([tensor, _fill(missing, tensor.dtype)], 0), tensor.shape)


def _unless(is_fine, error):
    """Errors [b] of the rows that are not fine."""
    return tf.where(is_fine, "", error)


def _prefixed(prefix, errors):
    return tf.where(errors == "", "", tf.strings.join([prefix, errors]))


def _first(errors: list):
    """The first error of each row, strings [b]."""
    first, *later_errors = errors
    for error in later_errors:
        first = tf.where(first == "", error, first)
    return first


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
    # Of a constant divisor TensorFlow's optimizer makes a factor of `middle`, whose products may round to other frames.
    divisor = tf.cast(max_frames + tf.minimum(count, 0), tf.float64)
    spread = tf.cast(tf.floor(middle[None] * (tf.cast(count, tf.float64) / divisor)), tf.int32)
    index = tf.where(count > max_frames, spread, tf.minimum(position, n - 1))
    index = tf.gather(order, index, batch_dims=1)
    picked = [tf.gather(each, index, batch_dims=1) for each in arrays]
    return picked, position < count


def _blank(array):
    return _fill(tf.concat([tf.shape(array)[:1], [1], tf.shape(array)[2:]], 0), array.dtype)


def _fill(shape, dtype):
    return tf.fill(shape, "") if dtype == tf.string else tf.zeros(shape, dtype)
