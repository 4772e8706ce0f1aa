// Requests to the server: with the API key, repeated when the server is busy, and until they are canceled.
import { askForKey, storedKey } from "./key.js";

// The type of files: their content says what they are.
export const BINARY = "application/octet-stream";
// Kinds of errors that pass.
const PASSING = new Set(["busy", "jobs_unavailable", "not_ready"]);

export class RequestError extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

// Returns the JSON of an answer. Throws RequestError, or the signal's reason.
//   onUpload: called with the share of the body that has been sent.
//   onWait: called with the seconds until the request is repeated.
export async function request(path, { method = "GET", body, type, signal, onUpload, onWait } = {}) {
  for (;;) {
    const key = storedKey();
    const answer = await send(path, { method, body, type, key, signal, onUpload });
    const content = parse(answer.text);
    const kind = content?.error?.kind;
    if (answer.status === 401) {
      await askForKey(key, signal);
    } else if (PASSING.has(kind)) {
      onWait?.(answer.retryAfter);
      await pause(answer.retryAfter, signal);
    } else if (answer.status >= 400 || content === undefined) {
      const message = content?.error?.message ?? `the server answered with status ${answer.status}`;
      throw new RequestError(kind ?? "failed", message);
    } else {
      return content;
    }
  }
}

// XMLHttpRequest, since fetch does not report the progress of an upload.
function send(path, { method, body, type, key, signal, onUpload }) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const xhr = new XMLHttpRequest();
    xhr.open(method, new URL(path, document.baseURI));
    if (key) xhr.setRequestHeader("Authorization", `Bearer ${key}`);
    if (type) xhr.setRequestHeader("Content-Type", type);
    if (onUpload) xhr.upload.onprogress = (event) => onUpload(event.loaded / event.total);
    const abort = () => xhr.abort();
    signal?.addEventListener("abort", abort);
    xhr.onload = () => {
      const retryAfter = Number(xhr.getResponseHeader("Retry-After")) || 1;
      resolve({ status: xhr.status, text: xhr.responseText, retryAfter });
    };
    xhr.onerror = () => reject(new RequestError("unreachable", unreachable(body)));
    xhr.onabort = () => reject(signal.reason);
    xhr.onloadend = () => signal?.removeEventListener("abort", abort);
    xhr.send(body);
  });
}

const unreachable = (body) =>
  body instanceof Blob
    ? "the server cannot be reached, the file cannot be read, or it is too large for the server"
    : "the server cannot be reached";

// Cancels a job, also while the page is being left.
export function cancelJob(path) {
  fetch(new URL(path, document.baseURI), {
    method: "DELETE", keepalive: true, headers: storedKey() ? { Authorization: `Bearer ${storedKey()}` } : {},
  }).catch(() => {});
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, 1000 * seconds);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

// Runs at most `limit` functions at once, the others in order. One that is canceled while it waits does not run.
export function slots(limit) {
  let free = limit;
  const waiting = [];
  const release = () => {
    const next = waiting.shift();
    if (next) next();
    else free += 1;
  };
  return async function run(work, signal) {
    if (free) {
      free -= 1;
    } else {
      await new Promise((resolve, reject) => {
        waiting.push(resolve);
        signal.addEventListener("abort", () => {
          const place = waiting.indexOf(resolve);
          if (place >= 0) {
            waiting.splice(place, 1);
            reject(signal.reason);
          }
        });
      });
    }
    try {
      signal.throwIfAborted();
      return await work();
    } finally {
      release();
    }
  };
}
