"""Answers the questions of `tests/fixtures/*/expected.json` with the present code.

python -m tests.helpers.fixture_answers SECTION... --write FILE

The current directory is a copy of the folder with expected.json, whose paths are relative to it. The file that is
written has the structure of expected.json. A section is a key of it, or `eval`: the entries `eval` of `workdirs`.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import sys
import tarfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np

from tests.helpers.kill_run import states
from tests.helpers.tiny_job import DEFAULT_CONFIG, rows

EXPECTED = json.loads(Path("expected.json").read_text(encoding="utf-8"))
CLOCK = ("seconds_per_step", "images_per_second", "data_wait", "seconds_left")  # entries of metrics.jsonl


def records() -> dict:
    from capjax.data.record import RecordSource

    answers = {}
    for dataset, splits in EXPECTED["records"].items():
        answers[dataset] = {}
        for split in splits:
            source = RecordSource(Path("data", dataset), split)
            described = [describe(source[i]) for i in range(len(source))]
            answers[dataset][split] = {
                "languages": sorted(source.languages), "media": source.media, "videos": source.videos,
                "sizes": {name: values.tolist() for name, values in source.sizes().items()},
                "records": [[row[0], sha256(json.dumps(row, ensure_ascii=False).encode())] for row in described],
                "first": described[0],
            }  # fmt: skip
    return answers


def describe(record) -> list:
    """Returns the fields of a record that capjax 0.1 had, as JSON; bytes by their SHA-256."""
    features = record.features
    return [
        record.id, record.media, [[c.text, c.lang, c.start, c.end, c.kind, c.set] for c in record.captions],
        [sha256(frame) for frame in record.frames], record.frame_times.tolist(), record.duration,
        [[label.name, label.box] for label in record.labels],
        [[s.text, s.start, s.end, s.lang] for s in record.transcript], sha256(record.audio), record.audio_rate,
        None if features is None else [list(features.shape), sha256(features.tobytes())],
        record.feature_grid and list(record.feature_grid), record.video, record.start,
    ]  # fmt: skip


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def vocabularies() -> dict:
    from capjax.text.vocabulary import Vocabulary

    answers = {}
    for name, expected in EXPECTED["vocabularies"].items():
        vocabulary = Vocabulary.load(f"data/{name}.model")
        ids = {text: [int(i) for i in vocabulary.encode(text)] for text in expected["ids"]}
        assert all(vocabulary.decode(row) == text for text, row in ids.items())
        answers[name] = {
            "size": vocabulary.size, "languages": vocabulary.languages, "time_pieces": vocabulary.num_time_tokens,
            "ids": ids,
        }  # fmt: skip
    return answers


def workdirs() -> dict:
    """The captions or events of media, by models trained with old code. The options have old names."""
    import capjax

    answers = {}
    for name, expected in EXPECTED["workdirs"].items():
        started = time.monotonic()
        model, asked = capjax.load(Path("workdirs", name)), []
        for question in expected["asked"]:
            with warnings.catch_warnings(record=True) as raised:
                warnings.simplefilter("always")
                if model.dense:
                    results = model.events(expected["media"], **question["options"])
                    results = [[plain_event(event) for event in events] for events in results]
                else:
                    results = [plain_caption(c) for c in model.caption(expected["media"], **question["options"])]
            deprecated = [str(w.message) for w in raised if w.category is DeprecationWarning and "option" in str(w)]
            asked.append({"options": question["options"], "answers": results, "deprecated": deprecated})
        print(f"{name}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
        answers[name] = {
            "step": model.step, "languages": list(model.languages), "dense": model.dense, "asked": asked
        }  # fmt: skip
    return answers


def plain_caption(caption) -> dict:
    assert caption.error is None
    return {"text": caption.text, "lang": caption.lang, "score": caption.score, "start": None, "end": None}


def plain_event(event) -> dict:
    return {name: getattr(event, name) for name in ("start", "end", "text", "score", "lang")}


def evaluations() -> dict:
    return {name: {"eval": evaluate(name)} for name in EXPECTED["workdirs"]}


def evaluate(name: str, **more) -> dict:
    """Returns the JSON files that `--mode=eval` writes; `more` are arguments of `jobs.run`."""
    from capjax import jobs

    workdir = Path("workdirs", name)
    assert jobs.run("eval", DEFAULT_CONFIG, str(workdir), EXPECTED["workdirs"][name]["settings"], **more) == 0
    folder = workdir / "saved_model" if more else workdir
    return {path.name: json.loads(path.read_text()) for path in (*folder.glob("pred*.json"), folder / "scores.json")}


def begun() -> dict:
    """The metrics of the first steps of the trainings of the workdirs."""
    return {name: first_steps(name, len(expected)) for name, expected in EXPECTED["begun"].items()}


def first_steps(name: str, steps: int) -> list[dict]:
    from capjax import jobs

    workdir, ended = Path("begun", name), threading.Event()
    settings = dict(setting.split("=", 1) for setting in EXPECTED["workdirs"][name]["settings"])
    if "optimizer.warmup_steps" not in settings:
        # Without a warmup, the decay of capjax 0.1 ended a step after the last one.
        settings["train.steps"] = str(int(settings["train.steps"]) + 1)
    overrides = [f"{key}={value}" for key, value in settings.items()] + ["train.log_every=1"]

    def stop_after_steps():
        while not ended.wait(0.01):
            if (workdir / "metrics.jsonl").exists() and len(training_rows(workdir)) >= steps:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=stop_after_steps, daemon=True).start()
    try:
        status = jobs.run("train", DEFAULT_CONFIG, str(workdir), overrides)
    finally:
        ended.set()
    answers = training_rows(workdir)[:steps]
    assert len(answers) == steps, f"{name} ended with status {status} after {len(answers)} steps"
    return answers


def training_rows(workdir: Path, after: int = 0) -> list[dict]:
    """Returns the rows of metrics.jsonl after a step, without what depends on the clock."""
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in rows(workdir) if row["step"] > after]


def resumed() -> dict:
    """A training that old code began and the present code finishes."""
    from capjax import jobs

    settings = EXPECTED["workdirs"]["photo_transformer"]["settings"]
    workdir, start = Path(shutil.copytree("workdirs/photo_transformer", "resumed")), EXPECTED["resumed"]["from_step"]
    assert jobs.run("train", DEFAULT_CONFIG, str(workdir), settings) == 0
    return {
        "metrics": training_rows(workdir, after=start),
        "scores": json.loads((workdir / "scores.json").read_text()),
        "state": {
            name: {
                "shape": list(value.shape), "dtype": str(value.dtype), "sum": float(np.sum(value, dtype=np.float64)),
                "sha256": sha256(np.ascontiguousarray(value).tobytes()),
            }
            for name, value in sorted(states(workdir).items())
        },
    }  # fmt: skip


def exports() -> dict:
    answers = {}
    for name, expected in EXPECTED["exports"].items():
        with tarfile.open(Path("exports", f"{name}.tar.xz")) as archive:
            archive.extractall("exports", filter="data")
        answers[name] = {
            "asked": tensorflow_answers(name, expected), "eval": evaluate(name, model=str(Path("exports", name)))
        }  # fmt: skip
    return answers


def tensorflow_answers(name: str, expected: dict) -> list[dict]:
    """Returns the answers of the signatures of an export, which TensorFlow runs without capjax."""
    import tensorflow as tf

    signatures = tf.saved_model.load(str(Path("exports", name))).signatures
    media = media_inputs(expected["media"]) if "media" in expected else record_inputs()
    asked = []
    for question in expected["asked"]:
        signature, lang = signatures[question["signature"]], question["lang"]
        inputs = media | ({"lang": [lang] * len(next(iter(media.values())))} if lang else {})
        specs = signature.structured_input_signature[1]
        outputs = signature(**{key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()})
        answers = {key: decode_bytes(value.numpy().tolist()) for key, value in outputs.items()}
        asked.append({"signature": question["signature"], "lang": lang, "answers": answers})
    return asked


def media_inputs(media: list[str]) -> dict:
    return {"image_bytes": [Path(path).read_bytes() for path in media]}


def record_inputs() -> dict:
    from capjax.data.record import RecordSource

    source = RecordSource("data/videos", "val")
    videos = [source[i] for i in range(len(source))]
    num_frames = max(len(record.frames) for record in videos)
    times = np.zeros((len(videos), num_frames), np.float32)
    for row, record in zip(times, videos, strict=True):
        row[: len(record.frames)] = record.frame_times
    return {
        "frames_bytes": [[*record.frames, *[b""] * (num_frames - len(record.frames))] for record in videos],
        "frame_times": times,
        "duration": np.array([record.duration for record in videos], np.float32),
    }


def decode_bytes(value):
    if isinstance(value, list):
        return [decode_bytes(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value


def configs() -> list[dict]:
    from ml_collections import ConfigDict

    from capjax import config as config_lib

    answers = []
    for expected in EXPECTED["configs"]:
        file, arg, overrides = expected["file"], expected["arg"], expected["overrides"]
        config = config_lib.load(str(Path("configs", file)) + (f":{arg}" if arg else ""), overrides)
        flat = config_lib.flatten(config)
        plain = {key: value.to_dict() if isinstance(value, ConfigDict) else value for key, value in flat.items()}
        answers.append({"file": file, "arg": arg, "overrides": overrides, "config": plain})
    return answers


def metrics() -> dict:
    return {
        "captions": {
            lang: score_captions(lang, expected) for lang, expected in EXPECTED["metrics"]["captions"].items()
        },
        "events": score_events(EXPECTED["metrics"]["events"]),
    }


def score_captions(lang: str, expected: dict) -> dict:
    from capjax.metrics import score

    scores = score(expected["predictions"], expected["references"], lang=lang, metrics=expected["metrics"])
    return {
        "corpus": scores.corpus, "ids": scores.ids,
        "items": {name: values.tolist() for name, values in scores.items.items()},
        "signatures": scores.signatures, "absent": scores.absent, "warnings": scores.warnings,
    }  # fmt: skip


def score_events(expected: dict) -> dict:
    from capjax.metrics.activitynet import Annotation, TimedSentence
    from capjax.metrics.dense import score_dense

    def sentences(rows):
        return [TimedSentence(*row) for row in rows]

    predictions = {video: sentences(rows) for video, rows in expected["predictions"].items()}
    references = [
        {video: Annotation(duration, sentences(rows)) for video, (duration, rows) in annotations.items()}
        for annotations in expected["references"]
    ]
    scores = score_dense(predictions, references, metrics=("bleu", "rouge", "cider", "meteor"))
    return {
        "corpus": scores.corpus, "videos": scores.videos, "absent": scores.absent, "signatures": scores.signatures,
        "counts": scores.counts, "warnings": scores.warnings,
    }  # fmt: skip


SECTIONS = {
    "records": records, "vocabularies": vocabularies, "configs": configs, "metrics": metrics, "workdirs": workdirs,
    "eval": evaluations, "begun": begun, "resumed": resumed, "exports": exports,
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="+", choices=SECTIONS)
    parser.add_argument("--write", type=Path, required=True)
    args = parser.parse_args()
    from capjax import runtime

    runtime.start(training=True)
    answers = {}
    for section in args.sections:
        started = time.monotonic()
        answers[section] = SECTIONS[section]()
        print(f"{section}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    args.write.write_text(json.dumps(answers, default=dataclasses.asdict), encoding="utf-8")


if __name__ == "__main__":
    main()
