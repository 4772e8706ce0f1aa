"""Blocks of GIF files."""

from capjax.data.media_file import MediaError

_COLOR_TABLE = 0x80
_GRAPHIC_CONTROL = 0xF9
_MAX_BLOCKS = 300_000


def without_comments(data: bytes) -> bytes:
    """Returns a file without comments and other extensions, except graphic controls, before its first frame.

    Pillow joins the blocks of a comment one by one, in time that grows with the square of their number.

    Raises:
      MediaError: There are too many blocks.
    """
    flags = data[10] if len(data) > 10 else 0
    position = 13 + (3 * (2 << (flags & 7)) if flags & _COLOR_TABLE else 0)
    kept, count = [data[:position]], 0
    while position + 2 < len(data) and data[position] not in b",;":
        start, position = position, position + 1
        if data[start] != 0x21:  # a stray byte
            continue
        position += 1
        count += 1
        while position < len(data) and data[position] and count <= _MAX_BLOCKS:
            position += data[position] + 1
            count += 1
        position += 1
        if count > _MAX_BLOCKS:
            raise MediaError("damaged", f"a GIF image of more than {_MAX_BLOCKS:,} blocks; save it anew")
        if data[start + 1] == _GRAPHIC_CONTROL:
            kept.append(data[start:position])
    return b"".join([*kept, data[position:]])
