// The page of an explanation: the map of the word that is pointed at or focused, with the chosen method.
const maps = JSON.parse(document.getElementById("maps").textContent);
const words = [...document.querySelectorAll("button[data-target]")];
const overlays = [...document.querySelectorAll("img.map")];
let current = words.find((word) => word.getAttribute("aria-pressed") === "true");

function show(word) {
  current = word;
  words.forEach((other) => other.setAttribute("aria-pressed", String(other === word)));
  const targets = maps[document.querySelector("input[name=method]:checked").value];
  // A method that explains whole captions has one map for all words.
  const target = targets.length > 1 ? targets[Number(word.dataset.target)] : targets[0];
  overlays.forEach((overlay, frame) => (overlay.src = target.overlays[frame]));
  document.getElementById("description").textContent = target.description;
  document.getElementById("curve")?.setAttribute("points", target.curve);
}

for (const word of words) {
  for (const event of ["focus", "pointerenter", "click"]) word.addEventListener(event, () => show(word));
}
for (const method of document.querySelectorAll("input[name=method]")) method.addEventListener("change", () => show(current));
// A browser may keep the choice of a method when the page is loaded again.
show(current);
