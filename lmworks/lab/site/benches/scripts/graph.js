benches.graph = {
  draw: (out, { facts, questions, whole, without }, state, say, change) => {
    const gone = state.without - 1, one = (gone < 0 ? whole : without[gone])[state.question - 1], used = one.hops.map(hop => hop.join("|"));
    const names = [...new Set(facts.flatMap(([subject, , value]) => [subject, value]))], wide = 700, places = new Map();
    const people = [...new Set(facts.map(([subject]) => subject))], others = names.filter(name => !people.includes(name));
    people.forEach((name, at) => places.set(name, [90 + at * 170, at % 2 ? 110 : 50]));
    others.forEach((name, at) => places.set(name, [150 + at * 200, 230]));
    const link = ([subject, property, value], at) => {
      const [x1, y1] = places.get(subject), [x2, y2] = places.get(value), name = at === gone ? "gone" : used.includes(facts[at].join("|")) ? "used" : "idle";
      const along = others.includes(value) ? .62 : .5;
      return [s("g", { class: name }, s("line", { x1, y1, x2, y2 })), s("g", { class: name }, s("text", { x: x1 + along * (x2 - x1), y: y1 + along * (y2 - y1) + 4 }, (name === "gone" ? "✗ " : "") + property))];
    }, links = facts.map(link);
    const list = h("ul", { class: "others" }, facts.map((fact, at) => {
      const button = h("button", { type: "button", "data-at": "f" + at, "aria-pressed": at === gone ? "true" : "false" }, fact.join(" · "));
      button.addEventListener("click", () => change({ without: at === gone ? 0 : at + 1 }));
      return h("li", { lang: "en" }, button, h("span", { class: "value", lang: document.documentElement.lang }, at === gone ? say.removed : used.includes(fact.join("|")) ? say.used : ""));
    }));
    put(out,
      h("p", { class: "said", lang: "en" }, questions[state.question - 1]),
      h("div", { class: "card" }, h("p", {}, h("b", { lang: "en" }, one.text)), one.refused ? h("p", { lang: "en" }, one.reason) : h("ol", { lang: "en" }, one.hops.map(hop => h("li", {}, hop.join(" → "))))),
      h("p", { class: "hint" }, one.refused ? say.refused : say.answered),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": say.picture }, s("svg", { class: "facts-graph", viewBox: `0 0 ${wide} 270`, role: "img", "aria-label": fill(say.picture_says, { facts: facts.filter((_, at) => at !== gone).map(fact => fact.join(" ")).join("; ") }) },
        links.map(([line]) => line), links.map(([, name]) => name), names.map(name => s("g", { class: "thing" }, s("rect", { x: places.get(name)[0] - 42, y: places.get(name)[1] - 15, width: 84, height: 30, rx: 6 }), s("text", { x: places.get(name)[0], y: places.get(name)[1] + 5 }, name))))),
      h("h3", {}, say.remove), list,
      h("details", { open: true }, h("summary", {}, say.query), h("pre", { tabindex: "0" }, one.query || say.no_query)),
      table(say.answers, [say.question, say.answer, say.facts_used], questions.map((question, at) => { const each = (gone < 0 ? whole : without[gone])[at]; return [question, each.text, each.hops.map(hop => hop.join(" ")).join("; ") || each.reason]; })));
  },
};
