"""Results page of a run: python -m capjax.evals.page --workdir DIR --output index.html.

One HTML file with photos of the evaluation split, their generated and true captions, the scores, and the loss curve.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from capjax import plugins
from capjax.files import local_path, make_folder, read_json, write_text
from capjax.metrics import leave_one_out
from capjax.metrics.files import read_predictions
from capjax.runtime import run_guarded
from capjax.workdir.metrics_log import read_metrics

# Modules that need the extra `train` are imported where they are used, so that `main` can name the extra.
if TYPE_CHECKING:
    from markupsafe import Markup

    from capjax.data.record import Record, RecordSource
    from capjax.workdir.layout import Workdir

_MAX_PHOTOS = 24


def loss_curve(metrics: list[dict]) -> "Markup":
    """Returns the loss by step as an SVG; empty with fewer than two points."""
    from markupsafe import Markup

    points = [(row["step"], row["loss"]) for row in metrics if "loss" in row]
    if len(points) < 2:
        return Markup()
    width, height = 480, 220
    left, bottom = 40, height - 24
    last, top = points[-1][0], max(loss for _, loss in points)
    line = " ".join(
        f"{left + (width - left - 10) * step / last:.1f},{bottom - (bottom - 12) * loss / top:.1f}"
        for step, loss in points
    )
    return Markup(  # noqa: S704 (of numbers alone)
        f'<svg width="{width}" height="{height}" role="img" aria-label="training loss">'
        f'<path d="M{left} 8V{bottom}H{width - 8}" fill="none" stroke="currentColor" opacity=".4"/>'
        f'<polyline points="{line}" fill="none" stroke="#2a7de1" stroke-width="2"/>'
        f'<text x="4" y="16">{top:.1f}</text><text x="4" y="{bottom}">0</text>'
        f'<text x="{left}" y="{height - 6}">training loss, nats per token</text>'
        f'<text x="{width - 60}" y="{height - 6}">step {last}</text></svg>'
    )


class PhotoFinder:
    """Finds the photo of a record: its own first frame, or else that of the record from which its features were
    extracted.

    Args:
      records: the split.
      folder: where to look instead for photos of records without frames: a dataset with the same records, or a folder
        that has their media files anywhere in it.

    Attributes:
      problem: why the dataset from which the features were extracted cannot be used; empty if it can, or need not.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: the dataset has no such split.
    """

    def __init__(self, records: "RecordSource", folder: Path | None = None):
        from capjax.data.record import RecordSource

        self._originals, self._files, self.problem = None, {}, ""
        if folder is None:
            try:
                self._originals = records.original()
            except (OSError, ValueError) as error:
                self.problem = str(error)
        elif not folder.is_dir():
            raise FileNotFoundError(f"--photos {folder}: no such folder")
        elif (folder / "dataset_info.json").is_file():
            self._originals = RecordSource(folder, records.split)
        else:
            self._files = {path.name: path for path in sorted(folder.rglob("*")) if path.is_file()}

    def find(self, record: "Record", index: int) -> bytes | None:
        """Returns the photo as JPEG; None if there is none. `index` is the record's place in the split."""
        if record.frames:
            return record.frames[0]
        # Extraction of features keeps the order of records.
        if self._originals is not None and index < len(self._originals):
            original = self._originals[index]
            return original.frames[0] if original.id == record.id and original.frames else None
        path = self._files.get(Path(record.media).name)
        return _first_frame(path) if path else None


def _first_frame(path: Path) -> bytes | None:
    """The photo, or the first frame of the video, as a JPEG of the size of the page; None if it is damaged."""
    from capjax.data.media_reader import MediaReader
    from capjax.data.photo import MediaError, MediaSettings

    try:
        return MediaReader(MediaSettings(256, 90), 1.0, 1).read(path).frames[0]
    except MediaError:
        return None


def make_page(workdir: "Workdir", *, photos: Path | None = None) -> str:
    """Returns the HTML page of a run that has been evaluated.

    Args:
      workdir: the run.
      photos: for datasets of features, `folder` of `PhotoFinder`.

    Raises:
      FileNotFoundError: the run has no scores yet, or there is no folder `photos`.
      ValueError: the model finds events.
    """
    from capjax.data.pipeline import DatasetSplit
    from capjax.evals.evaluate import ScoresJson
    from capjax.pages.rendering import render

    config, scores_path = workdir.config(), workdir.path / "scores.json"
    if not scores_path.is_file():
        raise FileNotFoundError(f"{workdir.path}: no scores.json; evaluate first with `launch.py --mode=eval`")
    report = read_json(scores_path, "evaluate again with `launch.py --mode=eval`", ScoresJson)
    if not report["scores"]:
        raise ValueError(f"{scores_path} has no scores; evaluate again with `launch.py --mode=eval`")
    lang, scores = next(iter(report["scores"].items()))
    if config.data.task == "dense":
        raise ValueError(f"{workdir.path}: the page shows captions, and this model finds events; see samples.md")
    predictions = {str(id): text for id, text in read_predictions(workdir.path / "predictions.json").items()}
    split = DatasetSplit.parse(report["split"])
    source = split.open()
    finder = PhotoFinder(source, photos)
    references: dict[str, list[str]] = {}
    figures: list[dict] = []
    for index in range(len(source)):
        record = source[index]
        texts = [caption.text for caption in record.captions if caption.lang == lang]
        if record.id not in predictions or not texts:
            continue
        references[record.id] = texts
        if len(figures) < _MAX_PHOTOS and (jpeg := finder.find(record, index)):
            figures.append({"jpeg": jpeg, "caption": predictions[record.id], "references": texts})
    people = leave_one_out(references, lang=lang) if any(len(r) > 1 for r in references.values()) else {}
    return render(
        "training.html",
        title=f"{config.name or workdir.path.name}: captions after {report['step']} steps",
        items=report["items"][lang], lang=lang, method=config.decode.method,
        rows=[_row(name, value, people.get(name)) for name, value in scores.items()],
        loss_curve=loss_curve(read_metrics(workdir.metrics_path)),
        figures=figures, problem=finder.problem or "they are not among those of --photos",
    )  # fmt: skip


def _row(name: str, value: float, reference: float | None) -> tuple[str, str, str, str]:
    """A row of the table; without a ratio where the reference score is missing or zero to the digits shown."""
    shown = "" if reference is None else f"{reference:.3f}"
    ratio = f"{100 * value / reference:.0f} %" if reference is not None and abs(reference) >= 5e-4 else ""
    return name, f"{value:.3f}", shown, ratio


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m capjax.evals.page", description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True, help="folder of a run that has been evaluated")
    parser.add_argument("--output", type=Path, required=True, help="HTML file to write")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="for datasets of features: the dataset from which "
                        "they were extracted, if it is not where it was then, or a folder with the photos")  # fmt: skip
    plugins.add_argument(parser)
    args = parser.parse_args()
    return run_guarded("capjax.evals.page", lambda: _write_page(args))


def _write_page(args: argparse.Namespace) -> int:
    from capjax.workdir.layout import Workdir

    plugins.import_plugins(args.plugins)
    page = make_page(Workdir(local_path(args.workdir)), photos=args.photos)
    make_folder(args.output.parent)
    write_text(args.output, page)
    print(f"open {args.output.resolve().as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
