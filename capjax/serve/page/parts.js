// Pieces of the page that are made from templates. Texts are inserted as text, never as HTML.

export function fromTemplate(id) {
  return document.getElementById(id).content.cloneNode(true);
}

export function part(root, name) {
  return root.querySelector(`[data-part=${name}]`);
}

export function element(name, text = "", attributes = {}) {
  const node = document.createElement(name);
  node.textContent = text;
  for (const [attribute, value] of Object.entries(attributes)) node.setAttribute(attribute, value);
  return node;
}

// A text of a model, with its language for screen readers and hyphenation.
export function caption(name, { text, lang }) {
  return element(name, text, { lang, dir: "auto" });
}

export function clock(seconds) {
  const total = Math.round(seconds);
  const pair = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(total / 3600);
  return `${hours ? `${hours}:` : ""}${pair(Math.floor(total / 60) % 60)}:${pair(total % 60)}`;
}
