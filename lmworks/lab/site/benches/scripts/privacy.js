benches.privacy = {
  draw: (out, { runs, repeats, secrets, steps, rows, documents }, state, say, change) => {
    const one = runs.reduce((best, run) => Math.abs(run.noise - state.noise) < Math.abs(best.noise - state.noise) ? run : best), often = repeats.length - 1;
    const wide = 640, high = 190, low = 130, most = 12, chance = 1 / Math.LN2, bound = run => run.epsilon === null ? say.unbounded : String(run.epsilon);
    const losses = [one.before, ...runs.flatMap(run => run.loss)], least = Math.floor(10 * Math.min(...losses)) / 10, top = Math.ceil(10 * Math.max(...losses)) / 10;
    const x = run => 60 + (run.noise - runs[0].noise) / (runs[runs.length - 1].noise - runs[0].noise) * (wide - 110);
    const panel = (tall, from, to, lines, level, name, ticks, says) => {
      const y = value => tall - 24 - (value - from) / (to - from) * (tall - 44);
      return s("svg", { viewBox: `0 0 ${wide} ${tall}`, role: "img", "aria-label": says },
        ticks.map(tick => [s("line", { class: "axis-line", x1: 40, x2: wide - 30, y1: y(tick), y2: y(tick) }), s("text", { class: "end", x: 34, y: y(tick) + 5 }, String(tick))]),
        s("line", { class: "by-chance", x1: 40, x2: wide - 30, y1: y(level), y2: y(level) }), s("text", { class: "end", x: wide - 32, y: y(level) - 6 }, name),
        lines.map((of, number) => s("g", { class: "e" + (lines.length > 1 ? number : 2) }, s("path", { class: "way", d: "M" + runs.map(run => `${x(run)} ${y(of(run)[0])}`).join("L") }),
          runs.map(run => s("g", { class: run === one ? "at-noise" : "" }, s("line", { x1: x(run), x2: x(run), y1: y(of(run)[1]), y2: y(of(run)[2]) }), s("circle", { cx: x(run), cy: y(of(run)[0]), r: run === one ? 7 : 4 }))))),
        runs.map(run => s("text", { class: "middle", x: x(run), y: tall - 4 }, String(run.noise))));
    };
    const list = of => runs.map(run => `${run.noise}: ${of(run)}`).join("; "), range = ([value, from, to]) => `${value.toFixed(2)} (${from.toFixed(2)} … ${to.toFixed(2)})`;
    put(out,
      h("p", { class: "said" }, fill(say.summary, { noise: one.noise, epsilon: bound(one), n: repeats[often], exposure: one.exposure[often][0].toFixed(1), once: one.exposure[0][0].toFixed(1), loss: one.loss[0].toFixed(2), before: one.before.toFixed(2) })),
      h("figure", { class: "frontier privacy" }, h("figcaption", {}, say.picture),
        h("ul", { class: "legend" }, repeats.map((n, number) => h("li", { class: "e" + number }, h("b", { "aria-hidden": "true" }, number ? "●" : "○"), " ", fill(say.exposure, { n }))), h("li", { class: "e3" }, h("b", { "aria-hidden": "true" }, "┄"), " ", say.chance)),
        panel(high, 0, most, repeats.map((_, number) => run => run.exposure[number]), chance, "", [0, 6, 12], fill(say.exposure_says, { n: repeats[often], list: list(run => run.exposure[often][0].toFixed(1)) })),
        h("p", { class: "axis" }, say.loss), panel(low, least, top, [run => run.loss], one.before, say.before, [least, top], fill(say.loss_says, { list: list(run => run.loss[0].toFixed(2)) })),
        h("p", { class: "axis across" }, say.noise_axis)),
      h("p", { class: "hint" }, fill(say.how, { steps, rows, documents, n: secrets })),
      table(say.all, [say.noise, say.epsilon, ...repeats.map(n => fill(say.exposure, { n })), say.loss], runs.map(run => [String(run.noise), bound(run), ...[...run.exposure, run.loss].map(range)]), true));
  },
};
