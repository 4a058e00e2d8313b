// The next token: its distribution under the model, and what the settings make of it while they are moved (/v1/next_token).
import { post } from "./api.js";
import { el, number, percent, t, visible } from "./dom.js";

const PAUSE = 60; // milliseconds after a move

export function start(view, { settings, model }) {
  const form = view.querySelector("form"), said = view.querySelector(".hint"), place = view.querySelector(".distribution");
  let read = null, waiting = 0, latest = 0;
  const show = async () => {
    const turn = latest += 1;
    try {
      const found = await post("/v1/next_token", { model: model().id, prompt: read, ...settings.sampling() });
      if (turn !== latest) return; // a later one is on its way
      said.textContent = t("left", {
        order: found.order.join(", "), kept: number(found.kept), all: number(found.vocabulary),
        before: number(found.entropy, 2), after: number(found.entropy_chosen, 2),
      });
      place.replaceChildren(table(found.top));
    } catch (error) {
      if (turn === latest) said.textContent = error.message;
    }
  };
  form.addEventListener("submit", event => {
    event.preventDefault();
    read = form.prompt.value;
    show();
  });
  settings.onChange(() => {
    if (read === null || view.hidden) return;
    clearTimeout(waiting);
    waiting = setTimeout(show, PAUSE);
  });
}

function table(top) {
  const most = Math.max(...top.map(one => Math.max(one.p, one.p_chosen)));
  const cell = (p, kind) => {
    const made = el("td", { class: kind }, el("i"), el("span", {}, percent(p)));
    made.firstElementChild.style.width = `${(100 * p) / most}%`;
    return made;
  };
  return el("table", { class: "bars" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, t("token")), el("th", { scope: "col" }, t("the_model")), el("th", { scope: "col" }, t("with_settings")))),
    el("tbody", {}, top.map(one => el("tr", { class: one.p_chosen > 0 ? null : "out" },
      el("th", { scope: "row" }, el("code", {}, visible(one.token))), cell(one.p, "before"), cell(one.p_chosen, "after")))));
}
