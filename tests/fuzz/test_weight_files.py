"""Damaged and hostile weight files are refused in one line, at a cost in proportion to their size, and run nothing."""

import io
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from capjax.decode.consensus import Neighbors
from capjax.models.pretrained import WeightsError, read_weights
from tests.helpers.bounds import bounded
from tests.helpers.byte_damage import damage
from tests.helpers.fuzzing import count_cases
from tests.helpers.torch_models import torch_models
from tests.helpers.weight_files import slim_resnet

CASES = count_cases(60, 2_000)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """{file name: bytes} of whole files of every format."""
    torch, folder = torch_models()[0], tmp_path_factory.mktemp("whole")
    state = {name: torch.from_numpy(value) for name, value in slim_resnet(channels=2).items()}
    torch.save(state, folder / "zip.pth")
    torch.save({"epoch": 3, "state_dict": state}, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    from safetensors.torch import save_file

    save_file(state, folder / "weights.safetensors")
    captions = {"en": [[f"a photo of {i} dogs", "dogs"] for i in range(40)], "de": [[] for _ in range(40)]}
    Neighbors(np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32), captions).save(folder / "near.npz")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "digests.json"}


def hostile_pickle(rng: random.Random, command: str) -> bytes:
    """A random program of opcodes that torch.save writes and of those that it does not, with extreme arguments."""
    index = bytes([rng.randrange(4)])
    huge = rng.choice((2**31 - 1, 2**32 - 1, 10**9, 2**28))
    pieces = [
        b"N", b"K\x01", b"(", b"t", b"l", b"d", b"}", b"]", b")", b"0", b"2", b"1", b"a", b"e", b"s", b"u", b"b", b"R",
        b"Q", b"\x85", b"\x86", b"\x87", b"\x88", b"\x8f", b"\x90", b"\x91", b"\x94", b"o", b"\x81", b"\x92",
        b"q" + index, b"h" + index, b"r" + huge.to_bytes(4, "little"), b"j" + huge.to_bytes(4, "little"),
        b"X" + huge.to_bytes(4, "little"), b"\x8d" + huge.to_bytes(8, "little"), b"\x8e" + huge.to_bytes(8, "little"),
        b"\x8b" + huge.to_bytes(4, "little"), b"\x95" + huge.to_bytes(8, "little"), b"J\xff\xff\xff\xff",
        b"\x8a\x08" + (2**62).to_bytes(8, "little"), b"X\x01\x00\x00\x00a", b"X\x07\x00\x00\x00storage",
        b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nSize\n",
        b"ctorch\nFloatStorage\n", f"cposix\nsystem\nX{chr(len(command))}\0\0\0{command}\x85R".encode(),
        f"(S'{command}'\niposix\nsystem\n".encode(), b"cbuiltins\neval\n",
        b"(" + (b"h" + index) * 4 + b"t" + b"q" + index,
    ]  # fmt: skip
    return b"\x80\x02" + b"".join(rng.choices(pieces, k=rng.randrange(1, 200))) + b"."


def packed(program: bytes, rng: random.Random) -> bytes:
    """A pickle as the program of a file in the new format, of one in the old format, or as a file by itself."""
    form = rng.randrange(3)
    if form == 0:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", program)
            archive.writestr("archive/data/0", bytes(64))
        return file.getvalue()
    head = [pickle.dumps(value, protocol=2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join(head) + program + pickle.dumps(["0"]) + bytes(72) if form == 1 else program


def promising(data: bytes, rng: random.Random) -> bytes:
    """A safetensors or zip file whose header promises more than the file holds."""
    if data[:2] != b"PK":
        length = int.from_bytes(data[:8], "little")
        header = data[8 : 8 + length].replace(b'"shape":[', b'"shape":[' + rng.choice((b"1000000000,", b"0,", b"-1,")))
        return rng.choice((len(header), length, 2**62, 99 * 10**6)).to_bytes(8, "little") + header + data[8 + length :]
    at = data.find(b"{'descr'")
    return data if at < 0 else data[:at] + data[at:].replace(b"(40, 16)", b"(4000000000, 16)")


def read(path: Path):
    if path.suffix == ".npz":
        Neighbors.load(path)
        read_weights(path)
        return
    arrays = read_weights(path)
    assert all(isinstance(value, np.ndarray) for value in arrays.values())


@pytest.mark.parametrize("seed", range(CASES))
def test_a_weight_file_is_read_or_refused_by_name(seed, whole, tmp_path):
    rng = random.Random(seed)
    mark = tmp_path / "ran"
    name = rng.choice(sorted(whole))
    kind = rng.random()
    if kind < 0.3:
        name = "zip.pth"
        data = packed(hostile_pickle(rng, f"touch {mark}"[-120:]), rng)
    elif kind < 0.4:
        data = promising(whole[name], rng)
    else:
        data = damage(whole[name], rng)
    path = tmp_path / name
    path.write_bytes(data)
    with bounded(seconds=10, memory=2**30):
        try:
            read(path)
        except WeightsError as error:
            assert str(path) in str(error) and len(str(error)) < 2000
        except ValueError as error:
            assert path.suffix == ".npz" and str(path) in str(error)
    assert not mark.exists(), "the file was run"
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


def test_whole_files_are_read(whole, tmp_path):
    for name, data in whole.items():
        path = tmp_path / name
        path.write_bytes(data)
        if path.suffix == ".npz":
            assert Neighbors.load(path).vectors.shape == (40, 16)
        else:
            state = slim_resnet(channels=2)
            assert all((read_weights(path)[key] == value).all() for key, value in state.items())
