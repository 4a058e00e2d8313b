const written = (model, state, seed, most) => {
  const cache = model.begin(), next = stream(seed), found = [];
  let logits = model.read(model.encode(state.text), cache);
  while (found.length < most) {
    const kept = filtered(logits, state), token = state.temperature > 0 ? draw(kept, next()) : kept.ids[0];
    found.push(token);
    if (model.ends.includes(token)) break;
    if (found.length < most) logits = model.step(token, cache);
  }
  return found;
};
benches.sampling = {
  live: (model, state) => ({
    pieces: model.facts.pieces,
    logits: model.read(model.encode(state.text), model.begin()),
    texts: [state.seed, state.seed, state.seed + 1].map(seed => ({ seed, text: model.decode(written(model, state, seed, state.length)) })),
  }),
  draw: (out, { pieces, logits, texts, fixed }, state, say) => {
    const kept = filtered(logits, state), { ids, p, left, mass, counts } = kept;
    const shown = Math.min(Math.max(left + 4, 12), 40, ids.length), steps = Object.entries(counts);
    const bar = (id, at) => h("li", { class: at < left ? "kept" : "cut" }, h("code", { lang: "en" }, visible(pieces[id])),
      h("span", { class: "bar" }, h("i", { style: `width:${(100 * p[at] / p[0]).toFixed(2)}%` })),
      h("span", { class: "value" }, at < left && mass < 0.9999 ? [h("span", { class: "raw" }, percent(p[at]) + " → "), percent(p[at] / mass)] : percent(p[at])));
    const rows = [];
    for (let at = 0; at < shown; at++) {
      rows.push(bar(ids[at], at));
      const here = steps.filter(([, count]) => count === at + 1).map(([name]) => name.replace("_", "-") + " " + state[name]);
      if (here.length) rows.push(h("li", { class: "line" }, fill(say.cut_here, { by: here.join(", ") })));
    }
    const far = steps.filter(([, count]) => count > shown).map(([name, count]) => fill(say.cut_later, { by: name.replace("_", "-"), n: count }));
    put(out,
      h("p", { class: "said" }, fill(say.summary, { n: left, all: ids.length, mass: percent(mass), best: visible(pieces[ids[0]]).trim() || "␣", p: percent(p[0] / mass) })),
      h("ol", { class: "bars-list", "aria-label": say.bars }, rows),
      h("p", { class: "hint" }, fill(say.more, { n: ids.length - shown }) + (far.length ? " " + far.join(" ") : "")),
      h("h3", {}, say.texts),
      fixed && !same(state, fixed) ? h("p", { class: "hint" }, say.texts_stored) : null,
      h("dl", { class: "texts" }, texts.map(({ seed, text }, at) => [
        h("dt", {}, fill(at === 1 ? say.seed_again : say.seed, { seed }), at === 1 ? h("b", {}, " " + (text === texts[0].text ? say.same : say.other)) : null),
        h("dd", { lang: "en" }, h("span", { class: "given" }, state.text), text)])));
  },
};
