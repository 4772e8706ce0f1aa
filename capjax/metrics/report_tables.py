"""Reports on scores as text, for the command line."""

from collections.abc import Sequence


def caption_table(report: dict) -> str:
    """Returns the report as text: a line for each metric, then the signatures."""
    intervals, baseline = report.get("intervals", {}), report.get("baseline", {})
    head = ["metric", "score"]
    head += ["95 % interval"] if intervals else []
    head += ["baseline", "difference", "p"] if baseline else []
    rows = []
    for name, value in report["scores"].items():
        row = [name, f"{value:.4f}"]
        if intervals:
            row.append("{low:.4f} - {high:.4f}".format(**intervals[name]) if name in intervals else "")
        if baseline:
            compared = report["comparison"].get(name)
            row.append(f"{baseline[name]:.4f}")
            row += [f"{compared['difference']:+.4f}", f"{compared['p_value']:.4f}"] if compared else ["", ""]
        rows.append(row)
    rows += [[name, "absent: " + why] for name, why in report["absent"].items()]
    text = _columns([head, *rows])
    for title in ("diversity", "CHAIR"):
        if title in report:
            text += f"\n\n{title}\n" + _columns([[name, f"{v:.4f}"] for name, v in report[title].items()])
    return text + "\n\n" + "\n".join(report["signatures"].values())


def _columns(rows: list[list[str]]) -> str:
    """Returns rows with aligned columns: names to the left, figures to the right."""
    figures = [row for row in rows if not row[-1].startswith("absent: ")]
    widths = [max(len(row[i]) for row in figures if i < len(row)) for i in range(max(map(len, rows)))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for row in rows:
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def dense_table(report: dict, tious: Sequence[float]) -> str:
    """Returns the report as text: a table of the figures at thresholds, then the other figures."""
    scores, levels = report["scores"], [f"{tiou:g}" for tiou in tious]
    by_tiou = [name for name in scores if f"{name}@{levels[0]}" in scores]
    rows = [["tIoU", *levels, "mean"]]
    rows += [
        [name, *(f"{scores[f'{name}@{level}']:.4f}" for level in levels), f"{scores[name]:.4f}"] for name in by_tiou
    ]
    rest = [[name, f"{value:.4f}"] for name, value in scores.items() if name not in by_tiou and "@" not in name]
    rest += [[name, "absent: " + why] for name, why in report["absent"].items()]
    return "\n\n".join([_columns(rows), _columns(rest), *report["signatures"].values()])
