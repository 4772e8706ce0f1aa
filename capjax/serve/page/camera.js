// The camera: photos, and clips of at most a minute.
const MAX_SECONDS = 60;
const dialog = document.getElementById("camera");
const viewfinder = document.getElementById("viewfinder");
const state = document.getElementById("camera-state");
const record = document.getElementById("record");
const take = document.getElementById("take-photo");
let stream = null;
let recorder = null;

// Calls add(file) for each photo and clip.
export function prepareCamera(button, add) {
  button.addEventListener("click", open);
  take.addEventListener("click", async () => {
    const canvas = document.createElement("canvas");
    canvas.width = viewfinder.videoWidth;
    canvas.height = viewfinder.videoHeight;
    canvas.getContext("2d").drawImage(viewfinder, 0, 0);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
    add(new File([blob], name("jpg"), { type: blob.type }));
    state.textContent = "The photo is added.";
  });
  record.addEventListener("click", () => (recorder ? recorder.stop() : startRecording(add)));
  document.getElementById("close-camera").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", close);
}

async function open() {
  dialog.showModal();
  take.disabled = record.disabled = true;
  state.textContent = "Starting the camera.";
  try {
    if (!navigator.mediaDevices) throw new Error("browsers open the camera only for https:// and for localhost");
    const opened = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    stream = opened;
    if (!dialog.open) return close();
    viewfinder.srcObject = stream;
    await viewfinder.play();
    take.disabled = false;
    record.disabled = !globalThis.MediaRecorder;
    state.textContent = "";
  } catch (error) {
    state.textContent = `The camera cannot be used: ${error.message}`;
  }
}

function close() {
  if (recorder) recorder.stop();
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = viewfinder.srcObject = null;
}

function startRecording(add) {
  const chunks = [];
  const own = new MediaRecorder(stream);
  own.ondataavailable = ({ data }) => chunks.push(data);
  own.onstop = () => {
    clearTimeout(timer);
    recorder = null;
    record.textContent = "Record a clip";
    const type = own.mimeType.split(";")[0];
    add(new File(chunks, name(type === "video/mp4" ? "mp4" : "webm"), { type }));
    state.textContent = "The clip is added.";
  };
  own.start();
  recorder = own;
  const timer = setTimeout(() => own.stop(), 1000 * MAX_SECONDS);
  record.textContent = "Stop recording";
  state.textContent = `Recording, at most ${MAX_SECONDS} seconds.`;
}

const name = (suffix) => `camera-${new Date().toISOString().slice(0, 19).replaceAll(":", ".")}.${suffix}`;
