"""Pages of explanations: what they show, and how they behave in a browser."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from capjax.explain.explanation import Explanation, Geometry, HeatMaps, Word
from capjax.explain.page import contents_page, explanation_page
from tests.helpers.browser import open_page, serious_findings
from tests.helpers.captioned import blotches


def heat_maps(targets: int, frames: int, cells: int) -> HeatMaps:
    values = np.random.default_rng(cells).normal(size=(targets, frames, cells, cells)).astype(np.float32)
    return HeatMaps(values, np.arange(frames, dtype=np.float32), Geometry(200, 120, (-9, 0, 210, 120)))


def explain(caption: str, frames: int = 1, media: str = "folder/photo.jpg", **about) -> Explanation:
    words = tuple(
        Word(match[0], *match.span(), (number, number + 1), -0.5)
        for number, match in enumerate(re.finditer(r"[^\s.]+", caption))
    )
    maps = {"attention": heat_maps(len(words) + 1, frames, 7), "lime": heat_maps(len(words) + 1, frames, 30)}
    if frames > 1:
        maps["queries"] = heat_maps(1, frames, 1)
    pictures = tuple(simplejpeg.encode_jpeg(blotches(number, 120, 200), 90) for number in range(frames))
    return Explanation(
        media, caption, "en", False, -1.0, words, maps, pictures, tuple(map(float, range(frames))), **about
    )  # fmt: skip


CASES = {
    "photo": explain("A dog runs on the grass."),
    "video": explain("Two dogs run.", 11, "clip.mp4", event=(1.0, 7.5)),
    "hostile": explain("</script><img src=http://host/a.png> 'a' \"b\" & c", media="<b>&.jpg"),
    "nothing": explain(""),
}


def embedded(page: str) -> dict:
    (data,) = re.findall(r'id="maps">(.*?)</script>', page, re.DOTALL)
    return json.loads(data)


@pytest.mark.parametrize("name", CASES)
def test_the_page_has_a_map_of_each_word_and_of_the_caption_for_each_method(name):
    explanation = CASES[name]
    maps = embedded(explanation_page(explanation))
    assert list(maps) == list(explanation.maps)
    for method, targets in maps.items():
        assert len(targets) == len(explanation.maps[method].values)
        assert all(len(target["overlays"]) == min(len(explanation.frames), 8) for target in targets)
        assert all(uri.startswith("data:image/webp") for target in targets for uri in target["overlays"])


def test_descriptions_say_where_a_map_is_strongest():
    explanation = explain("dog", frames=3)
    values = np.zeros((2, 3, 6, 6), np.float32)
    values[0, 2, 5, 0] = 1
    maps = HeatMaps(values, np.array([0, 1, 2], np.float32), Geometry.whole(200, 120))
    explanation.maps["attention"] = maps
    word, whole = (target["description"] for target in embedded(explanation_page(explanation))["attention"])
    assert word == "dog: probability 0.61. attention: strongest at bottom left, 2.0 s."
    assert whole == "The whole caption: probability 0.37. attention: no part speaks for it."


def test_the_contents_link_to_folders_and_name_errors():
    page = contents_page(["a#b", "c"], ["a <dog>", "a cat"], ["d.jpg is damaged"])
    assert '<a href="a%23b/index.html">a#b</a>: a &lt;dog&gt;' in page
    assert "<li>d.jpg is damaged</li>" in page
    assert "Not explained" not in contents_page(["a"], ["b"], [])


@contextmanager
def opened(folder: Path, text: str) -> Iterator:
    """Yields Playwright's page of a text. Fails on requests that leave it, and on errors of its script."""
    path = folder / "index.html"
    path.write_text(text, encoding="utf-8")
    with open_page(path) as page:
        yield page


SHOWN = """async () => {
  const maps = [...document.querySelectorAll("img.map")];
  await Promise.all(maps.map((map) => map.decode()));
  return [maps.map((map) => map.src), document.activeElement.dataset.target,
          document.getElementById("description").textContent, maps.every((map) => map.clientWidth > 50)];
}"""


@pytest.mark.parametrize("name", CASES)
def test_every_map_shows_by_keyboard_alone_and_no_request_leaves_the_page(tmp_path, name):
    explanation = CASES[name]
    text = explanation_page(explanation)
    with opened(tmp_path, text) as page:
        page.keyboard.press("Tab")
        for method, targets in embedded(text).items():
            assert page.evaluate("document.activeElement.value") == method
            for number in range(len(explanation.words) + 1):
                page.keyboard.press("Tab")
                overlays, target, description, is_visible = page.evaluate(SHOWN)
                assert target == str(number)
                expected = targets[number] if len(targets) > 1 else targets[0]
                assert (overlays, description) == (expected["overlays"], expected["description"])
                assert is_visible
            for _ in range(len(explanation.words) + 1):
                page.keyboard.press("Shift+Tab")
            page.keyboard.press("ArrowRight")


def test_pointing_at_a_word_shows_its_map(tmp_path):
    text = explanation_page(CASES["photo"])
    with opened(tmp_path, text) as page:
        page.hover("button[data-target='1']")
        assert page.evaluate(SHOWN)[2].startswith("dog:")
        assert page.get_attribute("button[data-target='1']", "aria-pressed") == "true"
        page.check("input[value=lime]")
        assert page.evaluate(SHOWN)[0] == embedded(text)["lime"][1]["overlays"]


@pytest.mark.parametrize("name", CASES)
def test_axe_finds_nothing_serious(tmp_path, name):
    with opened(tmp_path, explanation_page(CASES[name])) as page:
        assert serious_findings(page) == []
