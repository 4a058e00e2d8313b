benches.lora = {
  draw: (out, { ranks, full, steps }, state, say, change) => {
    const all = [...ranks.map(one => ({ ...one, name: fill(say.rank_n, { n: one.rank }) })), { ...full, name: say.full }], key = each => String(each.rank || "full"), one = all.find(each => key(each) === state.rank);
    const span = (name, sign) => { const ends = all.flatMap(each => each[name].map(value => sign * value)); return [Math.min(0, ...ends), Math.max(...ends) * 1.05]; };
    const [left, right] = span("gained", -1), [low, high] = span("forgotten", 1), wide = 640, tall = 300;
    const x = value => 50 + (value - left) / (right - left) * (wide - 80), y = value => tall - 40 - (value - low) / (high - low) * (tall - 60);
    const place = each => [x(-each.gained[0]), y(each.forgotten[0])];
    const chosen = h("ul", { class: "others" }, all.map((each, at) => {
      const button = h("button", { type: "button", "data-at": "r" + at, "aria-pressed": each === one ? "true" : "false" }, each.name);
      button.addEventListener("click", () => change({ rank: key(each) }));
      return h("li", {}, button, h("span", { class: "value" }, fill(say.numbers, { n: each.trained.toLocaleString("en") })));
    }));
    put(out,
      h("p", { class: "said" }, fill(say.summary, { name: one.name, trained: one.trained.toLocaleString("en"), gained: Math.abs(one.gained[0]).toFixed(2), forgotten: one.forgotten[0].toFixed(2) })),
      h("figure", { class: "frontier" }, h("figcaption", {}, say.picture), h("p", { class: "axis" }, say.forgotten_axis),
        s("svg", { viewBox: `0 0 ${wide} ${tall}`, role: "img", "aria-label": fill(say.picture_says, { list: all.map(each => `${each.name}: ${Math.abs(each.gained[0]).toFixed(2)}, ${each.forgotten[0].toFixed(2)}`).join("; ") }) },
          s("line", { x1: 50, x2: wide - 20, y1: y(0), y2: y(0), class: "axis-line" }), s("line", { x1: x(0), x2: x(0), y1: 10, y2: tall - 40, class: "axis-line" }),
          s("text", { x: 44, y: y(0) + 5, class: "end" }, "0"), s("text", { x: 44, y: y(high / 1.05) + 5, class: "end" }, (high / 1.05).toFixed(2)),
          s("text", { x: x(0), y: tall - 18, class: "middle" }, "0"), s("text", { x: x(right / 1.05), y: tall - 18, class: "middle" }, (right / 1.05).toFixed(2)),
          s("path", { class: "way", d: "M" + ranks.map(each => place(each).join(" ")).join("L") }),
          all.map((each, at) => { const [px, py] = place(each), mine = each === one; return s("g", { class: mine ? "chosen" : "point" },
            s("line", { x1: x(-each.gained[1]), x2: x(-each.gained[2]), y1: py, y2: py }), s("line", { x1: px, x2: px, y1: y(each.forgotten[1]), y2: y(each.forgotten[2]) }),
            s("circle", { cx: px, cy: py, r: mine ? 7 : 4 }), s("text", { x: px + (at === all.length - 1 ? -10 : 10), y: py + (at % 2 ? 16 : -8), class: at === all.length - 1 ? "end" : "" }, each.rank || each.name)); })),
        h("p", { class: "axis across" }, say.gained_axis)),
      h("p", { class: "hint" }, fill(say.how, { steps })), chosen,
      table(say.all, [say.rank, say.trained, say.gained, say.forgotten], all.map(each => [each.rank ? String(each.rank) : each.name, each.trained.toLocaleString("en"),
        ...["gained", "forgotten"].map(name => `${signed(each[name][0], 3)} (${signed(each[name][1], 3)} … ${signed(each[name][2], 3)})`)])));
  },
};
