// Beam search as lmworks/generation/beams.py does it, with what was dropped on the way.
const logSoftmax = logits => {
  let most = -Infinity, sum = 0;
  for (const one of logits) if (one > most) most = one;
  for (const one of logits) sum += Math.exp(one - most);
  const away = most + Math.log(sum);
  return Float64Array.from(logits, one => one - away);
};
const scored = (one, penalty) => one.total / one.tokens.length ** penalty;
const searched = (model, text, { width, length, penalty }) => {
  const cache = model.begin(), logits = model.read(model.encode(text), cache), steps = [];
  let running = [{ tokens: [], total: 0, cache, logits }], finished = [];
  const better = (one, other) => scored(other, penalty) - scored(one, penalty);
  while (running.length) {
    const all = [];
    running.forEach((beam, row) => logSoftmax(beam.logits).forEach((logprob, token) => all.push({ row, token, total: beam.total + logprob })));
    all.sort((one, other) => other.total - one.total);
    const step = [], going = [];
    for (const [rank, { row, token, total }] of all.slice(0, Math.max(2, 1 + model.ends.length) * width).entries()) {
      const one = { tokens: [...running[row].tokens, token], total, row, fate: "dropped" };
      const ended = model.ends.includes(token);
      if (going.length === width) one.fate = "dropped";
      else if (!ended && one.tokens.length < length) { one.fate = "kept"; going.push(one); }
      else if (rank < width) { one.fate = "finished"; finished.push(one); }
      if (step.length < 2 * width) step.push(one);
    }
    finished = finished.sort(better).slice(0, width);
    steps.push(step);
    if (finished.length === width && (!going.length || scored(going[0], penalty) <= scored(finished[width - 1], penalty))) break;
    running = going.map(one => {
      const cache = model.fork(running[one.row].cache);
      return { ...one, cache, logits: model.step(one.tokens[one.tokens.length - 1], cache) };
    });
  }
  return { steps: steps.map(step => step.map(({ tokens, total, row, fate }) => ({ tokens, total, row, fate }))), finished: finished.map(({ tokens, total }) => ({ tokens, total })) };
};
benches.beams = {
  live: (model, state) => {
    const named = found => ({ ...found, pieces: found.tokens.map(token => model.facts.pieces[token]), text: model.decode(found.tokens) });
    const asked = { width: state.width, length: state.length, penalty: state.penalty };
    const { steps, finished } = searched(model, state.text, asked), [greedy] = searched(model, state.text, { ...asked, width: 1 }).finished;
    return { steps: steps.map(step => step.map(named)), finished: finished.map(named), greedy: named(greedy) };
  },
  draw: (out, { steps, finished, greedy, fixed }, state, say) => {
    const WIDE = 118, HIGH = 34, most = Math.max(...steps.map(step => step.length)), best = finished[0];
    const onBest = one => one.tokens.every((token, at) => token === best.tokens[at]);
    const place = [], drawn = [];
    steps.forEach((step, column) => {
      const order = [...step.filter(one => one.fate !== "dropped"), ...step.filter(one => one.fate === "dropped")];
      place.push(new Map(order.map((one, rank) => [one, 16 + rank * HIGH])));
      const parents = column ? steps[column - 1].filter(one => one.fate === "kept") : [null];
      for (const [one, y] of place[column]) {
        const x = 46 + column * WIDE, parent = parents[one.row], start = parent ? place[column - 1].get(parent) : 16;
        drawn.push(s("path", { class: `edge ${one.fate}${onBest(one) ? " best" : ""}`, d: `M${column ? x - WIDE + 84 : 34} ${start}C${x - 18} ${start} ${x - 18} ${y} ${x - 4} ${y}` }));
        drawn.push(s("g", { class: `node ${one.fate}${onBest(one) ? " best" : ""}` }, s("rect", { x: x - 4, y: y - 14, width: 88, height: 28, rx: 5 }),
          s("text", { x: x + 2, y: y - 1, class: "piece" }, visible(one.pieces[one.pieces.length - 1]) + (one.fate === "dropped" ? " ✗" : one.fate === "finished" ? " ■" : "")),
          s("text", { x: x + 2, y: y + 10, class: "sum" }, signed(one.total))));
      }
    });
    const size = { width: 46 + steps.length * WIDE, height: 8 + most * HIGH };
    const scores = one => [signed(one.total), signed(scored(one, state.penalty))];
    const card = (title, one) => h("div", { class: "card" }, h("h3", {}, title), h("p", { lang: "en" }, h("span", { class: "given" }, state.text), one.text),
      h("p", { class: "sure" }, fill(say.both, { sum: scores(one)[0], score: scores(one)[1], n: one.tokens.length })));
    const fates = { kept: say.kept, dropped: say.dropped, finished: say.finished };
    const gained = best.total - greedy.total;
    put(out,
      fixed && !same(state, fixed) ? h("p", { class: "hint" }, say.stored_only) : null,
      h("p", { class: "said" }, best.text === greedy.text ? say.same_text : fill(gained > 0 ? say.beam_wins : say.greedy_wins, { times: Math.exp(Math.abs(gained)).toFixed(1) })),
      h("div", { class: "pair" }, card(fill(say.beam, { n: state.width }), best), card(say.greedy, greedy)),
      h("h3", {}, say.tree), h("p", { class: "hint" }, say.legend),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": say.tree },
        s("svg", { class: "tree", ...size, viewBox: `0 0 ${size.width} ${size.height}`, role: "img", "aria-label": fill(say.tree_says, { steps: steps.length, text: state.text + best.text }) },
          s("text", { x: 4, y: 20, class: "piece" }, "…"), drawn)),
      table(say.steps, [say.step, say.so_far, say.sum, say.score, say.fate], steps.flatMap((step, at) => step.map(one => [String(at + 1), one.text || visible(one.pieces.join("")), ...scores(one), fates[one.fate]]))),
      table(say.ranking, [say.text, say.sum, say.score, say.tokens], [...finished.map(one => [one.text, ...scores(one), String(one.tokens.length)]), [`${say.greedy}: ${greedy.text}`, ...scores(greedy), String(greedy.tokens.length)]]));
  },
};
