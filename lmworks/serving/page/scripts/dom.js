// Elements are made here and nowhere else: text is always text, so nothing that a model or a document says becomes HTML.
const words = JSON.parse(document.getElementById("words").textContent);

/** A text of the page's language, with its facts put in: of one, in the singular. */
export const t = (key, facts = {}) => ((facts.n === "1" && words[`${key}_one`]) || words[key]).replace(/\{(\w+)\}/g, (whole, name) => facts[name] ?? whole);

export const lang = document.documentElement.lang;
export const number = (n, most = 0) => n.toLocaleString(lang, { maximumFractionDigits: most, minimumFractionDigits: most });

/** An element with attributes (functions listen to events) and children; null and false are left out. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter(one => one !== null && one !== undefined && one !== false));
  return made;
}

export const button = (text, click, attributes = {}) => el("button", { type: "button", click, ...attributes }, text);

const told = document.getElementById("told");
let clearing = 0;
/** Say something for a while, to the eye and to a screen reader. */
export function tell(text) {
  told.textContent = text;
  clearTimeout(clearing);
  clearing = setTimeout(() => { told.textContent = ""; }, 6000);
}

/** Say something to a screen reader alone. */
export function hear(text) {
  document.getElementById("heard").textContent = text;
}

/** To the clipboard; also where the page was not reached over the loopback or TLS, and has no clipboard of its own. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = el("textarea", { readonly: true, class: "unseen" });
    field.value = text;
    document.body.append(field);
    const focused = document.activeElement;
    field.select();
    document.execCommand("copy");
    field.remove();
    focused?.focus();
  }
  tell(t("copied"));
}

/** A file that is saved. */
export function save(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** "77 %", "6.5 %", "< 0.1 %"; 0 alone is "0 %": what cannot be is not merely rare. */
export const percent = p => {
  if (p === 0 || p >= 0.0995) return `${number(100 * p)} %`;
  return p >= 0.00095 ? `${number(100 * p, 1)} %` : `< ${number(0.1, 1)} %`;
};
export const visible = text => text.replace(/ /g, "·").replace(/\n/g, "↵").replace(/\t/g, "→");
