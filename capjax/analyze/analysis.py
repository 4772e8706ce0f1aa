"""Analyzes a file of predictions: errors, confusions, bias of the data and of the model."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from capjax.analyze.caption_errors import CaptionErrors, find_errors
from capjax.analyze.confusion import ConfusionMatrix, confusion_matrices
from capjax.analyze.content_errors import concepts
from capjax.analyze.dataset_bias import Bias, find_bias, find_language_bias
from capjax.analyze.facts import ParsedCaption
from capjax.analyze.findings import CONTENT_KINDS, Finding
from capjax.analyze.frequencies import Frequency, by_slice, compare, frequencies
from capjax.analyze.labels import SHOWN, LabeledObject, Labels, read_objects
from capjax.analyze.lexicon import Lexicon
from capjax.analyze.media import ItemMedia
from capjax.analyze.model_bias import Amplification, AmplificationMeasure, Leakage, LeakageMeasure
from capjax.analyze.near_duplicates import NearDuplicate, PhotoSet, find_near_duplicates
from capjax.analyze.parser import Parser
from capjax.analyze.slices import by_duration, by_length, by_number_of_objects, by_training_frequency
from capjax.analyze.terms import Term, gender, terms_of
from capjax.analyze.training_data import TrainingData
from capjax.metrics.files import read_predictions, read_references
from capjax.metrics.id_matching import match_ids
from capjax.metrics.languages import check_lang, is_english
from capjax.metrics.messages import option, shorten
from capjax.metrics.significance import Comparison
from capjax.metrics.tokenize import tokenizer_for

if TYPE_CHECKING:
    from capjax.models.detector import Detector

Id = int | str
# Files with fewer items have neither bias nor significance.
_MIN_ITEMS = 2


@dataclass(frozen=True)
class Inputs:
    """The files and options of an analysis.

    Attributes:
      predictions, references: files of captions.
      langs: languages of the captions; content is analyzed in English alone.
      split: of the references, if the file names splits.
      objects: labels, COCO's instances or {id: [categories]}.
      detector: weights of the detector that finds the objects in `media`, in place of labels.
      media: folder of the photos and videos.
      training: dataset or file of captions that the model was trained on.
      compare: predictions of another system for the same items.
      missing, extra: as in `capjax.metrics.id_matching.match_ids`.
      seed: of resampling.
    """

    predictions: Path
    references: Path
    langs: tuple[str, ...] = ("en",)
    split: str | None = None
    objects: Path | None = None
    detector: Path | None = None
    media: Path | None = None
    training: Path | None = None
    compare: Path | None = None
    missing: str = "error"
    extra: str = "error"
    seed: int = 0


@dataclass
class DataBias:
    """Bias of a set of captions.

    Attributes:
      name: of the set.
      items: their number.
      biases: see `dataset_bias`.
      languages: {language: captions}.
    """

    name: str
    items: int
    biases: list[Bias]
    languages: dict[str, int]


@dataclass
class Analysis:
    """The result of an analysis; ids have the language behind them if there are several.

    Attributes:
      captions, references: {id: caption}, {id: captions by people}.
      langs: {id: language}.
      findings: {id: errors}.
      evidence: `labels`, `detector` or `references`: what objects were compared with.
      detected: {id: objects that the detector found, with their scores}.
      frequencies: {kind: share of captions}; `people`: the same of references, each against the others of its picture.
      slices: {name of the property: {slice: {kind: share}}}.
      comparison: {kind: difference from the other system}.
      matrices: confusion matrices.
      data_bias: of the references, and of the training data.
      amplification, leakage: bias of the model.
      other_amplification, other_leakage: bias of the other system.
      compared_amplification, compared_leakage: the model's less the other system's.
      near_duplicates: photos of one split that are nearly those of another.
      media: files of the items, or None.
      notes: what could not be analyzed, and why.
    """

    inputs: Inputs
    captions: dict[Id, str] = field(default_factory=dict)
    references: dict[Id, list[str]] = field(default_factory=dict)
    langs: dict[Id, str] = field(default_factory=dict)
    findings: dict[Id, list[Finding]] = field(default_factory=dict)
    evidence: str = "references"
    detected: dict[Id, list[LabeledObject]] = field(default_factory=dict)
    frequencies: dict[str, Frequency] = field(default_factory=dict)
    people: dict[str, Frequency] = field(default_factory=dict)
    slices: dict[str, dict[str, dict[str, Frequency]]] = field(default_factory=dict)
    other_findings: dict[Id, list[Finding]] = field(default_factory=dict)
    comparison: dict[str, Comparison] = field(default_factory=dict)
    matrices: list[ConfusionMatrix] = field(default_factory=list)
    data_bias: list[DataBias] = field(default_factory=list)
    amplification: Amplification | None = None
    leakage: Leakage | None = None
    other_amplification: Amplification | None = None
    other_leakage: Leakage | None = None
    compared_amplification: Comparison | None = None
    compared_leakage: Comparison | None = None
    near_duplicates: list[NearDuplicate] = field(default_factory=list)
    media: ItemMedia | None = None
    notes: list[str] = field(default_factory=list)


def analyze(inputs: Inputs) -> Analysis:
    """Analyzes a file of predictions.

    Raises:
      FileNotFoundError: a file or folder is missing.
      ValueError: a file or an option is wrong, or files do not go together.
    """
    if inputs.detector and inputs.objects:
        raise ValueError("objects come from labels or from the detector; give one of the two")
    if inputs.detector and not inputs.media:
        raise ValueError(f"the detector needs photos or videos; name their folder with {option('media')}")
    return _Analyzer(inputs).run()


class _Analyzer:
    def __init__(self, inputs: Inputs):
        self.inputs = inputs
        self.result = Analysis(inputs)
        self.english: CaptionErrors | None = None
        self.other_english: CaptionErrors | None = None
        self.other_captions: dict[Id, str] = {}
        self.labels: Labels | None = None
        self.detector: Detector | None = None
        self.unreadable: dict[Id, str] = {}
        self.english_labels: dict[Id, list[LabeledObject]] | None = None
        self.training: TrainingData | None = None
        self.lexicon = Lexicon.of()

    def run(self) -> Analysis:
        result, inputs = self.result, self.inputs
        if inputs.objects:
            self.labels = read_objects(inputs.objects)
            self.lexicon = Lexicon.of({item.category for objects in self.labels.values() for item in objects})
            result.evidence = "labels"
        if inputs.detector:
            from capjax.models.detector import CATEGORIES, Detector  # imports JAX

            self.detector = Detector(inputs.detector)
            self.lexicon = Lexicon.of(CATEGORIES)
            result.evidence = "detector"
        if inputs.training:
            self.training = TrainingData.read(inputs.training, self._english_lang)
        for lang in inputs.langs:
            self._analyze_language(check_lang(lang))
        if inputs.media:
            result.media = ItemMedia.find(inputs.media, [self._file_id(id) for id in result.captions])
            result.media.unreadable |= self.unreadable
        result.frequencies = frequencies(result.findings)
        self._slice()
        if inputs.compare and len(result.findings) >= _MIN_ITEMS:
            result.comparison = compare(result.findings, result.other_findings, seed=inputs.seed)
        if self.english:
            self._analyze_english(self.english)
        else:
            result.notes.append("what captions say is analyzed in English alone; of other languages, their form is")
        self._find_duplicates()
        return result

    @property
    def _english_lang(self) -> str:
        return next((lang for lang in self.inputs.langs if is_english(lang)), self.inputs.langs[0])

    def _key(self, id: Id, lang: str) -> Id:
        return id if len(self.inputs.langs) == 1 else f"{id} ({lang})"

    def _file_id(self, key: Id) -> Id:
        return key if len(self.inputs.langs) == 1 else str(key).removesuffix(f" ({self.result.langs[key]})")

    def _analyze_language(self, lang: str):
        inputs, result = self.inputs, self.result
        all_references = read_references(inputs.references, lang=lang, split=inputs.split)
        predictions, references, counts = self._predictions(inputs.predictions, all_references, lang)
        if counts["missing"]:
            result.notes.append(f"{counts['missing']} items have no prediction in {lang}")
        if counts["extra"]:
            result.notes.append(f"{counts['extra']} predictions of other items were left out")
        labels, scores = self._objects_in(references) if is_english(lang) else (None, None)
        errors = find_errors(predictions, references, lang=lang, labels=labels, scores=scores, lexicon=self.lexicon)
        for id, text in predictions.items():
            key = self._key(id, lang)
            result.captions[key], result.references[key] = text, references[id]
            result.langs[key], result.findings[key] = lang, errors.findings[id]
        if is_english(lang):
            self.english = errors
            # Counts of objects, and bias of the data, would show what the detector misses.
            self.english_labels = labels if scores is None else None
        if inputs.compare:
            other_predictions, other_references, _ = self._predictions(inputs.compare, all_references, lang)
            if list(other_references) != list(references):
                raise ValueError(f"{inputs.compare} has predictions for other items than {inputs.predictions}")
            compared = find_errors(
                other_predictions, references, lang=lang, labels=labels, scores=scores, lexicon=self.lexicon
            )
            result.other_findings |= {self._key(id, lang): own for id, own in compared.findings.items()}
            if is_english(lang):
                self.other_english, self.other_captions = compared, other_predictions

    def _predictions(self, path: Path, references: Mapping, lang: str) -> tuple[dict, dict, dict]:
        predictions = read_predictions(path, lang=lang)
        return match_ids(predictions, references, missing=self.inputs.missing, extra=self.inputs.extra)

    def _objects_in(self, references: Mapping[Id, Sequence[str]]) -> tuple[dict | None, dict | None]:
        """Returns labels and scores of the items, as `find_errors` takes them."""
        if self.labels is not None:
            return self._labels_of(references), None
        if self.detector is None:
            return None, None
        from capjax.analyze.detection import detect_objects

        assert self.inputs.media is not None
        media = ItemMedia.find(self.inputs.media, references)
        detected, self.unreadable = detect_objects(media.paths, self.detector)
        self.result.detected = detected
        if count := len(references) - len(detected):
            self.result.notes.append(f"{count} items without a readable photo or video were not searched for objects")
        labels = {id: [item for item in objects if item.score >= SHOWN] for id, objects in detected.items()}
        scores: dict[Id, dict[str, float]] = {id: {} for id in detected}
        for id, objects in detected.items():
            for item in objects:
                scores[id][item.category] = max(item.score, scores[id].get(item.category, 0.0))
        return labels, scores

    def _labels_of(self, references: Mapping[Id, Sequence[str]]) -> dict[Id, list[LabeledObject]]:
        """Returns the labels of the items.

        Raises:
          ValueError: ids do not match, or an item has no labels.
        """
        assert self.labels is not None
        objects = list(self.labels.values())
        numbers = {id: str(number) for number, id in enumerate(self.labels)}
        try:
            matched, _, _ = match_ids(numbers, references, missing="drop", extra="ignore")
        except ValueError as error:  # says predictions of labels
            raise ValueError(
                f"{self.inputs.objects}: its images are not the items of {self.inputs.references}: images "
                f"{shorten(numbers)}; items {shorten(references)}. Write the same ids in both files"
            ) from error
        if without := [id for id in references if id not in matched]:
            raise ValueError(
                f"{self.inputs.objects}: no labels of {shorten(without)}; list an image without objects in images, "
                f"or name the right file with {option('objects')}"
            )
        return {id: objects[int(number)] for id, number in matched.items()}

    def _slice(self):
        result = self.result
        lengths = {id: len(tokenizer_for(result.langs[id])(text)) for id, text in result.captions.items()}
        slices = {"length of the caption": by_length(lengths)}
        if self.english:
            lang = self._english_lang
            objects = {
                self._key(id, lang): {concept for reference in own for concept in concepts(reference)}
                for id, own in self.english.references.items()
            }
            if self.english_labels:
                objects = {
                    self._key(id, lang): {item.category for item in own} for id, own in self.english_labels.items()
                }
            slices["number of objects"] = by_number_of_objects({id: len(own) for id, own in objects.items()})
            if self.training:
                named = self._training_objects()
                rarest = {id: min(named[concept] for concept in own) for id, own in objects.items() if own}
                slices["rarest object in training"] = by_training_frequency(rarest)
        if len(self.inputs.langs) > 1:
            slices["language"] = dict(result.langs)
        if result.media:
            seconds = {id: result.media.duration(self._file_id(id)) for id in result.captions}
            slices["duration"] = by_duration(seconds)
        result.slices = {
            name: by_slice(result.findings, of_items)
            for name, of_items in slices.items()
            if len(set(of_items.values())) > 1
        }

    def _training_objects(self) -> Counter[str]:
        """Returns the number of training items that name each object."""
        return Counter(
            concept
            for captions in self.training_captions.values()
            for concept in {concept for caption in captions for concept in concepts(caption)}
        )

    @cached_property
    def training_captions(self) -> dict[Id, list[ParsedCaption]]:
        """What the English training captions of each item say."""
        parser, captions = Parser(self.lexicon), self.training.captions if self.training else {}
        return {id: [parser.parse(text) for text in texts] for id, texts in captions.items()}

    def _analyze_english(self, errors: CaptionErrors):
        result, lang = self.result, self._english_lang
        disagreement = errors.disagreement
        if disagreement and disagreement.compared:
            result.people = {
                kind: Frequency.of(disagreement.kinds[kind], disagreement.compared) for kind in CONTENT_KINDS
            }
        else:
            result.notes.append(
                "each picture has fewer than three references: how often people differ from each other is unknown, and "
                "every difference from them counts as an error"
            )
        findings = {id: result.findings[self._key(id, lang)] for id in errors.captions}
        result.matrices = confusion_matrices(errors, findings)
        labels = self.english_labels or {}
        reference_terms = {id: terms_of(own, labels.get(id)) for id, own in errors.references.items()}
        languages = Counter(dict.fromkeys(self.inputs.langs, 0))
        for key, own in result.langs.items():
            languages[own] += len(result.references[key])
        result.data_bias = [_data_bias("references", reference_terms, languages)]
        data_terms, data_genders = reference_terms, {id: _gender(own) for id, own in errors.references.items()}
        if self.training:
            data_terms = {id: terms_of(own) for id, own in self.training_captions.items()}
            data_genders = {id: _gender(own) for id, own in self.training_captions.items()}
            name = f"training data ({self.training.path})"
            result.data_bias.append(_data_bias(name, data_terms, self.training.languages))
        self._measure_model_bias(errors, AmplificationMeasure(data_terms, data_genders))

    def _measure_model_bias(self, errors: CaptionErrors, amplification: AmplificationMeasure):
        result, seed = self.result, self.inputs.seed
        words = {id: [word for caption in own for word in caption.words] for id, own in errors.references.items()}
        captions = {id: result.captions[self._key(id, self._english_lang)] for id in errors.captions}
        references = {id: result.references[self._key(id, self._english_lang)] for id in errors.captions}
        leakage = LeakageMeasure(references, words, seed=seed)
        system = _terms_and_genders(errors)
        result.amplification, result.leakage = amplification.measure(*system, seed=seed), leakage.measure(captions)
        if not self.other_english:
            return
        other = _terms_and_genders(self.other_english)
        result.other_amplification = amplification.measure(*other, seed=seed)
        result.other_leakage = leakage.measure(self.other_captions)
        measured = result.amplification.value is not None and result.other_amplification.value is not None
        if measured and len(errors.captions) >= _MIN_ITEMS:
            result.compared_amplification = amplification.compare(system, other, seed=seed)
        result.compared_leakage = leakage.compare(captions, self.other_captions)

    def _find_duplicates(self):
        """Compares the photos of the training data's splits with each other, and those of `train` with the items'."""
        result, training = self.result, self.training
        if not training or not training.splits:
            if self.inputs.training:
                result.notes.append(f"{self.inputs.training} has no photos: near-duplicates were not looked for")
            return
        sets = [PhotoSet(split, training.photos(split)) for split in training.splits]
        if result.media:
            media = result.media
            ids = dict.fromkeys(self._file_id(id) for id in result.captions)
            photos = ((id, jpeg) for id in ids if (jpeg := media.thumbnail(id)))
            evaluated = PhotoSet("predictions", photos)
            # Not with other splits: that of the items is one of them.
            result.near_duplicates += find_near_duplicates(sets[0], evaluated)
        for number, first in enumerate(sets):
            for second in sets[number + 1 :]:
                result.near_duplicates += find_near_duplicates(first, second)


def _data_bias(name: str, terms: Mapping[Id, set[Term]], languages: Mapping[str, int]) -> DataBias:
    return DataBias(name, len(terms), [*find_bias(terms), *find_language_bias(languages)], dict(languages))


def _gender(captions) -> str:
    return gender(word for caption in captions for word in caption.words)


def _terms_and_genders(errors: CaptionErrors) -> tuple[dict[Id, set[Term]], dict[Id, str]]:
    return (
        {id: terms_of([caption]) for id, caption in errors.captions.items()},
        {id: _gender([caption]) for id, caption in errors.captions.items()},
    )
