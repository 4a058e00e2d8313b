// A conversation: what is sent, the answers as they grow, and what can be done with each.
import { request, stream } from "./api.js";
import { shownFile } from "./attachments.js";
import { remarks, sources, withChips } from "./cited.js";
import { answerOf, content, messages } from "./conversations.js";
import { button, copy, el, hear, number, t, tell } from "./dom.js";
import { Growing, rendered } from "./markdown.js";
import { Pieces, TokenView } from "./tokens.js";

const OFTEN = 60; // milliseconds between two looks of an answer that grows
const REFUSALS = { unsure: "not_sure", unmeasured: "not_sure", unsupported: "not_supported" }; // by their reason
const SPOKEN = 500; // characters of an answer that a screen reader is told at once
const NEAR = 120; // pixels from the end within which the page follows the text

export class Chat {
  /** `model()` is what answers, `ready(loading)` the same once it is loaded; `hint()` is said where nothing is said yet. */
  constructor({ log, settings, conversations, model, ready, hint, changed }) {
    Object.assign(this, { log, settings, conversations, model, ready, hint, changed });
    this.views = new WeakMap(); // of an answer of this page's life: its tokens
    this.asTokens = false;
    this.running = null;
    this.open(conversations.open ?? conversations.begin(null));
  }

  open(conversation) {
    this.stop();
    this.log.classList.remove("busy");
    this.conversation = conversation;
    this.conversations.open = conversation.turns.length ? conversation : null;
    this.articles = new Map();
    this.show();
    scrollTo(0, document.documentElement.scrollHeight);
  }

  show() {
    const { turns } = this.conversation, held = document.activeElement, place = [...this.log.children].findIndex(one => one.contains(held));
    this.log.replaceChildren(...(turns.length ? turns.map(turn => this.#article(turn)) : [el("p", { class: "hint" }, this.hint(), el("br"), t("keys"))]));
    if (place < 0 || held.isConnected) return; // the button that was pressed is a new one now
    const buttons = [...(this.log.children[place]?.querySelectorAll(".acts button:enabled") ?? [])];
    (buttons.find(one => one.textContent === held.textContent) ?? buttons.at(-1))?.focus();
  }

  /** No more of the answer that is being written; what is there stays. */
  stop() {
    this.running?.abort();
  }

  send(text, files) {
    const turn = { role: "user", content: text, files };
    this.conversation.turns.push(turn);
    return this.#answer({ role: "assistant", at: -1, versions: [] });
  }

  /** Ask again, and keep the answer that is there beside the new one. */
  regenerate(turn) {
    if (!answerOf(turn).content) turn.versions.splice(turn.at, 1);
    this.conversation.turns.pop();
    return this.#answer(turn);
  }

  resume(turn) {
    return this.#answer(turn, true);
  }

  /** Ask something else in a turn's place: what came after it is gone. */
  resend(turn, text) {
    const { turns } = this.conversation;
    turns.length = turns.indexOf(turn);
    this.show();
    return this.send(text, turn.files);
  }

  async #answer(turn, goesOn = false) {
    this.stop();
    const running = this.running = new AbortController(), conversation = this.conversation, { turns } = conversation;
    if (!goesOn) {
      turn.at = turn.versions.push({ content: "", ended: "stopped" }) - 1;
      turns.push(turn);
    }
    const answer = answerOf(turn), before = goesOn ? turns : turns.slice(0, -1);
    Object.assign(answer, { error: undefined, picture: undefined, ended: "stopped", model: this.model().id });
    Object.assign(conversation, { model: answer.model, system: this.settings.system || conversation.system });
    this.#keep(conversation);
    this.conversations.open = conversation;
    this.show();
    this.log.classList.add("busy");
    this.changed();
    const draw = new Drawing(this, turn, answer, goesOn);
    try {
      draw.say(t("waits"));
      const [path, body] = request(await this.ready(() => draw.say(t("loading", { model: this.model().id }))), messages(before), this.settings, conversation.system);
      for await (const part of stream(path, body, running.signal)) {
        running.signal.throwIfAborted();
        draw.take(part);
      }
      if (!draw.finish) throw new Error(t("cut"));
      answer.ended = draw.finish;
    } catch (error) {
      answer.ended = running.signal.aborted ? "stopped" : "failed";
      if (answer.ended === "failed") answer.error = error.message;
    } finally {
      draw.end();
      if (this.running === running) this.running = null;
      this.#keep(conversation);
      if (this.conversation === conversation) {
        this.log.classList.remove("busy");
        this.show();
        draw.follow();
      }
      this.changed();
      hear([answer.error, answer.ended === "stopped" && t("stopped"), answer.content.slice(0, SPOKEN)].filter(Boolean).join(". "));
    }
  }

  /** The page is being left: stop, before the browser breaks the stream off as an error, and keep what is written so far. */
  leave() {
    if (!this.running) return;
    this.stop();
    this.#keep(this.conversation);
  }

  #keep(conversation) {
    try {
      this.conversations.keep(conversation);
    } catch {
      tell(t("full"));
    }
  }

  #article(turn) {
    const { turns } = this.conversation, last = turns.at(-1) === turn, answer = turn.role === "assistant" ? answerOf(turn) : null;
    const key = answer ?? turn, known = this.articles.get(key);
    if (known && known.last === last && !last) return known.element;
    const element = answer ? this.#answered(turn, answer, last) : this.#asked(turn);
    this.articles.set(key, { element, last });
    return element;
  }

  #asked(turn) {
    const element = el("article", { class: "turn asked" }, el("h2", { class: "unseen" }, t("you")), el("p", { class: "text" }, turn.content),
      ...(turn.files ?? []).map(shownFile),
      el("div", { class: "acts" }, button(t("edit"), () => this.#edit(turn, element)), button(t("copy"), () => copy(content(turn)))));
    return element;
  }

  #edit(turn, element) {
    const field = el("textarea", { "aria-label": t("edited"), rows: Math.min(turn.content.split("\n").length + 1, 12) });
    const done = () => element.replaceWith(this.#asked(turn));
    const send = event => {
      event.preventDefault();
      if (field.value.trim()) this.resend(turn, field.value.trim());
    };
    field.value = turn.content;
    field.addEventListener("keydown", event => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
      else if (event.key === "Escape") done();
    });
    element.replaceChildren(el("form", { class: "edit", submit: send }, field,
      el("div", { class: "acts" }, el("button", { class: "go" }, t("resend")), button(t("cancel"), done))));
    field.focus();
  }

  #answered(turn, answer, last) {
    const view = this.views.get(answer), tokens = view?.tokens.tokens.length && (view.shown ?? this.asTokens), { citations, grounding } = answer;
    const model = answer.model ?? this.conversation.model ?? "";
    const said = el("div", { class: "said" });
    if (tokens) said.append(view.tokens.element);
    else if (citations?.length) said.append(withChips(answer.content, citations, model), sources(citations, model));
    else if (grounding?.refused) said.append(el("p", { class: "refusal" }, grounding.why ? t(REFUSALS[grounding.why.kind] ?? "refused") : answer.content));
    else said.append(rendered(answer.content));
    if (answer.picture) said.prepend(el("img", { class: "picture", src: answer.picture, alt: answer.content }));
    const notes = [answer.error, ...(grounding ? remarks(grounding) : []), view?.foot,
      { length: t("reached"), stopped: t("stopped") }[answer.ended]];
    return el("article", { class: `turn answer${grounding?.refused ? " refused" : ""}` },
      el("h2", { class: "unseen" }, t("answer_of", { model })), said,
      el("p", { class: answer.error ? "foot error" : "foot" }, notes.filter(Boolean).join(" · ")), this.#acts(turn, answer, last, view, tokens));
  }

  #acts(turn, answer, last, view, tokens) {
    const acts = [button(t("copy"), () => copy(answer.content))];
    if (view?.tokens.tokens.length) {
      acts.push(button(t("tokens"), () => {
        view.shown = this.asTokens = !tokens;
        this.articles.delete(answer);
        this.show();
      }, { "aria-pressed": String(Boolean(tokens)) }));
    }
    if (last) {
      acts.push(button(t("regenerate"), () => this.regenerate(turn)));
      if (answer.ended !== "stop" && answer.content && !answer.citations?.length) acts.push(button(t("resume"), () => this.resume(turn)));
      if (turn.versions.length > 1) acts.push(...this.#versions(turn));
    }
    return el("div", { class: "acts" }, acts);
  }

  #versions(turn) {
    const go = step => () => {
      turn.at += step;
      this.#keep(this.conversation);
      this.show();
    };
    return [
      button("‹", go(-1), { "aria-label": t("earlier"), disabled: turn.at === 0 }),
      el("span", { class: "foot" }, `${turn.at + 1} / ${turn.versions.length}`),
      button("›", go(1), { "aria-label": t("later"), disabled: turn.at === turn.versions.length - 1 }),
    ];
  }
}

/** An answer while it is written. */
class Drawing {
  constructor(chat, turn, answer, goesOn) {
    Object.assign(this, { chat, answer, count: 0, finish: null, first: null, drawn: 0, waiting: 0, took: 0 });
    this.begun = answer.content.length;
    const article = chat.log.lastElementChild;
    this.said = article.querySelector(".said");
    this.foot = article.querySelector(".foot");
    this.pieces = new Pieces();
    this.view = chat.views.get(answer) ?? { tokens: new TokenView(), foot: "" };
    if (goesOn && !this.view.tokens.tokens.length && answer.content) this.view.tokens.add([{ text: answer.content, p: null, others: [] }]);
    this.tokens = this.view.shown ?? chat.asTokens;
    if (!this.tokens) {
      this.said.replaceChildren();
      this.growing = new Growing(this.said);
      this.growing.show(answer.content);
    }
    this.said.classList.add("writing");
    this.follow(true);
  }

  say(text) {
    this.foot.textContent = text;
  }

  take(part) {
    const { answer } = this;
    answer.content += part.text;
    if (part.picture) answer.picture = part.picture;
    if (part.citations) answer.citations = part.citations;
    if (part.grounding) answer.grounding = part.grounding;
    this.finish = part.finish ?? this.finish;
    if (part.text) this.first ??= performance.now();
    const shown = this.pieces.of(part.tokens);
    if (part.finish === "stop" && shown.length && !answer.content.endsWith(shown.at(-1).text)) shown.at(-1).end = true;
    this.count = part.usage?.completion_tokens ?? this.count + part.tokens.length;
    if (shown.length) {
      this.chat.views.set(answer, this.view);
      if (this.tokens && !this.said.contains(this.view.tokens.element)) this.said.replaceChildren(this.view.tokens.element);
      this.view.tokens.add(shown);
    }
    this.waiting ||= setTimeout(() => this.#draw(), Math.max(OFTEN, 3 * this.took) - (performance.now() - this.drawn));
  }

  #draw() {
    const started = performance.now();
    this.waiting = 0;
    const follows = this.#near();
    if (!this.said.contains(this.view.tokens.element)) (this.growing ??= new Growing(this.said)).show(this.answer.content);
    this.say(this.#rate());
    if (follows) this.follow(true);
    this.drawn = performance.now();
    this.took = this.drawn - started; // a long text is drawn less often
  }

  end() {
    clearTimeout(this.waiting);
    this.said.classList.remove("writing");
    const asked = this.answer.grounding?.question, turns = this.chat.conversation.turns;
    this.view.foot = this.answer.citations ? "" : this.#rate();
    if (asked && asked !== turns.findLast(one => one.role === "user")?.content) this.view.foot = t("asked_as", { question: asked });
    if (this.finish && !this.answer.content.trim() && !this.answer.picture) this.view.foot = t("wrote_nothing");
    this.chat.views.set(this.answer, this.view);
    this.near = this.#near();
  }

  #rate() {
    if (!this.count) return "";
    const seconds = (performance.now() - this.first) / 1000, rate = this.count > 8 && seconds > 0.05 ? (this.count - 1) / seconds : null;
    return [t("count", { n: number(this.count) }), rate && t("rate", { n: number(rate) })].filter(Boolean).join(" · ");
  }

  #near() {
    return innerHeight + scrollY > document.documentElement.scrollHeight - NEAR;
  }

  /** Go down with the text, unless the visitor reads further up. */
  follow(always = this.near) {
    if (always) scrollTo(0, document.documentElement.scrollHeight);
  }
}
