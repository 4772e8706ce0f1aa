"""Timed events as tokens and back, in the form of Vid2Seq (Yang et al. 2023).

    <bos> <task:dense> <lang:en> <time:3> <time:17> a dog runs <time:20> <time:31> it sleeps <eos>

Times are relative to the duration: of N time tokens, token i stands for the fraction i / (N - 1), so that both the
first and the last moment of a video have a token. Events are written in order of their start.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from capjax.text.vocabulary import EOS, Vocabulary, VocabularyError


class TimedText(NamedTuple):
    """A decoded event: start and end in seconds, text, and the positions of its tokens in the sequence."""

    start: float
    end: float
    text: str
    positions: range


class TimeTokens:
    """Converts events to token sequences and back, with `bins` time tokens of a vocabulary.

    Raises:
      VocabularyError: The vocabulary has fewer time tokens than `bins`, or no token for the task.
    """

    def __init__(self, vocabulary: Vocabulary, bins: int):
        if bins < 2:
            raise VocabularyError(f"data.time_bins = {bins}: expected 2 or more")
        if vocabulary.num_time_tokens < bins:
            raise VocabularyError(
                f"the vocabulary has {vocabulary.num_time_tokens} time tokens, but data.time_bins asks for {bins}; "
                f"make one with `capjax prepare vocabulary --time-tokens {bins}`"
            )
        self.vocabulary, self.bins = vocabulary, bins
        self.ids = [vocabulary.time_id(i) for i in range(bins)]
        self._bin_of_id = {id: i for i, id in enumerate(self.ids)}

    def prefix(self, lang: str) -> list[int]:
        """Returns the tokens that every sequence of events in a language starts with."""
        return self.vocabulary.prefix(lang, "dense")

    def quantize(self, start: float, end: float, duration: float) -> tuple[int, int]:
        """Returns the nearest bins of `start` and `end` (s), clipped to the video; the second is always the larger."""
        last = self.bins - 1
        first, second = (round(min(max(time / duration, 0.0), 1.0) * last) for time in (start, end))
        first = min(first, last - 1)
        return first, max(second, first + 1)

    def encode(self, events: Iterable[Sequence], duration: float) -> list[int]:
        """Returns the tokens of (start, end, text) events, in seconds, without prefix and <eos>.

        Events are sorted by start, then end, after rounding to bins.
        """
        timed = [(*self.quantize(start, end, duration), text) for start, end, text in events]
        tokens: list[int] = []
        for first, second, text in sorted(timed, key=lambda event: event[:2]):
            tokens += [self.ids[first], self.ids[second], *self.vocabulary.encode(text)]
        return tokens

    def decode(self, ids: Iterable[int], duration: float) -> list[TimedText]:
        """Returns the events of a token sequence, up to the first <eos>.

        Malformed events are dropped: text without two times before it, times without text, or an end that is not
        after its start.
        """
        events: list[TimedText] = []
        times: list[int] = []
        text_ids: list[int] = []

        def finish(stop: int):
            if len(times) == 2 and times[0] < times[1] and (text := self.vocabulary.decode(text_ids)):
                start, end = (time / (self.bins - 1) * duration for time in times)
                events.append(TimedText(start, end, text, range(stop - len(times) - len(text_ids), stop)))

        position = -1
        for position, id in enumerate(map(int, ids)):
            if id == EOS:
                position -= 1
                break
            if id not in self._bin_of_id:
                text_ids.append(id)
                continue
            if text_ids or len(times) == 2:
                finish(position)
                times, text_ids = [], []
            times.append(self._bin_of_id[id])
        finish(position + 1)
        return events
