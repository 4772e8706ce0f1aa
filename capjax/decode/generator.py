"""From a batch to captions or events: encoder, search and detokenization, with one jitted call per batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32
from ml_collections import ConfigDict

from capjax.decode.attention_recorder import record_attention, recorded_attention
from capjax.decode.attribute_shares import AttributeShares
from capjax.decode.consensus import Neighbors, picture_vectors
from capjax.decode.grammar import EventGrammar
from capjax.decode.results import Caption, Event
from capjax.decode.sampling import sample
from capjax.decode.search import Decoded, StepFn, beam_search, greedy_search, length_normalizer
from capjax.models.memory import Memory
from capjax.models.pure_model import Arrays, PureModel
from capjax.parallel.hosts import allgather
from capjax.parallel.sharding_rules import ShardingRules, top_k
from capjax.text.time_tokens import TimeTokens
from capjax.text.vocabulary import Vocabulary

Batch = Mapping[str, Any]


class CaptionGenerator(Protocol):
    """Interface of a trained model in evaluation: `Generator`, or a SavedModel behind the same methods."""

    def encode(self, params: Arrays, batch_stats: Arrays, batch: Batch) -> Batch:
        """Returns the batch with everything computed that does not depend on the language. `captions` and `events`
        accept both batches; encode first if one batch is decoded in several languages."""
        ...

    def captions(self, params: Arrays, batch_stats: Arrays, batch: Batch, lang: str, *, key=None) -> list[Caption]:
        """Returns the best caption of every row."""
        ...

    def events(self, params: Arrays, batch_stats: Arrays, batch: Batch, lang: str, *, key=None) -> list[list[Event]]:
        """Returns the events of every row in order of start, with seconds from the start of the row."""
        ...


class ProposedEvents(NamedTuple):
    """Events found by queries, for b videos: the e events with the highest confidence.

    Attributes:
      times: start and end as fractions of the duration.
      confidence: 0 to 1.
      count: the predicted number of events.
    """

    times: Float[Array, "b e 2"]
    confidence: Float[Array, "b e"]
    count: Int[Array, " b"]  # type: ignore[assignment]  # in place of tuple.count


class Generated(NamedTuple):
    """Output of the compiled search.

    Attributes:
      decoded: hypotheses of each row; where queries find events, of each of the e events of each row.
      proposed: these events, or None.
      attention: the attention with which each token was chosen, or None unless requested; of the best hypotheses (m =
        1) unless hypotheses are reranked.
    """

    decoded: Decoded
    proposed: ProposedEvents | None
    attention: Float[Array, "rows m l layers heads n"] | None


class _Written(NamedTuple):
    """The tokens of hypotheses, their log-probabilities, and the attention with which each was chosen, or None."""

    tokens: Any
    log_probs: Any
    attention: Any

    def take(self, *index) -> "_Written":
        return jax.tree.map(lambda array: array[index], self)

    def caption(self, text: str, lang: str, score: float) -> Caption:
        """Returns the caption of one hypothesis."""
        return Caption(text, lang, score, tuple(self.tokens.tolist()), tuple(self.log_probs.tolist()), self.attention)


def _written(generated: Generated) -> _Written:
    return _Written(generated.decoded.tokens, generated.decoded.token_log_probs, generated.attention)


class Encoded(NamedTuple):
    """Input of the search: the memory (of b videos, or of b * e events), and the events where queries find them."""

    memory: Memory
    proposed: ProposedEvents | None


class Generator:
    """Decodes batches with one model and one set of decoding options. Implements `CaptionGenerator`.

    Args:
      pure_model: the model.
      vocabulary: the model's vocabulary.
      options: `decode` section of a config.
      data: `data` section of a config.
      neighbors: the training pictures, for `options.num_neighbors`.
      rules: sharding of arrays over several devices.
      xla_options: options of the TPU compiler, used with `rules`.
      return_attention: results carry the attention of each token.
      attribute_shares: captions carry alternatives, among which this constraint chooses: the other hypotheses, and the
        best hypothesis that names an attribute with each other attribute.
    """

    def __init__(
        self, pure_model: PureModel, vocabulary: Vocabulary, options: ConfigDict, data: ConfigDict,
        neighbors: Neighbors | None = None, *, rules: ShardingRules | None = None, xla_options: Mapping | None = None,
        return_attention: bool = False, attribute_shares: AttributeShares | None = None,
    ):  # fmt: skip
        self.vocabulary, self.options = vocabulary, options
        self.neighbors = neighbors if options.num_neighbors else None
        self.attribute_shares = attribute_shares
        self.times = TimeTokens(vocabulary, data.time_bins) if data.task == "dense" and data.time_bins else None
        self._pure_model, self._max_events = pure_model, data.max_events
        self._task = "summary" if data.task == "summary" else None
        self._return_attention = return_attention
        self._suppressed = np.ones(vocabulary.size, bool)
        self._suppressed[[*vocabulary.text_ids, vocabulary.eos_id, *(self.times.ids if self.times else ())]] = False
        compiler_options = None if rules is None else rules.compiler_options(xla_options or {})
        encode, generate, score = self._encode, self._generate, self._score
        self._gather: Callable[[Arrays], Arrays] = dict
        self._search_with_rules = self._search
        if rules is not None and rules.mesh.size > 1:
            # The decoder's parameters are gathered once per batch, not for every token.
            gathered = rules.gathered()
            shardings = gathered.params(pure_model.shapes, pure_model.axes)
            self._search_with_rules = gathered.activate(self._search)
            encode, generate, score = rules.activate(encode), rules.activate(generate), rules.activate(score)

            def gather(params: Arrays) -> Arrays:
                place = jax.lax.with_sharding_constraint
                return {n: place(x, shardings[n]) if n.startswith("decoder/") else x for n, x in params.items()}

            self._gather = gather
        self._jitted_encode = jax.jit(encode, compiler_options=compiler_options)
        self.generate = jax.jit(generate, compiler_options=compiler_options)
        self._jitted_score = jax.jit(score, compiler_options=compiler_options)

    # ---- Compiled programs

    def _encode(self, params, batch_stats, batch) -> Encoded:
        model = self._pure_model.bind(params, batch_stats)
        memory = model.encode(batch)
        if model.events is None:
            return Encoded(memory, None)
        queries = model.events(memory, batch["duration"])
        confidence, best = top_k(queries.confidence[-1], self._max_events)
        times = jnp.take_along_axis(queries.times[-1], best[..., None], axis=1)
        query = jnp.take_along_axis(queries.query, best[..., None], axis=1)
        memory = model.events.memory_of(memory, times, query, batch["duration"])
        count = jnp.argmax(queries.count[-1], axis=-1)
        return Encoded(memory, ProposedEvents(times, jax.nn.sigmoid(confidence), count))

    def _generate(self, params, batch_stats, batch, prefix: Int[Array, "b p"], key) -> Generated:
        """`batch` is what `Captioner.encode` takes, or the result of `encode`."""
        encoded = batch["encoded"] if "encoded" in batch else self._encode(params, batch_stats, batch)
        model = self._pure_model.bind(self._gather(params), batch_stats)
        if encoded.proposed is not None:
            prefix = jnp.repeat(prefix, self._max_events, axis=0)
        decoded, attention = self._search_with_rules(model, encoded.memory, prefix, key)
        return Generated(decoded, encoded.proposed, attention)

    def _score(self, params, batch_stats, encoded: Encoded, target: Int[Array, "b c l"]) -> Float[Array, "b c k"]:
        """Returns the log-probabilities of the k = l - 1 tokens after the first, by teacher forcing."""
        model = self._pure_model.bind(params, batch_stats)
        labels = target[..., 1:]
        log_probs = jax.nn.log_softmax(model.decode(target, encoded.memory).logits).reshape(*labels.shape, -1)
        return jnp.take_along_axis(log_probs, labels[..., None], axis=-1)[..., 0]

    def _search(
        self, model, memory: Memory, prefix: Int[Array, "rows p"], key
    ) -> tuple[Decoded, Float[Array, "rows m l layers heads n"] | None]:
        options, (b, prefix_len) = self.options, prefix.shape
        num_beams, length = 1 if options.method == "greedy" else options.num_beams, prefix_len + options.max_len
        fixed, state = model.decoder.init_cache(memory, num_beams, length)

        def step_fn(tokens, index, state):
            logits, state, _ = model.decoder.step(tokens, index, fixed, state)
            return logits, state

        if self._return_attention:

            def step_with_attention(tokens, index, state):
                return model.decoder.step(tokens, index, fixed, state, return_attention=True)

            step_fn, state = record_attention(step_with_attention, state, b=b, m=num_beams, length=length)
        if self.times:
            grammar = EventGrammar(self.times, self.vocabulary.size, prefix_len, options.max_len)
            step_fn, state = grammar.constrain(step_fn), (grammar.start(b, num_beams), state)
        decoded = self._method(step_fn, state, prefix, key)
        if not self._return_attention:
            return decoded._replace(state=None), None
        recorder = decoded.state[1] if self.times else decoded.state
        rows = recorder.rows if self._needs_all_hypotheses else recorder.rows[:, :1]
        attention = recorded_attention(rows, recorder.weights.value, prefix_len)
        return decoded._replace(state=None), attention

    @property
    def _needs_all_hypotheses(self) -> bool:
        return self.neighbors is not None or self.attribute_shares is not None

    def _method(self, step_fn: StepFn, state, prefix: Int[Array, "rows p"], key) -> Decoded:
        """The search of `options.method`."""
        options, vocabulary = self.options, self.vocabulary
        common = {
            "max_len": options.max_len,
            "min_len": options.min_len,
            "no_repeat_ngram": options.no_repeat_ngram,
            "eos_id": vocabulary.eos_id,
            "pad_id": vocabulary.pad_id,
            "suppressed": jnp.asarray(self._suppressed),
        }
        if options.method == "greedy":
            return greedy_search(step_fn, state, prefix, **common)
        if options.method == "beam":
            return beam_search(
                step_fn, state, prefix, num_beams=options.num_beams, length_penalty=options.length_penalty, **common
            )
        return sample(
            step_fn, state, prefix, key, samples=options.num_beams, temperature=options.temperature,
            top_k=options.top_k, top_p=options.top_p, **common,
        )  # fmt: skip

    # ---- Batches to results

    def prefix(self, lang: str, b: int) -> Int32[np.ndarray, "{b} p"]:
        """Returns the tokens that every row starts with.

        Raises:
          ValueError: the vocabulary has no such language.
        """
        tokens = self.times.prefix(lang) if self.times else self.vocabulary.prefix(lang, self._task)
        return np.tile(np.asarray(tokens, np.int32), (b, 1))

    def encode(self, params: Arrays, batch_stats: Arrays, batch: Batch) -> Batch:
        """See `CaptionGenerator`; `batch` holds device arrays as `Captioner.encode` takes them."""
        encoded = self._jitted_encode(params, batch_stats, batch)
        return {name: value for name, value in batch.items() if name != "frames"} | {"encoded": encoded}

    def compile(self, params: Arrays, batch_stats: Arrays, batch: Batch, languages: Sequence[str]):
        """Compiles the programs that decode a batch of this shape in these languages."""
        if len(languages) > 1 or self.attribute_shares:
            batch = self.encode(params, batch_stats, batch)
        prefix = self.prefix(languages[0], batch["frame_mask"].shape[0])
        self.generate.lower(params, batch_stats, batch, prefix, jax.random.key(0)).compile()

    def captions(
        self, params: Arrays, batch_stats: Arrays, batch: Batch, lang: str, *, key=None, num_captions: int = 1
    ) -> list[Caption]:  # fmt: skip
        """Returns the best caption of every row.

        Args:
          params: parameters of the model.
          batch_stats: batch statistics of the model.
          batch: device arrays as `Captioner.encode` takes them, or the result of `encode`.
          lang: the language to write.
          key: PRNG key of sampling.
          num_captions: each caption carries as alternatives the next best of the search, up to this many in all.

        Raises:
          ValueError: the vocabulary has no such language.
        """
        if self.attribute_shares is None:
            return self._best(self._decode(params, batch_stats, batch, lang, key), lang, batch, num_captions)
        if "encoded" not in batch:
            batch = self.encode(params, batch_stats, batch)
        captions = self._best(self._decode(params, batch_stats, batch, lang, key), lang, batch)
        return self._add_counterparts(params, batch_stats, batch["encoded"], captions, lang)

    def events(self, params: Arrays, batch_stats: Arrays, batch: Batch, lang: str, *, key=None) -> list[list[Event]]:
        """Returns the events of every row in order of start, with seconds from the start of the row; arguments as
        `captions`."""
        durations = np.asarray(allgather(batch["duration"]), np.float64).tolist()
        generated = self._decode(params, batch_stats, batch, lang, key)
        if self.times:
            return self._written_events(generated, durations, lang)
        captions = iter(self._best(generated, lang, batch))
        assert generated.proposed is not None  # events are found by queries unless they are written
        events = []
        for times, confidence, count, duration in zip(*allgather(tuple(generated.proposed)), durations, strict=True):
            row = []
            for rank, ((start, end), score) in enumerate(zip(times, confidence, strict=True)):
                caption = next(captions)
                start, end = float(start * duration), float(end * duration)
                if rank < count and end > start and caption.text:
                    row.append(caption.at(start, end, float(score)))
            events.append(sorted(row, key=lambda event: (event.start, event.end)))
        return events

    def _decode(self, params, batch_stats, batch, lang: str, key) -> Generated:
        b = batch["frame_mask"].shape[0]  # over all processes
        key = jax.random.key(0) if key is None else key
        return self.generate(params, batch_stats, batch, self.prefix(lang, b), key)

    def _written_events(self, generated: Generated, durations: list[float], lang: str) -> list[list[Event]]:
        """The events of every row, where times are written into the text."""
        written = allgather(jax.tree.map(lambda x: x[:, 0], _written(generated)))
        assert self.times is not None
        events: list[list[Event]] = []
        for row, duration in enumerate(durations):
            events.append([])
            for event in self.times.decode(written.tokens[row].tolist(), duration):
                in_event = written.take(row, list(event.positions))
                score = float(np.exp(in_event.log_probs.mean()))
                events[-1].append(in_event.caption(event.text, lang, score).at(event.start, event.end, score))
        return events

    def _best(self, generated: Generated, lang: str, batch: Batch, num_captions: int = 1) -> list[Caption]:
        """The best caption of every row; where queries find events, of every event of every row."""
        decoded = generated.decoded
        hypotheses = _written(generated), decoded.scores, decoded.lengths
        if num_captions > 1:
            hypotheses = hypotheses[0]._replace(attention=None), *hypotheses[1:]
        elif not self._needs_all_hypotheses:
            hypotheses = jax.tree.map(lambda x: x[:, :1], hypotheses)
        written, scores, lengths = allgather(hypotheses)
        texts = [[self.vocabulary.decode(row.tolist()) for row in rows] for rows in written.tokens]
        best = np.zeros(len(texts), int)
        if self.neighbors is not None:
            best = self.neighbors.choose(
                _vectors(batch, generated.proposed), texts, scores, lang,
                neighbors=self.options.num_neighbors, weight=self.options.consensus_weight,
            )  # fmt: skip

        def caption(row: int, i: int) -> Caption:
            return written.take(row, i, slice(lengths[row, i])).caption(texts[row][i], lang, float(scores[row, i]))

        if self.attribute_shares is None and num_captions == 1:
            return [caption(row, i) for row, i in enumerate(best)]
        limit = None if self.attribute_shares else num_captions
        # The chosen hypothesis, then the others from the best; a beam that never ended in a hypothesis has no score.
        hypotheses_of_rows = []
        for row, (chosen, own) in enumerate(zip(best.tolist(), scores, strict=True)):
            order = [chosen, *(i for i in np.flatnonzero(np.isfinite(own)).tolist() if i != chosen)]
            hypotheses_of_rows.append([caption(row, i) for i in order[:limit]])
        return [replace(best, alternatives=tuple(alternatives)) for best, *alternatives in hypotheses_of_rows]

    def _add_counterparts(
        self, params, batch_stats, encoded: Encoded, captions: list[Caption], lang: str
    ) -> list[Caption]:
        """Adds to each caption, as alternatives, the counterparts of the best hypothesis that has any."""
        assert self.attribute_shares is not None
        prefix, groups = self.prefix(lang, 1)[0].tolist(), len(self.attribute_shares.attribute)
        target = np.full(
            (len(captions), groups - 1, len(prefix) + self.options.max_len), self.vocabulary.pad_id, np.int32
        )
        written: list[tuple[int, int, str, list[int]]] = []  # row, number, text, tokens
        for row, best in enumerate(captions):
            texts = [hypothesis.text for hypothesis in (best, *best.alternatives)]
            counterparts = next(filter(None, (self.attribute_shares.counterparts(text, lang) for text in texts)), [])
            for number, text in enumerate(text for text in counterparts if text not in texts):
                tokens = [*self.vocabulary.encode(text), self.vocabulary.eos_id]
                if len(tokens) <= self.options.max_len:
                    target[row, number, : len(prefix) + len(tokens)] = [*prefix, *tokens]
                    written.append((row, number, text, tokens))
        if not written:
            return captions
        log_probs = allgather(self._jitted_score(params, batch_stats, encoded, target))[..., len(prefix) - 1 :]
        alpha = self.options.length_penalty if self.options.method == "beam" else 0.0
        for row, number, text, tokens in written:
            own = log_probs[row, number, : len(tokens)].tolist()
            score = sum(own) / float(length_normalizer(jnp.asarray(len(tokens)), alpha))
            counterpart = Caption(text, lang, score, tuple(tokens), tuple(own))
            captions[row] = replace(captions[row], alternatives=(*captions[row].alternatives, counterpart))
        return captions


def _vectors(batch: Batch, proposed: ProposedEvents | None) -> Float32[np.ndarray, "rows d"]:
    """Vectors for `Neighbors.choose`: one for each row, or for each event of each row."""
    mask = allgather(batch["frame_mask"])
    if proposed is None:
        return picture_vectors(allgather(batch["features"]), mask)
    frame_times, duration, times = allgather((batch["frame_times"], batch["duration"], proposed.times))
    fractions = (frame_times / duration[:, None])[:, None]
    inside = mask[:, None] & (fractions >= times[..., :1]) & (fractions <= times[..., 1:])
    inside = np.where(inside.any(-1, keepdims=True), inside, mask[:, None])
    vectors = picture_vectors(allgather(batch["features"]), inside)
    return vectors.reshape(-1, vectors.shape[-1])
