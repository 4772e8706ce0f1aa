"""Events in time to tokens and back (the form of Vid2Seq, Yang et al. 2023).

    <bos> <task:dense> <lang:en> <time:3> <time:17> a dog runs <time:20> <time:31> it sleeps <eos>

Times are relative: piece i of N is the moment i / (N - 1) of the video's duration, so that the first moment and the
last have pieces of their own. Events come in the order of their starts.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from capjax.text.vocabulary import EOS, Vocabulary, VocabularyError


class Told(NamedTuple):
    """An event: seconds, and what happens; and which of the pieces it was told in."""

    start: float
    end: float
    text: str
    pieces: range


class TimeTokens:
    """Events to pieces of a vocabulary, for `bins` moments of a video.

    Raises:
      VocabularyError: the vocabulary has fewer time pieces, or no piece for the task.
    """

    def __init__(self, vocabulary: Vocabulary, bins: int):
        if bins < 2:
            raise VocabularyError(f"data.time_bins = {bins}: expected 2 or more")
        if vocabulary.time_pieces < bins:
            raise VocabularyError(
                f"the vocabulary has {vocabulary.time_pieces} time pieces, and data.time_bins asks for {bins}; make it "
                f"with `python -m data_prep vocabulary --time-pieces {bins}`"
            )
        self.vocabulary, self.bins = vocabulary, bins
        self.ids = [vocabulary.time_id(i) for i in range(bins)]
        self._bin = {piece: i for i, piece in enumerate(self.ids)}

    def prefix(self, lang: str) -> list[int]:
        return self.vocabulary.prefix(lang, "dense")

    def quantize(self, start: float, end: float, duration: float) -> tuple[int, int]:
        """The nearest moments in the video, of which the second is later than the first."""
        last = self.bins - 1
        first, second = (round(min(max(time / duration, 0.0), 1.0) * last) for time in (start, end))
        first = min(first, last - 1)
        return first, max(second, first + 1)

    def encode(self, events: Iterable[Sequence], duration: float) -> list[int]:
        """Pieces of (start, end, text) events, in seconds, without prefix and <eos>.

        Events that lie outside the video by rounding end at its edge; the order is by start, then end.
        """
        timed = [(*self.quantize(start, end, duration), text) for start, end, text in events]
        pieces: list[int] = []
        for first, second, text in sorted(timed, key=lambda event: event[:2]):
            pieces += [self.ids[first], self.ids[second], *self.vocabulary.encode(text)]
        return pieces

    def decode(self, ids: Iterable[int], duration: float) -> list[Told]:
        """The events of pieces up to the first <eos>. What is no event (text without times before it, times without
        text, an end that is not after its start) is left out."""
        events: list[Told] = []
        times: list[int] = []
        text: list[int] = []

        def finish(stop: int):
            if len(times) == 2 and times[0] < times[1] and (told := self.vocabulary.decode(text)):
                start, end = (time / (self.bins - 1) * duration for time in times)
                events.append(Told(start, end, told, range(stop - len(times) - len(text), stop)))

        place = -1
        for place, piece in enumerate(map(int, ids)):
            if piece == EOS:
                place -= 1
                break
            if piece not in self._bin:
                text.append(piece)
                continue
            if text or len(times) == 2:
                finish(place)
                times, text = [], []
            times.append(self._bin[piece])
        finish(place + 1)
        return events
