(() => {
  "use strict";
  const told = document.getElementById("told");
  let clearing = 0;
  const tell = text => { told.textContent = text; clearTimeout(clearing); clearing = setTimeout(() => { told.textContent = ""; }, 4000); };

  // The front: what is shown is in the address, so that a choice can be sent, and is there after going back.
  const form = document.querySelector(".filters");
  const folded = text => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  if (form) {
    const rows = [...document.querySelectorAll(".row")].map(element => ({
      element, found: element.dataset.found.split(" "), theme: element.closest(".theme"),
      text: folded(element.textContent + " " + element.dataset.said),
    }));
    const names = ["q", "theme", "found"];
    const show = () => {
      const words = folded(form.q.value).split(/\s+/).filter(Boolean);
      let n = 0;
      for (const row of rows) {
        const fits = words.every(word => row.text.includes(word)) && (!form.theme.value || row.theme.dataset.theme === form.theme.value)
          && (!form.found.value || row.found.includes(form.found.value));
        row.element.hidden = !fits;
        n += fits;
      }
      for (const theme of document.querySelectorAll(".theme")) theme.hidden = !theme.querySelector(".row:not([hidden])");
      document.querySelector(".none").hidden = n > 0;
      form.querySelector("output").textContent = form.dataset.shown.replace("{n}", n).replace("{all}", rows.length);
    };
    const read = () => {
      const chosen = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
      for (const name of names) form[name].value = chosen.get(name) || "";
      show();
    };
    form.addEventListener("submit", event => event.preventDefault());
    form.addEventListener("input", () => {
      const chosen = new URLSearchParams(names.filter(name => form[name].value).map(name => [name, form[name].value]));
      history.replaceState(null, "", String(chosen) ? "#" + chosen : location.pathname + location.search);
      show();
    });
    addEventListener("hashchange", read);
    addEventListener("pageshow", read);
    read();
  }

  // A link to a heading is in the address bar, and on the clipboard where the browser lets it be.
  document.addEventListener("click", event => {
    const link = event.target.closest("a.here");
    if (!link) return;
    const words = document.documentElement.dataset;
    const address = new URL(link.getAttribute("href"), location.href).href;
    if (navigator.clipboard) navigator.clipboard.writeText(address).then(() => tell(words.copied), () => tell(words.address));
    else tell(words.address);
  });

  // What is folded is opened where a link leads into it, and for printing.
  const unfold = () => {
    const target = location.hash.length > 1 && !location.hash.includes("=") && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let one = target || null; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();
  addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details")) one.open = true; });
  const print = document.querySelector("[data-print]");
  if (print) print.addEventListener("click", () => window.print());

  // Run again, where the page is served: the run is in the address, so that it is found again after a reload.
  const run = document.querySelector("form.run");
  if (!run) return;
  const state = run.querySelector(".state"), stop = run.querySelector("[data-cancel]"), go = run.querySelector(".go");
  const log = document.querySelector(".log"), beside = document.querySelector(".beside");
  const asked = async (address, options) => {
    const answer = await fetch(address, options);
    if (answer.ok) return answer;
    const said = await answer.json().catch(() => ({}));
    throw new Error(said.error ? said.error.message : answer.statusText);
  };
  const failed = error => { state.textContent = run.dataset.failed + ": " + error.message; ended(); };
  const ended = () => { stop.hidden = true; go.disabled = false; };
  const follow = id => {
    const base = "/lab/runs/" + encodeURIComponent(id);
    const events = new EventSource(base + "/events");
    log.hidden = false;
    log.querySelector("pre").textContent = beside.textContent = "";
    stop.hidden = false;
    go.disabled = true;
    stop.onclick = () => asked(base, { method: "DELETE" }).catch(failed);
    events.onerror = () => { if (events.readyState === EventSource.CLOSED) asked(base).catch(failed); };
    events.onmessage = async event => {
      const said = JSON.parse(event.data);
      if (said.line !== undefined) {
        log.querySelector("pre").textContent += said.line + "\n";
        return;
      }
      const words = { waiting: run.dataset.waiting.replace("{n}", said.before), running: run.dataset.running + "…" };
      state.textContent = (words[said.state] || run.dataset[said.state]) + (said.why ? ": " + said.why : "");
      if (said.state === "waiting" || said.state === "running") return;
      events.close();
      ended();
      if (said.state !== "done") return;
      try {
        const answer = await asked(base + "/beside." + document.documentElement.lang + ".html");
        const made = new DOMParser().parseFromString(await answer.text(), "text/html");  // no script of it is run
        beside.replaceChildren(...made.body.childNodes);
        beside.focus();
      } catch (error) { failed(error); }
    };
  };
  const scale = run.querySelector("select[name=scale]"), set = [...run.querySelectorAll("[data-quick]")];
  const changed = field => field.value !== field.dataset[field.dataset.scale || "quick"];
  scale.addEventListener("change", () => {
    for (const field of set) {
      if (!changed(field)) field.value = field.dataset[scale.value];
      field.dataset.scale = scale.value;
    }
  });
  run.addEventListener("submit", async event => {
    event.preventDefault();
    const fields = set.filter(changed);
    const body = { question: Number(run.dataset.question), scale: scale.value, set: Object.fromEntries(fields.map(field => [field.name, field.value])) };
    try {
      const answer = await asked("/lab/runs", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
      const { id } = await answer.json();
      history.replaceState(null, "", "#run=" + id);
      follow(id);
    } catch (error) { failed(error); }
  });
  const earlier = new URLSearchParams(location.hash.slice(1)).get("run");
  if (earlier) follow(earlier);
})();
