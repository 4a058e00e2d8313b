// How an answer is chosen: the controls beside the page, kept in the browser. A setting is sent where it differs from what a server does
// by itself, so that one that does not know it is not asked for it.
import { storage } from "./conversations.js";

const KEY = "lmworks.settings";

export class Settings {
  constructor(form) {
    this.form = form;
    this.others = 5; // likeliest tokens beside each that is written
    this.listeners = [];
    this.#restore();
    form.addEventListener("input", () => this.#changed());
    form.addEventListener("submit", event => event.preventDefault());
    form.querySelector("[type=reset]").addEventListener("click", () => setTimeout(() => this.#changed()));
    this.#show();
  }

  /** Call `listener` whenever a control was moved. */
  onChange(listener) {
    this.listeners.push(listener);
  }

  get way() { return this.form.way.value; }

  get system() { return this.form.system.value.trim(); }

  get probabilities() { return this.form.probabilities.checked; }

  /** Fields of a request that say how tokens are chosen. */
  sampling() {
    const said = {};
    for (const field of this.form.querySelectorAll("[data-field]")) {
      if (field.value === "" || Number(field.value) === Number(field.dataset.idle ?? NaN)) continue;
      said[field.dataset.field] = Number(field.value);
    }
    return said;
  }

  /** The same with the longest answer. */
  fields() {
    const most = this.form.max_tokens.value;
    return { ...this.sampling(), ...(most ? { max_tokens: Number(most) } : {}) };
  }

  #show() {
    this.form.querySelector("#unset").hidden = this.way === "off";
    for (const field of this.form.querySelectorAll("[type=range]")) {
      field.closest("label").querySelector(".value").textContent = Number(field.value).toLocaleString(document.documentElement.lang);
    }
  }

  #changed() {
    this.#show();
    const kept = {};
    for (const field of this.form.elements) {
      if (field.name && field.name !== "way") kept[field.name] = field.type === "checkbox" ? field.checked : field.value;
    }
    try {
      storage("localStorage").setItem(KEY, JSON.stringify(kept));
    } catch { /* no room: they hold as long as the page */ }
    for (const one of this.listeners) one();
  }

  #restore() {
    let kept = {};
    try {
      kept = JSON.parse(storage("localStorage").getItem(KEY)) ?? {};
    } catch { /* nothing that can be read */ }
    for (const [name, value] of Object.entries(kept)) {
      const field = this.form.elements[name];
      if (field?.type === "checkbox") field.checked = value;
      else if (field) field.value = value;
    }
  }
}
