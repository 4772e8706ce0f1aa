// The models of the server, and what the user has chosen of them.
import { pause, request } from "./api.js";
import { element } from "./parts.js";

const fields = document.getElementById("options");
const photoModel = document.getElementById("photo-model");
const videoModel = document.getElementById("video-model");
const lang = document.getElementById("lang");
const count = document.getElementById("count");
const state = document.getElementById("server");
let models = [];

// Returns once the models are ready.
export async function loadModels() {
  for (;;) {
    try {
      models = (await request("v1/models")).data;
      if (models.every((model) => model.ready)) break;
      state.textContent = "The server is loading its models.";
    } catch (error) {
      state.textContent = `${error.message}; trying again.`;
    }
    await pause(2);
  }
  state.textContent = "";
  const finders = models.filter((model) => model.finds_events);
  const others = models.filter((model) => !model.finds_events);
  fill(photoModel, others);
  fill(videoModel, [...finders, ...others]);
  const names = new Intl.DisplayNames(["en"], { type: "language" });
  const languages = [...new Set(models.flatMap((model) => model.languages))];
  lang.replaceChildren(...languages.map((code) => element("option", names.of(code), { value: code })));
  lang.closest("label").hidden = languages.length < 2;
  photoModel.addEventListener("change", limitCount);
  limitCount();
  fields.hidden = [...fields.querySelectorAll("label")].every((label) => label.hidden);
}

function fill(select, choices) {
  select.replaceChildren(...choices.map((model) => element("option", model.id, { value: model.id })));
  select.closest("label").hidden = choices.length < 2;
}

const find = (id) => models.find((model) => model.id === id);

// A search of n beams has n captions.
function limitCount() {
  const largest = find(photoModel.value)?.beams[0] ?? 1;
  count.max = largest;
  count.value = Math.min(Number(count.value) || 1, largest);
  count.closest("label").hidden = largest < 2;
}

// Returns the query of a request for a photo or a video.
export function choose(isVideo) {
  const model = find((isVideo ? videoModel : photoModel).value);
  if (!model) throw new Error("the models of this server find events in videos; it has none for photos");
  const query = new URLSearchParams({ model: model.id, lang: lang.value });
  if (!isVideo) query.set("n", Math.min(Math.max(1, Math.round(Number(count.value)) || 1), Number(count.max)));
  return query;
}
