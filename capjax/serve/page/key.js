// The API key: asked for when the server wants one, and kept until the tab is closed.
const NAME = "capjax-api-key";
const form = document.getElementById("key");
const input = document.getElementById("key-input");
const problem = document.getElementById("key-problem");
let given = null;

export const storedKey = () => sessionStorage.getItem(NAME) ?? "";

// Waits for a key other than the one that the server has refused.
export async function askForKey(refused, signal) {
  signal?.throwIfAborted();
  if (storedKey() !== refused) return;
  if (!given) {
    given = Promise.withResolvers();
    form.hidden = false;
    problem.textContent = refused ? "The server does not know this key." : "The server asks for an API key.";
    input.focus();
  }
  const canceled = Promise.withResolvers();
  const abort = () => canceled.reject(signal.reason);
  signal?.addEventListener("abort", abort);
  try {
    await Promise.race([given.promise, canceled.promise]);
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(NAME, input.value);
  input.value = "";
  form.hidden = true;
  given?.resolve();
  given = null;
});
