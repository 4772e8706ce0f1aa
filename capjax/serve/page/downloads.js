// Results as files. They are made in the browser.

export function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// One line for each file, as `capjax prepare jsonl` reads it.
export function jsonLines(items) {
  return items.map((item) => `${JSON.stringify(line(item))}\n`).join("");
}

function line({ file, isVideo, result, error }) {
  const name = { [isVideo ? "video" : "image"]: file.name };
  if (!result) return { ...name, captions: [], error };
  const captions = (result.events ?? result.captions).map(({ text, lang, start, end }) => ({ text, lang, start, end }));
  return { ...name, captions };
}

// One row for each caption. The mark at the start lets spreadsheets read it as UTF-8.
export function csv(items) {
  const rows = [["file", "start", "end", "lang", "caption", "error"]];
  for (const { file, result, error } of items) {
    if (!result) rows.push([file.name, "", "", "", "", error]);
    for (const { start, end, lang, text } of result?.events ?? result?.captions ?? []) {
      rows.push([file.name, start ?? "", end ?? "", lang, text, ""]);
    }
  }
  return `\ufeff${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

function cell(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// SubRip or WebVTT, as the server writes them.
export function subtitles(events, format) {
  const isSrt = format === "srt";
  const blocks = events.map(({ start, end, text }, index) => {
    const times = `${time(start, isSrt)} --> ${time(Math.max(end, start + 0.001), isSrt)}`;
    const plain = text.trim().replace(/\s+/g, " ");
    return `${index + 1}\n${times}\n${isSrt ? plain : escaped(plain)}\n`;
  });
  return (isSrt ? blocks : ["WEBVTT\n", ...blocks]).join("\n");
}

export const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function time(seconds, isSrt) {
  const milliseconds = Math.round(1000 * seconds);
  const digits = (value, length = 2) => String(Math.floor(value)).padStart(length, "0");
  const parts = [milliseconds / 3_600_000, (milliseconds / 60_000) % 60, (milliseconds / 1000) % 60];
  return parts.map((value) => digits(value)).join(":") + (isSrt ? "," : ".") + digits(milliseconds % 1000, 3);
}
