// A text as its tokens: the colour is the surprise under the model, before temperature and filters; the token that is looked at shows
// its probability and what else was likely there. Arrow keys go from one to the next.
import { el, percent, visible } from "./dom.js";

const encoder = new TextEncoder();

/** Tokens as they are shown. Those that are only parts of a character are joined: none is shown broken. */
export class Pieces {
  constructor() {
    this.decoder = new TextDecoder("utf-8");
    this.waiting = [];
  }

  /** Of tokens of the API: [{ text, p, others: [[text, p]] }]. */
  of(tokens) {
    const shown = [];
    for (const token of tokens) {
      this.waiting.push(token);
      const text = this.decoder.decode(bytes(token), { stream: true });
      if (!text) continue;
      const [first] = this.waiting, known = this.waiting.every(one => one.logprob !== null && one.logprob !== undefined);
      shown.push({
        text,
        p: known ? Math.exp(this.waiting.reduce((sum, one) => sum + one.logprob, 0)) : null,
        others: first.top.filter(([name]) => name !== first.token).map(([name, value]) => [name, Math.exp(value)]),
      });
      this.waiting = [];
    }
    return shown;
  }
}

function bytes({ token, bytes: written }) {
  if (written) return new Uint8Array(written);
  const escaped = /^bytes:((?:\\x[\da-f]{2})+)$/.exec(token);
  return escaped ? new Uint8Array(escaped[1].slice(2).split("\\x").map(one => parseInt(one, 16))) : encoder.encode(token);
}

/** The tokens, and below them the one that is looked at. */
export class TokenView {
  constructor() {
    this.tokens = [];
    this.text = el("div", { class: "tokens", keydown: event => this.#move(event), click: event => this.#choose(event.target) });
    this.text.addEventListener("mouseover", event => { if (!this.pinned) this.#look(this.#of(event.target)); });
    this.text.addEventListener("mouseleave", () => { if (!this.pinned) this.#look(null); });
    this.text.addEventListener("focusin", event => this.#choose(event.target));
    this.others = el("div", { class: "others", hidden: true });
    this.element = el("div", {}, this.text, this.others);
    this.shown = null;
    this.pinned = this.reachable = false;
  }

  /** More tokens. */
  add(tokens) {
    const fragment = document.createDocumentFragment();
    for (const token of tokens) {
      const span = el("span", { class: token.end ? "token end" : "token", "data-at": this.tokens.length }, token.text);
      if (token.p !== null) {
        span.style.setProperty("--surprise", Math.min(-Math.log2(Math.max(token.p, 1e-6)) / 8, 1).toFixed(3));
        span.tabIndex = this.reachable ? -1 : 0; // one stop of Tab, and arrows from there
        this.reachable = true;
        span.setAttribute("role", "button");
        span.setAttribute("aria-label", `${visible(token.text)}, ${percent(token.p)}`);
      }
      this.tokens.push(token);
      fragment.append(span);
    }
    this.text.append(fragment);
  }

  #of(target) {
    const span = target.closest?.("[data-at]");
    return span && this.tokens[span.dataset.at].p !== null ? Number(span.dataset.at) : null;
  }

  #choose(target) {
    const at = this.#of(target);
    if (at === null) return;
    this.pinned = true;
    this.#look(at);
  }

  #look(at) {
    if (at === this.shown) return;
    this.text.children[this.shown]?.classList.remove("shown");
    this.shown = at;
    this.others.hidden = at === null;
    if (at === null) return;
    const token = this.tokens[at], span = this.text.children[at];
    span.classList.add("shown");
    this.others.replaceChildren(...[[token.text, token.p], ...token.others].map(([text, p], place) => bar(text, p, place === 0)));
  }

  #move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape" && this.pinned) {
      this.pinned = false;
      this.#look(null);
      event.stopPropagation();
    } else if (step) {
      event.preventDefault();
      let at = (this.shown ?? Number(document.activeElement.dataset.at)) + step;
      while (this.tokens[at] && this.tokens[at].p === null) at += step;
      if (!this.tokens[at]) return;
      for (const one of this.text.querySelectorAll('[tabindex="0"]')) one.tabIndex = -1;
      this.text.children[at].tabIndex = 0;
      this.text.children[at].focus();
    }
  }
}

/** A token with its probability as a bar. */
export function bar(text, p, chosen = false) {
  const made = el("div", { class: chosen ? "bar chosen" : "bar" }, el("code", { title: text }, visible(text)), el("i"), el("b", {}, percent(p)));
  made.children[1].style.width = `${Math.max(100 * p, 0.5)}%`;
  return made;
}
