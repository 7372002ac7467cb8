// Pictures from a drop, the clipboard or a file, made plain: turned upright, without what the file says beside
// the picture, and no longer than `LONGEST`. They are kept in this browser until the chat they are in ends.

export const LONGEST = 2048; // pixels of the longer side; a photograph is some 1 MB then
const AS_THEY_ARE = new Set(["image/png", "image/gif", "image/bmp"]); // drawn, not photographed: no loss
const OLDEST = 7 * 86_400_000; // milliseconds; what a closed tab left

let opened;

function store() {
  opened ??= new Promise((resolve, reject) => {
    const asked = indexedDB.open("qwen", 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore("pictures", { keyPath: "id" });
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
  return opened;
}

async function transaction(mode, act) {
  const database = await store();
  return new Promise((resolve, reject) => {
    const running = database.transaction("pictures", mode);
    const asked = act(running.objectStore("pictures"));
    running.oncomplete = () => resolve(asked.result);
    running.onerror = () => reject(running.error);
    running.onabort = () => reject(running.error);
  });
}

/** Return {id, name, width, height} of a picture that is kept from now on. Throws for what is none. */
export async function keep(file) {
  const image = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => {
    throw new Error(`${file.name || "this"} is no picture that the browser can read`);
  });
  const shrink = Math.min(1, LONGEST / Math.max(image.width, image.height));
  const width = Math.max(1, Math.round(image.width * shrink));
  const height = Math.max(1, Math.round(image.height * shrink));
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const lossless = AS_THEY_ARE.has(file.type);
  if (!lossless) {
    context.fillStyle = "white"; // JPEG has no transparency
    context.fillRect(0, 0, width, height);
  }
  context.drawImage(image, 0, 0, width, height);
  image.close();
  const blob = await canvas.convertToBlob(lossless ? { type: "image/png" } : { type: "image/jpeg", quality: 0.92 });
  const picture = { id: crypto.randomUUID(), name: file.name || "picture", width, height };
  const url = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
  await transaction("readwrite", (pictures) => pictures.put({ id: picture.id, url, when: Date.now() }));
  return picture;
}

/** Return the address (data:) of a picture; null where it is gone. */
export async function urlOf(picture) {
  const kept = await transaction("readonly", (pictures) => pictures.get(picture.id));
  return kept?.url ?? null;
}

export async function forget(pictures) {
  await transaction("readwrite", (kept) => {
    for (const picture of pictures) kept.delete(picture.id);
    return {};
  });
}

/** Drop what tabs have left that were closed long ago. */
export async function forgetOld() {
  const all = await transaction("readonly", (kept) => kept.getAll());
  await forget(all.filter((one) => one.when < Date.now() - OLDEST));
}
