"""Weight files: both formats of torch, safetensors, and what must not be read."""

import builtins
import io
import os
import pickle
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest

from capjax.models.pretrained import WeightsError, read_weights
from tests.helpers.bounds import bounded
from tests.helpers.torch_models import torch_models


@pytest.fixture(scope="module")
def torch():
    return torch_models()[0]


@pytest.fixture
def state(torch):
    torch.manual_seed(0)
    shared = torch.randn(6, 4)
    return OrderedDict(
        plain=torch.randn(3, 4, 5),
        transposed=torch.randn(3, 4).T,
        part=shared[2:5, 1:3],
        whole=shared,
        half=torch.randn(7).half(),
        brain=torch.randn(7).bfloat16(),
        double=torch.randn(2, 2).double(),
        count=torch.tensor(17),
        flags=torch.tensor([True, False]),
        empty=torch.zeros(0, 3),
    )


def same(read, state):
    assert list(read) == list(state)
    for name, tensor in state.items():
        expected = tensor.float().numpy()
        assert read[name].shape == expected.shape
        np.testing.assert_array_equal(read[name].astype(np.float32), expected)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_both_formats_of_torch_are_read(torch, state, zipped, suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    read = read_weights(path)
    same(read, state)
    assert read["brain"].dtype == ml_dtypes.bfloat16


def test_safetensors_are_read(torch, state, tmp_path):
    from safetensors.torch import save_file

    state = {name: tensor.clone().contiguous() for name, tensor in sorted(state.items())}
    save_file(state, tmp_path / "weights.safetensors", metadata={"format": "pt"})
    read = read_weights(tmp_path / "weights.safetensors")
    same({name: read[name] for name in state}, state)


@pytest.mark.parametrize("zipped", [True, False])
def test_parameters_checkpoints_and_data_parallel_prefixes_are_understood(torch, zipped, tmp_path):
    model = torch.nn.Linear(3, 2)
    weights = {f"module.{name}": value for name, value in model.named_parameters()}
    for key in ("state_dict", "model"):
        path = tmp_path / f"{key}.pth"
        torch.save({"epoch": 3, "lr": 0.1, key: weights}, path, _use_new_zipfile_serialization=zipped)
        same(read_weights(path), dict(model.state_dict()))


class Evil:
    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


def pickled_zip(value, path, protocol=2):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(value, protocol=protocol))
    return path


def refused(path) -> str:
    with pytest.raises(WeightsError) as error:
        read_weights(path)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_calls_anything_is_refused_by_name_and_not_run(protocol, tmp_path):
    mark = tmp_path / "ran"
    for name, value in {
        "system": Evil(os.system, f"touch {mark}"),
        "eval": Evil(builtins.eval, f"open({str(mark)!r}, 'w')"),
        "getattr": Evil(builtins.getattr, "text", "upper"),
    }.items():
        assert name in refused(pickled_zip({"weight": value}, tmp_path / "evil.pth", protocol))
        (tmp_path / "old.pth").write_bytes(pickle.dumps(value, protocol=protocol))
        assert name in refused(tmp_path / "old.pth")
    assert not mark.exists()


def test_a_whole_pickled_model_is_refused_with_the_remedy(torch, tmp_path):
    torch.save(torch.nn.Linear(3, 2), tmp_path / "model.pth")
    message = refused(tmp_path / "model.pth")
    assert "torch.nn.modules.linear.Linear" in message
    assert "torch.save(model.state_dict(), path)" in message


def test_a_file_cannot_change_what_its_names_stand_for(tmp_path):
    # BUILD sets attributes on what is on the stack: here, on the function that rebuilds tensors.
    for state in (b"}(X\x01\x00\x00\x00aK\x01u", b"N}(X\x0c\x00\x00\x00__defaults__K\x01u\x86"):
        data = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + state + b"b."
        with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
            archive.writestr("archive/data.pkl", data)
        refused(tmp_path / "w.pth")


def test_a_torchscript_program_is_refused_with_the_remedy(torch, tmp_path):
    torch.jit.script(torch.nn.Linear(3, 2)).save(str(tmp_path / "model.pt"))
    assert "TorchScript" in refused(tmp_path / "model.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_short_anywhere_is_refused(torch, zipped, tmp_path):
    file = io.BytesIO()
    torch.save({"a": torch.randn(50, 3), "b": torch.randn(9)}, file, _use_new_zipfile_serialization=zipped)
    data = file.getvalue()
    for end in range(0, len(data), 37):
        (tmp_path / "cut.pth").write_bytes(data[:end])
        refused(tmp_path / "cut.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_bytes_give_an_error_or_an_array_but_never_anything_else(torch, zipped, tmp_path):
    file = io.BytesIO()
    torch.save({"a": torch.randn(5, 3), "b": torch.randn(9)}, file, _use_new_zipfile_serialization=zipped)
    rng = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(file.getvalue())
        for at in rng.integers(0, min(len(data), 1200), 3):
            data[at] = rng.integers(256)
        (tmp_path / "w.pth").write_bytes(data)
        try:
            read = read_weights(tmp_path / "w.pth")
        except WeightsError:
            continue
        assert all(isinstance(value, np.ndarray) and value.size <= 100 for value in read.values())


def test_a_tensor_larger_than_its_storage_is_refused(torch, tmp_path):
    huge = torch.zeros(4).expand(10**12, 4)
    torch.save({"a": huge}, tmp_path / "w.pth")
    assert "does not fit into its storage" in refused(tmp_path / "w.pth")


@pytest.mark.parametrize("data", [b"", b"not a file of weights", b"\x80\x02}q\x00.", b"PK\x03\x04"])
def test_what_is_no_weight_file_is_refused(data, tmp_path):
    for suffix in (".pth", ".safetensors"):
        path = tmp_path / f"w{suffix}"
        path.write_bytes(data)
        refused(path)


def test_a_dict_without_tensors_is_refused(torch, tmp_path):
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    assert "no dict of tensors" in refused(tmp_path / "w.pth")


def test_torch_is_not_needed(torch, tmp_path):
    import subprocess
    import sys

    torch.save({"a": torch.ones(2)}, tmp_path / "w.pth")
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from capjax.models.pretrained import read_weights\n"
        "print(read_weights(sys.argv[1])['a'].tolist())"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "w.pth"], capture_output=True, text=True)
    assert done.stdout == "[1.0, 1.0]\n", done.stderr


def legacy(*pickles: bytes, path):
    """A file in the old format whose first pickles are right and whose state dict is the last of `pickles`."""
    head = [pickle.dumps(value, protocol=2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    path.write_bytes(b"".join([*head, *pickles]))
    return path


def nested(levels: int, *, then: bytes) -> bytes:
    """A pickle of tuples of four references to the level below, and opcodes that use the last."""
    program = b"\x80\x02)q\x00"
    for level in range(levels):
        index = bytes([level])
        program += b"(" + (b"h" + index) * 4 + b"tq" + bytes([level + 1]) + b"0"
    return program + b"h" + bytes([levels]) + then


HOSTILE = {
    "an index of the memo far beyond the file": b"\x80\x02Nr\xff\xff\xff\x0f.",
    "a text of two gigabytes": b"\x80\x04\x8d" + (2 * 10**9).to_bytes(8, "little"),
    "bytes of two gigabytes": b"\x80\x04\x8e" + (2 * 10**9).to_bytes(8, "little"),
    "a bytearray of two gigabytes": b"\x80\x05\x96" + (2 * 10**9).to_bytes(8, "little"),
    "a number of two gigabytes": b"\x80\x02\x8b" + (2 * 10**9).to_bytes(4, "little"),
    "a line without an end": b"I" + b"1" * 10**6,
    "a number of a million digits": b"L" + b"1" * 10**6 + b"L\n.",
    "nested tuples as a key": nested(60, then=b"}h\x3cK\x01s."),
    "nested tuples as a set's entry": nested(60, then=b"\x8f(h\x3c\x90."),
    "nested tuples as a frozenset's entry": nested(60, then=b"(h\x3c\x91."),
    "nested tuples as an id": nested(60, then=b"Q."),
    "nested tuples as a shape": nested(60, then=b"ctorch\nSize\nh\x3c\x85R."),
    "nested tuples in a call": nested(60, then=b"ccollections\nOrderedDict\nh\x3c\x85R."),
    "copies of a long list": b"\x80\x02](" + b"K\x01" * 20000 + b"eq\x000"
    + b"ctorch\nSize\nh\x00\x85R0" * 20000 + b"N.",
    "a hundred thousand open lists": b"]" * 100_000 + b"a" * 99_999 + b".",
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_file_costs_no_more_than_its_size_warrants(what, tmp_path):
    program = HOSTILE[what]
    (tmp_path / "plain.pth").write_bytes(program)
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("archive/data.pkl", program)
    legacy(program, path=tmp_path / "legacy.pth")
    for name in ("plain.pth", "zip.pth", "legacy.pth"):
        with bounded(seconds=15, memory=2**27):
            refused(tmp_path / name)


def test_entries_of_an_archive_that_overlap_are_not_read_again_and_again(torch, tmp_path):
    """Ten thousand names for one megabyte would be ten gigabytes."""
    path = tmp_path / "w.pth"
    torch.save({f"w{i}": torch.full((4,), i) for i in range(300)}, path)
    with zipfile.ZipFile(path) as archive:
        first = archive.getinfo(next(name for name in archive.namelist() if name.endswith("data/0")))
        data = path.read_bytes()
        directory = archive.start_dir
    with zipfile.ZipFile(tmp_path / "big.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, protocol=2))
        archive.writestr("archive/data/0", bytes(2**20))
        info = archive.getinfo("archive/data/0")
        for number in range(1, 10_000):
            copy = zipfile.ZipInfo(f"archive/data/{number}")
            copy.header_offset, copy.CRC = info.header_offset, info.CRC
            copy.file_size = copy.compress_size = info.file_size
            archive.filelist.append(copy)
        archive._didModify = True
    assert first and data and directory
    with bounded(seconds=15, memory=2**27):
        assert "claim to be larger than the file" in refused(tmp_path / "big.pth")


def test_attributes_of_a_state_dict_and_old_ordered_dicts_are_accepted(torch, tmp_path):
    """Python 2 pickled an OrderedDict as a call with a list of pairs."""
    model = torch.nn.BatchNorm1d(3)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    assert model.state_dict()._metadata
    same(read_weights(tmp_path / "w.pth"), model.state_dict())
    with zipfile.ZipFile(tmp_path / "w.pth") as archive:
        names = {name: archive.read(name) for name in archive.namelist()}
    program = b"\x80\x02ccollections\nOrderedDict\n]](X\x01\x00\x00\x00aK\x01ea\x85R."
    (data,) = (name for name in names if name.endswith("data.pkl"))
    with zipfile.ZipFile(tmp_path / "old.pth", "w") as archive:
        for name, content in (names | {data: program}).items():
            archive.writestr(name, content)
    assert "no dict of tensors" in refused(tmp_path / "old.pth")


def test_keys_of_other_types_do_not_matter(torch, tmp_path):
    torch.save({"a": torch.ones(2), 3: torch.zeros(1), (1, "x"): 4, None: 5}, tmp_path / "w.pth")
    read = read_weights(tmp_path / "w.pth")
    assert {name: value.tolist() for name, value in read.items()} == {"a": [1, 1], "3": [0]}


@pytest.mark.parametrize("header", [
    b"\xff" * 8, (10**12).to_bytes(8, "little"), (2).to_bytes(8, "little") + b"{}", (4).to_bytes(8, "little") + b"null",
    (67).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}}'[:67],
])  # fmt: skip
def test_a_safetensors_header_that_promises_more_than_the_file_holds_is_refused(header, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(header)
    with bounded(seconds=15, memory=2**27):
        refused(tmp_path / "w.safetensors")
