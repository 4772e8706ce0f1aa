// What a card shows of a video with events: a timeline, the events as a list, and their description while it plays.
import { escaped, save, subtitles } from "./downloads.js";
import { caption, clock, element, fromTemplate, part } from "./parts.js";
import { hasVoices, say, silence } from "./speech.js";

// Seconds. Browsers round the times that a video is set to.
const TOLERANCE = 0.02;

export function showEvents(card, { file, video, duration, events }) {
  const root = part(card, "more");
  root.replaceChildren(fromTemplate("events"));
  const seek = (event) => {
    video.currentTime = event.start;
    show([event]); // also of a video that the browser cannot play
  };
  const bars = timeline(root, { duration, events, seek });
  const rows = events.map((event) => {
    const button = element("button", "", { type: "button" });
    button.append(element("span", `${clock(event.start)} – ${clock(event.end)}`, { class: "time" }), " ", caption("span", event));
    button.addEventListener("click", () => seek(event));
    const row = element("li");
    row.append(button);
    return row;
  });
  part(root, "list").replaceChildren(...rows);
  if (!events.length) part(root, "now").textContent = "The model has found no events in this video.";
  const narrator = narration(root, video);

  let current = [];
  function show(shown) {
    if (shown.length === current.length && shown.every((event, index) => event === current[index])) return;
    current = shown;
    events.forEach((event, number) => {
      rows[number].firstChild.toggleAttribute("aria-current", shown.includes(event));
      bars[number].classList.toggle("current", shown.includes(event));
    });
    part(root, "now").replaceChildren(...shown.flatMap((event) => [caption("span", event), " "]));
  }
  function follow() {
    const time = video.currentTime;
    part(root, "playhead").style.insetInlineStart = `${(100 * time) / (duration || 1)}%`;
    show(events.filter((event) => event.start <= time + TOLERANCE && time < event.end));
  }
  for (const name of ["timeupdate", "seeked"]) video.addEventListener(name, follow);
  cues(video, events, narrator.describe);
  const name = file.name.replace(/\.[^.]*$/, "");
  part(root, "srt").addEventListener("click", () => save(`${name}.srt`, "application/x-subrip", subtitles(events, "srt")));
  part(root, "vtt").addEventListener("click", () => save(`${name}.vtt`, "text/vtt", subtitles(events, "vtt")));
}

// A bar for each event, in as few rows as let no two overlap. The list of events is for keyboards and screen readers.
function timeline(root, { duration, events, seek }) {
  const ends = [];
  const bars = events.map((event) => {
    let lane = ends.findIndex((end) => end <= event.start);
    if (lane < 0) lane = ends.length;
    ends[lane] = event.end;
    const bar = element("span", "", { class: "bar", title: `${clock(event.start)} ${event.text}` });
    const share = (seconds) => `${(100 * seconds) / (duration || 1)}%`;
    Object.assign(bar.style, {
      insetInlineStart: share(event.start), inlineSize: share(event.end - event.start), insetBlockStart: `${1.5 * lane}rem`,
    });
    bar.addEventListener("click", () => seek(event));
    return bar;
  });
  const track = part(root, "timeline");
  track.style.blockSize = `${1.5 * Math.max(ends.length, 1)}rem`;
  track.prepend(...bars);
  return bars;
}

// Subtitles of the video, which call a function when an event starts.
function cues(video, events, enter) {
  const track = video.addTextTrack("captions", "Events");
  track.mode = "hidden"; // not shown until the viewer chooses them, but followed
  for (const event of events) {
    const cue = new VTTCue(event.start, Math.max(event.end, event.start + 0.001), escaped(event.text));
    cue.onenter = () => enter(event);
    track.addCue(cue);
  }
}

// Describes events by voice, or in a region that screen readers read. The video waits for a description that takes longer
// than the time until the next.
function narration(root, video) {
  const choice = part(root, "describe");
  const line = part(root, "now");
  let spoken = new Set();
  let waits = false;
  const stop = () => {
    spoken = new Set();
    waits = false;
    silence();
  };
  choice.addEventListener("change", () => {
    stop();
    line.setAttribute("aria-live", choice.value === "reader" ? "polite" : "off");
    if (choice.value === "voice" && !hasVoices()) line.textContent = "This browser has no voices; choose the screen reader.";
  });
  video.addEventListener("seeking", stop);
  return {
    describe(event) {
      if (choice.value !== "voice" || !hasVoices()) return;
      if (spoken.size && !video.paused) {
        waits = true;
        video.pause();
      }
      const own = spoken;
      own.add(event);
      say(event, () => {
        own.delete(event);
        if (waits && own === spoken && !own.size) {
          waits = false;
          video.play();
        }
      });
    },
  };
}
