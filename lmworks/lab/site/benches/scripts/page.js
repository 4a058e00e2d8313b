// Each bench of the page: its controls are in the address, the model comes when somebody first touches it.
let loading = null;
const loaded = address => loading || (loading = new Promise((done, failed) => {
  globalThis.lmworksWeights = facts => { try { done(llama(facts)); } catch (error) { failed(error); } };
  const script = h("script", { src: address });
  script.onerror = () => { loading = null; failed(new Error(address)); };
  document.head.append(script);
}));
const ask = async (address, body) => {
  const answer = await fetch(address, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.error ? said.error.message : answer.statusText);
  return said;
};
const parsed = (section, name) => JSON.parse(section.querySelector("script." + name).textContent);
const start = section => {
  const { bench: name, weights } = section.dataset, bench = benches[name];
  const say = parsed(section, "words"), stored = parsed(section, "example");
  const form = section.querySelector("form"), out = section.querySelector(".shown"), status = section.querySelector(".state");
  const here = section.querySelector("a.here"), fields = [...form.querySelectorAll("[name]")];
  const initial = Object.fromEntries(fields.map(field => [field.name, field.value]));
  let model = null, asked = false, timer = 0, turn = 0;
  const read = () => Object.fromEntries(fields.map(field => [field.name, field.type === "range" ? Number(field.value) : field.value]));
  const show = () => {
    const state = read(), mine = ++turn;
    if (!state.own) return shown(state, () => model ? bench.live(model, state, say, stored) : stored);
    status.textContent = say.asking;
    bench.served(state, say, stored).then(
      result => { if (mine === turn) { status.textContent = ""; shown(state, () => result); } },
      error => { if (mine === turn) status.textContent = fill(say.refused_by, { why: error.message }); });
  };
  const shown = (state, made) => {
    const opened = [...out.querySelectorAll("details")].map(one => one.open);
    const focused = out.contains(document.activeElement) ? document.activeElement.dataset.at : null;
    for (const field of fields) if (field.type === "range") field.parentElement.querySelector("output").textContent = field.value;
    try {
      const result = made();
      out.textContent = "";
      bench.draw(out, result, state, say, change, section);
    } catch (error) {
      status.textContent = fill(say.failed, { why: error.message });
      throw error;
    }
    out.querySelectorAll("details").forEach((one, at) => { if (opened[at] !== undefined && opened.length) one.open = opened[at]; });
    if (focused) out.querySelector(`[data-at="${focused}"]`)?.focus();
    section.dataset.ready = model || !weights ? "whole" : "stored";
  };
  const address = () => {
    const changed = fields.filter(field => field.value !== initial[field.name]).map(field => [field.name, field.value]);
    here.setAttribute("href", changed.length ? "#" + new URLSearchParams([["bench", name], ...changed]) : "#bench-" + name);
    return here.getAttribute("href");
  };
  const change = facts => {
    for (const field of fields) if (field.name in facts) field.value = facts[field.name];
    history.replaceState(null, "", address());
    want();
    show();
  };
  const want = () => {
    if (!weights || asked) return;
    asked = true;
    status.textContent = say.loading;
    loaded(weights).then(ready => { model = ready; status.textContent = say.ready; show(); }, error => { asked = false; status.textContent = fill(say.failed, { why: error.message }); });
  };
  const restore = () => {
    const chosen = new URLSearchParams(location.hash.slice(1));
    if (chosen.get("bench") !== name) return false;
    for (const field of fields) {
      field.value = chosen.has(field.name) && !field.disabled ? chosen.get(field.name) : initial[field.name];
      if (field.tagName === "SELECT" && !field.value) field.value = initial[field.name];  // no such choice
    }
    address();
    want();
    show();
    return true;
  };
  for (const event of ["pointerenter", "focusin"]) section.addEventListener(event, want);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => change({}), fields.some(field => field.name === "own" && field.value) ? 500 : 60);
  });
  addEventListener("hashchange", restore);
  if (restore()) section.scrollIntoView();
  else show();
};
for (const section of document.querySelectorAll("[data-bench]")) start(section);
