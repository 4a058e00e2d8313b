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
      if (location.hash && !location.hash.includes("=")) return show();
      const chosen = new URLSearchParams(location.hash.slice(1));
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
})();
