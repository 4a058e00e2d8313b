// A Llama in plain JavaScript: tokens in, logits out, with keys and values kept. The same as lmworks/models to 1e-4.
const llama = facts => {
  const raw = atob(facts.weights), bytes = new Uint8Array(raw.length);
  for (let at = 0; at < raw.length; at++) bytes[at] = raw.charCodeAt(at);
  return llamaOf(facts, new Float32Array(bytes.buffer));
};
const softmax = scores => {
  let most = -Infinity, sum = 0;
  for (const one of scores) if (one > most) most = one;
  const found = Float64Array.from(scores, one => Math.exp(one - most));
  for (const one of found) sum += one;
  return found.map(one => one / sum);
};
const llamaOf = (facts, weights) => {
  const { dim, hidden, layers, heads, kvHeads, headDim, eps, theta, pieces } = facts;
  const wide = heads * headDim, narrow = kvHeads * headDim, half = headDim / 2, vocab = pieces.length;
  let taken = 0;
  const take = (name, rows, columns) => ({ name, rows, columns, values: weights.subarray(taken, taken += rows * columns) });
  const embedding = take("embedding", vocab, dim), blocks = [];
  for (let at = 0; at < layers; at++) blocks.push({
    first: take("norm", 1, dim), qkv: take("attention.qkv", wide + 2 * narrow, dim), output: take("attention.output", dim, wide),
    second: take("norm", 1, dim), up: take("feed_forward.up", 2 * hidden, dim), down: take("feed_forward.down", dim, hidden),
  });
  const last = take("norm", 1, dim);
  const product = ({ rows, columns, values }, x) => {
    const found = new Float32Array(rows);
    for (let row = 0, at = 0; row < rows; row++) {
      let sum = 0;
      for (let column = 0; column < columns; column++) sum += values[at++] * x[column];
      found[row] = sum;
    }
    return found;
  };
  const norm = (x, { values }) => {
    let sum = 0;
    for (const one of x) sum += one * one;
    const scale = 1 / Math.sqrt(sum / x.length + eps);
    return x.map((one, at) => one * scale * values[at]);
  };
  const turn = (x, position) => {
    for (let start = 0; start < x.length; start += headDim) for (let at = 0; at < half; at++) {
      const angle = position * theta ** (-2 * at / headDim), cos = Math.cos(angle), sin = Math.sin(angle);
      const one = x[start + at], other = x[start + at + half];
      x[start + at] = one * cos - other * sin;
      x[start + at + half] = other * cos + one * sin;
    }
  };
  const dot = (x, from, y, start) => {
    let sum = 0;
    for (let at = 0; at < headDim; at++) sum += x[from + at] * y[start + at];
    return sum;
  };
  const attend = (query, keys, values, look) => {
    const mixed = new Float32Array(wide);
    for (let head = 0; head < heads; head++) {
      const from = head * headDim, start = Math.floor(head * kvHeads / heads) * headDim;
      const scores = keys.map(key => dot(query, from, key, start) / Math.sqrt(headDim)), pattern = softmax(scores);
      pattern.forEach((share, place) => { for (let at = 0; at < headDim; at++) mixed[from + at] += share * values[place][start + at]; });
      if (look) look.push({ scores, pattern, query: query.slice(from, from + headDim), keys: keys.map(key => key.slice(start, start + headDim)) });
    }
    return mixed;
  };
  const begin = () => ({ length: 0, keys: blocks.map(() => []), values: blocks.map(() => []) });
  const fork = cache => ({ length: cache.length, keys: cache.keys.map(one => [...one]), values: cache.values.map(one => [...one]) });
  // One more token; `seen[layer]` gets what each head made of it.
  const step = (token, cache, seen) => {
    let x = embedding.values.slice(token * dim, (token + 1) * dim);
    const position = cache.length++, add = more => { x = x.map((one, at) => one + more[at]); };
    blocks.forEach((block, layer) => {
      const qkv = product(block.qkv, norm(x, block.first)), look = seen ? [] : null;
      turn(qkv.subarray(0, wide + narrow), position);
      cache.keys[layer].push(qkv.slice(wide, wide + narrow));
      cache.values[layer].push(qkv.slice(wide + narrow));
      add(product(block.output, attend(qkv.slice(0, wide), cache.keys[layer], cache.values[layer], look)));
      if (seen) (seen[layer] = seen[layer] || []).push(look);
      const both = product(block.up, norm(x, block.second)), inner = new Float32Array(hidden);
      for (let at = 0; at < hidden; at++) inner[at] = both[at] / (1 + Math.exp(-both[at])) * both[hidden + at];
      add(product(block.down, inner));
    });
    return product(embedding, norm(x, last));
  };
  const read = (tokens, cache, seen) => tokens.reduce((_, token) => step(token, cache, seen), null);

  const ids = new Map(pieces.map((piece, id) => [piece, id])), ranks = new Map(facts.merges.map((pair, rank) => [pair.join(" "), rank]));
  const encode = text => {
    let parts = text ? [..."▁" + text.replaceAll(" ", "▁")] : [];
    for (;;) {
      let best = Infinity, place = -1;
      for (let at = 0; at + 1 < parts.length; at++) {
        const rank = ranks.get(parts[at] + " " + parts[at + 1]);
        if (rank < best) [best, place] = [rank, at];
      }
      if (place < 0) break;
      parts.splice(place, 2, parts[place] + parts[place + 1]);
    }
    const byte = one => ids.get("<0x" + one.toString(16).toUpperCase().padStart(2, "0") + ">");
    return [facts.bos, ...parts.flatMap(part => ids.has(part) ? ids.get(part) : [...new TextEncoder().encode(part)].map(byte))];
  };
  const decode = tokens => {
    const written = [];
    for (const token of tokens) {
      const byte = /^<0x(..)>$/.exec(pieces[token]);
      if (byte) written.push(parseInt(byte[1], 16));
      else if (!facts.ends.includes(token)) written.push(...new TextEncoder().encode(pieces[token].replaceAll("▁", " ")));
    }
    return new TextDecoder().decode(new Uint8Array(written));
  };
  return { facts, weights, matrices: [embedding, ...blocks.flatMap(one => [one.qkv, one.output, one.up, one.down])], begin, fork, step, read, encode, decode, ends: facts.ends };
};
