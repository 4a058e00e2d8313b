// What a head would do if it knew nothing but distance: its mean over other texts, `first` on the first token.
const byDistance = ({ first, by }, row) => {
  if (!row) return [1];
  const known = at => by[Math.min(at, by.length - 1)], share = first[Math.min(row, first.length - 1)];
  let sum = 0;
  for (let back = 0; back < row; back++) sum += known(back);
  return Array.from({ length: row + 1 }, (_, key) => key ? (1 - share) * known(row - key) / sum : share);
};
const beyondDistance = (rows, baseline) => {
  const apart = rows.slice(1).map((row, at) => {
    const plain = byDistance(baseline, at + 1);
    return row.reduce((sum, share, key) => sum + Math.abs(share - plain[key]) / 2, 0);
  });
  return apart.reduce((sum, one) => sum + one, 0) / Math.max(apart.length, 1);
};
benches.attention = {
  live: (model, state, say, stored) => {
    const tokens = model.encode(state.text).slice(0, 24), seen = [];
    model.read(tokens, model.begin(), seen);
    const { layers, heads, headDim } = model.facts, each = count => [...Array(count).keys()];
    return {
      pieces: tokens.map(token => model.facts.pieces[token]), baseline: stored.baseline, root: headDim,
      patterns: each(layers).map(layer => each(heads).map(head => seen[layer].map(at => [...at[head].pattern]))),
      inside: (layer, head, row, key) => ({ query: [...seen[layer][row][head].query], key: [...seen[layer][row][head].keys[key]], scores: seen[layer][row][head].scores }),
    };
  },
  draw: (out, result, state, say, change, section) => {
    const { pieces, patterns, baseline, root } = result, names = pieces.map(visible), last = names.length - 1;
    for (const name of ["from", "to"]) section.querySelector(`[name=${name}]`).max = last;
    const layer = state.layer - 1, head = state.head - 1, rows = patterns[layer][head], plain = baseline[layer][head];
    const from = Math.min(state.from, last), to = Math.min(state.to, from);
    const inside = result.inside || ((one, other, row, key) => {
      const kept = result.vectors && one + 1 === result.vectors.layer && other + 1 === result.vectors.head && result.vectors;
      return kept ? { query: kept.queries[row], key: kept.keys[key], scores: kept.keys.slice(0, row + 1).map(k => k.reduce((sum, x, at) => sum + x * kept.queries[row][at], 0) / Math.sqrt(root)) } : null;
    });
    const chips = names.map((name, at) => h("button", { type: "button", class: "chip", "data-at": "t" + at, lang: "en", "aria-pressed": at === from ? "true" : "false" }, name));
    const formula = h("p", { class: "formula", role: "status" });
    const cell = (row, key, share, width) => s("rect", { x: width + key, y: row, width: 1, height: 1, class: "cell", "fill-opacity": share.toFixed(3), "data-row": row, "data-key": key });
    const matrix = (title, told, of) => {
      const width = 5, size = names.length;
      return h("figure", { class: "matrix" }, h("figcaption", {}, title), s("svg", { viewBox: `0 0 ${size + width} ${size}`, role: "img", "aria-label": told },
        names.map((name, row) => s("text", { x: width - .25, y: row + .72 }, name)),
        s("rect", { x: width, y: 0, width: size, height: size, class: "ground" }),
        names.map((_, row) => of(row).map((share, key) => cell(row, key, share, width)))));
    };
    const mine = matrix(fill(say.this_head, { layer: state.layer, head: state.head }), fill(say.matrix, { layer: state.layer, head: state.head }), row => rows[row]);
    const theirs = matrix(say.distance, say.matrix_distance, row => byDistance(plain, row));
    const point = (row, key) => {
      chips.forEach((chip, at) => {
        chip.style.setProperty("--share", at <= row ? rows[row][at].toFixed(3) : 0);
        chip.classList.toggle("from", at === row);
        chip.classList.toggle("to", at === key);
        chip.classList.toggle("later", at > row);
      });
      for (const one of out.querySelectorAll(".cell")) one.classList.toggle("at", Number(one.dataset.row) === row && Number(one.dataset.key) === key);
      const expected = byDistance(plain, row)[key], found = inside(layer, head, row, key), share = rows[row][key], most = found && Math.max(...found.scores);
      formula.textContent = "";
      formula.append(h("b", {}, `${names[row]} → ${names[key]}: ${percent(share)}`), " ", fill(say.expected, { p: percent(expected) }), h("br", {}),
        found ? fill(say.formula, { d: root, dot: signed(found.scores[key] * Math.sqrt(root)), root: Math.sqrt(root).toFixed(2), score: signed(found.scores[key]),
          most: most < 0 ? `(${signed(most)})` : signed(most), power: Math.exp(found.scores[key] - most).toFixed(2), sum: found.scores.reduce((sum, one) => sum + Math.exp(one - most), 0).toFixed(2), p: percent(share) }) : say.formula_later,
        found ? h("br", {}) : "", found ? h("small", {}, `q = (${found.query.map(one => signed(one)).join(", ")})`, h("br", {}), `k = (${found.key.map(one => signed(one)).join(", ")})`) : "");
    };
    chips.forEach((chip, at) => {
      const shown = () => point(Math.max(from, at), Math.min(from, at));
      for (const event of ["pointerenter", "focus"]) chip.addEventListener(event, shown);
      chip.addEventListener("click", () => change({ from: at, to: Math.min(to, at) }));
    });
    for (const figure of [mine, theirs]) {
      const found = event => event.target.dataset.row === undefined ? null : [Number(event.target.dataset.row), Number(event.target.dataset.key)];
      figure.addEventListener("pointerover", event => { const at = found(event); if (at) point(...at); });
      figure.addEventListener("click", event => { const at = found(event); if (at) change({ from: at[0], to: at[1] }); });
      figure.addEventListener("pointerleave", () => point(from, to));
    }
    const apart = patterns.map((some, one) => some.map((of, other) => beyondDistance(of, baseline[one][other])));
    const overview = h("table", { class: "heads" }, h("caption", {}, say.heads),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, say.layer), apart[0].map((_, other) => h("th", { scope: "col" }, fill(say.head_n, { n: other + 1 }))))),
      h("tbody", {}, apart.map((some, one) => h("tr", {}, h("th", { scope: "row" }, String(one + 1)), some.map((value, other) => {
        const button = h("button", { type: "button", "data-at": `h${one}-${other}`, style: `--share:${value.toFixed(2)}`, "aria-pressed": one === layer && other === head ? "true" : "false", "aria-label": fill(say.head_says, { layer: one + 1, head: other + 1, p: Math.round(100 * value) }) }, Math.round(100 * value));
        button.addEventListener("click", () => change({ layer: one + 1, head: other + 1 }));
        return h("td", {}, button);
      })))));
    put(out, h("div", { class: "chips", role: "group", "aria-label": say.tokens }, chips), formula,
      h("div", { class: "pair" }, mine, theirs),
      h("p", { class: "said" }, fill(say.apart, { layer: state.layer, head: state.head, p: percent(apart[layer][head]) })),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": say.heads }, overview),
      table(fill(say.numbers, { token: names[from] }), [say.token, say.weight, say.distance], rows[from].map((share, key) => [`${key + 1}. ${names[key]}`, percent(share), percent(byDistance(plain, from)[key])])));
    point(from, to);
  },
};
