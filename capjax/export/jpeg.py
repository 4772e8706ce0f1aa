"""From JPEG bytes to the pixels of a model's input, in TensorFlow: `photo_to_jpeg` of capjax.data.photo and `view` of
capjax.data.transforms, with the same sizes, scales and filters at each step.
"""

import tensorflow as tf

from capjax.data.photo import MAX_FILE_BYTES, MAX_PIXELS, MediaSettings

# Factors by which libjpeg can shrink a picture while it decodes.
_RATIOS = (1, 2, 4, 8)
_PARALLEL = 8  # files decoded at a time
_JPEG = b"\xff\xd8\xff"
# Marks of EXIF data, bytes at the start of a file that are searched for them, and entries that are read.
_EXIF, _HEAD, _ENTRIES = (b"Exif\0\0II*\0", b"Exif\0\0MM\0*"), 2**16, 256
# Makes pixels of each orientation, 1 to 8, upright.
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


def decode_jpegs(
    jpegs: tf.Tensor, size: int, settings: MediaSettings, *, allow_empty: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes JPEG files.

    Args:
      jpegs: files, strings [n].
      size: side of the result in pixels.
      settings: how a photo is stored before the model sees it.
      allow_empty: an empty string is not an error.

    Returns:
      Pixels, uint8 [n, size, size, 3] RGB, black where there are none; and errors, strings [n], empty where a file was
      decoded.
    """
    spec, count = tf.TensorSpec((size, size, 3), tf.uint8), _count_pixels(jpegs, size, settings)

    def decode(file):
        jpeg, is_fine = file
        return tf.cond(is_fine, lambda: view(stored(jpeg, settings), size), lambda: tf.zeros(spec.shape, tf.uint8))

    files = jpegs, (count > 0) & (count <= MAX_PIXELS)
    pixels = tf.map_fn(decode, files, fn_output_signature=spec, parallel_iterations=_PARALLEL)
    errors = _errors(jpegs, count)
    return pixels, tf.where(jpegs == "", "", errors) if allow_empty else errors


def _count_pixels(jpegs: tf.Tensor, size: int, settings: MediaSettings) -> tf.Tensor:
    """Returns the number of pixels of JPEG files, int64 [n]: 0 if a file is larger than MAX_FILE_BYTES, or cannot be
    decoded by `stored` and `view`. Files of more than MAX_PIXELS are not decoded."""
    n, small = tf.shape(jpegs)[0], tf.io.encode_jpeg(tf.zeros((8, 8, 3), tf.uint8))

    def check(index, jpeg):
        shape = tf.image.extract_jpeg_shape(jpeg)
        count = tf.reduce_prod(tf.cast(shape[:2], tf.int64))
        jpeg = tf.where(count > MAX_PIXELS, small, jpeg)
        # Where the data of a cut file end is noticed, or not, depending on the reduction.
        original = _decode(jpeg, _stored_halvings(shape, settings))
        is_large = tf.reduce_min(shape[:2]) > settings.size
        viewed = _decode(tf.where(is_large, small, jpeg), _view_halvings(shape, size))
        with tf.control_dependencies([original, viewed]):
            return index, tf.identity(count)

    # A graph cannot catch the error of an op, but a dataset can leave out elements that fail. The dataset has few ops,
    # because it is prepared anew in each call.
    files = tf.data.Dataset.from_tensor_slices((tf.range(n), jpegs))
    files = files.filter(lambda index, jpeg: tf.strings.length(jpeg) <= MAX_FILE_BYTES)
    checked = files.map(check, num_parallel_calls=_PARALLEL, deterministic=True).ignore_errors()
    options = tf.data.Options()
    options.autotune.enabled, options.experimental_optimization.apply_default_optimizations = False, False
    none = tf.zeros(0, tf.int32), tf.zeros(0, tf.int64)
    checked = checked.batch(tf.cast(tf.maximum(n, 1), tf.int64)).with_options(options)
    index, count = checked.reduce(none, lambda _, batch: batch)
    return tf.scatter_nd(index[:, None], count, [n])


def _errors(jpegs: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns why files cannot be used, strings [n]; empty if they can.

    Args:
      jpegs: files, strings [n].
      count: number of pixels of each file, int64 [n]; 0 if it cannot be decoded.
    """
    bytes = tf.strings.length(jpegs)
    errors = tf.where(count == 0, "a damaged or incomplete JPEG file; copy it again, or save it anew", "")
    pixels = tf.strings.join([tf.strings.as_string(count), f" pixels; at most {MAX_PIXELS:,} are decoded"])
    errors = tf.where(count > MAX_PIXELS, pixels, errors)
    errors = tf.where(tf.strings.substr(jpegs, 0, len(_JPEG)) != _JPEG, "not a JPEG file; convert it to JPEG", errors)
    size = tf.strings.join([tf.strings.as_string(bytes), f" bytes; at most {MAX_FILE_BYTES:,} are read"])
    errors = tf.where(bytes > MAX_FILE_BYTES, size, errors)
    return tf.where(bytes == 0, "no bytes", errors)


def stored(jpeg: tf.Tensor, settings: MediaSettings) -> tf.Tensor:
    """Returns a JPEG file as a record would hold it: RGB, upright, its short side reduced to `settings.size` pixels."""
    shape = tf.image.extract_jpeg_shape(jpeg)
    short, turn = tf.reduce_min(shape[:2]), orientation(jpeg)

    def reencode():
        target = _stored_shape(shape, settings)
        pixels = tf.cast(_decode(jpeg, _stored_halvings(shape, settings)), tf.int32)
        pixels = _bicubic(tf.transpose(_bicubic(pixels, target[1]), [1, 0, 2]), target[0])
        pixels = tf.cast(tf.transpose(pixels, [1, 0, 2]), tf.uint8)
        pixels = tf.switch_case(turn - 1, [lambda rotate=rotate: rotate(pixels) for rotate in _UPRIGHT])
        return tf.io.encode_jpeg(pixels, format="rgb", quality=settings.quality)

    return tf.cond((short > settings.size) | (shape[2] != 3) | (turn != 1), reencode, lambda: jpeg)


def _stored_shape(shape: tf.Tensor, settings: MediaSettings) -> tf.Tensor:
    """Returns (height, width) of a record's picture, of which the file has `shape`."""
    scale = tf.minimum(settings.size / tf.reduce_min(shape[:2]), 1.0)
    return tf.maximum(1, tf.cast(tf.round(tf.cast(shape[:2], tf.float64) * scale), tf.int32))


def _stored_halvings(shape: tf.Tensor, settings: MediaSettings) -> tf.Tensor:
    """As Pillow's draft mode: the largest reduction that leaves at least the size of the record's picture."""
    limit = tf.reduce_min(shape[:2] // _stored_shape(shape, settings))
    return sum(tf.cast(limit >= ratio, tf.int32) for ratio in _RATIOS[1:])


def orientation(jpeg: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF orientation of a JPEG file, int32, 1 to 8; 1 if the file has none."""
    # Padded, so that offsets of a damaged file stay within.
    head = tf.concat([tf.io.decode_raw(tf.strings.substr(jpeg, 0, _HEAD), tf.uint8), tf.zeros(16, tf.uint8)], 0)
    head = tf.cast(head, tf.int32)
    last = tf.size(head) - 16
    starts = [tf.reduce_all([head[i : last + i] == byte for i, byte in enumerate(mark)], 0) for mark in _EXIF]
    positions = tf.where(starts[0] | starts[1])
    tiff = 6 + tf.cast(tf.reduce_min(tf.concat([positions[:, 0], [tf.cast(last, tf.int64)]], 0)), tf.int32)
    little = head[tf.minimum(tiff, last)] == ord("I")

    def number(at, size: int):
        at = tf.clip_by_value(at, 0, last)
        parts = [tf.gather(head, at + i) for i in range(size)]
        return tf.where(little, _joined(parts[::-1]), _joined(parts))

    directory = tiff + number(tiff + 4, 4)
    entries = directory + 2 + 12 * tf.range(tf.minimum(number(directory, 2), _ENTRIES))
    is_orientation = (number(entries, 2) == 0x0112) & (entries < last)
    value = tf.where(number(entries + 2, 2) == 4, number(entries + 8, 4), number(entries + 8, 2))
    value = tf.reduce_max(tf.where(is_orientation, value, 1))
    return tf.where((tf.size(positions) > 0) & (value >= 1) & (value <= 8), value, 1)


def _joined(parts: list) -> tf.Tensor:
    """The number of big-endian bytes."""
    out = parts[0]
    for part in parts[1:]:
        out = out * 256 + part
    return out


def view(jpeg: tf.Tensor, size: int) -> tf.Tensor:
    """Returns the whole picture of a JPEG file, squashed to uint8 [size, size, 3] RGB."""
    halvings = _view_halvings(tf.image.extract_jpeg_shape(jpeg), size)
    return tf.ensure_shape(_bilinear(_decode(jpeg, halvings), size), (size, size, 3))


def _view_halvings(shape: tf.Tensor, size: int) -> tf.Tensor:
    """The reduction while decoding of capjax.data.transforms."""
    short = tf.cast(tf.reduce_min(shape[:2]), tf.float64)
    return sum(tf.cast(short >= 1.6 * ratio * size, tf.int32) for ratio in _RATIOS[:-1])


def _bicubic(pixels: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Shrinks int32 [h, w, 3], 0 to 255, to [h, size, 3] for a size of at most w, rounded as Pillow's BICUBIC: a filter
    as wide as the scale (Keys 1981, a = -0.5) with weights of 22 bits."""
    count = tf.shape(pixels)[1]
    scale = count / size
    center = (tf.range(tf.cast(size, tf.float64), dtype=tf.float64) + 0.5) * scale
    low = tf.maximum(tf.cast(center - 2 * scale + 0.5, tf.int32), 0)[:, None]
    high = tf.minimum(tf.cast(center + 2 * scale + 0.5, tf.int32), count)[:, None]
    taps = 2 * tf.cast(tf.math.ceil(2 * scale), tf.int32) + 1
    position = low + tf.range(taps)
    x = tf.abs((tf.cast(position, tf.float64) - center[:, None] + 0.5) / scale)
    inner, outer = (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
    weight = tf.where(x < 1, inner, tf.where(x < 2, outer, 0.0)) * tf.cast(position < high, tf.float64)
    weight = weight / tf.reduce_sum(weight, axis=1, keepdims=True) * 2**22
    weight = tf.cast(weight + 0.5 * tf.sign(weight), tf.int32)
    position = tf.minimum(position, count - 1)

    def add(tap, total):
        return tap + 1, total + tf.gather(pixels, position[:, tap], axis=1) * weight[:, tap, None]

    start = tf.zeros_like(tf.gather(pixels, position[:, 0], axis=1)) + 2**21
    total = tf.while_loop(lambda tap, _: tap < taps, add, (0, start))[1]
    return tf.clip_by_value(total // 2**22, 0, 255)


def _bilinear(pixels: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes uint8 [h, w, 3] to [size, size, 3], rounded as OpenCV's INTER_LINEAR with its weights of 11 bits, from
    which tf.image.resize differs by a gray level in some pixels."""
    height, width = tf.unstack(tf.shape(pixels)[:2])
    pixels, last = tf.cast(pixels, tf.int32), width - 1
    left, part = _source_positions(width, size)
    # At the left and right edge OpenCV takes the outermost pixel; at the top and bottom it blends it with itself.
    part = tf.where((left < 0) | (left >= last), 0.0, part)
    first, second = (tf.gather(pixels, tf.clip_by_value(left + i, 0, last), axis=1) for i in (0, 1))
    near, far = (weight[:, None] for weight in _weights(part))
    rows = (first * near + second * far) // 16
    top, part = _source_positions(height, size)
    first, second = (tf.gather(rows, tf.clip_by_value(top + i, 0, height - 1)) for i in (0, 1))
    near, far = (weight[:, None, None] for weight in _weights(part))
    return tf.cast((first * near // 65536 + second * far // 65536 + 2) // 4, tf.uint8)


def _source_positions(count: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """For each of `size` pixels resampled from `count`: the index of the source pixel before it, and the fraction
    beyond."""
    scale = tf.cast(count, tf.float64) / size
    at = tf.cast((tf.range(size, dtype=tf.float64) + 0.5) * scale - 0.5, tf.float32)
    return tf.cast(tf.floor(at), tf.int32), at - tf.floor(at)


def _weights(part: tf.Tensor) -> list[tf.Tensor]:
    return [tf.cast(tf.round(each * 2048), tf.int32) for each in (1 - part, part)]


def _decode(jpeg: tf.Tensor, halvings: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG file at 1 / 2 ** halvings of its size, uint8 [h, w, 3]."""

    def at(ratio):
        return lambda: tf.io.decode_jpeg(jpeg, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    return tf.switch_case(halvings, [at(ratio) for ratio in _RATIOS])
