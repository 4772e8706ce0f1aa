"""Random damage to the bytes of a file, as disks, copies and careless editors do it."""

import random
import re


def damage(data: bytes, rng: random.Random) -> bytes:
    """Returns the bytes with one to three random changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(_CHANGES)(data, rng)
    return data


def _flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _remove(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.choice((1, 2, 4, 16, 256)) :]


def _insert(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.randbytes(rng.choice((1, 2, 4, 16, 256))) + data[start:]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    part = data[start : start + rng.choice((1, 8, 64, 512))]
    return data[:start] + part * rng.choice((2, 3, 50)) + data[start:]


def _extreme_integer(data: bytes, rng: random.Random) -> bytes:
    """An integer that may be a length: enormous, negative or zero."""
    size = rng.choice((1, 2, 4, 8))
    start = rng.randrange(max(len(data) - size, 0) + 1)
    value = rng.choice((0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1))
    return data[:start] + value.to_bytes(size, rng.choice(("little", "big"))) + data[start + size :]


def _extreme_number(data: bytes, rng: random.Random) -> bytes:
    """A number written in digits: another one, or no number."""
    numbers = [match.span() for match in re.finditer(rb"-?\d+(\.\d+)?", data[:100_000])]
    if not numbers:
        return _flip(data, rng)
    start, end = rng.choice(numbers)
    values = (b"0", b"-1", b"1", b"3", b"2147483648", b"99999999999999999999", b"1e308", b"NaN", b"null", b'"7"', b"[]")
    return data[:start] + rng.choice(values) + data[end:]


def _other_value(data: bytes, rng: random.Random) -> bytes:
    """A text, list or word of JSON replaced by a value of another type."""
    values = [match.span() for match in re.finditer(rb'"[^"]*"(?!\s*:)|\[[^\[\]]*\]|true|false|null', data[:100_000])]
    if not values:
        return _flip(data, rng)
    start, end = rng.choice(values)
    others = (b"null", b"[]", b"{}", b"true", b"1", b"[[null]]", b'"x"', b'""', b'{"a": [1]}', b"[" * 5000)
    return data[:start] + rng.choice(others) + data[end:]


def _replace(data: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"", b"\0" * len(data), rng.randbytes(len(data) % 10_000), b"[]", b"null", b"{}", b"\xff\xfe{}"))


_CHANGES = (
    _flip, _flip, _flip, _cut, _remove, _insert, _repeat, _extreme_integer, _extreme_integer, _extreme_number,
    _extreme_number, _other_value, _other_value, _replace,
)  # fmt: skip
