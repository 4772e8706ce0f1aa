// The browser's speech synthesis.

// Some browsers load their voices when they are first asked for them.
globalThis.speechSynthesis?.getVoices();

export const hasVoices = () => (globalThis.speechSynthesis?.getVoices().length ?? 0) > 0;

// Browsers may forget an utterance, and never report its end, unless there is a reference to it.
const utterances = new Set();

// Says a text after those that are being said.
export function say({ text, lang }, onEnd = () => {}) {
  const utterance = new SpeechSynthesisUtterance(text);
  utterance.lang = lang;
  utterance.onend = utterance.onerror = () => {
    utterances.delete(utterance);
    onEnd();
  };
  utterances.add(utterance);
  speechSynthesis.speak(utterance);
}

export const silence = () => globalThis.speechSynthesis?.cancel();
