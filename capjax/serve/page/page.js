// The page: files come in, each becomes an item, and all of them can be canceled, removed and downloaded.
import { prepareCamera } from "./camera.js";
import { csv, jsonLines, save } from "./downloads.js";
import { Item } from "./item.js";
import { choose, loadModels } from "./options.js";

const byId = (id) => document.getElementById(id);
const input = byId("files");
const problem = byId("add-problem");
let items = [];

function add(files) {
  problem.textContent = "";
  byId("all").hidden = false;
  for (const file of files) {
    const item = new Item(file, update);
    item.onAgain = () => item.run(choose);
    item.onRemove = () => remove([item]);
    items.push(item);
    byId("items").append(item.card);
    item.run(choose);
  }
}

function remove(removed) {
  for (const item of removed) item.remove();
  items = items.filter((item) => !removed.includes(item));
  byId("all").hidden = !items.length;
  (items.length ? byId("results") : input).focus();
  update();
}

// Screen readers read the counts, so they do not change with each of many files.
let timer = null;
function update() {
  timer ??= setTimeout(() => {
    timer = null;
    const count = (state) => items.filter((item) => item.state === state).length;
    const ended = items.length - count("running");
    const parts = [`${ended} of ${items.length} ended`];
    if (count("failed")) parts.push(`${count("failed")} with errors`);
    if (count("canceled")) parts.push(`${count("canceled")} canceled`);
    byId("counts").textContent = parts.join(", ");
    byId("overall").max = items.length || 1;
    byId("overall").value = ended;
    byId("cancel-all").disabled = ended === items.length;
    byId("save-jsonl").disabled = byId("save-csv").disabled = !ended;
  }, 300);
}

input.addEventListener("change", () => {
  add(input.files);
  input.value = "";
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  if (input.disabled) return;
  const entries = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  const files = entries.filter((item) => !item.webkitGetAsEntry()?.isDirectory).map((item) => item.getAsFile());
  add(files);
  if (files.length < entries.length) problem.textContent = "Folders cannot be dropped: drop the files in them.";
});
byId("cancel-all").addEventListener("click", () => items.forEach((item) => item.cancel()));
byId("again-all").addEventListener("click", () => items.forEach((item) => item.run(choose)));
byId("remove-all").addEventListener("click", () => remove(items));
addEventListener("pagehide", () => items.forEach((item) => item.cancel()));
const ended = () => items.filter((item) => !item.isRunning);
byId("save-jsonl").addEventListener("click", () => save("captions.jsonl", "application/jsonl", jsonLines(ended())));
byId("save-csv").addEventListener("click", () => save("captions.csv", "text/csv", csv(ended())));
prepareCamera(byId("open-camera"), (file) => add([file]));

await loadModels();
input.disabled = byId("open-camera").disabled = false;
