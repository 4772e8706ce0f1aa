"""A SavedModel in the place of a checkpoint: what evaluation asks of a Generator, answered by its signatures."""

from pathlib import Path

import jax
import numpy as np

from capjax import config as config_lib
from capjax.config import ConfigError
from capjax.decode.results import Caption, Event
from capjax.digests import verify
from capjax.export import export_job
from capjax.files import read_text
from capjax.text.vocabulary import Vocabulary


class SavedModelGenerator:
    """An export, loaded by TensorFlow. Implements `capjax.decode.generator.CaptionGenerator`; the parameters and batch
    statistics that its methods are given are ignored.

    Attributes:
      config: config of the exported model, with the decoding options of the export.
      step: training step of the checkpoint.
      vocabulary: the model's vocabulary.
      external_data: see capjax.evals.output_formats.

    Raises:
      FileNotFoundError: there is no export in the folder.
      ValueError: a file is damaged, or TensorFlow cannot load it.
    """

    def __init__(self, directory: Path):
        export_job.check_installed("--model")
        metadata = export_job.read_metadata(directory)
        self.step, self.external_data = metadata["step"], metadata["external_data"]
        config_path = directory / "config.json"
        self.config = config_lib.from_json(read_text(config_path, export_job.REMEDY), str(config_path))
        self.vocabulary = Vocabulary.load(directory / "vocabulary.model")
        import tensorflow as tf

        try:
            verify(directory)
            self._loaded = tf.saved_model.load(str(directory))
        except Exception as error:  # TensorFlow has no common class for files that are missing or damaged
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise ValueError(f"{directory} cannot be loaded by TensorFlow: {first}; {export_job.REMEDY}") from error

    def check(self, config):
        """Raises ConfigError if a config is of another model or task."""
        ours, theirs = config_lib.flatten(self.config), config_lib.flatten(config)
        for key in ("data.task", "data.features", "data.num_frames", "data.image_size", "data.time_bins", "model.width",
                    "model.encoder.name", "model.decoder.name"):  # fmt: skip
            if ours[key] != theirs[key]:
                raise ConfigError(
                    f"the SavedModel has {key} = {ours[key]!r}, and this config {theirs[key]!r}; give the "
                    "config that it was trained with"
                )
        if missing := set(config.data.languages) - set(self.config.data.languages):
            raise ConfigError(f"the SavedModel does not write {', '.join(sorted(missing))}; set data.languages")

    def differences(self, config) -> list[str]:
        """Decoding options of a config that are not those of the SavedModel, which has its own."""
        ours, theirs = self.config.decode.to_dict(), config.decode.to_dict()
        return [f"decode.{name} = {ours.get(name)!r}" for name in theirs if ours.get(name) != theirs[name]]

    def encode(self, params, batch_stats, batch):
        """Returns the batch as it is: the SavedModel encodes it for each language."""
        return batch

    def captions(self, params, batch_stats, batch, lang: str, *, key=None) -> list[Caption]:
        """Returns the best caption of every row, without tokens; see `CaptionGenerator`."""
        out = self._answer(batch, lang, key)
        texts, scores = out["caption"].numpy().tolist(), out["score"].numpy().tolist()
        return [Caption(text.decode(), lang, score) for text, score in zip(texts, scores, strict=True)]

    def events(self, params, batch_stats, batch, lang: str, *, key=None) -> list[list[Event]]:
        """Returns the events of every row in order of start, without tokens; see `CaptionGenerator`."""
        out = {name: value.numpy() for name, value in self._answer(batch, lang, key).items()}
        rows = zip(*(out[name].tolist() for name in ("start", "end", "caption", "score", "count")), strict=True)
        return [
            [
                Event(start, end, text.decode(), score, lang)
                for start, end, text, score in zip(*(column[:count] for column in columns), strict=True)
            ]
            for *columns, count in rows
        ]

    def _answer(self, batch, lang: str, key) -> dict:
        import tensorflow as tf

        name = "features" if self.config.data.features else "pixels"
        signature = self._loaded.signatures[name]
        specs = signature.structured_input_signature[1]
        inputs = {key: np.asarray(value) for key, value in batch.items()}
        if name == "pixels":
            inputs[name] = inputs["frames"] if specs[name].shape.rank == 5 else inputs["frames"][:, 0]
        inputs["lang"] = np.full(len(inputs[name]), lang.encode(), object)
        if "key" in specs:
            key = jax.random.key(0) if key is None else key
            inputs["key"] = np.asarray(jax.random.key_data(key)).view(np.int32)
        answer = signature(**{name: tf.constant(inputs[name], spec.dtype) for name, spec in specs.items()})
        if "error" in answer:  # exports of capjax 0.1 have none
            is_padding = ~inputs["frame_mask"].any(axis=1)
            for error in answer["error"].numpy()[~is_padding].tolist():
                if error:
                    raise ValueError(f"the SavedModel does not answer a record: {error.decode(errors='replace')}")
        return answer
