// A look inside: which tokens a head attends to, and what each layer would say next (/v1/inspect).
import { post } from "./api.js";
import { el, number, percent, t, visible } from "./dom.js";

const MOST = 64; // tokens that are shown: more are too small to be read

export function start(view, { model }) {
  const form = view.querySelector("form"), said = view.querySelector(".hint"), place = view.querySelector(".found");
  const about = () => model().about ?? {};
  form.layer.max = (about().layers ?? 1) - 1;
  form.head.max = (about().heads ?? 1) - 1;
  form.layer.value = Math.floor((about().layers ?? 0) / 2);
  form.addEventListener("submit", async event => {
    event.preventDefault();
    const [layer, head] = [Number(form.layer.value), Number(form.head.value)];
    const instead = words => {
      said.textContent = words;
      place.replaceChildren(); // of another text
    };
    try {
      const facts = await post("/v1/inspect", { model: model().id, prompt: form.prompt.value, attention: [layer], heads: [head], top: 1 });
      const tokens = facts.tokens.map(one => visible(one.token));
      if (tokens.length > MOST) return instead(t("too_long_inside", { n: number(tokens.length), most: MOST }));
      said.textContent = t("rows", { layer, head });
      place.replaceChildren(el("h2", {}, t("attention")), attention(tokens, facts.attention[0].heads[0].weights));
      if (facts.layers) place.append(el("h2", {}, t("lens")), el("p", { class: "hint" }, t("lens_hint")), lens(tokens, facts.layers));
    } catch (error) {
      instead(error.message);
    }
  });
}

const shaded = (tag, p, attributes, ...children) => {
  const made = el(tag, attributes, ...children);
  made.style.setProperty("--p", p.toFixed(3));
  return made;
};

const scrolled = table => el("div", { class: "scroll", tabindex: 0 }, table);

function attention(tokens, weights) {
  const strongest = row => {
    const best = row.indexOf(Math.max(...row));
    return `${tokens[best]} ${percent(row[best])}`;
  };
  return scrolled(el("table", { class: "grid square" },
    el("thead", {}, el("tr", {}, el("td", {}), tokens.map(one => el("th", { scope: "col" }, el("span", {}, one))), el("th", { scope: "col" }, t("most_at")))),
    el("tbody", {}, weights.map((row, at) => el("tr", {}, el("th", { scope: "row" }, tokens[at]),
      row.map((w, key) => shaded("td", w, { title: `${tokens[at]} → ${tokens[key]}: ${percent(w)}` })), el("td", { class: "most" }, strongest(row)))))));
}

/** After each layer, last first, the likeliest next token at each place, the darker the likelier. */
function lens(tokens, layers) {
  return scrolled(el("table", { class: "grid lens" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, t("layer")), tokens.map(one => el("th", { scope: "col" }, one)))),
    el("tbody", {}, layers.toReversed().map(one => el("tr", {}, el("th", { scope: "row" }, String(one.layer)),
      one.top_logprobs.map(([best]) => shaded("td", Math.exp(best.logprob), { title: percent(Math.exp(best.logprob)) }, visible(best.token))))))));
}
