// An answer from documents: numbered chips that open the passage, the cited span marked in it.
import { get } from "./api.js";
import { button, el, number, percent, t } from "./dom.js";

/** The answer's text, a chip for each [1] in it that is cited. */
export function withChips(text, citations, model) {
  const known = new Map(citations.map(one => [String(one.number), one]));
  return el("p", { class: "text" }, ...text.split(/ ?\[(\d+)\]/).map((part, at) => {
    if (at % 2 === 0) return part;
    return known.has(part) ? chip(known.get(part), model) : `[${part}]`;
  }));
}

/** Each citation with the place where it stands. */
export function sources(citations, model) {
  return el("ol", { class: "sources" }, citations.map(one => el("li", {}, chip(one, model), el("div", {},
    el("p", {}, one.text.replace(/\s+/g, " ")), el("p", { class: "foot" }, foot(one))))));
}

/** Under a citation: where its span stands; of facts of a graph, that it is one. */
const foot = one => ofGraph(one) ? title(one) : `${title(one)} · ${placed(one)}`;

/** Whether a citation is facts of a graph: they have a place in no document. */
const ofGraph = one => one.kind === "graph";

/** The facts of a graph, each with the file that it is from. */
const facts = ({ triples }) => (Array.isArray(triples) ? triples.filter(Boolean) : []).map(({ subject, property, value, file }) =>
  `${subject} | ${property} | ${value}${file ? `  (${file})` : ""}`).join("\n");

const FINEST = 0.9; // of what is more probably right than this, how much more is not told
const PLACES = ["page", "line", "characters"];
const REASONS = ["nothing_found", "not_mentioned", "not_answered", "in_no_sentence", "unsupported", "unsure", "unmeasured"];

/** A file and the place in it; answers that were kept, and other servers, say it in words of their own. */
function placed({ file, place, at }) {
  return `${file}, ${PLACES.includes(at?.kind) ? t(at.kind, { n: number(at.number), end: number(at.end ?? 0) }) : place}`;
}

/** Under an answer: how probably it is right, or why it is refused and where what comes nearest to one stands. */
export function remarks({ probably_right: right, reason, why, nearest, nearest_at: at }) {
  if (right != null) return [t("probably_right", { share: right > FINEST ? `> ${percent(FINEST)}` : percent(right) })];
  const place = at ? `${placed(at)} (${title(at)})` : nearest;
  return [REASONS.includes(why?.kind) ? t(why.kind, { named: why.named.join(t("or")) }) : reason, place && t("nearest", { place })];
}

const title = one => [one.document, one.heading].filter(Boolean).join(" › ");

const chip = (one, model) =>
  button(String(one.number), () => open(one, model), { class: "chip", "aria-label": t("citation", { n: one.number }) });

/** The passage, or the facts, in a dialogue; Escape closes it. */
async function open(one, model) {
  let shown;
  if (ofGraph(one)) shown = [`${one.text}\n\n${facts(one)}`];
  else try {
    const query = new URLSearchParams({ around: 600, model });
    shown = marked(await get(`/v1/passages/${encodeURIComponent(one.chunk)}?${query}`), one) ?? [t("changed")];
  } catch (error) {
    shown = [error.message];
  }
  const dialog = el("dialog", { class: "source", "aria-labelledby": "source-title", close: () => dialog.remove() },
    el("h2", { id: "source-title" }, title(one)), el("p", { class: "foot" }, foot(one)),
    el("p", { class: "passage", tabindex: 0 }, ...shown), button(t("close"), () => dialog.close()));
  document.body.append(dialog);
  dialog.showModal();
}

/** The passage with the span marked; null where its file has changed. Places are characters, not JavaScript's halves of them. */
function marked(found, one) {
  const whole = [...found.before, ...found.text, ...found.after], begins = found.start - [...found.before].length;
  const cut = (from, to) => whole.slice(from - begins, to - begins).join("");
  if (found.file !== one.file || one.start < begins || cut(one.start, one.end) !== one.text) return null;
  const [from, to] = one.answer ?? [one.start, one.end];
  const span = el("mark", {}, cut(one.start, from), el("b", {}, cut(from, to)), cut(to, one.end));
  return [cut(begins, one.start), span, cut(one.end, begins + whole.length)];
}
