"""Damaged videos of many containers: every one is read or reported, soon and in little memory."""

from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from tests.helpers.videos import write_video

fuzzing = pytest.importorskip("tests.helpers.fuzzing")

TIMES = np.arange(30) / 25
X264, MPEG2 = {"g": "10", "bf": "2"}, {"g": "10", "bf": "2", "b": "20M"}
KINDS = {
    "a.mp4": {"options": X264, "audio_from": 0.0},
    "b.mov": {"codec": "qtrle", "pix_fmt": "argb", "options": {}},
    "c.mkv": {"options": X264, "audio_from": 0.0},
    "d.webm": {"codec": "libvpx-vp9", "options": {"deadline": "good", "cpu-used": "8"}},
    "e.avi": {"codec": "mpeg4", "options": MPEG2},
    "f.avi": {"options": X264},
    "g.ts": {"options": X264, "audio_from": 0.0},
    "h.mpg": {"codec": "mpeg2video", "options": MPEG2},
    "i.flv": {"options": X264},
    "j.wmv": {"codec": "wmv2", "options": {"b": "20M"}},
    "k.h264": {"options": X264},
    "l.hevc": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "m.mjpeg": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "options": {"b": "20M"}},
    "n.ivf": {"codec": "libvpx", "options": {"deadline": "good", "cpu-used": "8"}},
    "o.gif": {"codec": "gif", "pix_fmt": "rgb8", "options": {}},
    "p.apng": {"codec": "apng", "pix_fmt": "rgba", "options": {}},
    "q.nut": {"codec": "mpeg4", "options": MPEG2},
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    return {
        name: write_video(folder / name, TIMES, size=(96, 48), unit=Fraction(1, 25), **kind).read_bytes()
        for name, kind in KINDS.items()
    }


def read(case: tuple[str, bytes]) -> str:
    """Reads a file as data preparation does; returns `stored`, or the kind of the error that is reported."""
    from capjax.data.record import RecordCaption
    from data_prep.media import Storage, read_video
    from data_prep.readers.item import Item, Problem

    name, data = case
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        item = Item("v", path, "train", (RecordCaption("a video"),), name=name, video=True)
        results = list(read_video([item], Storage(), lambda share: None, Path(folder) / "spool"))
    lost = [result for result in results if isinstance(result, Problem) and result.costs == "video"]
    stored = [result for result in results if not isinstance(result, Problem)]
    assert bool(lost) != bool(stored), results
    assert all(name in problem.message for problem in lost), lost
    assert all(record.frames for record in stored)
    return lost[0].kind if lost else "stored"


def test_every_damaged_video_is_stored_or_reported(videos):
    names, number = sorted(videos), fuzzing.count_cases(short=120, long=10_000)
    rng = np.random.default_rng(0)

    def cases():
        for case in range(number):
            name = names[case % len(names)]
            yield name, fuzzing.damaged(videos[name], rng, list(videos.values()))

    outcomes = list(fuzzing.run_cases(read, cases()))
    assert len(outcomes) == number
    assert [outcome for outcome in outcomes if outcome.error] == []
    assert max(outcome.memory for outcome in outcomes) < fuzzing.LIMIT_BYTES
    # Damage that was not noticed would say little of the test.
    values = [outcome.value for outcome in outcomes]
    assert "stored" in values
    assert "damaged" in values
