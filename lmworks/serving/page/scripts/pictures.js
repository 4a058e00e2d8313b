// Pictures that go with a message, made small: fetched with the first of them.
import { el, t } from "./dom.js";

const SIDE = 256; // pixels of the longer side: more than models of this size read, and little to keep

export async function pictureOf(file) {
  try {
    const bitmap = await createImageBitmap(file), scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
    const canvas = el("canvas", { width: Math.ceil(bitmap.width * scale), height: Math.ceil(bitmap.height * scale) }), ink = canvas.getContext("2d");
    ink.fillStyle = "white"; // what is transparent
    ink.fillRect(0, 0, canvas.width, canvas.height);
    ink.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return { name: file.name, picture: canvas.toDataURL("image/png") };
  } catch {
    throw new Error(t("no_picture", { name: file.name }));
  }
}
