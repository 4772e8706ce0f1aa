"""What a record is to be answered with, as arrays."""

from types import SimpleNamespace

import numpy as np
import pytest

from capjax.data.record import Record, RecordCaption
from capjax.data.targets import CaptionTargets, EventSetTargets, TargetError, TimedTextTargets, make_targets, references
from capjax.text import vocabulary
from capjax.text.vocabulary import Vocabulary

TEXTS = ["a red circle moves left", "a star turns", "it leaves", "ein Kreis geht", "all of it at once"]
PIECES = Vocabulary(vocabulary.train({"en": TEXTS * 3, "de": TEXTS}, size=380, time_tokens=21))
EOS, PAD = PIECES.eos_id, PIECES.pad_id


def event(start, end, text, lang="en", set=0) -> RecordCaption:
    return RecordCaption(text, lang, start, end, "event", set)


EVENTS = (
    event(6, 8, TEXTS[1]), event(1, 4, TEXTS[0]), event(6, 7, TEXTS[2]), event(0, 10, TEXTS[3], "de"),
    event(2, 9, TEXTS[4], set=1),
)  # fmt: skip


def record(*captions, **more) -> Record:
    return Record("r", "r.mp4", captions, duration=more.pop("duration", 10.0), **more)


def data(**more) -> SimpleNamespace:
    settings = {"task": "dense", "time_bins": 0, "languages": ("en",), "language_weights": {}, "max_events": 4,
             "captions_per_item": 1,
             "target_len": 30}  # fmt: skip
    return SimpleNamespace(**settings | more)


def fill(targets, one: Record, seed: int = 0) -> dict:
    batch = targets.empty(1)
    targets.fill(batch, 0, one, np.random.default_rng(seed))
    return {name: value[0] for name, value in batch.items()}


def learned(row: dict, *place) -> list[int]:
    """The tokens that count, which come after the prefix and before padding."""
    target, mask = row["target"][place], row["loss_mask"][place]
    assert (target[mask.nonzero()[0].max(initial=0) + 1 :] == PAD).all() or not mask.any()
    return target[mask].tolist()


def test_a_config_chooses_its_targets():
    assert type(make_targets(PIECES, data(task="caption"))) is CaptionTargets
    assert type(make_targets(PIECES, data(time_bins=21))) is TimedTextTargets
    assert type(make_targets(PIECES, data())) is EventSetTargets


# ---- Events as timed text


def test_events_are_told_in_order_with_the_nearest_moments():
    row = fill(TimedTextTargets(PIECES, data(time_bins=21)), record(*EVENTS[:3]))
    time = PIECES.time_id
    wanted = [time(2), time(8), *PIECES.encode(TEXTS[0])]
    wanted += [time(12), time(14), *PIECES.encode(TEXTS[2]), time(12), time(16), *PIECES.encode(TEXTS[1]), EOS]
    assert learned(row) == wanted[: 30 - 3]
    assert row["target"][:3].tolist() == PIECES.prefix("en", "dense")
    assert not row["loss_mask"][:3].any()
    assert row["duration"] == 10.0
    np.testing.assert_allclose(row["event_times"], [[0.1, 0.4], [0.6, 0.7], [0.6, 0.8], [0, 1]], rtol=1e-6)
    assert row["event_mask"].tolist() == [True, True, True, False]


def test_each_draw_has_the_events_of_one_set_and_one_language():
    targets = TimedTextTargets(PIECES, data(time_bins=21, languages=("en", "de"), captions_per_item=20, target_len=60))
    row = fill(targets, record(*EVENTS))
    draws = [[e.text for e in targets.time_tokens.decode(learned(row, k), 10.0)] for k in range(20)]
    sets = [[TEXTS[0], TEXTS[2], TEXTS[1]], [TEXTS[4]], [TEXTS[3]]]
    assert all(events in sets for events in draws)
    assert {str(events) for events in draws} == set(map(str, sets))
    for k, events in enumerate(draws):
        assert row["target"][k, :3].tolist() == PIECES.prefix("de" if events == sets[2] else "en", "dense")


def test_a_text_that_is_too_long_is_cut_and_has_no_end_to_learn():
    row = fill(TimedTextTargets(PIECES, data(time_bins=21, target_len=9)), record(*EVENTS[:3]))
    assert len(learned(row)) == 6
    assert EOS not in row["target"]


def test_events_that_reach_beyond_a_part_end_at_its_edge():
    one = record(event(-3, 4, TEXTS[0]), event(8, 13, TEXTS[1]), duration=10.0)
    tokens = learned(fill(TimedTextTargets(PIECES, data(time_bins=21)), one))
    times = [PIECES.time_id(i) for i in range(21)]
    assert [times.index(token) for token in tokens if token in times] == [0, 8, 16, 20]


# ---- Events as a set


def test_events_as_a_set_are_shares_of_the_duration_with_a_text_each():
    row = fill(EventSetTargets(PIECES, data()), record(*EVENTS[:3], duration=20.0))
    np.testing.assert_allclose(row["event_times"], [[0.05, 0.2], [0.3, 0.35], [0.3, 0.4], [0, 1]], rtol=1e-6)
    assert row["event_mask"].tolist() == [True, True, True, False]
    for k, text in enumerate([TEXTS[0], TEXTS[2], TEXTS[1]]):
        assert learned(row, k) == [*PIECES.encode(text), EOS]
    assert learned(row, 3) == []
    prefix = PIECES.prefix("en")
    assert (row["target"][:, : len(prefix)] == prefix).all(), "also where there is no event"
    assert row["duration"] == 20.0
    assert row["event_times"].dtype == row["duration"].dtype == np.float32


def test_of_more_events_than_there_is_room_for_some_are_drawn_and_stay_in_order():
    targets, drawn = EventSetTargets(PIECES, data(max_events=2)), set()
    for seed in range(40):
        row = fill(targets, record(*EVENTS[:3]), seed)
        assert row["event_mask"].all()
        assert row["event_times"][0, 0] <= row["event_times"][1, 0]
        drawn.add(str(row["event_times"].tolist()))
    assert len(drawn) == 3, "any two of three"


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [(-5, 4, (0, 0.4)), (8, 15, (0.8, 1)), (-5, 15, (0, 1)),
     (11, 15, (1, 1.0001)), (-5, -1, (0, 1e-4)), (3, 3, (0.3, 0.3001))],
)  # fmt: skip
def test_times_stay_in_the_video_and_every_event_has_a_length(start, end, wanted):
    row = fill(EventSetTargets(PIECES, data()), record(event(start, end, TEXTS[0])))
    np.testing.assert_allclose(row["event_times"][0], wanted, rtol=1e-6)
    assert row["event_times"][0, 1] > row["event_times"][0, 0]


def test_a_language_is_drawn_by_its_weight():
    targets = EventSetTargets(PIECES, data(languages=("en", "de"), language_weights={"de": 3.0}))
    one = record(event(0, 10, TEXTS[0]), event(0, 10, TEXTS[3], "de"))
    german = PIECES.prefix("de")
    share = np.mean([fill(targets, one, seed)["target"][0, : len(german)].tolist() == german for seed in range(400)])
    assert abs(share - 0.75) < 0.07


# ---- References, and what does not fit


def test_references_keep_their_annotation_sets_and_have_the_videos_times():
    one = record(*EVENTS, event(0, 1, TEXTS[0], set=3), RecordCaption("a whole"), start=100.0)
    by_language = references(one, EventSetTargets(PIECES, data(languages=("en", "de"))))
    assert {lang: list(sets) for lang, sets in by_language.items()} == {"de": [0], "en": [0, 1, 3]}
    assert by_language["en"][0] == [(106, 108, TEXTS[1]), (101, 104, TEXTS[0]), (106, 107, TEXTS[2])]
    assert by_language["en"][3] == [(100, 101, TEXTS[0])]


def test_a_summary_is_asked_for_by_its_token():
    one = record(RecordCaption("a whole"), RecordCaption(TEXTS[4], kind="summary"), *EVENTS)
    targets = make_targets(PIECES, data(task="summary"))
    row = fill(targets, one)
    assert learned(row) == [*PIECES.encode(TEXTS[4]), EOS]
    assert row["target"][:3].tolist() == PIECES.prefix("en", "summary")
    assert references(one, targets) == {"en": [TEXTS[4]]}


@pytest.mark.parametrize(("bins", "least"), [(0, 4), (21, 5)])
def test_a_target_without_room_for_text_is_told(bins, least):
    targets = make_targets(PIECES, data(time_bins=bins, target_len=least - 1))
    with pytest.raises(
        TargetError, match=f"data.target_len = {least - 1} leaves no room for text; use {least} or more"
    ):
        targets.prefixes  # noqa: B018
