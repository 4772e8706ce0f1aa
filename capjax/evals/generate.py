"""A batch to captions or events: encoder, search and detokenization, with one jitted call a batch."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from capjax.decode.consensus import Neighbors, picture_vectors
from capjax.decode.grammar import EventGrammar
from capjax.decode.sampling import sample
from capjax.decode.search import Decoded, beam_search, greedy_search
from capjax.models.pure_model import PureModel
from capjax.parallel.hosts import allgather
from capjax.parallel.sharding_rules import ShardingRules, top_k
from capjax.text.time_tokens import TimeTokens
from capjax.text.vocabulary import Vocabulary


class Event(NamedTuple):
    """What happens from `start` to `end`, in seconds. The score, from 0 to 1, is the confidence in the event; where
    times are written into the text, the geometric mean of the probabilities of the event's pieces."""

    start: float
    end: float
    text: str
    score: float


class Generator:
    """Decodes batches with one model and one set of decoding options.

    Args:
      pure_model: the model.
      vocabulary: its vocabulary.
      options: a config's `decode` section; data: its `data` section.
      neighbors: the training pictures, for `options.num_neighbors`.
      rules: where arrays lie on several devices.
      xla_options: of the TPU's compiler, for what lies by rules.
    """

    def __init__(
        self, pure_model: PureModel, vocabulary: Vocabulary, options, data, neighbors: Neighbors | None = None,
        *, rules: ShardingRules | None = None, xla_options=None,
    ):  # fmt: skip
        self.vocabulary, self.options = vocabulary, options
        self.neighbors = neighbors if options.num_neighbors else None
        suppressed = np.ones(vocabulary.size, bool)
        suppressed[vocabulary.text_ids] = False
        suppressed[vocabulary.eos_id] = False
        self.times = TimeTokens(vocabulary, data.time_bins) if data.task == "dense" and data.time_bins else None
        if self.times:
            suppressed[self.times.ids] = False
        self._dense, self._summary = data.task == "dense", data.task == "summary"

        def generate(params, batch_stats, batch, prefix, key):
            """Hypotheses for each row; where queries find events, (hypotheses for each event of each row in a row,
            times [b, e, 2] as shares of the duration, confidence [b, e], how many events there are [b])."""
            model = pure_model.bind(params, batch_stats)
            memory = model.encode(batch)
            writer = pure_model.bind(gather(params), batch_stats)
            if model.events is None:
                return search(writer, memory, prefix, key)
            found = model.find_events(memory, batch)
            confidence, best = top_k(found.confidence[-1], data.max_events)
            times = jnp.take_along_axis(found.times[-1], best[..., None], axis=1)
            query = jnp.take_along_axis(found.query, best[..., None], axis=1)
            memory = model.event_memory(memory, batch, times, query)
            decoded = search(writer, memory, jnp.repeat(prefix, data.max_events, axis=0), key)
            return decoded, times, jax.nn.sigmoid(confidence), jnp.argmax(found.count[-1], axis=-1)

        def search(model, memory, prefix, key) -> Decoded:
            num_beams = 1 if options.method == "greedy" else options.num_beams
            length = prefix.shape[1] + options.max_len
            fixed, state = model.decoder.init_cache(memory, num_beams, length)

            def step_fn(tokens, index, state):
                logits, state, _ = model.decoder.step(tokens, index, fixed, state)
                return logits, state

            if self.times:
                grammar = EventGrammar(self.times, vocabulary.size, prefix.shape[1], options.max_len)
                step_fn, state = grammar.constrain(step_fn), (grammar.start(prefix.shape[0], num_beams), state)
            common = {
                "max_len": options.max_len,
                "min_len": options.min_len,
                "no_repeat_ngram": options.no_repeat_ngram,
                "eos_id": vocabulary.eos_id,
                "pad_id": vocabulary.pad_id,
                "suppressed": jnp.asarray(suppressed),
            }
            if options.method == "greedy":
                return greedy_search(step_fn, state, prefix, **common)
            if options.method == "beam":
                return beam_search(
                    step_fn, state, prefix, num_beams=num_beams, length_penalty=options.length_penalty, **common
                )
            return sample(
                step_fn, state, prefix, key, samples=num_beams, temperature=options.temperature, top_k=options.top_k,
                top_p=options.top_p, **common,
            )  # fmt: skip

        gather, compiler_options = dict, None if rules is None else rules.compiler_options(xla_options or {})
        if rules is not None and rules.mesh.size > 1:
            # Once a batch and not at every token.
            whole = rules.gathered()
            placed = whole.params(pure_model.shapes, pure_model.axes)
            search, generate = whole.activate(search), rules.activate(generate)

            def gather(params):
                place = jax.lax.with_sharding_constraint
                return {
                    n: place(value, placed[n]) if n.startswith("decoder/") else value for n, value in params.items()
                }

        self.generate = jax.jit(generate, compiler_options=compiler_options)

    def prefix(self, lang: str, b: int) -> np.ndarray:
        """What every row of a batch begins with, int32 [b, p]."""
        if self.times:
            pieces = self.times.prefix(lang)
        else:
            pieces = self.vocabulary.prefix(lang, "summary" if self._summary else None)
        return np.tile(np.asarray(pieces, np.int32), (b, 1))

    def events(self, params, batch_stats, batch, lang: str, *, key=None) -> list[list[Event]]:
        """The events of every row, in order of start, with seconds from its beginning; arguments as `__call__`."""
        durations = np.asarray(allgather(batch["duration"]), np.float64)
        key = jax.random.key(0) if key is None else key
        made = self.generate(params, batch_stats, batch, self.prefix(lang, len(durations)), key)
        if self.times:
            tokens, log_probs = allgather((made.tokens[:, 0], made.pieces[:, 0]))
            return [
                [
                    Event(told.start, told.end, told.text, float(np.exp(row_probs[list(told.positions)].mean())))
                    for told in self.times.decode(row.tolist(), duration)
                ]
                for row, row_probs, duration in zip(tokens, log_probs, durations.tolist(), strict=True)
            ]
        decoded, times, confidence, counts = made
        texts = self._texts(decoded, lang, batch, times)[0]
        times, confidence, counts = allgather((times, confidence, counts))
        out = []
        for row, duration in enumerate(durations.tolist()):
            events = []
            for i in range(min(int(counts[row]), times.shape[1])):
                start, end = (float(share * duration) for share in times[row, i])
                text = texts[row * times.shape[1] + i]
                if end > start and text:
                    events.append(Event(start, end, text, float(confidence[row, i])))
            out.append(sorted(events, key=lambda event: (event.start, event.end)))
        return out

    def __call__(self, params, batch_stats, batch, lang: str, *, key=None) -> tuple[list[str], np.ndarray]:
        """The best caption of every row, and its score.

        Args:
          batch: device arrays as `Captioner.encode` takes them.
          lang: the language to write.

        Raises:
          ValueError: the vocabulary has no such language.
        """
        b = batch["frame_mask"].shape[0]  # over all processes
        key = jax.random.key(0) if key is None else key
        return self._texts(self.generate(params, batch_stats, batch, self.prefix(lang, b), key), lang, batch)

    def _texts(self, decoded: Decoded, lang: str, batch, times=None) -> tuple[list[str], np.ndarray]:
        """The best text of every row and its score. `times` [b, e, 2]: the rows are events of the batch's rows."""
        if self.neighbors is None:
            tokens, scores = allgather((decoded.tokens[:, 0], decoded.scores[:, 0]))
            return [self.vocabulary.decode(row.tolist()) for row in tokens], scores
        tokens, scores = allgather((decoded.tokens, decoded.scores))
        texts = [[self.vocabulary.decode(row.tolist()) for row in rows] for rows in tokens]
        best = self.neighbors.choose(
            _vectors(batch, times), texts, scores, lang,
            neighbors=self.options.num_neighbors, weight=self.options.consensus_weight,
        )  # fmt: skip
        return [rows[i] for rows, i in zip(texts, best, strict=True)], scores[np.arange(len(best)), best]


def _vectors(batch, times) -> np.ndarray:
    """A vector for each row, or for each event of each row (see `picture_vectors`), [rows, d]."""
    mask = allgather(batch["frame_mask"])
    if times is None:
        return picture_vectors(allgather(batch["features"]), mask)
    at, duration, times = allgather((batch["frame_times"], batch["duration"], times))
    shares = (at / duration[:, None])[:, None]
    inside = mask[:, None] & (shares >= times[..., :1]) & (shares <= times[..., 1:])
    inside = np.where(inside.any(-1, keepdims=True), inside, mask[:, None])
    vectors = picture_vectors(allgather(batch["features"]), inside)
    return vectors.reshape(-1, vectors.shape[-1])
