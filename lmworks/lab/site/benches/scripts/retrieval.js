benches.retrieval = {
  draw: (out, { documents, questions }, state, say) => {
    const one = questions[state.question - 1], found = one.stages[state.search], best = one.stages.reranked[0];
    const others = Object.keys(one.stages).filter(name => name !== state.search);
    const sentences = some => some.map(part => [part.supported ? h("span", {}, part.text) : h("mark", {}, part.text, h("b", { class: "fails" }, " ✗ " + say.unsupported)), " "]);
    const unsupported = state.answer === "quoted" ? 0 : one[state.answer].filter(part => !part.supported).length;
    const said = state.answer === "quoted" ? h("p", { lang: "en" }, one.quoted.text, " ", h("span", { class: "hint" }, fill(say.confidence, { p: percent(one.quoted.confidence) }))) : h("p", { lang: "en" }, sentences(one[state.answer]));
    put(out,
      h("p", { class: "said", lang: "en" }, one.question),
      h("h3", {}, say.found_title),
      found.length ? h("ol", { class: "passages" }, found.map(({ document, text, score }, rank) => h("li", { class: document === best.document ? "best-passage" : "" },
        h("b", { lang: "en" }, document), ` · ${signed(score)} `, h("span", { class: "hint" }, others.map(name => { const at = one.stages[name].findIndex(two => two.document === document); return `${say["choice_" + name]}: ${at < 0 ? "–" : at + 1}`; }).join(" · ")), h("br", {}), h("span", { lang: "en" }, text)))) : h("p", { class: "said" }, say.nothing),
      h("h3", {}, say.said_title), h("div", { class: "card" }, said),
      h("p", { class: "said" }, state.answer === "quoted" ? (one.quoted.refused ? say.refused : say.verbatim) : fill(say.count, { n: unsupported, all: one[state.answer].length })),
      table(say.answers, [say.question, say.quoted, say.written, say.alone], questions.map(each => [each.question, each.quoted.text, ...["written", "alone"].map(way => `${each[way].filter(part => !part.supported).length} / ${each[way].length}`)])),
      h("details", {}, h("summary", {}, say.documents), h("dl", { lang: "en" }, Object.entries(documents).map(([name, text]) => [h("dt", {}, h("b", {}, name)), h("dd", {}, text)]))));
  },
};
