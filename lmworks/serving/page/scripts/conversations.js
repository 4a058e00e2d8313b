// Conversations, kept in this browser alone: one entry of localStorage each, so that tabs do not write over each other.
//
// A conversation: { id, title, named, model, system, created, updated, turns }
// A turn: { role: "user", content, files: [{ name, text } or { name, picture }] }, or { role: "assistant", versions: [answer], at }
// An answer: { content, picture, ended, citations, grounding }, `ended` is stop, length, stopped or failed.
const PREFIX = "lmworks.chat.";
const OPEN = "lmworks.open";
const LONGEST_TITLE = 60;

/** Storage of the browser; where it allows none, of the page's own life. */
export const storage = name => {
  try {
    return window[name].length >= 0 ? window[name] : null;
  } catch {
    const held = {};
    return {
      getItem: key => held[key] ?? null, setItem: (key, text) => { held[key] = text; },
      removeItem: key => { delete held[key]; },
    };
  }
};
const kept = storage("localStorage"), ofTab = storage("sessionStorage");
const ROLES = ["system", "developer", "user", "assistant"];

export class Conversations {
  constructor() {
    this.all = new Map();
    this.listeners = [];
    for (const key of Object.keys(kept)) this.#read(key);
    addEventListener("storage", event => { // another tab
      if (event.key === null) this.all.clear();
      else if (event.key.startsWith(PREFIX)) this.#read(event.key);
      else return;
      for (const one of this.listeners) one();
    });
  }

  /** Call `listener` when another tab has changed something. */
  onChange(listener) {
    this.listeners.push(listener);
  }

  #read(key) {
    if (!key.startsWith(PREFIX)) return;
    try {
      const one = JSON.parse(kept.getItem(key));
      if (one === null) this.all.delete(key.slice(PREFIX.length));
      else if (Array.isArray(one.turns)) this.all.set(one.id, one);
    } catch { /* not ours */ }
  }

  /** The one that this tab had open, or null. */
  get open() {
    return this.all.get(ofTab.getItem(OPEN)) ?? null;
  }

  set open(one) {
    try {
      if (one) ofTab.setItem(OPEN, one.id);
      else ofTab.removeItem(OPEN);
    } catch { /* no room: a reload begins a new one */ }
  }

  /** A new one, which is kept with its first turn. */
  begin(model) {
    const now = Date.now();
    return { id: crypto.getRandomValues(new Uint32Array(3)).join("-"), title: "", model, system: "", created: now, updated: now, turns: [] };
  }

  /** Keep it as it is now. Throws where the browser has no room left. */
  keep(one) {
    if (!one.turns.length || one.gone) return;
    one.updated = Date.now();
    if (!one.named) one.title = titled(one);
    this.all.set(one.id, one);
    kept.setItem(PREFIX + one.id, JSON.stringify(one));
  }

  delete(one) {
    one.gone = true; // an answer that is being written must not bring it back
    this.all.delete(one.id);
    kept.removeItem(PREFIX + one.id);
  }

  /** Those that hold every word, newest first. */
  found(words) {
    const wanted = folded(words).split(/\s+/).filter(Boolean);
    return [...this.all.values()].filter(one => wanted.every(word => textOf(one).includes(word))).sort((a, b) => b.updated - a.updated);
  }

  /** Keep what a file holds, all or nothing; returns how many. Throws with the number of the line that is no conversation. */
  read(text) {
    const found = imported(text);
    for (const one of found) this.keep(one);
    return found.length;
  }
}

const folded = text => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
const textOf = one => folded([one.title, ...one.turns.map(content)].join("\n"));

function titled(one) {
  const [line] = content(one.turns[0]).trim().split("\n");
  return line.length > LONGEST_TITLE ? `${line.slice(0, LONGEST_TITLE - 1).trimEnd()}…` : line;
}

/** The answer of a turn that is shown. */
export const answerOf = turn => turn.versions[turn.at];

/** The text that the model reads of a turn. A file stands after the message under its name. */
export function content(turn) {
  if (turn.role === "assistant") return answerOf(turn).content;
  return [turn.content, ...(turn.files ?? []).filter(file => !file.picture).map(file => `${file.name}:\n\n${file.text}`)].filter(Boolean).join("\n\n");
}

/** Turns without the questions that got no answer, and their empty answers. */
export function answered(turns) {
  const empty = (turn, at) => turns[at]?.role === "assistant" && !content(turns[at]);
  return turns.filter((turn, at) => !empty(turn, at) && !empty(turn, at + 1));
}

/** Turns as messages of the API; pictures are parts before the text. */
export const messages = turns => answered(turns).map(turn => {
  const pictures = (turn.files ?? []).filter(file => file.picture).map(file => ({ type: "image_url", image_url: { url: file.picture } }));
  return { role: turn.role, content: pictures.length ? [...pictures, { type: "text", text: content(turn) }] : content(turn) };
});

/** Conversations as lines of JSON, as `lmworks tune` reads them: those with an answer, up to the last one. */
export function exported(conversations) {
  const lines = [];
  for (const one of conversations) {
    const turns = answered(one.turns), end = turns.findLastIndex(turn => turn.role === "assistant");
    if (end < 0) continue;
    const system = one.system ? [{ role: "system", content: one.system }] : [];
    const said = turns.slice(0, end + 1).map(turn => {
      const { citations, grounding } = turn.role === "assistant" ? answerOf(turn) : {};
      return { role: turn.role, content: content(turn), ...(citations?.length ? { citations, grounding } : {}) };
    });
    lines.push(`${JSON.stringify({ messages: [...system, ...said], title: one.title, model: one.model ?? "" })}\n`);
  }
  return lines.join("");
}

const cited = ({ citations, grounding }) => (Array.isArray(citations) && citations.every(one => one && typeof one.text === "string")
  ? { citations, grounding: Object(grounding) } : {});

function imported(text) {
  const found = [];
  for (const [at, line] of text.split(/\r?\n/).entries()) {
    if (!line.trim()) continue;
    let record = null;
    try {
      record = JSON.parse(line);
    } catch { /* said below */ }
    const said = record?.messages;
    if (!Array.isArray(said) || !said.some(one => one.role === "user") || !said.every(one => ROLES.includes(one?.role) && typeof one.content === "string")) {
      throw new RangeError(String(at + 1));
    }
    const now = Date.now() - found.length;
    found.push({
      id: crypto.getRandomValues(new Uint32Array(3)).join("-"),
      title: typeof record.title === "string" ? record.title.slice(0, 200) : "",
      named: typeof record.title === "string" && record.title !== "",
      model: typeof record.model === "string" ? record.model : "",
      system: said.filter(one => one.role !== "user" && one.role !== "assistant").map(one => one.content).join("\n\n"),
      created: now,
      updated: now,
      turns: said.filter(one => one.role === "user" || one.role === "assistant").map(one => (one.role === "user"
        ? { role: "user", content: one.content }
        : { role: "assistant", at: 0, versions: [{ content: one.content, ended: "stop", ...cited(one) }] })),
    });
  }
  return found;
}
