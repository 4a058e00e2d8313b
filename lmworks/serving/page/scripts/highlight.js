// Code in colours: comments, strings, numbers and keywords. One regular expression a language, each linear in the code.
const LONGEST = 50_000; // characters; more is shown in one colour

const words = text => `\\b(?:${text.replace(/ /g, "|")})\\b`;
const HASH = "#[^\\n]*", SLASHES = "\\/\\/[^\\n]*|\\/\\*[^]*?(?:\\*\\/|$)", DASHES = "--[^\\n]*";
const QUOTED = "\"(?:[^\"\\\\\\n]|\\\\[^])*\"?|'(?:[^'\\\\\\n]|\\\\[^])*'?", TICKS = "`(?:[^`\\\\]|\\\\[^])*`?";
const C = "auto bool break case catch char class const continue default delete do double else enum extern false final float for goto if "
  + "import int interface long namespace new null nullptr package private protected public return short signed sizeof static struct "
  + "super switch template this throw true try typedef union unsigned using var virtual void volatile while";
const LANGUAGES = {
  python: [HASH, `"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|${QUOTED}`, "and as assert async await break case class continue def del elif else "
    + "except False finally for from global if import in is lambda match None nonlocal not or pass raise return True try while with yield"],
  javascript: [SLASHES, `${QUOTED}|${TICKS}`, "async await break case catch class const continue default delete do else enum export extends "
    + "false finally for from function if implements import in instanceof interface let new null of private public return static super "
    + "switch this throw true try type typeof undefined var void while yield"],
  c: [SLASHES, QUOTED, C],
  rust: [SLASHES, "\"(?:[^\"\\\\]|\\\\[^])*\"?", "as async await break const continue crate else enum extern false fn for if impl in let loop "
    + "match mod move mut pub ref return self Self static struct super trait true type unsafe use where while"],
  go: [SLASHES, `${QUOTED}|${TICKS}`, "break case chan const continue default defer else fallthrough false for func go goto if import "
    + "interface map nil package range return select struct switch true type var"],
  shell: [HASH, QUOTED, "case do done elif else esac export fi for function if in local return then while"],
  sql: [DASHES, QUOTED, "add all alter and as asc between by case create delete desc distinct drop else end exists from group having in "
    + "index inner insert into is join key left like limit not null on or order outer primary right select set table then union update "
    + "values view when where with"],
  json: ["(?!)", QUOTED, "true false null"],
  css: ["\\/\\*[^]*?(?:\\*\\/|$)", QUOTED, "important media supports keyframes from to"],
  html: ["<!--[^]*?(?:-->|$)", QUOTED, "(?!)"],
};
const OTHERS = { py: "python", python3: "python", js: "javascript", jsx: "javascript", ts: "javascript", typescript: "javascript", tsx: "javascript",
  cpp: "c", "c++": "c", h: "c", java: "c", cs: "c", csharp: "c", kotlin: "c", swift: "c", php: "c", rs: "rust", golang: "go", sh: "shell",
  bash: "shell", zsh: "shell", console: "shell", yaml: "shell", yml: "shell", toml: "shell", ini: "shell", ruby: "python", rb: "python",
  xml: "html", svg: "html", jsonl: "json" };
const KINDS = ["comment", "string", "number", "keyword"];
const made = {};

/** The code as a fragment; a language that is not known is plain text. */
export function highlighted(code, language) {
  const name = OTHERS[language] ?? language, fragment = document.createDocumentFragment();
  if (!Object.hasOwn(LANGUAGES, name) || code.length > LONGEST) {
    fragment.append(code);
    return fragment;
  }
  const [comment, string, keywords] = LANGUAGES[name];
  const parts = [comment, string, "\\b(?:0[xXbBoO][\\da-fA-F_]+|\\d[\\d_]*(?:\\.\\d+)?(?:[eE][+-]?\\d+)?)\\b", words(keywords)];
  made[name] ??= new RegExp(parts.map(one => `(${one})`).join("|"), name === "sql" ? "gi" : "g");
  let end = 0;
  for (const found of code.matchAll(made[name])) {
    if (!found[0]) continue;
    fragment.append(code.slice(end, found.index));
    const span = document.createElement("span");
    span.className = `c-${KINDS[found.slice(1).findIndex(one => one !== undefined)]}`;
    span.textContent = found[0];
    fragment.append(span);
    end = found.index + found[0].length;
  }
  fragment.append(code.slice(end));
  return fragment;
}
