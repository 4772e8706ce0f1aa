"""A page that shows what a run has learned: python -m capjax.evals.page --workdir DIR --output index.html.

Pictures of the evaluation split with the captions that were generated and those of people, scores, and the loss
curve. One file, with the pictures inside.
"""

import argparse
import base64
import html
import json
import sys
from pathlib import Path

from capjax.data.pipeline import DatasetSplit
from capjax.files import write_text
from capjax.metrics import leave_one_out
from capjax.metrics.files import read_predictions
from capjax.workdir.layout import Workdir
from capjax.workdir.metrics_log import read_metrics

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse}td,th{padding:.25rem .9rem .25rem 0;text-align:right;border-bottom:1px solid var(--line)}
td:first-child,th:first-child{text-align:left}
.top{display:flex;flex-wrap:wrap;gap:3rem;align-items:flex-start}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(19rem,1fr));gap:1rem;margin-top:1rem}
figure{margin:0;padding:.8rem;background:var(--soft);border-radius:.6rem}
img{width:100%;height:11rem;object-fit:contain;image-rendering:auto}
figcaption b{display:block;margin:.3rem 0}ul{margin:.2rem 0;padding-left:1.1rem;font-size:.85rem;opacity:.8}
svg{background:var(--soft);border-radius:.6rem}svg text{font:11px system-ui,sans-serif;fill:currentColor}
"""

_NO_PICTURES = (
    "<p>The records hold features alone. <code>data_prep features --keep-frames</code> keeps the pictures too.</p>"
)


def loss_curve(metrics: list[dict], width: int = 480, height: int = 220) -> str:
    """Loss by step as an SVG."""
    points = [(row["step"], row["loss"]) for row in metrics if "loss" in row]
    if len(points) < 2:
        return ""
    left, bottom = 40, height - 24
    last, top = points[-1][0], max(loss for _, loss in points)
    line = " ".join(
        f"{left + (width - left - 10) * step / last:.1f},{bottom - (bottom - 12) * loss / top:.1f}"
        for step, loss in points
    )
    return (
        f'<svg width="{width}" height="{height}" role="img" aria-label="training loss">'
        f'<path d="M{left} 8V{bottom}H{width - 8}" fill="none" stroke="currentColor" opacity=".4"/>'
        f'<polyline points="{line}" fill="none" stroke="#2a7de1" stroke-width="2"/>'
        f'<text x="4" y="16">{top:.1f}</text><text x="4" y="{bottom}">0</text>'
        f'<text x="{left}" y="{height - 6}">training loss, nats a piece</text>'
        f'<text x="{width - 60}" y="{height - 6}">step {last}</text></svg>'
    )


def make_page(workdir: Workdir, *, pictures: int = 24) -> str:
    """The HTML of a run that has been evaluated.

    Raises:
      FileNotFoundError: the run has no predictions yet.
    """
    config, scores_path = workdir.config(), workdir.path / "scores.json"
    if not scores_path.is_file():
        raise FileNotFoundError(f"{workdir.path}: no scores.json; evaluate first with `launch.py --mode=eval`")
    report = json.loads(scores_path.read_text())
    lang, scores = next(iter(report["scores"].items()))
    if config.data.task == "dense":
        raise ValueError(f"{workdir.path}: a model that finds events; the page shows captions. See samples.md")
    predictions = {str(id): text for id, text in read_predictions(workdir.path / "predictions.json").items()}
    source = DatasetSplit.parse(report["split"]).open()
    references, figures = {}, []
    for index in range(len(source)):
        record = source[index]
        texts = [caption.text for caption in record.captions if caption.lang == lang]
        if record.id not in predictions or not texts:
            continue
        references[record.id] = texts
        if len(figures) < pictures and record.frames:
            figures.append(_figure(record.frames[0], predictions[record.id], texts))
    people = leave_one_out(references, lang=lang) if any(len(r) > 1 for r in references.values()) else {}
    metrics = read_metrics(workdir.metrics_path)
    rows = "".join(
        f"<tr><td>{name}</td><td>{value:.3f}</td><td>{_cell(people.get(name))}</td>"
        f"<td>{f'{100 * value / people[name]:.0f} %' if people.get(name) else ''}</td></tr>"
        for name, value in scores.items()
    )
    title = html.escape(f"{config.name or workdir.path.name}: captions after {report['step']} steps")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style><h1>{title}</h1>'
        f"<p>{report['items'][lang]} pictures that training has not seen, captioned in <i>{html.escape(lang)}</i> with "
        f"{html.escape(config.decode.method)} search. <b>Bold</b>: the model. Below it: the true captions.</p>"
        f'<div class="top"><table><tr><th>metric</th><th>model</th><th>true captions</th><th>ratio</th></tr>{rows}'
        f"</table>{loss_curve(metrics)}</div>"
        f"<p>True captions: each scored against the others of its picture.</p>"
        f'<div class="grid">{"".join(figures) or _NO_PICTURES}</div></html>\n'
    )


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _figure(jpeg: bytes, caption: str, references: list[str]) -> str:
    items = "".join(f"<li>{html.escape(text)}</li>" for text in references)
    data = base64.b64encode(jpeg).decode()
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt="{html.escape(caption)}">'
        f"<figcaption><b>{html.escape(caption)}</b><ul>{items}</ul></figcaption></figure>"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m capjax.evals.page", description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    try:
        page = make_page(Workdir(args.workdir))
        args.output.parent.mkdir(parents=True, exist_ok=True)
        write_text(args.output, page)
    except (OSError, ValueError) as error:
        print(f"capjax.evals.page: {error}", file=sys.stderr)
        return 1
    print(f"open {args.output.resolve().as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
