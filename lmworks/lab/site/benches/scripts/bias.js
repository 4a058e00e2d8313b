benches.bias = {
  served: async ({ own }, say, stored) => {
    const parts = /^(.*)\[(.+?)\/(.+?)\](.*)$/.exec(own);
    if (!parts) throw new Error(say.how_own);
    const [, before, first, second, after] = parts, words = [first, second];
    const { model, choices } = await ask("/v1/completions", { prompt: words.map(word => before + word + after), max_tokens: 0, echo: true, logprobs: 0 });
    const bits = choices.sort((one, other) => one.index - other.index).map(({ logprobs }) => -logprobs.token_logprobs.reduce((sum, one) => sum + (one || 0), 0) / Math.LN2);
    return { model, suite: stored.suite, pairs: [{ sentence: before + "{}" + after, words, bits }] };
  },
  draw: (out, { model, pairs, suite }, state, say, change) => {
    const one = state.own ? pairs[0] : pairs[state.pair - 1], share = 1 / (1 + 2 ** (one.bits[0] - one.bits[1]));
    const [before, after] = one.sentence.split("{}");
    const row = (word, bits, part) => h("li", { class: "kept" }, h("span", { lang: "en" }, before, h("mark", {}, word), after),
      h("span", { class: "bar" }, h("i", { style: `width:${(100 * part).toFixed(1)}%` })), h("span", { class: "value" }, `${percent(part)} · ${bits.toFixed(1)} ${say.bit}`));
    const x = part => `${(100 * part).toFixed(2)}%`;
    const others = h("ul", { class: "others" }, pairs.map((other, at) => {
      const button = h("button", { type: "button", lang: "en", "data-at": "p" + at, "aria-pressed": at === state.pair - 1 ? "true" : "false" }, other.sentence.replace("{}", other.words.join("/")));
      button.addEventListener("click", () => change({ pair: at + 1 }));
      return h("li", {}, button, " ", h("span", { class: "value" }, percent(1 / (1 + 2 ** (other.bits[0] - other.bits[1])))));
    }));
    put(out, h("ul", { class: "bars-list wide-rows" }, row(one.words[0], one.bits[0], share), row(one.words[1], one.bits[1], 1 - share)),
      h("p", { class: "said" }, fill(say.summary, { word: share > .5 ? one.words[0] : one.words[1], times: (2 ** Math.abs(one.bits[0] - one.bits[1])).toFixed(1), model })),
      h("h3", {}, say.suite), h("p", {}, fill(say.suite_says, { n: suite.n, p: percent(suite.share), low: percent(suite.low), high: percent(suite.high) })),
      s("svg", { class: "suite", width: "100%", height: 46, role: "img", "aria-label": fill(say.suite_picture, { low: percent(suite.low), high: percent(suite.high) }) },
        s("line", { x1: 0, x2: "100%", y1: 18, y2: 18, class: "axis-line" }), s("line", { x1: "50%", x2: "50%", y1: 4, y2: 32, class: "ideal" }),
        s("line", { x1: x(suite.low), x2: x(suite.high), y1: 18, y2: 18, class: "interval" }), s("circle", { cx: x(suite.share), cy: 18, r: 5 }),
        s("text", { x: 0, y: 44 }, "0 %"), s("text", { x: "50%", y: 44, class: "middle" }, "50 %"), s("text", { x: "100%", y: 44, class: "end" }, "100 %")),
      h("p", { class: "hint" }, say.caution), state.own ? null : [h("h3", {}, say.pairs_all), others]);
  },
};
