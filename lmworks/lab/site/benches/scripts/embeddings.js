benches.embeddings = {
  draw: (out, { words, dimensions, nearest, cosines, places, shares }, state, say, change) => {
    const at = words.indexOf(state.word), apart = other => Math.hypot(places[at][0] - places[other][0], places[at][1] - places[other][1]);
    const plane = words.map((_, other) => other).filter(other => other !== at).sort((one, other) => apart(one) - apart(other)).slice(0, nearest[at].length);
    const both = plane.filter(other => nearest[at].includes(other)).length, kept = shares[0] + shares[1];
    const ends = axis => [Math.min(...places.map(one => one[axis])), Math.max(...places.map(one => one[axis]))], [left, right] = ends(0), [low, high] = ends(1);
    const x = place => 40 + (place[0] - left) / (right - left) * 720, y = place => 20 + (high - place[1]) / (high - low) * 380;
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
            mark(other) === "far" ? s("title", {}, word) : s("text", { x: x(places[other]) + 7, y: y(places[other]) + 4 }, word)))))),
      table(say.variance, [say.components, say.share], [1, 2, 5, 10, 20, 50].map(n => [String(n), percent(shares.slice(0, n).reduce((sum, one) => sum + one, 0))])));
  },
};
