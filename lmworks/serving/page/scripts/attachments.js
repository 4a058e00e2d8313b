// Files that go with a message. A kind says what it takes and how it is read.
import { button, el, number, t } from "./dom.js";

export const MOST_FILES = 5;
export const MOST_BYTES = 200_000;
const KINDS = [{ name: "picture", fits: file => file.type.startsWith("image/"), read: async file => (await import("./pictures.js")).pictureOf(file) }, { name: "text", fits: () => true, read: textOf }];

async function textOf(file) {
  const large = file.size > MOST_BYTES;
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await file.slice(0, MOST_BYTES).arrayBuffer(), { stream: large });
    if (text.includes("\0")) throw new TypeError();
  } catch {
    throw new Error(t("no_text", { name: file.name }));
  }
  if (large) throw new Error(t("too_large", { name: file.name, most: number(MOST_BYTES / 1000) }));
  return { name: file.name, text };
}

/** The files of the message that is being written. */
export class Attachments {
  /** `refused`: why a file of this kind cannot go to the chosen model, or nothing. */
  constructor(place, input, say, refused) {
    Object.assign(this, { place, say, refused, files: [] });
    input.addEventListener("change", () => {
      this.add(input.files);
      input.value = "";
    });
  }

  async add(files) {
    for (const file of files) {
      if (this.files.length >= MOST_FILES) return this.say(t("too_many", { most: MOST_FILES }));
      const kind = KINDS.find(one => one.fits(file)), why = this.refused(kind.name, file.name);
      if (why) {
        this.say(why);
        continue;
      }
      try {
        this.files.push(await kind.read(file));
        this.#show();
      } catch (error) {
        this.say(error.message);
      }
    }
  }

  /** Take them: what goes with the next message is empty again. */
  take() {
    const taken = this.files;
    this.files = [];
    this.#show();
    return taken;
  }

  #show() {
    this.place.hidden = !this.files.length;
    this.place.replaceChildren(...this.files.map(file => el("li", {}, file.picture && el("img", { src: file.picture, alt: "" }), `${file.name} `, button("×", () => {
      this.files = this.files.filter(one => one !== file);
      this.#show();
    }, { "aria-label": t("remove", { name: file.name }) }))));
  }
}

/** A file in the conversation: a picture, or a name, and its text when it is unfolded. */
export const shownFile = file => file.picture ? el("img", { class: "picture", src: file.picture, alt: file.name }) : el("details", { class: "file" },
  el("summary", {}, t("file", { name: file.name, n: number(file.text.length) })), el("pre", { tabindex: 0 }, file.text));
