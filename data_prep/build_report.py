"""Report of a build: what was skipped and why, written to report.json, and the limit on bad input.

Two shares of bad input must stay within `max_bad`: of photos or videos (lost / named by the annotations) and of
captions (lost / all; captions of a lost photo do not count as lost). Absent videos are counted separately, because many
videos of published datasets are no longer on the web.
"""

import json
from collections import Counter
from pathlib import Path

from capjax.files import write_text
from data_prep.readers.item import Problem


class TooMuchBad(Exception):
    """The share of bad input is larger than `max_bad`."""


class Report:
    """Collects the problems of a run.

    Args:
      name: name of the dataset.
      max_bad: the largest accepted share of bad photos, and of bad captions.
      strict: stop at the first problem.
    """

    def __init__(self, name: str, max_bad: float, strict: bool):
        self.name, self.max_bad, self.strict = name, max_bad, strict
        self.problems: list[Problem] = []
        self.items = self.captions = self.left_out = self.unnamed = 0
        self.noun = "photo"  # or video
        self.media: dict = {}  # how media are stored
        self.extracted_from: dict = {}  # of features: path and fingerprint of the dataset with the pictures
        # {split: {"named": videos named by the annotations, "there": videos that can be used}}
        self.videos: dict[str, dict[str, int]] = {}
        self.splits: dict[str, dict] = {}
        self.translations: dict[str, dict[str, int]] = {}

    def add(self, problem: Problem):
        """Adds a problem.

        Raises:
          TooMuchBad: `strict` is set.
        """
        self.problems.append(problem)
        if self.strict:
            raise TooMuchBad(f"{_line(problem)}\n--strict stops at the first problem")

    def count_video(self, split: str, *, usable: bool):
        """Counts a video that the annotations name, and whether it can be used."""
        counts = self.videos.setdefault(split, {"named": 0, "there": 0})
        counts["named"] += 1
        counts["there"] += usable

    def move_video(self, split: str, new_split: str):
        """Counts a usable video for another split."""
        self.count_video(new_split, usable=True)
        for key in self.videos[split]:
            self.videos[split][key] -= 1
        if not self.videos[split]["named"]:
            del self.videos[split]

    def lose_videos(self, split: str, count: int):
        """Counts videos that turned out to be unusable when they were decoded."""
        self.videos[split]["there"] -= count

    def bad(self, costs: str) -> list[Problem]:
        """Problems that cost a caption, or (for any other value) a photo or video: for an unreadable line it is unknown
        which of the two."""
        kinds = ("caption",) if costs == "caption" else ("photo", "video")
        return [problem for problem in self.problems if problem.costs in kinds]

    def check(self):
        """Raises TooMuchBad beyond `max_bad`."""
        for costs, total in ((self.noun, self.items), ("caption", self.captions)):
            bad = self.bad(costs)
            if len(bad) > self.max_bad * total:
                kinds = Counter(problem.kind for problem in bad)
                listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
                raise TooMuchBad(
                    f"{len(bad)} of {total} {costs}s are bad ({listed}), more than --max-bad {self.max_bad:g} allows. "
                    f"The first is {_line(bad[0])}"
                )

    def write(self, path: Path, finished: bool):
        """Writes report.json. The same input gives the same bytes: no times and no absolute paths."""
        report = {
            "name": self.name,
            "finished": finished,
            "media": self.media,
            **({"extracted_from": self.extracted_from} if self.extracted_from else {}),
            "splits": self.splits,
            **({"there": self.videos} if self.videos else {}),
            "left_out": self.left_out,
            "unnamed": self.unnamed,
            "translations": self.translations,
            "max_bad": self.max_bad,
            f"{self.noun}s": {"found": self.items, "bad": len(self.bad(self.noun))},
            "captions": {"found": self.captions, "bad": len(self.bad("caption"))},
            "kinds": dict(sorted(Counter(problem.kind for problem in self.problems).items())),
            "problems": [_entry(problem) for problem in self.problems],
        }
        write_text(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def _line(problem: Problem) -> str:
    return f"{problem.where}: {problem.message} ({problem.kind})"


def _entry(problem: Problem) -> dict:
    file, _, line = problem.where.rpartition(":")
    location = {"file": file, "line": int(line)} if file and line.isdigit() else {"file": problem.where}
    text = {"kind": problem.kind, "costs": problem.costs, **location, "id": problem.id, "message": problem.message}
    # Names that are not valid UTF-8 are escaped, so that the report is valid UTF-8.
    return {
        key: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for key, value in text.items()
    }
