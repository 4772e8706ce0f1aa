"""The data that a model was trained on: a dataset of `capjax prepare`, or a file of captions."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from capjax.metrics.files import read_references
from capjax.metrics.languages import matches

Id = int | str


@dataclass
class TrainingData:
    """Captions for training, and the photos of a dataset's splits.

    Attributes:
      captions: {id: captions in a language} of the split `train`, or of the file.
      splits: names of the splits of a dataset; empty for a file.
      languages: {language: number of captions} of the split `train`.
    """

    path: Path
    captions: dict[Id, list[str]]
    splits: list[str] = field(default_factory=list)
    languages: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, lang: str) -> "TrainingData":
        """Reads the captions of a language.

        Raises:
          FileNotFoundError: there is no such dataset or file.
          ValueError: it is damaged, or has no caption in the language.
        """
        if not path.is_dir():
            captions = read_references(path, lang=lang)
            return cls(path, dict(captions), languages={lang: sum(map(len, captions.values()))})
        from capjax.data.dataset_folder import open_dataset
        from capjax.data.record import RecordSource

        splits = sorted(open_dataset(path).info.splits, key=lambda name: name != "train")
        source = RecordSource(path, "train")
        data = cls(path, {}, splits)
        for index in range(len(source)):
            record = source[index]
            for caption in record.captions:
                data.languages[caption.lang] = data.languages.get(caption.lang, 0) + 1
                if matches(caption.lang, lang):
                    data.captions.setdefault(record.id, []).append(caption.text)
        if not data.captions:
            raise ValueError(
                f"{path}: no caption of the split 'train' is in {lang!r}; it has {', '.join(data.languages)}"
            )
        return data

    def photos(self, split: str) -> Iterator[tuple[str, bytes]]:
        """Yields (id, JPEG) of the records of a split that have frames; of a video the frame in its middle."""
        from capjax.data.record import RecordSource

        source = RecordSource(self.path, split)
        for index in range(len(source)):
            record = source[index]
            if record.frames:
                yield record.id, record.frames[len(record.frames) // 2]
