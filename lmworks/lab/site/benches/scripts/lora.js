benches.lora = {
  draw: (out, { ranks, full, steps }, state, say, change) => {
    const all = [...ranks.map(one => ({ ...one, name: fill(say.rank_n, { n: one.rank }) })), { ...full, name: say.full }], key = each => String(each.rank || "full"), one = all.find(each => key(each) === state.rank);
    const span = (name, sign) => { const ends = all.flatMap(each => each[name].map(value => sign * value)), room = .1 * (Math.max(...ends) - Math.min(...ends)); return [Math.min(...ends) - room, Math.max(...ends) + room]; };
    const ticks = (from, to) => { const step = [.1, .2, .5, 1, 2].find(one => (to - from) / one <= 6), first = Math.ceil(from / step); return Array.from({ length: Math.floor(to / step) - first + 1 }, (_, at) => (first + at) * step); };
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
          s("path", { class: "axis-line", d: `M50 20V${tall - 40}H${wide - 30}` }),
          ticks(low, high).map(tick => s("text", { x: 44, y: y(tick) + 5, class: "end" }, tick.toFixed(1))),
          ticks(left, right).map(tick => s("text", { x: x(tick), y: tall - 18, class: "middle" }, tick.toFixed(1))),
          s("path", { class: "way", d: "M" + ranks.map(each => place(each).join(" ")).join("L") }),
          all.map((each, at) => { const [px, py] = place(each), mine = each === one; return s("g", { class: mine ? "chosen" : "point" },
            s("line", { x1: x(-each.gained[1]), x2: x(-each.gained[2]), y1: py, y2: py }), s("line", { x1: px, x2: px, y1: y(each.forgotten[1]), y2: y(each.forgotten[2]) }),
            s("circle", { cx: px, cy: py, r: mine ? 7 : 4 }), s("text", { x: px + (each.rank ? 9 : -9), y: py + (at < ranks.length - 1 ? -9 : 21), class: each.rank ? "" : "end" }, each.rank || each.name)); })),
        h("p", { class: "axis across" }, say.gained_axis)),
      h("p", { class: "hint" }, fill(say.how, { steps })), chosen,
      table(say.all, [say.rank, say.trained, say.gained, say.forgotten], all.map(each => [each.rank ? String(each.rank) : each.name, each.trained.toLocaleString("en"),
        ...["gained", "forgotten"].map(name => `${signed(each[name][0], 3)} (${signed(each[name][1], 3)} … ${signed(each[name][2], 3)})`)])));
  },
};
