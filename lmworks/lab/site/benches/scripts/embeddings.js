benches.embeddings = {
  draw: (out, { words, dimensions, nearest, cosines, places, shares }, state, say, change) => {
    const at = words.indexOf(state.word), apart = other => Math.hypot(places[at][0] - places[other][0], places[at][1] - places[other][1]);
    const plane = words.map((_, other) => other).filter(other => other !== at).sort((one, other) => apart(one) - apart(other)).slice(0, nearest[at].length);
    const both = plane.filter(other => nearest[at].includes(other)).length, kept = shares[0] + shares[1];
    const ends = axis => [Math.min(...places.map(one => one[axis])), Math.max(...places.map(one => one[axis]))], [left, right] = ends(0), [low, high] = ends(1);
    const x = place => 40 + (place[0] - left) / (right - left) * 720, y = place => 20 + (high - place[1]) / (high - low) * 380;
    const named = [at, ...nearest[at], ...plane.filter(other => !nearest[at].includes(other))], taken = named.map(other => [x(places[other]) - 6, y(places[other]) - 6, 12, 12]);
    const over = ([ax, ay, aw, ah]) => taken.reduce((sum, [bx, by, bw, bh]) => sum + Math.max(0, Math.min(ax + aw, bx + bw) - Math.max(ax, bx)) * Math.max(0, Math.min(ay + ah, by + bh) - Math.max(ay, by)), 0);
    // Beside its point, or as far from it as it takes to cover no other name: the nearest of the places that cover least.
    const labels = new Map(named.map(other => {
      const width = 7.6 * words[other].length + 2, px = x(places[other]), py = y(places[other]);
      const spots = [0, 16, 34, 54].flatMap(far => [[1, 0], [-1, 0], [0, -1], [0, 1], [.8, -.8], [.8, .8], [-.8, -.8], [-.8, .8]].map(([dx, dy]) => {
        const cx = px + dx * (8 + far + width / 2), cy = py + dy * (13 + far);
        const box = [cx - width / 2, cy - 7, width, 14], end = [Math.min(Math.max(px, box[0]), box[0] + width), Math.min(Math.max(py, box[1]), box[1] + 14)];
        const way = far ? [.4, .6, .8, 1].map(part => [px + part * (end[0] - px) - 1, py + part * (end[1] - py) - 1, 2, 2]) : [];
        return { cx, cy, end: far ? end : null, box, way };
      })).filter(({ box }) => box[0] > 0 && box[0] + width < 800 && box[1] > 0 && box[1] < 400);
      const best = spots.map(spot => ({ ...spot, cost: [spot.box, ...spot.way].reduce((sum, one) => sum + over(one), 0) })).reduce((one, next) => next.cost < one.cost ? next : one);
      taken.push(best.box, ...best.way);
      return [other, best];
    }));
    const label = other => { const { cx, cy, end } = labels.get(other); return [end ? s("line", { class: "leader", x1: x(places[other]), y1: y(places[other]), x2: end[0], y2: end[1] }) : null, s("text", { class: "middle", x: cx, y: cy + 4 }, words[other])]; };
    const mark = other => other === at ? "chosen" : nearest[at].includes(other) ? "near" : plane.includes(other) ? "plane" : "far";
    const choose = other => { const button = h("button", { type: "button", lang: "en", "data-at": "w" + other }, words[other]); button.addEventListener("click", () => change({ word: words[other] })); return button; };
    const list = (some, value, other) => h("ol", { class: "near-list" }, some.map((one, rank) => h("li", { class: other(one) ? "in-both" : "" }, choose(one), " ", h("span", { class: "value" }, value(one, rank)))));
    let needed = 0;
    for (let sum = 0; needed < shares.length && sum < .8; needed++) sum += shares[needed];
    put(out, h("div", { class: "pair" },
      h("div", { class: "card" }, h("h3", {}, fill(say.full, { word: state.word, n: dimensions })), list(nearest[at], (_, rank) => cosines[at][rank].toFixed(2), one => plane.includes(one))),
      h("div", { class: "card" }, h("h3", {}, say.in_plane), list(plane, one => apart(one).toFixed(2), one => nearest[at].includes(one)))),
      h("p", { class: "said" }, fill(say.summary, { p: percent(kept), both, n: plane.length, needed })),
      h("figure", { class: "plane" }, h("figcaption", {}, fill(say.plane, { one: percent(shares[0]), two: percent(shares[1]) })),
        h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": say.plane_region }, s("svg", { viewBox: "0 0 800 420", role: "img", "aria-label": fill(say.plane_says, { word: state.word, near: nearest[at].map(one => words[one]).join(", ") }) },
          nearest[at].map(other => s("line", { x1: x(places[at]), y1: y(places[at]), x2: x(places[other]), y2: y(places[other]), class: "link" })),
          words.map((word, other) => s("g", { class: mark(other) }, s("circle", { cx: x(places[other]), cy: y(places[other]), r: other === at ? 6 : 4 }),
            mark(other) === "far" ? s("title", {}, word) : label(other)))))),
      table(say.variance, [say.components, say.share], [1, 2, 5, 10, 20, 50].map(n => [String(n), percent(shares.slice(0, n).reduce((sum, one) => sum + one, 0))])));
  },
};
