// A photo or video of the user: its card, and the requests that caption it.
import { BINARY, cancelJob, pause, request, RequestError, slots } from "./api.js";
import { caption, element, fromTemplate, part } from "./parts.js";
import { showPhoto } from "./photo.js";
import { showEvents } from "./video.js";

const POLL_SECONDS = 1;
const VIDEO_NAME = /\.(3gp|avi|flv|m2ts|m4v|mkv|mov|mp4|mpe?g|mts|ogv|ts|webm|wmv)$/i;
// Uploads at once, of photos and of videos.
const photoSlots = slots(4);
const videoSlots = slots(2);

export class Item {
  // onChange is called when the item starts or ends.
  constructor(file, onChange) {
    this.file = file;
    this.isVideo = file.type ? file.type.startsWith("video/") : VIDEO_NAME.test(file.name);
    this.card = fromTemplate("item").firstElementChild;
    this.state = "new";
    this.result = null;
    this.error = "";
    this.onChange = onChange;
    this.url = URL.createObjectURL(file);
    part(this.card, "name").textContent = file.name;
    const actions = { cancel: () => this.cancel(), again: () => this.onAgain(), remove: () => this.onRemove() };
    for (const [action, run] of Object.entries(actions)) {
      const button = part(this.card, action);
      button.addEventListener("click", run);
      button.setAttribute("aria-label", `${button.textContent} ${file.name}`);
    }
    part(this.card, "progress").setAttribute("aria-label", `Progress of ${file.name}`);
    this.showMedia();
  }

  get isRunning() {
    return this.state === "running";
  }

  // Captions the file with the options of `choose(isVideo)`.
  async run(choose) {
    this.controller?.abort(); // also of an explanation of the last caption
    const controller = (this.controller = new AbortController());
    this.result = null;
    this.error = "";
    this.clear();
    this.enter("running", "Waiting.");
    try {
      this.result = await this.captionFile(choose, controller.signal);
      if (controller === this.controller) this.enter("done", "");
    } catch (error) {
      if (controller !== this.controller) return;
      const isCanceled = controller.signal.aborted;
      this.error = isCanceled ? "canceled" : error.message;
      this.enter(isCanceled ? "canceled" : "failed", isCanceled ? "Canceled." : `Error: ${error.message}`);
    }
  }

  cancel() {
    if (this.isRunning) this.controller.abort();
  }

  remove() {
    this.controller?.abort();
    this.controller = null;
    URL.revokeObjectURL(this.url);
    this.card.remove();
  }

  async captionFile(choose, signal) {
    if (!this.file.size) throw new RequestError("empty", "the file is empty");
    if (!this.isVideo) {
      try {
        return await photoSlots(() => this.captionPhoto(choose(false), signal), signal);
      } catch (error) {
        // Animated pictures are videos, and so may be files without a known type.
        if (error.kind !== "not_a_photo") throw error;
        this.isVideo = true;
      }
    }
    return this.captionVideo(choose(true), signal);
  }

  async captionPhoto(query, signal) {
    const answer = await request(`v1/captions?${query}`, this.upload(signal));
    const [result] = answer.results;
    if (result.error) throw new RequestError(result.error.kind, result.error.message);
    this.showCaptions(result.captions);
    showPhoto(this.card, { file: this.file, model: answer.model.name, best: result.captions[0], signal });
    return result;
  }

  async captionVideo(query, signal) {
    let answer = await videoSlots(() => request(`v1/videos?${query}`, this.upload(signal)), signal);
    if (answer.id) answer = await this.follow(answer, signal);
    if (answer.captions) this.showCaptions(answer.captions);
    else showEvents(this.card, { file: this.file, video: this.media, ...answer });
    return answer;
  }

  // Waits for the result of a job, which ends when the item is canceled.
  async follow(job, signal) {
    const path = `v1/jobs/${encodeURIComponent(job.id)}`;
    const cancel = () => cancelJob(path);
    signal.addEventListener("abort", cancel);
    try {
      signal.throwIfAborted();
      while (job.state === "queued" || job.state === "running") {
        this.tell(job.state === "queued" ? "Waiting for other videos." : "Captioning.", job.progress);
        await pause(POLL_SECONDS, signal);
        try {
          job = await request(path, { signal });
        } catch (error) {
          // The job outlasts a server that is being started anew.
          if (error.kind !== "unreachable") throw error;
          this.tell("The server cannot be reached; trying again.");
        }
      }
    } finally {
      signal.removeEventListener("abort", cancel);
    }
    if (job.state === "done") return job.result;
    throw new RequestError(job.error?.kind ?? job.state, job.error?.message ?? `the job is ${job.state}`);
  }

  upload(signal) {
    return {
      method: "POST", body: this.file, type: BINARY, signal,
      onUpload: (share) => (share < 1 ? this.tell("Sending.", share) : this.tell("Captioning.")),
      onWait: (seconds) => this.tell(`The server is busy; trying again in ${seconds} s.`),
    };
  }

  // ---- The card

  showMedia() {
    const { name } = this.file;
    this.media = this.isVideo
      ? element("video", "", { controls: "", playsinline: "", preload: "metadata", "aria-label": name })
      : element("img", "", { alt: "", loading: "lazy", decoding: "async" });
    // Browsers cannot show every format that the server reads.
    this.media.addEventListener("error", () => {
      this.media.hidden = true;
      part(this.card, "media").dataset.problem = "This browser cannot show the file.";
    });
    this.media.src = this.url;
    part(this.card, "media").replaceChildren(this.media);
    this.card.classList.toggle("video", this.isVideo);
  }

  clear() {
    part(this.card, "captions").replaceChildren();
    part(this.card, "more").replaceChildren();
    this.showMedia();
  }

  showCaptions(captions) {
    part(this.card, "captions").replaceChildren(...captions.map((each) => caption("li", each)));
    if (this.media.tagName === "IMG") this.media.alt = captions[0].text;
  }

  enter(state, text) {
    this.state = state;
    this.card.dataset.state = state;
    this.tell(text);
    part(this.card, "progress").hidden = !this.isRunning;
    part(this.card, "cancel").hidden = !this.isRunning;
    part(this.card, "again").hidden = this.isRunning;
    this.onChange();
  }

  // Without a share, the progress is not known.
  tell(text, share) {
    part(this.card, "state").textContent = text;
    const progress = part(this.card, "progress");
    if (share === undefined) progress.removeAttribute("value");
    else progress.value = share;
  }
}
