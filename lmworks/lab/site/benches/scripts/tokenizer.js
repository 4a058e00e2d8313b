benches.tokenizer = {
  served: async ({ own }) => {
    const { token_strs: pieces } = await ask("/tokenize", { prompt: own, add_special_tokens: false, return_token_strs: true }), ends = [];
    let place = 0;
    for (const piece of pieces) {  // a piece of some bytes of a character is found nowhere, and shows no cut
      const found = own.indexOf(piece, place);
      if (found < 0) continue;
      if (found > place) ends.push(found);
      ends.push(place = found + piece.length);
    }
    return { texts: { own }, cuts: { served: { own: { tokens: pieces.length, ends: place < own.length ? [...ends, own.length] : ends } } } };
  },
  draw: (out, { texts, sizes, cuts }, chosen, say) => {
    const state = cuts.served ? { text: "own" } : chosen;
    const text = texts[state.text], rows = Object.entries(cuts), lang = { code: "en", rare: "en", own: "und" }[state.text] || state.text;
    const segments = ends => [0, ...ends].slice(0, ends.length).map((from, at) => h("span", { class: "piece-" + at % 2 }, text.slice(from, ends[at]).replaceAll("\n", "⏎")));
    const characters = [...text].length;
    put(out,
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": say.cut }, h("dl", { class: "cuts" }, rows.map(([name, by]) => {
        const { tokens, ends, unknown } = by[state.text];
        return [h("dt", {}, h("b", {}, say[name]), " ", sizes ? fill(say.vocabulary, { n: sizes[name].toLocaleString("en") }) + " · " : "", fill(say.tokens, { n: tokens }), unknown ? h("b", { class: "fails" }, " · " + fill(say.unknown, { n: unknown })) : null),
          h("dd", { lang, class: "cut-text" }, segments(ends))];
      }))),
      cuts.served ? null : [h("p", { class: "hint" }, say.aligned),
      table(say.cost, [say.text, ...rows.map(([name]) => say[name])], Object.keys(texts).map(code => [say["choice_" + code],
        ...rows.map(([, by]) => `${by[code].tokens} (${(by[code].tokens / [...texts[code]].length).toFixed(2)})`)]), true),
      state.text === "en" ? null : h("p", { class: "said" }, fill(say.compared, { tokens: cuts.smollm2[state.text].tokens, characters, times: (cuts.smollm2[state.text].tokens / cuts.smollm2.en.tokens).toFixed(1) }))]);
  },
};
