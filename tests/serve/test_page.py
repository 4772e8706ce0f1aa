"""The page of a server in Chromium, with tiny models."""

import csv
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from capjax.serve import served_model, video_captioning
from capjax.serve.access import ApiKeys
from capjax.serve.app import ServerOptions, make_app
from capjax.serve.served_model import ModelSource
from capjax.serve.settings import ServeSettings
from capjax.serve.subtitles import Cue, write_subtitles
from tests.helpers.browser import open_browser, serious_findings
from tests.helpers.captioned import FIXTURES, VIDEOS
from tests.helpers.tiny_job import in_this_process

KEY = "a-key-of-the-tests"
PHOTOS = sorted((FIXTURES / "media/photos").glob("*.jpg"))
SHORT, LONG = VIDEOS  # of 19.2 and 20.0 s
HOSTILE = "<img src=x onerror=alert(1)>"


class Server:
    """A server in a thread: its address, and its parts."""

    def __init__(self, folder: Path):
        workdirs = FIXTURES / "workdirs"
        sources = (
            ModelSource("photos", workdirs / "photo_transformer"),
            ModelSource("events", workdirs / "dense_queries", decode=(("method", "greedy"),)),
        )  # fmt: skip
        settings = ServeSettings(photo_workers=1, sync_video_seconds=19.5)
        app = make_app(
            ServerOptions(sources, str(folder), settings, ApiKeys({"test": KEY}), root_path="/below", reload_seconds=0)
        )
        self.state = app.state.server
        self._server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        wait_until(lambda: self._server.started, 60)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}/"

    def close(self):
        self._server.should_exit = True
        self._thread.join()

    def photos_captioned(self) -> int:
        (count,) = re.findall(
            r'capjax_captions_total{model="photos"} (\d+)', self.state.captioner.metrics.text().decode()
        )
        return int(count)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keeps the thread of the models busy."""
        done = threading.Event()
        self.state.thread.run(done.wait)
        try:
            yield
        finally:
            done.set()


def wait_until(condition: Callable[[], bool], seconds: float = 20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch, tmp_path_factory.getbasetemp())
        # Fewer programs to compile.
        patch.setattr(served_model, "_BATCH_SIZES", (1,))
        for module in (served_model, video_captioning):
            patch.setattr(module, "WINDOW_BATCH_SIZE", 1)
        server = Server(tmp_path_factory.mktemp("jobs"))
        yield server
        server.close()


@pytest.fixture(scope="module")
def expected() -> list[str]:
    """The captions of the photos, as the version wrote them that trained the model."""
    answers = json.loads((FIXTURES / "expected.json").read_text())["workdirs"]["photo_transformer"]["asked"][0]
    return [caption["text"] for caption in answers["answers"]]


@pytest.fixture(scope="module")
def browser():
    with open_browser("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream") as browser:
        yield browser


# Says what it is asked to say, and needs a moment for it.
SPEECH = """
window.said = [];
const end = [];
Object.defineProperty(window, "speechSynthesis", {value: {
  getVoices: () => [{}],
  speak: (utterance) => { said.push([utterance.text, utterance.lang]); setTimeout(() => utterance.onend?.(), 50); },
  cancel: () => {},
}});
"""


@pytest.fixture
def open_page(server, browser):
    """A function that opens the page. At the end, fails on requests to other hosts and on errors of scripts."""
    opened, requests, errors = [], [], []

    def open_page(path: str = "", key: str = KEY, ready: bool = True, **options):
        page = browser.new_page(**options)
        opened.append(page)
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: errors.append(dialog.message))
        page.add_init_script(SPEECH)
        if key:
            page.add_init_script(f"sessionStorage.setItem('capjax-api-key', '{key}')")
        page.goto(server.url + path)
        if ready:
            page.wait_for_selector("#files:enabled", timeout=60_000)
        return page

    yield open_page
    for page in opened:
        page.close()
    assert [url for url in requests if not url.startswith((server.url, "blob:", "data:"))] == []
    # Chromium reports answers with a status of an error as errors of the page.
    assert [error for error in errors if "Failed to load resource" not in error] == []


def ended(page, count: int, timeout: float = 60_000):
    """The cards of files, once so many have ended."""
    page.locator(".item:not([data-state=running])").nth(count - 1).wait_for(timeout=timeout)
    return page.locator(".item")


def texts(locator) -> list[str]:
    return locator.all_inner_texts()


def download(page, button: str) -> str:
    with page.expect_download() as info:
        page.click(button)
    return Path(info.value.path()).read_bytes().decode()


def test_photos_are_captioned_and_a_damaged_one_has_its_error_beside_it(open_page, expected, tmp_path):
    damaged = tmp_path / 'damaged, "cut".jpg'
    damaged.write_bytes(PHOTOS[0].read_bytes()[:300])
    page = open_page()
    page.set_input_files("#files", [*PHOTOS[:6], damaged])
    cards = ended(page, 7)
    assert texts(cards.locator(".captions li")) == expected[:6]
    assert texts(cards.locator("h3")) == [path.name for path in (*PHOTOS[:6], damaged)]
    assert "cut short" in cards.nth(6).locator("[data-part=state]").inner_text()
    assert page.locator(".captions li").first.get_attribute("lang") == "en"
    page.get_by_text("7 of 7 ended, 1 with errors").wait_for()

    rows = [json.loads(line) for line in download(page, "#save-jsonl").splitlines()]
    assert [(row["image"], row["captions"][0]["text"]) for row in rows[:6]] == [
        (path.name, text) for path, text in zip(PHOTOS[:6], expected, strict=False)
    ]
    assert "cut short" in rows[6]["error"]
    table = list(csv.DictReader(io.StringIO(download(page, "#save-csv").removeprefix("\ufeff"))))
    assert [(row["file"], row["caption"]) for row in table[:6]] == [
        (path.name, text) for path, text in zip(PHOTOS[:6], expected, strict=False)
    ]
    assert table[6]["file"] == damaged.name and "cut short" in table[6]["error"]


def test_several_captions_in_the_chosen_language_are_shown_and_read_aloud(open_page):
    page = open_page()
    page.fill("#count", "3")
    page.select_option("#lang", "de")
    page.set_input_files("#files", PHOTOS[:1])
    captions = ended(page, 1).locator(".captions li")
    assert captions.count() == 3
    assert {each.get_attribute("lang") for each in captions.all()} == {"de"}
    page.click("[data-part=read]")
    assert page.evaluate("() => said") == [[captions.first.inner_text(), "de"]]


def test_texts_of_models_and_names_of_files_are_never_html(open_page, tmp_path):
    page = open_page()
    caption = {"text": HOSTILE, "lang": "en", "score": 0.0}
    model = {"name": "photos", "step": 1}
    photo = {"results": [{"captions": [caption]}], "model": model, "timings": {"read": 0, "total": 0}}
    video = {"duration": 9.0, "events": [{**caption, "start": 0.0, "end": 5.0}], "model": model}
    explanation = {"caption": HOSTILE, "lang": "en", "words": [{"text": "img", "start": 1, "end": 4}],
                   "maps": [{"overlay": "data:,", "description": HOSTILE}] * 2}  # fmt: skip
    page.route("**/v1/captions?*", lambda route: route.fulfill(json=photo))
    page.route("**/v1/videos?*", lambda route: route.fulfill(json=video))
    page.route("**/v1/explain?*", lambda route: route.fulfill(json=explanation))
    name = tmp_path / f"{HOSTILE}.jpg"
    name.write_bytes(PHOTOS[0].read_bytes())
    page.set_input_files("#files", [name, SHORT])
    cards = ended(page, 2)
    page.click("[data-part=explain]")
    page.locator("[data-part=words]").wait_for()
    page.click(".events button")
    assert cards.nth(0).locator("h3").inner_text() == name.name
    assert texts(cards.locator(".captions li")) == [HOSTILE]
    assert HOSTILE in cards.nth(1).locator(".events").inner_text()
    assert page.locator("[src=x]").count() == 0


def test_the_words_of_a_caption_show_their_maps(open_page, expected):
    page = open_page()
    page.set_input_files("#files", PHOTOS[:1])
    ended(page, 1)
    page.click("[data-part=explain]")
    words = page.locator("[data-part=words] button")
    words.first.wait_for(timeout=60_000)
    assert texts(words) == [*expected[0].split(), "whole caption"]
    shown = set()
    for word in words.all():
        word.click()
        assert word.get_attribute("aria-pressed") == "true"
        shown.add(page.get_attribute("img.map", "src"))
        assert page.evaluate("() => document.querySelector('img.map').decode().then(() => true)")
    assert len(shown) > 1


@pytest.mark.parametrize("video", [SHORT, LONG], ids=["answered at once", "as a job"])
def test_a_video_has_a_timeline_that_seeks_and_subtitles(open_page, server, video):
    page = open_page()
    with page.expect_response("**/v1/videos?*") as info:
        page.set_input_files("#files", video)
        ended(page, 1)
    assert info.value.status == (200 if video == SHORT else 202)
    rows, bars = page.locator(".events button"), page.locator(".bar")
    assert rows.count() == bars.count() > 1
    bars.last.click()
    seconds = page.evaluate("() => document.querySelector('video').currentTime")
    events = json.loads(download(page, "#save-jsonl"))["captions"]
    assert seconds == pytest.approx(events[-1]["start"], abs=0.05)
    rows.first.click()
    page.locator(".events li:first-child [aria-current]").wait_for()
    page.locator("[data-part=now]", has_text=events[0]["text"]).wait_for()
    cues = [Cue(event["start"], event["end"], event["text"]) for event in events]
    for name in ("srt", "vtt"):
        assert download(page, f"[data-part={name}]") == write_subtitles(cues, name)


def test_events_are_spoken_at_their_times_while_the_video_plays(open_page):
    page = open_page()
    page.set_input_files("#files", SHORT)
    ended(page, 1)
    event, *_ = json.loads(download(page, "#save-jsonl"))["captions"]
    page.select_option("[data-part=describe]", "voice")
    page.evaluate("""([start]) => {
      const video = document.querySelector("video");
      video.muted = true;
      video.currentTime = Math.max(0, start - 0.5);
      return video.play();
    }""", [event["start"]])  # fmt: skip
    page.wait_for_timeout(2000)
    assert page.evaluate("() => said")[0] == [event["text"], "en"]
    page.select_option("[data-part=describe]", "reader")
    assert page.get_attribute("[data-part=now]", "aria-live") == "polite"


def test_the_camera_takes_photos_and_records_clips(open_page):
    page = open_page()
    page.click("#open-camera")
    page.click("#take-photo")
    page.get_by_text("The photo is added.").wait_for()
    page.click("#record")
    page.wait_for_timeout(1500)
    page.click("#record")
    page.get_by_text("The clip is added.").wait_for()
    page.click("#close-camera")
    cards = ended(page, 2)
    assert [card.get_attribute("data-state") for card in cards.all()] == ["done", "done"]
    assert cards.nth(0).locator(".captions li").inner_text()
    assert cards.nth(1).locator("[data-part=timeline]").count() == 1
    assert page.evaluate("() => document.getElementById('viewfinder').srcObject") is None


def test_what_is_canceled_leaves_the_server(open_page, server):
    page = open_page()
    with server.busy():
        with page.expect_response("**/v1/videos?*") as info:
            page.set_input_files("#files", [*PHOTOS, LONG])
        wait_until(lambda: server.state.thread.queued == 4)
        done = server.photos_captioned()
        page.locator(".item").first.locator("[data-part=cancel]").click()
        assert ended(page, 1).first.get_attribute("data-state") == "canceled"
        page.click("#cancel-all")
        cards = ended(page, len(PHOTOS) + 1)
        assert {card.get_attribute("data-state") for card in cards.all()} == {"canceled"}
        job = info.value.headers["location"].rpartition("/")[2]
        wait_until(lambda: server.state.jobs.get(job, "test").state == "canceled")
    wait_until(lambda: server.state.thread.queued == 0)
    assert server.photos_captioned() == done
    page.locator(".item").first.locator("[data-part=again]").click()
    page.locator(".captions li").wait_for()


def test_a_job_is_followed_while_the_server_cannot_be_reached(open_page):
    page = open_page()
    tries = []

    def answer(route):
        tries.append(route)
        return route.abort() if len(tries) == 1 else route.continue_()

    page.route("**/v1/jobs/*", answer)
    page.set_input_files("#files", LONG)
    assert ended(page, 1).first.get_attribute("data-state") == "done"
    assert len(tries) > 1


def test_leaving_the_page_cancels_its_jobs(open_page, server):
    page = open_page()
    with server.busy():
        with page.expect_response("**/v1/videos?*") as info:
            page.set_input_files("#files", LONG)
        job = info.value.headers["location"].rpartition("/")[2]
        page.locator("[data-part=state]", has_text="Captioning.").or_(page.get_by_text("Waiting for other")).wait_for()
        page.goto(f"{server.url}healthz")
        wait_until(lambda: server.state.jobs.get(job, "test").state == "canceled")


def test_a_busy_server_is_asked_again_after_the_time_that_it_names(open_page):
    page = open_page()
    times = []

    def answer(route):
        times.append(time.monotonic())
        if len(times) > 1:
            return route.continue_()
        error = {"error": {"kind": "busy", "message": "the queue is full"}}
        return route.fulfill(status=429, headers={"Retry-After": "1"}, json=error)

    page.route("**/v1/captions?*", answer)
    page.set_input_files("#files", PHOTOS[:1])
    page.get_by_text("The server is busy; trying again in 1 s.").wait_for()
    assert ended(page, 1).first.get_attribute("data-state") == "done"
    assert 0.9 < times[1] - times[0] < 3


def test_a_server_with_keys_is_given_the_key_of_the_user(open_page, expected):
    page = open_page(key="", ready=False)
    page.get_by_text("The server asks for an API key.").wait_for()
    page.fill("#key-input", "another-key")
    page.keyboard.press("Enter")
    page.get_by_text("The server does not know this key.").wait_for()
    page.fill("#key-input", KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector("#files:enabled")
    assert page.is_hidden("#key")
    page.set_input_files("#files", PHOTOS[:1])
    assert texts(ended(page, 1).locator(".captions li")) == expected[:1]
    assert page.evaluate("() => localStorage.length") == 0


def test_the_page_is_used_by_keyboard_alone(open_page):
    page = open_page()
    page.set_input_files("#files", [PHOTOS[0], SHORT])
    ended(page, 2)
    page.locator("h1").click()
    reached = []
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("""() => {
          const element = document.activeElement;
          return element.id || element.dataset.part || element.closest("[class=events]")?.className || element.tagName;
        }"""))  # fmt: skip
        if reached[-1] == "events":
            break
    assert {"lang", "count", "files", "open-camera", "again-all", "save-csv", "read", "explain", "again", "remove"} <= {
        *reached
    }
    page.keyboard.press("Enter")
    assert page.locator(".events button[aria-current]").count() >= 1
    page.locator("#open-camera").focus()
    page.keyboard.press("Enter")
    page.locator("#camera[open]").wait_for()
    page.keyboard.press("Escape")
    assert page.locator("#camera[open]").count() == 0
    assert page.evaluate("() => document.activeElement.id") == "open-camera"


def test_files_are_dropped_anywhere(open_page, expected):
    page = open_page()
    page.evaluate("""([bytes]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], "dropped.jpg", {type: "image/jpeg"}));
      document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
    }""", [[*PHOTOS[0].read_bytes()]])  # fmt: skip
    assert texts(ended(page, 1).locator(".captions li")) == expected[:1]


def test_nothing_exceeds_a_narrow_screen_and_axe_finds_nothing_serious(open_page, tmp_path):
    damaged = tmp_path / ("a" * 100 + ".jpg")
    damaged.write_bytes(b"no photo")
    page = open_page(viewport={"width": 320, "height": 640})
    assert serious_findings(page) == []
    page.set_input_files("#files", [PHOTOS[0], damaged, SHORT])
    ended(page, 3)
    page.locator("[data-part=explain]").first.click()
    page.locator("[data-part=words] button").first.wait_for(timeout=60_000)
    assert page.evaluate("() => document.documentElement.scrollWidth") == 320
    assert serious_findings(page) == []
    page.click("#open-camera")
    page.wait_for_selector("#take-photo:enabled")
    assert serious_findings(page) == []
    page.click("#close-camera")


def test_the_page_works_under_the_path_of_a_proxy(open_page, expected):
    page = open_page("below/")
    page.set_input_files("#files", PHOTOS[:1])
    assert texts(ended(page, 1).locator(".captions li")) == expected[:1]
