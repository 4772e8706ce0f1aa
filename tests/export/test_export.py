"""An export answers as the workdir does, in processes that know nothing of capjax. Models are drawn, not trained."""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import capjax
from capjax import jobs
from capjax.config import ConfigError
from capjax.data.batch import model_inputs
from capjax.data.pipeline import make_eval_batches
from capjax.data.record import RecordSource
from capjax.metrics.writing import WriteError
from capjax.predict import Predictor
from tests.helpers.digests import flip_bit
from tests.helpers.disks import full_disk
from tests.helpers.exports import signature, texts
from tests.helpers.folders import contents
from tests.helpers.tiny_job import DEFAULT_CONFIG, ROOT, in_this_process, shared_once
from tests.helpers.tiny_videos import DENSE, TIMED, draw_workdir

tf = pytest.importorskip("tensorflow")
pytest.importorskip("orbax.export")

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2  # noqa: E402

from capjax.export import export_job, warmup  # noqa: E402
from capjax.export.jpeg import decode_jpegs  # noqa: E402
from capjax.export.saved_model_generator import SavedModelGenerator  # noqa: E402

PHOTOS = {
    "photo": ("decode.num_beams=3", "decode.min_len=4"),
    "gru": ("model.decoder.name=gru", "model.decoder.options={}", "decode.no_repeat_ngram=3", "decode.min_len=4"),
}
VIDEOS = {
    "frame": ("data.num_frames=1", "decode.min_len=4", "decode.method=beam", "decode.num_beams=3"),
    "video": ("decode.min_len=4",),
    "sample": ("decode.method=sample", "decode.num_beams=2", "decode.min_len=4", "decode.top_k=9"),
    "queries": DENSE,
    "timed": TIMED,
}


class Drawn:
    """Models of photos and of videos, and their exports; each is made once."""

    def __init__(self, tmp_path_factory, tiny, tiny_videos):
        self._factory, self._photos, self.videos = tmp_path_factory, tiny, tiny_videos
        self.photos = RecordSource(tiny.data, "val")
        self._made: dict[str, tuple[Predictor, Path]] = {}

    def settings(self, name: str) -> list[str]:
        """Those of a model of photos."""
        return self._photos.settings(*PHOTOS[name])

    def config(self, name: str, *more: str):
        if name in PHOTOS:
            return self._photos.config(*PHOTOS[name], *more)
        return self.videos.config(*VIDEOS[name], *more)

    def workdir(self, name: str) -> Path:
        def make(folder):
            draw_workdir(self.config(name), folder / "run")

        return shared_once(self._factory, f"export_{name}", make) / "run"

    def __call__(self, name: str) -> tuple[Predictor, Path]:
        """(Predictor, export's folder)."""
        if name not in self._made:
            output = self._factory.mktemp("exports") / name
            export_job.run(self.config(name), self.workdir(name), output)
            self._made[name] = capjax.load(self.workdir(name)), output
        return self._made[name]


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiny, tiny_videos):
    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch, tiny.path)
        yield Drawn(tmp_path_factory, tiny, tiny_videos)


def batches(model: Predictor, size: int) -> list[dict]:
    parts, data = model.parts(), model.config.data
    return list(make_eval_batches(data.eval, parts.generator.vocabulary, data, batch_size=size))


# All are decoded alike: the others would take a minute more.
FIRST = ("photo", "sample", "queries", "timed")
EVERY = [name if name in FIRST else pytest.param(name, marks=pytest.mark.slow) for name in (*PHOTOS, *VIDEOS)]


@pytest.mark.parametrize("name", EVERY)
def test_from_the_same_pixels_come_the_same_texts(exported, name):
    model, folder = exported(name)
    parts, served = model.parts(), SavedModelGenerator(folder)
    said = set()
    for number, batch in enumerate(batches(model, 4)):
        inputs, key = model_inputs(batch), jax.random.key(number)
        for lang in model.languages:
            args = (parts.params, parts.batch_stats, inputs, lang)
            if model.dense:
                wanted, actual = (each.events(*args, key=key) for each in (parts.generator, served))
                assert [[e.text for e in row] for row in actual] == [[e.text for e in row] for row in wanted]
                scores = [[[(e.score, e.start, e.end) for row in rows for e in row] for rows in (actual, wanted)]]
                said |= {e.text for row in wanted for e in row}
            else:
                wanted, actual = (each.captions(*args, key=key) for each in (parts.generator, served))
                assert texts(actual) == texts(wanted)
                scores = [([caption.score for caption in actual], [caption.score for caption in wanted])]
                said |= set(texts(wanted))
            for ours, theirs in scores:
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert len(said) > 4, "a model that says the same of all would prove nothing"


def test_jpegs_get_what_their_pixels_get_in_every_language_and_batch_size(exported):
    model, folder = exported("photo")
    jpegs = [exported.photos[i].frames[0] for i in range(5)]
    pixel_batch, _ = decode_jpegs(tf.constant(jpegs), 32, model.parts().picture)
    pixels, photo, default = (signature(folder, name) for name in ("pixels", "photo", "serving_default"))
    by_lang = {lang: pixels(pixels=pixel_batch, lang=[lang] * 5) for lang in ("en", "de")}
    assert by_lang["en"]["caption"] != by_lang["de"]["caption"]
    for lang in by_lang:
        assert photo(image_bytes=jpegs, lang=[lang] * 5)["caption"] == by_lang[lang]["caption"]
    mixed = photo(image_bytes=jpegs, lang=["en", "de", "", "de", "en"])["caption"]
    assert mixed == [by_lang[lang]["caption"][i] for i, lang in enumerate(["en", "de", "en", "de", "en"])]
    assert default(image_bytes=jpegs)["caption"] == by_lang["en"]["caption"]
    for i, jpeg in enumerate(jpegs):
        assert default(image_bytes=[jpeg])["caption"] == by_lang["en"]["caption"][i : i + 1]


def test_a_flipped_bit_in_any_file_of_an_export_is_named(exported, tmp_path):
    folder = Path(shutil.copytree(exported("photo")[1], tmp_path / "export"))
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
    assert Path("variables/variables.index") in names and Path("saved_model.pb") in names
    for name in names:
        flip_bit(folder / name)
        with pytest.raises(ValueError, match=rf"{folder / name} (is .*damaged|differs from its digest).*again"):
            SavedModelGenerator(folder)
        flip_bit(folder / name)


def test_a_full_disk_is_named_and_leaves_no_export(exported, tmp_path):
    output = tmp_path / "export"
    for size in (1000, 60_000):  # while the SavedModel is written, and while its programs are
        with full_disk(size), pytest.raises(WriteError, match=f"{output} cannot be written: File too large"):
            export_job.run(exported.config("photo"), exported.workdir("photo"), output)
        assert list(tmp_path.iterdir()) == []


def as_png(jpeg: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).save(file, "PNG")
    return file.getvalue()


def test_a_bad_row_has_an_error_and_the_others_are_those_of_a_batch_without_it(exported):
    _, folder = exported("photo")
    photo, default = signature(folder, "photo"), signature(folder, "serving_default")
    first, second = (exported.photos[i].frames[0] for i in range(2))
    alone = photo(image_bytes=[first, second], lang=["de", "en"])
    assert alone["error"] == [b"", b""] and all(alone["caption"])
    rows = {
        "image_bytes: a damaged or incomplete JPEG": (first[: len(first) // 2], "en"),
        "image_bytes: not a JPEG file": (as_png(first), "en"),
        "image_bytes: no bytes": (b"", "en"),
        "lang: the model writes en, de; it was not trained on fr": (first, "fr"),
        "lang: the model writes en, de; it was not trained on EN": (first, "EN"),
    }
    answer = photo(
        image_bytes=[first, *(jpeg for jpeg, _ in rows.values()), second],
        lang=["de", *(lang for _, lang in rows.values()), "en"],
    )
    for error, expected in zip(answer["error"][1:-1], rows, strict=True):
        assert error.decode().startswith(expected)
    assert answer["caption"] == [alone["caption"][0], *[b""] * len(rows), alone["caption"][1]]
    assert answer["score"][1:-1] == [0.0] * len(rows)
    np.testing.assert_allclose(answer["score"][:: len(rows) + 1], alone["score"], rtol=1e-6)
    for jpeg, _ in list(rows.values())[:3]:
        assert default(image_bytes=[jpeg])["caption"] == [b""]
        pair = photo(image_bytes=[jpeg, second], lang=["de", "en"])
        assert pair["caption"] == [b"", alone["caption"][1]] and pair["error"][1] == b""


@pytest.mark.parametrize("name", FIRST)
def test_an_empty_batch_has_an_empty_answer(exported, name):
    loaded = tf.saved_model.load(str(exported(name)[1])).signatures
    for call in loaded.values():
        specs = call.structured_input_signature[1]
        batch = {key: tf.zeros([size or 0 for size in spec.shape], spec.dtype) if spec.dtype != tf.string
                 else tf.fill([0] * len(spec.shape), "") for key, spec in specs.items()}  # fmt: skip
        answer = call(**batch)
        assert answer["error"].shape == (0,) and {value.shape[0] for value in answer.values()} == {0}


def test_sampled_captions_do_not_depend_on_bad_rows(exported):
    """A photo model that samples has the random numbers of a batch without the bad row."""
    _, folder = exported("sample")
    video = signature(folder, "video")
    frames = [exported.videos.source()[i].frames[0] for i in range(3)]
    times, key = [[0.0]], [3, 4]
    alone = video(frames_bytes=[[frame] for frame in frames], frame_times=times * 3, lang=["en"] * 3, key=key)
    among = [[b"junk"], [frames[0]], [b""], [frames[1]], [frames[2]]]
    answer = video(frames_bytes=among, frame_times=times * 5, lang=["en"] * 5, key=key)
    assert [bool(error) for error in answer["error"]] == [True, False, True, False, False]
    assert [answer["caption"][i] for i in (1, 3, 4)] == alone["caption"]


def test_a_bad_frame_is_named_and_one_that_is_not_used_is_not(exported):
    _, folder = exported("video")
    video = signature(folder, "video")
    frames = exported.videos.source()[0].frames[:6]
    n, lang = 2 * len(frames), ["en"]
    times = np.arange(n, dtype=np.float32)[None] / 5
    one = video(frames_bytes=[[*frames[:2], b"junk", *frames[3:]]], frame_times=times[:, : n // 2], lang=lang)
    assert one["error"] == [b"frames_bytes: frame 2: not a JPEG file; convert it to JPEG"] and one["caption"] == [b""]
    doubled = [frame for frame in frames for _ in range(2)]
    picked = [int((i + 0.5) * n / 6) for i in range(6)]
    assert len(set(picked)) < n
    spoiled = [frame if i in picked else b"junk" for i, frame in enumerate(doubled)]
    whole, partly = (video(frames_bytes=[each], frame_times=times, lang=lang) for each in (doubled, spoiled))
    assert partly == whole and whole["error"] == [b""]
    times[0, picked[3]] = np.nan
    no_time = video(frames_bytes=[doubled], frame_times=times, lang=lang)
    assert no_time["error"] == [b"frame_times: expected seconds"]


@pytest.mark.parametrize("name", ["queries", "timed"])
def test_a_row_without_events_says_why(exported, name):
    _, folder = exported(name)
    video = signature(folder, "video")
    records = [exported.videos.source()[i] for i in range(2)]
    n = min(len(record.frames) for record in records)
    frames, times = [record.frames[:n] for record in records], [record.frame_times[:n] for record in records]
    durations = [record.duration for record in records]
    alone = video(frames_bytes=frames, frame_times=times, duration=durations, lang=["en", "de"])
    rows = [(frames[0], durations[0], "xx"), ([b""] * n, 3.0, "en"), (frames[0], np.nan, "en"), (frames[0], 0.0, "en")]
    answer = video(
        frames_bytes=[frames[0], *(row[0] for row in rows), frames[1]], frame_times=[*[times[0]] * 5, times[1]],
        duration=[durations[0], *(row[1] for row in rows), durations[1]], lang=["en", *(row[2] for row in rows), "de"],
    )  # fmt: skip
    assert [error.decode().split(":")[0] for error in answer["error"]] == [
        "",
        "lang",
        "no frame",
        *["duration"] * 2,
        "",
    ]
    assert answer["count"][1:-1] == [0] * 4 and not np.any(answer["end"][1:-1])
    for key in ("caption", "count"):
        assert answer[key][::5] == alone[key]
    for key in ("start", "end", "score"):
        np.testing.assert_allclose(answer[key][::5], alone[key], rtol=1e-5, atol=1e-6)


def test_videos_of_any_length_in_one_batch_get_what_prediction_says(exported):
    """Of more frames than the model looks at some are picked, of fewer the rest is no picture."""
    model, folder = exported("video")
    records = [exported.videos.source()[i] for i in range(3)]
    clips = [record.frames[:count] for record, count in zip(records, (2, 6, 20), strict=True)]
    assert len(clips[2]) > 6
    times = [record.frame_times[: len(clip)] for record, clip in zip(records, clips, strict=True)]
    n = max(map(len, clips))
    frames = [[*clip, *[b""] * (n - len(clip))] for clip in clips]
    times = np.stack([np.pad(each, (0, n - len(each))) for each in times])
    answer = signature(folder, "serving_default")(frames_bytes=frames, frame_times=times)
    pixel_batch = decode_jpegs(tf.reshape(tf.constant(frames), [-1]), 32, model.parts().picture, allow_empty=True)[
        0
    ].numpy()
    batch = {
        "frames": np.zeros((3, 6, 32, 32, 3), np.uint8), "frame_times": np.zeros((3, 6), np.float32),
        "frame_mask": np.zeros((3, 6), bool),
    }  # fmt: skip
    for row, clip in enumerate(clips):
        count = len(clip)
        picked = range(count) if count <= 6 else [int((i + 0.5) * count / 6) for i in range(6)]
        for place, i in enumerate(picked):
            batch["frames"][row, place] = pixel_batch[row * n + i]
            batch["frame_times"][row, place], batch["frame_mask"][row, place] = times[row, i], True
    parts = model.parts()
    wanted = parts.generator.captions(parts.params, parts.batch_stats, batch, "en")
    assert [text.decode() for text in answer["caption"]] == texts(wanted)
    np.testing.assert_allclose(answer["score"], [caption.score for caption in wanted], rtol=1e-4, atol=1e-5)


def test_a_video_without_a_frame_has_no_caption(exported):
    frame = exported.videos.source()[0].frames[0]
    video = signature(exported("video")[1], "video")
    answer = video(frames_bytes=[[b"", b""], [b"", frame]], frame_times=[[0, 0], [0, 0]], lang=["de", "de"])
    alone = video(frames_bytes=[[frame]], frame_times=[[0]], lang=["de"])
    assert answer["caption"] == [b"", *alone["caption"]] and answer["error"] == [b"no frame", b""]


_WITHOUT = """
import sys
for name in {blocked}:
    sys.modules[name] = None
sys.path[:] = [path for path in sys.path if path not in ("", {root!r})]
"""


def in_another_process(code: str, *blocked: str, cwd: Path) -> str:
    """What the code prints where these packages cannot be imported."""
    words = [sys.executable, "-c", _WITHOUT.format(blocked=blocked, root=str(ROOT)) + code]
    done = subprocess.run(words, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tensorflow_alone_loads_and_runs_it(exported, tmp_path):
    _, folder = exported("photo")
    jpeg = tmp_path / "photo.jpg"
    jpeg.write_bytes(exported.photos[0].frames[0])
    said = in_another_process(
        f"import tensorflow as tf\nmodel = tf.saved_model.load({str(folder)!r})\n"
        f"out = model.signatures['serving_default'](image_bytes=tf.constant([open({str(jpeg)!r}, 'rb').read()]))\n"
        "print(out['caption'].numpy()[0].decode())",
        "jax", "jaxlib", "capjax", "orbax", "flax", cwd=tmp_path,
    )  # fmt: skip
    wanted = signature(folder, "serving_default")(image_bytes=[jpeg.read_bytes()])["caption"]
    assert said.strip() == wanted[0].decode()


@pytest.mark.parametrize("name", ["photo", "timed", "sample"])
def test_the_card_s_program_runs_with_jax_alone(exported, name):
    _, folder = exported(name)
    (code,) = re.findall("```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    said = in_another_process(code, "tensorflow", "capjax", "orbax", "flax", cwd=folder)
    assert len(said.strip()) > 3


def test_stablehlo_gives_the_pieces_that_the_checkpoint_gives(exported):
    from safetensors.numpy import load_file

    model, folder = exported("photo")
    program = jax.export.deserialize(bytearray((folder / "stablehlo/pixels.jax_export").read_bytes()))
    assert set(program.platforms) == {"cpu", "cuda", "tpu"}
    weights = load_file(folder / "stablehlo/weights.safetensors")
    parts, metadata = model.parts(), export_job.read_metadata(folder)
    inputs = model_inputs(batches(model, 3)[0])
    inputs = {name: inputs[name] for name in metadata["stablehlo"]["pixels.jax_export"] if name != "prefix"}
    prefix = np.tile(np.array(metadata["prefixes"]["de"], np.int32), (3, 1))
    made = program.call(weights, inputs | {"prefix": prefix})
    wanted, *_ = parts.generator.generate(parts.params, parts.batch_stats, inputs, prefix, jax.random.key(0))
    np.testing.assert_array_equal(made["tokens"], wanted.tokens[:, 0])


@pytest.mark.parametrize("name", ["photo", "queries", "sample"])
def test_every_signature_answers_its_warm_up_request(exported, name):
    _, folder = exported(name)
    signatures = tf.saved_model.load(str(folder)).signatures
    records = tf.compat.v1.io.tf_record_iterator(str(folder / "assets.extra/tf_serving_warmup_requests"))
    requests = [warmup.prediction_log().FromString(record).predict_log.request for record in records]
    assert sorted(request.model_spec.signature_name for request in requests) == sorted(signatures)
    for request in requests:
        call = signatures[request.model_spec.signature_name]
        assert request.inputs.keys() == call.structured_input_signature[1].keys()
        out = call(**{name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()})
        assert len(out["caption"]) == 1


def batching_message():
    """BatchingParameters of tensorflow_serving/servables/tensorflow/session_bundle_config.proto, as far as is used."""
    file = descriptor_pb2.FileDescriptorProto(
        name="batching.proto", package="tensorflow.serving", syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )  # fmt: skip
    message = file.message_type.add(name="BatchingParameters")
    names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    for number, name in enumerate(names, 1):
        message.field.add(name=name, number=number, label=1, type=11, type_name=".google.protobuf.Int64Value")
    message.field.add(name="allowed_batch_sizes", number=6, label=3, type=3)
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters"))()


def test_photos_come_with_a_batching_configuration_and_what_cannot_be_joined_without(exported):
    _, folder = exported("photo")
    parameters = text_format.Parse((folder / "batching_params.pbtxt").read_text(), batching_message())
    sizes = list(parameters.allowed_batch_sizes)
    assert sizes == sorted(sizes) and sizes[-1] == parameters.max_batch_size.value  # as TensorFlow Serving demands
    assert "batching_params.pbtxt" in (folder / "README.md").read_text()
    for name in ("queries", "sample"):
        _, folder = exported(name)
        assert not (folder / "batching_params.pbtxt").exists()
        assert "Leave `--enable_batching` out" in (folder / "README.md").read_text()


def test_weights_are_variables_and_not_in_the_graph(exported):
    model, folder = exported("photo")
    parts = model.parts()
    size = sum(value.nbytes for value in (parts.params | parts.batch_stats).values())
    assert (folder / "variables/variables.data-00000-of-00001").stat().st_size >= size
    loader = tf.compat.v1.saved_model.loader
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loader.load(session, ["serve"], str(folder))
        graph = tf.compat.v1.get_default_graph().as_graph_def()
    nodes = [node for function in graph.library.function for node in function.node_def] + list(graph.node)
    constants = [node.attr["value"].tensor for node in nodes if node.op == "Const"]
    assert max(len(each.SerializeToString()) for each in constants) < 50_000, "tables of pieces and characters"
    assert {"XlaCallModule", "DecodeJpeg"} <= {node.op for node in nodes}


# ---- Through the door


def test_evaluation_of_an_export_is_that_of_its_checkpoint(exported, tmp_path, capsys):
    run = shutil.copytree(exported.workdir("photo"), tmp_path / "run")
    source, settings = DEFAULT_CONFIG, exported.settings("photo")
    assert jobs.run("eval", source, str(run), settings) == 0
    before = capsys.readouterr().out
    files = contents(run)
    assert jobs.run("export", source, str(run), settings) == 0
    assert str(run / "export") in capsys.readouterr().out
    assert jobs.run("eval", source, str(run), settings, model=str(run / "export")) == 0
    assert capsys.readouterr().out == before
    now = contents(run)
    assert {name: now[name] for name in files} == files
    assert {name.partition("/")[0] for name in now.keys() - files.keys()} == {"export", "saved_model"}
    for name in ("predictions.json", "predictions.de.json", "scores.json"):
        assert json.loads((run / "saved_model" / name).read_text()) == json.loads(files[name])
    # An older export is replaced, anything else is left alone.
    (run / "export/more").touch()
    assert jobs.run("export", source, str(run), settings) == 0
    assert not (run / "export/more").exists()
    assert jobs.run("export", source, str(run), settings, output=str(run / "best")) == 1
    assert "best exists and is not an export of capjax; give another folder" in capsys.readouterr().err
    assert any((run / "best").iterdir())
    assert not [path.name for path in run.iterdir() if path.name.startswith(".")]


def test_the_decoding_options_of_the_config_are_exported(exported, tmp_path):
    workdir = exported.workdir("photo")
    config = exported.config("photo", "decode.method=greedy", "decode.max_len=3", "decode.min_len=0")
    served = SavedModelGenerator(export_job.run(config, workdir, tmp_path / "greedy"))
    options = ["decode.max_len = 3", "decode.method = 'greedy'", "decode.min_len = 0"]
    assert sorted(served.differences(exported.config("photo"))) == options
    model = capjax.load(workdir)
    parts, inputs = model.parts(method="greedy", max_len=3, min_len=0), model_inputs(batches(model, 4)[0])
    wanted = parts.generator.captions(parts.params, parts.batch_stats, inputs, "en")
    assert texts(served.captions(None, None, inputs, "en")) == texts(wanted)


def test_another_model_s_config_is_refused(exported, tmp_path):
    config = exported.config("photo", "model.width=64")
    with pytest.raises(ConfigError, match="holds a run with model.width = 32, and this config has 64"):
        export_job.run(config, exported.workdir("photo"), tmp_path / "x")
    served = SavedModelGenerator(exported("photo")[1])
    with pytest.raises(ConfigError, match="the SavedModel has model.width = 32, and this config 64"):
        served.check(config)
    with pytest.raises(ConfigError, match="does not write fr"):
        served.check(exported.config("photo", "data.languages=en,fr"))
    assert not (tmp_path / "x").exists()


def test_what_is_no_export_is_an_error(tmp_path, exported):
    with pytest.raises(FileNotFoundError, match="is not an export of capjax .export.json is missing."):
        SavedModelGenerator(tmp_path)
    broken = shutil.copytree(exported("photo")[1], tmp_path / "broken")
    (weights,) = broken.glob("variables/variables.data*")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="broken cannot be loaded by TensorFlow"):
        SavedModelGenerator(broken)
    (broken / "saved_model.pb").write_bytes(b"\xff" * 100)
    with pytest.raises(ValueError, match="broken cannot be loaded by TensorFlow"):
        SavedModelGenerator(broken)


def test_without_its_packages_export_says_what_to_install(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(export_job, "REQUIRED_PACKAGES", ("tensorflow", "nowhere.export"))
    with pytest.raises(ConfigError, match="--mode=export needs nowhere.export: pip install"):
        export_job.run(exported.config("photo"), tmp_path)


def test_an_export_that_fails_leaves_nothing(exported, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("capjax.export.stablehlo.write", fail)
    with pytest.raises(OSError, match="No space"):
        export_job.run(exported.config("photo"), exported.workdir("photo"), tmp_path / "out/export")
    assert list((tmp_path / "out").iterdir()) == []
