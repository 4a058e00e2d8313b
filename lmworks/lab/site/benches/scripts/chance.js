// Numbers that are the same for the same seed: torch's generator (MT19937, 53 bits), so that a seed writes here what it
// writes in `lmworks generate --seed`.
const stream = seed => {
  const state = new Uint32Array(624);
  let at = 624;
  state[0] = seed;
  for (let k = 1; k < 624; k++) state[k] = Math.imul(1812433253, state[k - 1] ^ (state[k - 1] >>> 30)) + k;
  const next = () => {
    if (at === 624) {
      for (let k = 0; k < 624; k++) {
        const y = (state[k] & 0x80000000) | (state[(k + 1) % 624] & 0x7fffffff);
        state[k] = state[(k + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      at = 0;
    }
    let y = state[at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
  return () => { const high = next(), low = next(); return ((high & 0x1fffff) * 4294967296 + low) / 9007199254740992; };
};
// What is left of the vocabulary, as lmworks/generation/filters do it: top-k on the logits, then temperature, then top-p
// and min-p on what sums to one. `counts` says how many are left after each step.
const filtered = (logits, { temperature, top_k, top_p, min_p }) => {
  const ids = [...logits.keys()].sort((one, other) => logits[other] - logits[one] || one - other);
  const p = temperature > 0 ? softmax(Float64Array.from(ids, id => logits[id] / temperature)) : Float64Array.from(ids, (_, rank) => rank ? 0 : 1);
  const counts = {};
  let left = ids.length;
  const sum = count => { let total = 0; for (let at = 0; at < count; at++) total += p[at]; return total; };
  if (temperature <= 0) counts.temperature = left = 1;
  if (top_k > 0 && top_k < left) {
    left = top_k;
    while (left < ids.length && logits[ids[left]] === logits[ids[top_k - 1]]) left++;
    counts.top_k = left;
  }
  if (top_p < 1) {
    const whole = sum(left);
    let reached = 0, count = 0;
    while (count < left && reached < top_p) reached += p[count++] / whole;
    counts.top_p = left = Math.max(count, 1);
  }
  if (min_p > 0) {
    let count = 1;
    while (count < left && p[count] >= min_p * p[0]) count++;
    counts.min_p = left = count;
  }
  return { ids, p, left, mass: sum(left), counts };
};
const draw = ({ ids, p, left, mass }, share) => {
  const kept = ids.slice(0, left).map((id, at) => [id, p[at] / mass]).sort((one, other) => one[0] - other[0]);
  let total = 0;
  for (const [id, part] of kept) if ((total += part) > share) return id;
  return kept[kept.length - 1][0];
};
