const benches = {};
const SVG = "http://www.w3.org/2000/svg";
const put = (element, ...children) => { element.append(...children.flat(9).filter(one => one !== null && one !== undefined)); return element; };
const made = (element, facts, children) => {
  for (const [name, value] of Object.entries(facts)) if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  return put(element, children);
};
const h = (tag, facts, ...children) => made(document.createElement(tag), facts, children);
const s = (tag, facts, ...children) => made(document.createElementNS(SVG, tag), facts, children);
const fill = (text, facts) => text.replace(/\{(\w+)\}/g, (_, name) => facts[name]);
const percent = share => share >= 0.9995 ? "100 %" : share < 0.0001 ? "< 0.01 %" : (100 * share).toFixed(share < 0.01 ? 2 : 1) + " %";
const signed = (value, digits = 2) => (value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);
const visible = piece => piece.replaceAll("▁", "␣").replace("<0x0A>", "⏎");
const same = (one, other) => Object.keys(other).every(name => String(one[name]) === String(other[name]));
const table = (title, heads, rows, open) => h("details", { open }, h("summary", {}, title),
  h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, h("table", {},
    h("thead", {}, h("tr", {}, heads.map(one => h("th", { scope: "col" }, one)))),
    h("tbody", {}, rows.map(([first, ...rest]) => h("tr", {}, h("th", { scope: "row" }, first), rest.map(one => h("td", {}, one))))))));
