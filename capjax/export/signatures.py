"""What a SavedModel is asked: photos, videos, pixels or features in, captions or events out.

    serving_default   as `photo`, or `video` of a model that looks at videos, in the first language
    photo             image_bytes [b], JPEG files
    video             frames_bytes [b, n], JPEG files, an empty string where there is none; frame_times [b, n] (s)
    pixels            pixels uint8 [b, size, size, 3]; of videos [b, n, size, size, 3], with both below
    features          features [b, n, places, d]; of videos with frame_times and frame_mask [b, n]

All but serving_default take `lang` [b], "" for the first language. Of a model that finds events all that take videos
take `duration` [b] (s). A model that draws its words at random takes `key`, two numbers, in all but serving_default.

    caption [b], score [b]
    caption, score, start, end [b, e] and count [b]     of a model that finds events: `count` of them, in order

b: batch, n: frames that are given, t: frames that the model looks at, e: events.
"""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from capjax.export.jax_programs import Model
from capjax.export.pictures import pictures
from capjax.export.text import Detokenizer, EventReader, Told, in_order

DEFAULT = "serving_default"


class Signatures:
    """The signatures of a model as tf.functions, in `all`.

    Args:
      methods: by name, `Model.programs` as functions of TensorFlow: {name: tensor} -> {name: tensor}.
    """

    def __init__(self, model: Model, methods: Mapping[str, Callable]):
        self._model, self._methods = model, methods
        generator = model.parts.generator
        self._detokenize = Detokenizer(generator.vocabulary)
        self._read_events = EventReader(generator.times, self._detokenize) if generator.times else None
        self._samples = generator.options.method == "sample"
        self._dense, self._extractor = model.predictor.dense, model.parts.extractor
        self._many = model.parts.videos
        self._stride = self._extractor.stride if self._extractor else 1
        self.all = {}
        if not self._dense:
            self._add("photo", {"image_bytes": ((None,), tf.string)}, self._photo)
        times = {"frame_times": ((None, None), tf.float32)}
        masked = times | {"frame_mask": ((None, None), tf.bool)}
        size = model.parts.image_size
        if self._many:
            self._add("video", {"frames_bytes": ((None, None), tf.string)} | times, self._video)
            self._add("pixels", {"pixels": ((None, None, size, size, 3), tf.uint8)} | masked, self._frames)
        else:
            self._add("pixels", {"pixels": ((None, size, size, 3), tf.uint8)}, self._picture)
        if self._extractor:
            n, (rows, columns, channels) = None if self._many else 1, model.predictor.feature_shape
            features = {"features": ((None, n, rows * columns, channels), tf.float32)}
            self._add("features", features | (masked if self._many else {}), self._features)
        self.all = self._default() | self.all

    # ---- Making signatures

    def _add(self, name: str, inputs: Mapping, prepare: Callable):
        """A signature with these inputs, of which `prepare` makes {features or frames, frame_times, frame_mask}."""
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
        """The first signature that needs no more than media."""
        inner = self.all["video" if self._many else "photo"]
        left_out = ("lang", "key")
        inputs = {spec.name: (spec.shape, spec.dtype) for spec in inner.input_signature if spec.name not in left_out}

        def call(**tensors):
            b = tf.shape(next(iter(tensors.values())))[0]
            more = {"key": tf.zeros(2, tf.int32)} if self._samples else {}
            return inner(*tensors.values(), tf.fill([b], ""), *more.values())

        return {DEFAULT: _function(DEFAULT, call, inputs)}

    # ---- What goes in

    def _photo(self, image_bytes):
        return self._picture(pictures(image_bytes, self._model.parts.image_size, self._model.parts.picture))

    def _picture(self, pixels):
        return self._frames(pixels[:, None], *_moment(tf.shape(pixels)[0]))

    def _video(self, frames_bytes, frame_times):
        mask = frames_bytes != ""
        if not self._looks_at_all:
            (frames_bytes, frame_times), mask = pick([frames_bytes, frame_times], mask, self._model.frames)
        shape = tf.shape(frames_bytes)
        size = self._model.parts.image_size
        seen = pictures(tf.reshape(frames_bytes, [-1]), size, self._model.parts.picture, gaps=True)
        return self._frames(tf.reshape(seen, [shape[0], shape[1], size, size, 3]), frame_times, mask)

    def _frames(self, frames, times, mask):
        """Frames of any number, to those that the model looks at, or their features."""
        if not self._looks_at_all:
            (frames, times), mask = pick([frames, times], mask, self._model.frames)
            if not self._extractor:
                return {"frames": frames, "frame_times": times, "frame_mask": mask}
        return self._features(*self._extract(frames, times, mask))

    def _features(self, features, times=None, mask=None):
        if times is None:
            times, mask = _moment(tf.shape(features)[0])
        (features, times), mask = pick([features, times], mask, self._model.frames)
        return {"features": tf.cast(features, tf.float16), "frame_times": times, "frame_mask": mask}

    @property
    def _looks_at_all(self) -> bool:
        """Whether some are picked of the features, not of the frames."""
        return bool(self._extractor) and self._extractor.over_time

    def _extract(self, frames, times, mask):
        """Features of all frames, a clip at a time, their times and their mask."""
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

    # ---- What comes out

    def _answer(self, batch: dict, lang, duration, key) -> dict:
        batch["prefix"] = self._prefix(lang)
        if duration is not None:
            batch["duration"] = duration
        if key is not None:
            batch["key"] = tf.bitcast(key, tf.uint32)
        # A row without a frame would be a softmax over nothing.
        seen = tf.reduce_any(batch["frame_mask"], axis=1)
        batch["frame_mask"] |= ~seen[:, None]
        made = self._methods["generate"](batch)
        if not self._dense:
            texts = tf.where(seen, self._detokenize(made["tokens"]), "")
            return {"caption": texts, "score": made["scores"]}
        if self._read_events is not None:
            told = self._read_events(made["tokens"], made["token_log_probs"], duration)
        else:
            told = self._found(made, duration)
        valid = told.valid & seen[:, None]
        return {
            "caption": tf.where(valid, told.text, ""),
            "score": told.score,
            "start": told.start,
            "end": told.end,
            "count": tf.reduce_sum(tf.cast(valid, tf.int32), axis=1),
        }

    def _found(self, made: dict, duration) -> Told:
        """Events that queries found, in order of start."""
        text = self._detokenize(made["tokens"])
        start, end = tf.unstack(tf.cast(made["times"] * duration[:, None, None], tf.float64), axis=-1)
        there = tf.range(tf.shape(text)[1])[None] < made["count"][:, None]
        return in_order(Told(there & (end > start) & (text != ""), start, end, text, made["confidence"]), by_time=True)

    def _prefix(self, lang):
        """int32 [b, p] of languages [b]; an unknown one is an error that names those there are."""
        prefixes = self._model.prefixes()
        known = tf.constant(list(prefixes))
        lang = tf.where(lang == "", known[0], lang)
        is_it = lang[:, None] == known
        wrong = tf.boolean_mask(lang, ~tf.reduce_any(is_it, axis=1))
        named = f"lang: the model writes {', '.join(prefixes)}; it was not trained on"
        with tf.control_dependencies([tf.debugging.Assert(tf.size(wrong) == 0, [named, wrong])]):
            rows = tf.argmax(tf.cast(is_it, tf.int32), axis=1)
        return tf.gather(tf.constant(list(prefixes.values()), tf.int32), rows)


def _function(name: str, call: Callable, inputs: Mapping) -> Callable:
    """A tf.function of keyword arguments."""
    specs = [tf.TensorSpec(shape, dtype, name=key) for key, (shape, dtype) in inputs.items()]

    def ordered(*tensors):
        return call(**dict(zip(inputs, tensors, strict=True)))

    ordered.__name__ = name
    return tf.function(ordered, input_signature=specs, autograph=False)


def _moment(b):
    """Times and mask of pictures: one frame at 0."""
    return tf.zeros([b, 1]), tf.ones([b, 1], tf.bool)


def pick(arrays: list, mask, most: int):
    """Of frames [b, n, ...] those that evaluation looks at, see `pick_frames`: ([b, most, ...] each, bool [b, most]).
    What is not there comes last."""
    given = tf.shape(mask)[1]
    n = tf.maximum(given, 1)
    # A frame to point at, where there is none at all.
    arrays = [tf.cond(given > 0, lambda a=a: a, lambda a=a: _blank(a)) for a in arrays]
    mask = tf.cond(given > 0, lambda: mask, lambda: tf.zeros([tf.shape(mask)[0], 1], tf.bool))
    order = tf.argsort(tf.cast(~mask, tf.int32), axis=1, stable=True)
    count = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)[:, None]
    place = tf.range(most)[None]
    middle = np.arange(most) + 0.5
    spread = tf.cast(tf.floor(middle[None] * (tf.cast(count, tf.float64) / most)), tf.int32)
    index = tf.where(count > most, spread, tf.minimum(place, n - 1))
    index = tf.gather(order, index, batch_dims=1)
    picked = [tf.gather(each, index, batch_dims=1) for each in arrays]
    return picked, place < count


def _blank(array):
    shape = tf.concat([tf.shape(array)[:1], [1], tf.shape(array)[2:]], 0)
    return tf.fill(shape, "") if array.dtype == tf.string else tf.zeros(shape, array.dtype)
