// What a card shows of a photo with captions: reading aloud, and heat maps of words.
import { BINARY, request } from "./api.js";
import { element, fromTemplate, part } from "./parts.js";
import { hasVoices, say, silence } from "./speech.js";

export function showPhoto(card, { file, model, best, signal }) {
  const root = part(card, "more");
  root.replaceChildren(fromTemplate("photo"));
  const description = part(root, "description");
  part(root, "read").addEventListener("click", () => {
    silence();
    description.textContent = hasVoices() ? "" : "This browser has no voices.";
    say(best);
  });
  const explain = part(root, "explain");
  explain.hidden = !best.text;
  explain.addEventListener("click", async () => {
    explain.disabled = true;
    description.textContent = "Computing.";
    const query = new URLSearchParams({ model, lang: best.lang, caption: best.text });
    try {
      const upload = { method: "POST", body: file, type: BINARY, signal };
      const explanation = await request(`v1/explain?${query}`, upload);
      explain.hidden = true;
      showWords(card, explanation);
    } catch (error) {
      if (!signal.aborted) description.textContent = error.message;
      explain.disabled = false;
    }
  });
}

// Each word is a button that shows its map over the photo.
function showWords(card, { caption, lang, words, maps }) {
  const root = part(card, "words");
  const overlay = element("img", "", { class: "map", alt: "" });
  part(card, "media").append(overlay);
  const buttons = [];
  const button = (text, map) => {
    const node = element("button", text, { type: "button" });
    const show = () => {
      for (const each of buttons) each.setAttribute("aria-pressed", String(each === node));
      overlay.src = map.overlay;
      part(card, "description").textContent = map.description;
    };
    node.addEventListener("click", show);
    node.addEventListener("pointerenter", show);
    buttons.push(node);
    return node;
  };
  const text = element("span", "", { lang, dir: "auto" });
  let end = 0;
  words.forEach((word, number) => {
    text.append(caption.slice(end, word.start), button(word.text, maps[number]));
    end = word.end;
  });
  text.append(caption.slice(end));
  const whole = button("whole caption", maps.at(-1));
  root.replaceChildren(text, " ", whole);
  root.hidden = false;
  whole.click();
  buttons[0].focus();
}
