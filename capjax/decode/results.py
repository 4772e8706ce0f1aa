"""Results of decoding, as users get them: the caption of a photo or video, and the events of a video."""

import math
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32

from capjax.data.photo import MediaError


@dataclass(frozen=True)
class Caption:
    """The caption (or summary) of one photo or video, or the error that prevented it.

    Attributes:
      text: the caption; empty where `error` is set.
      lang: language of the text, BCP-47.
      score: log-probability of the tokens over the length normalizer (see `capjax.decode.search.length_normalizer`);
        NaN where `error` is set.
      tokens: ids of the written tokens, without the prefix, `<eos>` included.
      token_log_probs: natural logarithm of each token's probability.
      attention: the cross-attention over the n memory positions with which each token was chosen; None unless
        requested.
      error: why the photo or video could not be read, or None.
      alternatives: the next best captions, where several were requested; in decoding with `decode.attribute_shares`,
        the captions among which it chooses.
    """

    text: str
    lang: str
    score: float
    tokens: tuple[int, ...] = ()
    token_log_probs: tuple[float, ...] = ()
    attention: Float32[np.ndarray, "tokens layers heads n"] | None = field(default=None, compare=False, repr=False)
    error: MediaError | None = None
    alternatives: tuple["Caption", ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def failed(cls, error: MediaError, lang: str) -> "Caption":
        """The result for a photo or video that could not be read."""
        return cls("", lang, math.nan, error=error)

    def at(self, start: float, end: float, score: float) -> "Event":
        """Returns the event from `start` to `end` (s) that has this caption."""
        return Event(start, end, self.text, score, self.lang, self.tokens, self.token_log_probs, self.attention)


@dataclass(frozen=True)
class Event:
    """An event of a video, with its caption.

    Attributes:
      start, end: seconds.
      text: the caption.
      score: confidence in the event, 0 to 1; where times are written into the text, the geometric mean of the
        probabilities of the event's tokens.
      lang: language of the text, BCP-47.
      tokens, token_log_probs, attention: of the event's tokens (times included where they are written into the text),
        as in `Caption`.
    """

    start: float
    end: float
    text: str
    score: float
    lang: str = ""
    tokens: tuple[int, ...] = ()
    token_log_probs: tuple[float, ...] = ()
    attention: Float32[np.ndarray, "tokens layers heads n"] | None = field(default=None, compare=False, repr=False)
