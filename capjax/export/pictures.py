"""JPEG bytes to the pixels that a model sees, in TensorFlow: `photo_to_jpeg` of capjax.data.photo and then `view` of
capjax.data.transforms, step by step with the same sizes, scales and filters.
"""

import tensorflow as tf

from capjax.data.photo import MediaSettings

# Shrinking by these libjpeg does while it decodes.
_RATIOS = (1, 2, 4, 8)
# Where EXIF begins in a JPEG file, before other bytes than these; how many entries it may have; and by which way pixels
# of each orientation, from 1 to 8, become upright.
_EXIF, _HEAD, _ENTRIES = (b"Exif\0\0II*\0", b"Exif\0\0MM\0*"), 2**16, 256
_UPRIGHT = (
    tf.identity,
    tf.image.flip_left_right,
    lambda pixels: tf.image.rot90(pixels, 2),
    tf.image.flip_up_down,
    tf.image.transpose,
    lambda pixels: tf.image.rot90(pixels, 3),
    lambda pixels: tf.image.rot90(tf.image.transpose(pixels), 2),
    tf.image.rot90,
)


def pictures(jpegs: tf.Tensor, size: int, settings: MediaSettings, *, gaps: bool = False) -> tf.Tensor:
    """JPEG files, strings [n] -> uint8 [n, size, size, 3] RGB.

    Args:
      settings: how a photo is stored before a model sees it.
      gaps: an empty string is no picture, and gives black.
    """
    spec = tf.TensorSpec((size, size, 3), tf.uint8)

    def one(jpeg):
        def seen():
            return view(stored(jpeg, settings), size)

        if not gaps:
            return seen()
        return tf.cond(tf.equal(jpeg, ""), lambda: tf.zeros(spec.shape, tf.uint8), seen)

    return tf.map_fn(one, jpegs, fn_output_signature=spec, parallel_iterations=8)


def stored(jpeg: tf.Tensor, settings: MediaSettings) -> tf.Tensor:
    """A JPEG file as a record would hold it: shrunk where its short side is longer than `settings.size`, upright, in
    three colours."""
    shape = tf.image.extract_jpeg_shape(jpeg)
    height, width = shape[0], shape[1]
    short, turn = tf.minimum(height, width), orientation(jpeg)

    def anew():
        scale = tf.minimum(settings.size / short, 1.0)
        wanted = tf.maximum(1, tf.cast(tf.round(tf.cast(shape[:2], tf.float64) * scale), tf.int32))
        # As Pillow's draft mode: the largest scale that leaves what is wanted.
        most = tf.reduce_min(shape[:2] // wanted)
        pixels = _decode(jpeg, sum(tf.cast(most >= ratio, tf.int32) for ratio in _RATIOS[1:]))
        pixels = tf.cast(pixels, tf.int32)
        pixels = _bicubic(tf.transpose(_bicubic(pixels, wanted[1]), [1, 0, 2]), wanted[0])
        pixels = tf.cast(tf.transpose(pixels, [1, 0, 2]), tf.uint8)
        pixels = tf.switch_case(turn - 1, [lambda way=way: way(pixels) for way in _UPRIGHT])
        return tf.io.encode_jpeg(pixels, format="rgb", quality=settings.quality)

    return tf.cond((short > settings.size) | (shape[2] != 3) | (turn != 1), anew, lambda: jpeg)


def orientation(jpeg: tf.Tensor) -> tf.Tensor:
    """EXIF orientation of a JPEG file, int32, 1 to 8; 1 where it says nothing."""
    # Filled up, so that what a damaged file points at can be looked at.
    head = tf.concat([tf.io.decode_raw(tf.strings.substr(jpeg, 0, _HEAD), tf.uint8), tf.zeros(16, tf.uint8)], 0)
    head = tf.cast(head, tf.int32)
    last = tf.size(head) - 16
    starts = [tf.reduce_all([head[i : last + i] == byte for i, byte in enumerate(mark)], 0) for mark in _EXIF]
    found = tf.where(starts[0] | starts[1])
    tiff = 6 + tf.cast(tf.reduce_min(tf.concat([found[:, 0], [tf.cast(last, tf.int64)]], 0)), tf.int32)
    little = head[tf.minimum(tiff, last)] == ord("I")

    def number(at, size: int):
        at = tf.clip_by_value(at, 0, last)
        parts = [tf.gather(head, at + i) for i in range(size)]
        return tf.where(little, _joined(parts[::-1]), _joined(parts))

    directory = tiff + number(tiff + 4, 4)
    entries = directory + 2 + 12 * tf.range(tf.minimum(number(directory, 2), _ENTRIES))
    is_it = (number(entries, 2) == 0x0112) & (entries < last)
    value = tf.where(number(entries + 2, 2) == 4, number(entries + 8, 4), number(entries + 8, 2))
    value = tf.reduce_max(tf.where(is_it, value, 1))
    return tf.where((tf.size(found) > 0) & (value >= 1) & (value <= 8), value, 1)


def _joined(parts: list) -> tf.Tensor:
    """Bytes to a number, the highest first."""
    out = parts[0]
    for part in parts[1:]:
        out = out * 256 + part
    return out


def view(jpeg: tf.Tensor, size: int) -> tf.Tensor:
    """The whole of a JPEG file as uint8 [size, size, 3] RGB."""
    short = tf.cast(tf.reduce_min(tf.image.extract_jpeg_shape(jpeg)[:2]), tf.float64)
    # The same doubling as in capjax.data.transforms.
    doublings = sum(tf.cast(short >= 1.6 * ratio * size, tf.int32) for ratio in _RATIOS[:-1])
    return tf.ensure_shape(_bilinear(_decode(jpeg, doublings), size), (size, size, 3))


def _bicubic(pixels: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """int32 [h, w, 3], 0 to 255 -> [h, size, 3], where size is at most w, as Pillow's BICUBIC rounds it: with a filter
    as wide as the scale (Keys 1981, a = -0.5) and weights of 22 bits."""
    count = tf.shape(pixels)[1]
    scale = count / size
    center = (tf.range(tf.cast(size, tf.float64), dtype=tf.float64) + 0.5) * scale
    low = tf.maximum(tf.cast(center - 2 * scale + 0.5, tf.int32), 0)[:, None]
    high = tf.minimum(tf.cast(center + 2 * scale + 0.5, tf.int32), count)[:, None]
    taps = 2 * tf.cast(tf.math.ceil(2 * scale), tf.int32) + 1
    place = low + tf.range(taps)
    x = tf.abs((tf.cast(place, tf.float64) - center[:, None] + 0.5) / scale)
    inner, outer = (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
    weight = tf.where(x < 1, inner, tf.where(x < 2, outer, 0.0)) * tf.cast(place < high, tf.float64)
    weight = weight / tf.reduce_sum(weight, axis=1, keepdims=True) * 2**22
    weight = tf.cast(weight + 0.5 * tf.sign(weight), tf.int32)
    place = tf.minimum(place, count - 1)

    def add(tap, total):
        return tap + 1, total + tf.gather(pixels, place[:, tap], axis=1) * weight[:, tap, None]

    start = tf.zeros_like(tf.gather(pixels, place[:, 0], axis=1)) + 2**21
    total = tf.while_loop(lambda tap, _: tap < taps, add, (0, start))[1]
    return tf.clip_by_value(total // 2**22, 0, 255)


def _bilinear(pixels: tf.Tensor, size: int) -> tf.Tensor:
    """uint8 [h, w, 3] -> uint8 [size, size, 3] as OpenCV's INTER_LINEAR rounds it, which computes with weights of 11
    bits: tf.image.resize differs by a grey level in one pixel of ten."""
    height, width = tf.unstack(tf.shape(pixels)[:2])
    pixels, last = tf.cast(pixels, tf.int32), width - 1
    left, part = _places(width, size)
    # At its sides OpenCV takes the outermost pixel alone; above and below it mixes it with itself.
    part = tf.where((left < 0) | (left >= last), 0.0, part)
    first, second = (tf.gather(pixels, tf.clip_by_value(left + i, 0, last), axis=1) for i in (0, 1))
    near, far = (weight[:, None] for weight in _weights(part))
    rows = (first * near + second * far) // 16
    top, part = _places(height, size)
    first, second = (tf.gather(rows, tf.clip_by_value(top + i, 0, height - 1)) for i in (0, 1))
    near, far = (weight[:, None, None] for weight in _weights(part))
    return tf.cast((first * near // 65536 + second * far // 65536 + 2) // 4, tf.uint8)


def _places(count: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Of `size` pixels that are to lie where `count` lie now: the one before each, and how far it is beyond that."""
    scale = tf.cast(count, tf.float64) / size
    at = tf.cast((tf.range(size, dtype=tf.float64) + 0.5) * scale - 0.5, tf.float32)
    return tf.cast(tf.floor(at), tf.int32), at - tf.floor(at)


def _weights(part: tf.Tensor) -> list[tf.Tensor]:
    return [tf.cast(tf.round(each * 2048), tf.int32) for each in (1 - part, part)]


def _decode(jpeg: tf.Tensor, doublings: tf.Tensor) -> tf.Tensor:
    """uint8 [h, w, 3] at 1 / 2 ** doublings of the size."""

    def at(ratio):
        return lambda: tf.io.decode_jpeg(jpeg, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    return tf.switch_case(doublings, [at(ratio) for ratio in _RATIOS])
