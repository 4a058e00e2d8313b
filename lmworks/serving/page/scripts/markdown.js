// Markdown as elements: headings, paragraphs, lists, quotations, tables, code, emphasis, links. HTML in it stays text, a picture is a
// link to it, and a link leads to http, https or mailto alone. Time is linear in the text, or bounded where it is not.
import { button, copy, el, t } from "./dom.js";
import { highlighted } from "./highlight.js";

const LONG_LINE = 20_000; // characters of a paragraph in which emphasis and links are looked for
const DEEP = 8; // quotations and lists within each other
const PROTOCOLS = ["http:", "https:", "mailto:"];
const FENCE = /^( {0,3})(`{3,}|~{3,})\s*([^\s`]*)[^`]*$/;
const fenced = line => (line.length < 300 ? FENCE.exec(line) : null); // its time grows with the square of the line
const ITEM = /^( {0,8})([-*+]|\d{1,9}[.)])(?: +|$)/;
const RULER = /^ {0,3}(?:(?:\* *){3,}|(?:- *){3,}|(?:_ *){3,})$/;
const DELIMITER = /^ {0,3}\|?(?: *:?-+:? *\|)+(?: *:?-+:? *)?$|^ {0,3}\| *:?-+:? *\|?$/;

/** Blocks of a text, each { kind, start, lines, ... } with the place where it starts in the text. */
function blocks(text) {
  const lines = text.split("\n"), found = [], starts = [];
  for (let at = 0, line = 0; line < lines.length; at += lines[line++].length + 1) starts.push(at);
  let at = 0;
  while (at < lines.length) {
    const start = at, line = lines[at];
    if (!line.trim()) {
      at += 1;
      continue;
    }
    const fence = fenced(line), block = { start: starts[start] };
    if (fence) {
      const [, indent, marks, language] = fence, closing = new RegExp(`^ {0,3}\\${marks[0]}{${marks.length},}\\s*$`);
      const code = [];
      for (at += 1; at < lines.length && !closing.test(lines[at]); at += 1) {
        code.push(lines[at].startsWith(indent) ? lines[at].slice(indent.length) : lines[at].trimStart());
      }
      Object.assign(block, { kind: "code", language: language.toLowerCase(), text: code.join("\n"), open: at >= lines.length });
      at += 1;
    } else if (/^ {0,3}#{1,6}(?:\s|$)/.test(line)) {
      const [, marks, said] = /^ {0,3}(#{1,6})\s*(.*)$/.exec(line);
      Object.assign(block, { kind: "heading", level: marks.length, text: said.trimEnd().replace(/ #+$/, "") });
      at += 1;
    } else if (RULER.test(line)) {
      block.kind = "ruler";
      at += 1;
    } else if (/^ {0,3}>/.test(line)) {
      const quoted = [];
      for (; at < lines.length && /^ {0,3}>/.test(lines[at]); at += 1) quoted.push(lines[at].replace(/^ {0,3}> ?/, ""));
      Object.assign(block, { kind: "quotation", text: quoted.join("\n") });
    } else if (ITEM.test(line)) {
      at = list(lines, at, block);
    } else if (line.includes("|") && at + 1 < lines.length && lines[at + 1].length < 2_000 && DELIMITER.test(lines[at + 1])) {
      const rows = [line], aligned = cells(lines[at + 1]).map(one => (/^:.*:$/.test(one) ? "center" : one.endsWith(":") ? "right" : "left"));
      for (at += 2; at < lines.length && lines[at].includes("|"); at += 1) rows.push(lines[at]);
      Object.assign(block, { kind: "table", rows: rows.map(cells), aligned });
    } else {
      const said = [line];
      for (at += 1; at < lines.length && lines[at].trim() && !begins(lines[at]); at += 1) said.push(lines[at]);
      Object.assign(block, { kind: "paragraph", text: said.join("\n") });
    }
    found.push(block);
  }
  return found;
}

const begins = line => fenced(line) || /^ {0,3}(?:#{1,6}\s|>)/.test(line) || /^ {0,3}(?:[-*+]|1[.)]) /.test(line) || RULER.test(line);

/** Read the list that begins at a line; what is indented under an item is a text of its own. Returns the line after it. */
function list(lines, at, block) {
  const [, indent, mark] = ITEM.exec(lines[at]), ordered = /\d/.test(mark), items = [];
  let fence = null;
  while (at < lines.length) {
    const line = lines[at], item = fence ? null : ITEM.exec(line), inner = indent.length + 2;
    if (item && item[1].length < inner && item[1].length + 1 >= indent.length && /\d/.test(item[2]) === ordered) {
      items.push([line.slice(item[0].length)]);
    } else if (item && item[1].length < inner) {
      break;
    } else if (!line.trim()) {
      const next = lines.slice(at + 1, at + 4).find(one => one.trim()); // white space between items, or the end
      if (!fence && (next === undefined || !(/^ {2,}/.test(next) || ITEM.test(next)))) break;
      items.at(-1).push("");
    } else if (/^\s/.test(line) || fence) {
      items.at(-1).push(line.replace(new RegExp(`^ {0,${indent.length + mark.length + 1}}`), ""));
    } else if (begins(line) || items.at(-1).at(-1) === "") {
      break;
    } else {
      items.at(-1).push(line); // goes on without its indentation
    }
    const own = fenced(items.at(-1).at(-1));
    if (own) fence = fence === null ? own[2][0] : own[2][0] === fence && !own[3] ? null : fence;
    at += 1;
  }
  Object.assign(block, { kind: "list", ordered, first: parseInt(mark, 10), items: items.map(one => one.join("\n")) });
  return at;
}

const cells = line => line.trim().replace(/^\|/, "").replace(/\|$/, "").slice(0, LONG_LINE).split(/(?<!\\)\|/).slice(0, 50)
  .map(one => one.trim().replace(/\\\|/g, "|"));

function element(block, depth) {
  const { kind, text } = block;
  if (kind === "code") return block.open && !text ? el("div") : code(block); // a fence that nothing follows (yet)
  if (kind === "heading") return el("h3", { class: `level-${block.level}` }, ...inline(text)); // no level is skipped below the message's own
  if (kind === "ruler") return el("hr");
  if (kind === "quotation") return el("blockquote", {}, depth < DEEP ? all(text, depth + 1) : text);
  if (kind === "list") {
    const made = el(block.ordered ? "ol" : "ul", { start: block.ordered && block.first !== 1 ? block.first : null });
    for (const one of block.items) made.append(el("li", {}, depth < DEEP ? all(one, depth + 1, true) : one));
    return made;
  }
  if (kind === "table") {
    const [head, ...rows] = block.rows, row = (one, tag) => el("tr", {}, head.map((_, at) => {
      const made = el(tag, tag === "th" ? { scope: "col" } : {}, ...inline(one[at] ?? ""));
      made.style.textAlign = block.aligned[at] ?? "left";
      return made;
    }));
    const table = el("table", {}, el("thead", {}, row(head, "th")), el("tbody", {}, rows.map(one => row(one, "td"))));
    return el("div", { class: "scroll", tabindex: 0 }, table);
  }
  return el("p", {}, ...inline(text));
}

function code(block) {
  const shown = el("code", {}, block.open ? block.text : highlighted(block.text, block.language));
  const head = el("div", { class: "code-head" }, el("span", {}, block.language || t("code")), button(t("copy"), () => copy(block.text)));
  return el("div", { class: "code" }, head, el("pre", { tabindex: 0 }, shown));
}

function all(text, depth, tight = false) {
  const found = blocks(text), fragment = document.createDocumentFragment();
  const bare = tight && !/\n\s*\n/.test(text.trim());
  for (const one of found) fragment.append(...(bare && one.kind === "paragraph" ? inline(one.text) : [element(one, depth)]));
  return fragment;
}

/** A text as a fragment. */
export const rendered = text => all(text.replace(/\r\n?/g, "\n"), 0);

const MARK = /\\[!-/:-@[-`{-~]|`+|!?\[|<(?=[a-z])|https?:\/\/|\*\*|__|~~|\*|_| {2,20}\n|\\\n/g;
const LOOK = 4_000; // characters in which what closes a mark is looked for

/** The elements and texts of a line or paragraph. */
function inline(text, depth = 0) {
  if (text.length > LONG_LINE || depth > DEEP) return [text];
  const parts = [], without = new Set(); // marks that nothing closes any more
  let plain = "", at = 0;
  const put = one => {
    if (plain) parts.push(plain);
    plain = "";
    parts.push(one);
  };
  MARK.lastIndex = 0;
  while (at < text.length) {
    MARK.lastIndex = at;
    const found = MARK.exec(text);
    if (!found) break;
    plain += text.slice(at, found.index);
    const mark = found[0], start = found.index, after = start + mark.length;
    let end = null;
    if (mark.endsWith("\n")) {
      put(el("br"));
      end = after;
    } else if (mark[0] === "\\") {
      plain += mark[1];
      end = after;
    } else if (mark[0] === "`") {
      const close = without.has(mark) ? -1 : closing(text, mark, after);
      if (close < 0) without.add(mark);
      else {
        put(el("code", {}, text.slice(after, close).replace(/^ (.+) $/s, "$1").replace(/\n/g, " ")));
        end = close + mark.length;
      }
    } else if (mark.endsWith("[")) {
      const link = without.has("[") ? null : linked(text, after);
      if (link === null && text.indexOf("](", after) < 0) without.add("[");
      if (link) {
        const name = inline(link.name || link.address, depth + 1);
        put(mark[0] === "!" ? el("span", { class: "picture" }, `${t("picture")}: `, anchor(link.address, [link.name || link.address]))
          : anchor(link.address, name));
        end = link.end;
      }
    } else if (mark === "<" || mark.startsWith("http")) {
      const address = /^(?:https?:\/\/|mailto:)[^\s<>"]{1,2000}/.exec(text.slice(start + (mark === "<"), start + 2_010))?.[0];
      const closed = mark === "<" && address && text[start + 1 + address.length] === ">";
      if (closed || (address && mark !== "<")) {
        const bare = closed ? address : address.replace(/[.,;:!?'"*_~)\]]+$/, "");
        put(anchor(bare, [bare]));
        end = start + bare.length + (closed ? 2 : 0);
      }
    } else {
      const close = without.has(mark) ? -1 : emphasised(text, mark, start);
      if (close < 0) without.add(mark);
      else if (close > after) {
        put(el({ "**": "strong", __: "strong", "~~": "del" }[mark] ?? "em", {}, ...inline(text.slice(after, close), depth + 1)));
        end = close + mark.length;
      }
    }
    if (end === null) plain += mark;
    at = end ?? after;
  }
  plain += text.slice(at);
  if (plain) parts.push(plain);
  return parts;
}

function closing(text, marks, from) {
  for (let at = text.indexOf(marks, from); at >= 0; at = text.indexOf(marks, at)) {
    let end = at;
    while (text[end] === "`") end += 1;
    if (end - at === marks.length) return at;
    at = end;
  }
  return -1;
}

/** Where emphasis ends that begins at `start`; 0 where it is none, -1 where nothing closes it. */
function emphasised(text, mark, start) {
  const after = start + mark.length, wordy = /[\p{L}\p{N}]/u;
  if (!text[after] || /\s/.test(text[after])) return 0;
  if (mark[0] === "_" && wordy.test(text[start - 1] ?? "")) return 0; // snake_case
  for (let at = text.indexOf(mark, after + 1); at >= 0 && at - after < LOOK; at = text.indexOf(mark, at + mark.length)) {
    if (mark.length === 1 && text[at + 1] === mark) { // the stronger mark, which closes for itself
      at += 1;
      continue;
    }
    if (mark === "**" && text[after] === "*" && text[at + 2] === "*") return at + 1; // ***both***
    if (/\s/.test(text[at - 1]) || text[at - 1] === "\\") continue;
    if (mark[0] === "_" && wordy.test(text[at + mark.length] ?? "")) continue;
    return at;
  }
  return text.indexOf(mark, after + 1) < 0 ? -1 : 0;
}

/** A link [name](address "title"), after its first bracket; null where there is none. */
function linked(text, from) {
  const within = text.slice(from, from + LOOK);
  let depth = 1, at = 0;
  for (; at < within.length && depth; at += 1) {
    if (within[at] === "\\") at += 1;
    else if (within[at] === "[") depth += 1;
    else if (within[at] === "]") depth -= 1;
  }
  if (depth || within[at] !== "(") return null;
  const found = /^\(\s*(?:<([^<>\n]*)>|((?:[^\s()]|\([^\s()]*\))*))(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/.exec(within.slice(at));
  return found && { name: within.slice(0, at - 1), address: found[1] ?? found[2], end: from + at + found[0].length };
}

function anchor(address, children) {
  let known = null;
  try {
    known = new URL(address);
  } catch { /* no address of its own: text */ }
  if (!known || !PROTOCOLS.includes(known.protocol)) return el("span", {}, ...children);
  return el("a", { href: known.href, rel: "noopener noreferrer nofollow", target: "_blank" }, ...children);
}

/** A text that grows: what stands is not read again, the last block alone is. */
export class Growing {
  constructor(place) {
    this.place = place;
    this.text = "";
    this.from = 0; // where the last block begins
    this.standing = 0; // elements before it
    this.open = null; // the code of a block that nothing closes yet
  }

  /** Show the text as it is now. */
  show(text) {
    if (!text.startsWith(this.text.slice(0, this.from))) this.from = this.standing = 0;
    this.text = text;
    const rest = text.slice(this.from), found = blocks(rest), last = found.at(-1);
    const open = this.place.children[this.standing]?.querySelector("code");
    if (found.length === 1 && last.kind === "code" && last.open && open && this.open !== null && last.text.startsWith(this.open)) {
      open.append(last.text.slice(this.open.length)); // a block of code that is being written
    } else {
      while (this.place.children.length > this.standing) this.place.lastElementChild.remove();
      this.place.append(...found.map(one => element(one, 0)));
    }
    this.open = last?.kind === "code" && last.open ? last.text : null;
    if (last) {
      this.from += last.start;
      this.standing = this.place.children.length - 1;
    }
  }
}
