const GROUP = 32;
// Each group of 32 in a row to the nearest of 2^bits values between its least and its largest.
const fewer = ({ rows, columns, values }, bits) => {
  const found = new Float32Array(values.length), steps = 2 ** bits - 1;
  for (let row = 0; row < rows; row++) for (let begin = 0; begin < columns; begin += GROUP) {
    const from = row * columns + begin, end = row * columns + Math.min(begin + GROUP, columns);
    let low = Infinity, high = -Infinity;
    for (let at = from; at < end; at++) { low = Math.min(low, values[at]); high = Math.max(high, values[at]); }
    const scale = Math.fround((high - low) / steps);
    for (let at = from; at < end; at++) found[at] = scale > 0 ? Math.round((values[at] - low) / scale) * scale + low : low;
  }
  return found;
};
const inBits = (model, bits) => {
  const weights = Float32Array.from(model.weights);
  let wrong = 0, whole = 0, bytes = 0;
  for (const one of model.matrices) {
    const after = fewer(one, bits), start = one.values.byteOffset / 4;
    after.forEach((value, at) => { wrong += (value - one.values[at]) ** 2; whole += one.values[at] ** 2; });
    weights.set(after, start);
    bytes += one.rows * one.columns * bits / 8 + one.rows * Math.ceil(one.columns / GROUP) * 4;
  }
  return { model: llamaOf(model.facts, weights), error: Math.sqrt(wrong / whole), bytes: Math.round(bytes) };
};
const greedily = (model, text, most) => {
  const cache = model.begin(), found = [];
  let logits = model.read(model.encode(text), cache);
  while (found.length < most) {
    const token = logits.indexOf(Math.max(...logits));
    found.push(token);
    if (model.ends.includes(token)) break;
    if (found.length < most) logits = model.step(token, cache);
  }
  return model.decode(found);
};
const everyStep = (model, text) => { const cache = model.begin(); return model.encode(text).map(token => softmax(model.step(token, cache))); };
const counted = (values, most, bins) => {
  const counts = Array(bins).fill(0);
  for (const one of values) counts[Math.min(Math.max(Math.floor((one + most) / (2 * most) * bins), 0), bins - 1)]++;
  return counts;
};
benches.quantisation = {
  live: (model, state, say, stored) => {
    const changed = inBits(model, state.bits), before = everyStep(model, state.text), after = everyStep(changed.model, state.text);
    const apart = before.map((p, at) => p.reduce((sum, one, token) => sum + one * Math.log2(one / after[at][token]), 0));
    const one = { error: changed.error, bytes: changed.bytes, apart: apart.reduce((sum, value) => sum + value, 0) / apart.length,
      histogram: counted(changed.model.matrices[2].values, stored.most, stored.before.length), text: greedily(changed.model, state.text, 30) };
    return { ...stored, text: greedily(model, state.text, 30), bits: { ...stored.bits, [state.bits]: one }, own: state.text !== stored.fixed.text };
  },
  draw: (out, { most, before, text, bits, own }, state, say) => {
    const one = bits[state.bits], high = Math.max(...one.histogram), wide = 10, tall = 150;
    const bars = (counts, name, top) => counts.map((n, at) => n ? s("rect", { class: name, x: at * wide + (name === "after" ? 2 : 0), y: tall - n / top * tall, width: name === "after" ? wide - 4 : wide, height: n / top * tall }) : null);
    const filled = one.histogram.filter(Boolean).length, first = [...text].findIndex((letter, at) => letter !== one.text[at]);
    const shared = first < 0 ? text.length : first;
    put(out,
      h("p", { class: "said" }, fill(say.summary, { bits: state.bits, size: Math.round(one.bytes / 1000), whole: "1,040", error: percent(one.error), apart: one.apart.toFixed(3) })),
      h("figure", { class: "histogram" }, h("figcaption", {}, say.histogram),
        s("svg", { viewBox: `-2 -6 ${before.length * wide + 4} ${tall + 32}`, role: "img", "aria-label": fill(say.histogram_says, { bits: state.bits, bins: filled, all: before.filter(Boolean).length }) },
          bars(before, "before", high), bars(one.histogram, "after", high),
          s("text", { x: 0, y: tall + 20 }, signed(-most)), s("text", { x: before.length * wide / 2, y: tall + 20, class: "middle" }, "0"), s("text", { x: before.length * wide, y: tall + 20, class: "end" }, signed(most))),
        h("p", { class: "hint" }, say.histogram_legend)),
      h("div", { class: "pair" },
        h("div", { class: "card" }, h("h3", {}, say.whole), h("p", { lang: "en" }, h("span", { class: "given" }, state.text), text)),
        h("div", { class: "card" }, h("h3", {}, fill(say.in_bits, { bits: state.bits })), h("p", { lang: "en" }, h("span", { class: "given" }, state.text), one.text.slice(0, shared), one.text.slice(shared) ? h("mark", {}, one.text.slice(shared)) : null))),
      h("p", { class: "hint" }, say.differs),
      own ? null : table(say.all, [say.bits, say.size, say.error, say.apart, say.writes], Object.entries(bits).map(([n, each]) => [n, Math.round(each.bytes / 1000) + " KB", percent(each.error), each.apart.toFixed(3), each.text])));
  },
};
