"""A batch to captions: encoder, search and detokenization, with one jitted call a batch."""

import jax
import jax.numpy as jnp
import numpy as np

from capjax.decode.consensus import Neighbours, picture_vectors
from capjax.decode.sampling import sample
from capjax.decode.search import Decoded, beam_search, greedy_search
from capjax.models.functional import Functional
from capjax.text.vocabulary import Vocabulary


class Generator:
    """Decodes batches with one model and one set of decoding options.

    Args:
      functional: the model.
      vocabulary: its vocabulary.
      options: a config's `decode` section.
      neighbours: the training pictures, for `options.neighbours`.
    """

    def __init__(self, functional: Functional, vocabulary: Vocabulary, options, neighbours: Neighbours | None = None):
        self.vocabulary, self.options = vocabulary, options
        self.neighbours = neighbours if options.neighbours else None
        suppressed = np.ones(vocabulary.size, bool)
        suppressed[vocabulary.text_ids] = False
        suppressed[vocabulary.eos_id] = False

        def generate(params, stats, batch, prefix, key) -> Decoded:
            model = functional.bind(params, stats)
            memory = model.encode(batch)
            beams = 1 if options.method == "greedy" else options.beams
            length = prefix.shape[1] + options.max_len
            fixed, state = model.decoder.init_cache(memory, beams, length)

            def step_fn(tokens, index, state):
                logits, state, _ = model.decoder.step(tokens, index, fixed, state)
                return logits, state

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
                return beam_search(step_fn, state, prefix, beams=beams, length_penalty=options.length_penalty, **common)
            return sample(
                step_fn, state, prefix, key, samples=beams, temperature=options.temperature, top_k=options.top_k,
                top_p=options.top_p, **common,
            )  # fmt: skip

        self.generate = jax.jit(generate)

    def __call__(self, params, stats, batch, lang: str, *, key=None) -> tuple[list[str], np.ndarray]:
        """The best caption of every row, and its score.

        Args:
          batch: device arrays as `Captioner.encode` takes them.
          lang: the language to write.

        Raises:
          ValueError: the vocabulary has no such language.
        """
        prefix = np.asarray(self.vocabulary.prefix(lang), np.int32)
        b = batch["frame_mask"].shape[0]
        key = jax.random.key(0) if key is None else key
        decoded = self.generate(params, stats, batch, np.tile(prefix, (b, 1)), key)
        if self.neighbours is None:
            tokens, scores = jax.device_get((decoded.tokens[:, 0], decoded.scores[:, 0]))
            return [self.vocabulary.decode(row.tolist()) for row in tokens], scores
        tokens, scores = jax.device_get((decoded.tokens, decoded.scores))
        texts = [[self.vocabulary.decode(row.tolist()) for row in rows] for rows in tokens]
        best = self.neighbours.choose(
            picture_vectors(jax.device_get(batch["features"])), texts, scores, lang,
            neighbours=self.options.neighbours, weight=self.options.consensus,
        )  # fmt: skip
        return [rows[i] for rows, i in zip(texts, best, strict=True)], scores[np.arange(b), best]
