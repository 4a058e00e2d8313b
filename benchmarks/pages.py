"""What the claims' pages weigh, and how soon they are there: on loopback, as `lmworks serve` sends them.

    python -m benchmarks.pages --store      # into benchmarks/pages.json; needs playwright and a Chromium

First paint is Chromium's own (first contentful paint) in a fresh context each time; a bench is ready when its model has
come and what it computed is drawn. The second front is that of 50 result files of 1 MB, read once before. Lighthouse,
where npm has put it, looks at the pages as they are exported: the lowest of three runs.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import http.server
import json
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.lighthouse import chromium, scores
from benchmarks.machine import this_machine

STORED = Path(__file__).with_suffix(".json")
LOOKED_AT = ("index.html", "q06.html")
PAINT = """() => new Promise(done => new PerformanceObserver(list => {
  const [one] = list.getEntriesByName("first-contentful-paint");
  if (one) done(one.startTime);
}).observe({ type: "paint", buffered: true }))"""
READY = """name => new Promise(done => {
  const bench = document.getElementById("bench-" + name), begun = performance.now();
  new MutationObserver(() => { if (bench.dataset.ready === "whole") done(performance.now() - begun); })
    .observe(bench, { attributes: true });
  bench.dispatchEvent(new Event("pointerenter"));
})"""


def weights(files: dict[str, bytes]) -> dict[str, int]:
    """Bytes of the heaviest page and the longest script on the wire, and of all claims in one file."""
    pages = {name: one for name, one in files.items() if name.endswith(".html")}
    scripts = [b"".join(re.findall(rb"<script>(.*?)</script>", one, re.DOTALL)) for one in pages.values()]
    alone = [one for name, one in pages.items() if not name.endswith("all.html")]
    return {
        "page_gzip": max(len(gzip.compress(one)) for one in alone),
        "script_gzip": max(len(gzip.compress(one)) for one in scripts),
        "one_file": max(len(one) for name, one in pages.items() if name.endswith("all.html")),
    }


def large_results(folder: Path, count: int = 50) -> None:
    """Result files of 1 MB each: the stored ones at both scales, with a note that long."""
    from lmworks.lab import store

    stored = sorted(store.SHIPPED.glob("q*.full.json"))
    for number in range(count):
        source = stored[number % len(stored)]
        fields = json.loads(source.read_text(encoding="utf-8"))
        scale = "full" if number < len(stored) else "quick"
        name = source.name.replace("full", scale)
        (folder / name).write_text(json.dumps(fields | {"scale": scale, "note": "x" * 1_000_000}), encoding="utf-8")


@contextmanager
def serving(folders: Sequence[Path]) -> Iterator[str]:
    """The address of a server of the claims' pages alone."""
    import uvicorn
    from fastapi import FastAPI

    from lmworks.serving.lab.pages import mount

    app = FastAPI()
    mount(app, None, folders=tuple(folders))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/lab/"
    finally:
        server.should_exit = True
        thread.join()


def visited(browser: Any, address: str, script: str, given: str | None, rounds: int) -> list[float]:
    """What a script says of a page, in milliseconds, in a context of its own each time; the first is not counted."""
    found = []
    for _ in range(rounds + 1):
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        found.append(page.evaluate(script, given))
        context.close()
    return found[1:]


def lighthouse_scores(pages: dict[str, bytes], runs: int = 3) -> dict[str, float]:
    """The lowest scores of several runs, over the front and a claim's page, from the plainest of servers; empty without
    Lighthouse."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        site.mkdir()
        for name in LOOKED_AT:
            (site / name).write_bytes(pages[name])
        handler = functools.partial(Quiet, directory=str(site))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_address[1]}"
            found = [scores(f"{address}/{name}", Path(folder)) for name in LOOKED_AT for _ in range(runs)]
            server.shutdown()
    told = [one for one in found if one]
    return {key: min(one[key] for one in told) for key in ("performance", "accessibility") if told}


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing of what it is asked."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def measured(rounds: int) -> dict[str, Any]:
    """Everything."""
    from playwright.sync_api import sync_playwright

    from lmworks.lab import store
    from lmworks.lab.site.benches.declaration import benches
    from lmworks.lab.site.claims import claims
    from lmworks.lab.site.pages import site

    pages = site(claims())
    facts: dict[str, Any] = {"rounds": rounds, "bytes": weights(pages), "lighthouse": lighthouse_scores(pages)}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        times: dict[str, list[float]] = {}
        with serving([store.SHIPPED]) as address:
            times["front"] = visited(browser, address, PAINT, None, rounds)
            times["claim"] = visited(browser, address + "q06.html", PAINT, None, rounds)
            for one in (one for one in benches().values() if one.live):
                page = f"{address}q{one.claims[0]:02d}.html"
                times[f"bench {one.name}"] = visited(browser, page, READY, one.name, rounds)
        large_results(Path(folder))
        with serving([Path(folder)]) as address:
            times["front of 50 MB"] = visited(browser, address, PAINT, None, rounds)
        browser.close()
    facts["milliseconds"] = {name: round(statistics.median(one), 1) for name, one in times.items()}
    facts["slowest"] = {name: round(max(one), 1) for name, one in times.items()}
    return facts | {"machine": asdict(this_machine())}


def table(stored: dict[str, Any]) -> str:
    """What was asked and what was measured, as rows of Markdown."""
    size, took = stored["bytes"], stored["milliseconds"]
    benches = [one for name, one in took.items() if name.startswith("bench ")]
    rows = [
        ("first paint of the front, all fifty claims", "0.5 s", f"{took['front'] / 1000:.2f} s"),
        ("the same with 50 result files of 1 MB", "no slower", f"{took['front of 50 MB'] / 1000:.2f} s"),
        ("first paint of a claim's page", "", f"{took['claim'] / 1000:.2f} s"),
        (
            "a live bench, from the first touch to what its model computed",
            "1.5 s",
            f"{min(benches) / 1000:.2f} to {max(benches) / 1000:.2f} s",
        ),
        ("the heaviest page on the wire, gzipped", "40 KB", f"{size['page_gzip'] / 1000:.0f} KB"),
        ("the longest script, gzipped", "15 KB", f"{size['script_gzip'] / 1000:.0f} KB"),
        ("all claims in one file", "1 MB", f"{size['one_file'] / 1e6:.2f} MB"),
    ]
    if seen := stored["lighthouse"]:
        found = f"{seen['performance']:.2f} and {seen['accessibility']:.2f}"
        rows.append(("Lighthouse's performance and accessibility, front and claim", "0.98 and 1.00", found))
    lines = (f"| {what} | {asked} | {found} |".replace("|  |", "| |") for what, asked, found in rows)
    return "\n".join(["| | asked | measured |", "| --- | --- | --- |", *lines])


def main() -> None:
    """Measure, print, and store where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    facts = measured(given.rounds)
    print(json.dumps(facts, indent=2))
    if given.store:
        STORED.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
