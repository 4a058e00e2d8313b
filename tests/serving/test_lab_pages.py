"""The claims' pages as they are served: the exported files, small on the wire; runs that queue, end and keep out."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from lmworks.basics.errors import ConfigError, LmworksError, QueueFull
from lmworks.lab import store
from lmworks.lab.site.claims import claims
from lmworks.lab.site.pages import site
from lmworks.serving.errors import tell_errors
from lmworks.serving.lab import runs as runs_module
from lmworks.serving.lab.pages import Shelf, mount
from lmworks.serving.lab.runs import WAITING, ClaimRuns


def application(runs: ClaimRuns | None, **options: Any) -> FastAPI:
    app = FastAPI()
    tell_errors(app)
    mount(app, runs, **options)
    return app


def ask(app: FastAPI, path: str, method: str = "GET", **options: Any) -> httpx.Response:
    """One request of an application in this process; the body stays as it was sent."""

    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **options)

    return asyncio.run(asked())


@pytest.fixture(scope="module")
def alone() -> FastAPI:
    """The pages without runs."""
    return application(None, folders=(store.SHIPPED,))


def test_the_served_files_are_those_of_an_export(alone):
    exported = site(claims())
    for name in ("index.html", "q06.html", "de/q05.html", "q06.csv", "q06.json", "all.html"):
        answer = ask(alone, f"/lab/{name}")
        assert answer.status_code == 200 and answer.content == exported[name], name
        assert answer.headers["content-encoding"] == "gzip"
    assert ask(alone, "/lab/").content == exported["index.html"]
    assert ask(alone, "/lab").headers["location"] == "/lab/"
    assert ask(alone, "/lab/", headers={"accept-encoding": "identity"}).content == exported["index.html"]


def test_a_page_that_is_known_already_is_not_sent_again(alone):
    first = ask(alone, "/lab/q06.html")
    again = ask(alone, "/lab/q06.html", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304 and again.content == b""


@pytest.mark.parametrize("path", ["q99.html", "..%2f..%2fetc%2fpasswd", "%2e%2e/app.py", "site.js", "fr/index.html"])
def test_what_is_no_page_is_not_found(alone, path):
    assert ask(alone, f"/lab/{path}").status_code == 404


def test_a_server_that_must_run_nothing_offers_no_run_and_takes_none(alone):
    assert b'<form class="run"' not in ask(alone, "/lab/q23.html").content
    for method, path in (("POST", "/lab/runs"), ("GET", "/lab/runs"), ("DELETE", "/lab/runs/1")):
        assert ask(alone, path, method, json={"question": 23} if method == "POST" else None).status_code in (404, 405)


def test_a_page_with_controls_is_small_and_asks_only_its_server():
    answer = ask(application(ClaimRuns(), folders=(store.SHIPPED,)), "/lab/q16.html")
    assert len(gzip.compress(answer.content)) < 40_000
    text = answer.text
    assert "connect-src 'self'" in text and "default-src 'none'" in text
    assert 'data-quick="[&#34;tinyshakespeare&#34;]"' in text and 'data-full="[&#34;brown&#34;]"' in text
    assert 'type="number"' in text and 'min="' in text


def test_only_what_changed_is_read_again(tmp_path, monkeypatch):
    read: list[str] = []
    real = store.read
    monkeypatch.setattr(store, "read", lambda path: read.append(path.name) or real(path))
    for number in (5, 8, 9):
        fields = json.loads((store.SHIPPED / f"q{number:02d}.full.json").read_text(encoding="utf-8"))
        (tmp_path / f"q{number:02d}.full.json").write_text(json.dumps(fields | {"note": "x" * 1_000_000}))
    shelf = Shelf([tmp_path])
    first = shelf.file("index.html")
    assert sorted(read) == ["q05.full.json", "q08.full.json", "q09.full.json"] and shelf.file("index.html") == first
    assert len(read) == 3
    path = tmp_path / "q08.full.json"
    path.write_text(path.read_text().replace("Seq2Seq models transform", "Seq2Seq models turn"))
    assert shelf.file("index.html") != first and read[3:] == ["q08.full.json"]


def test_runs_wait_for_each_other_and_can_be_cancelled(tmp_path):
    async def story() -> None:
        runs = ClaimRuns()
        first, second, third = (runs.start(23, "quick", {"rows": "4"}) for _ in range(3))
        seen = []
        async for event in runs.events(second):
            seen.append(event)
            if len(seen) == 1:
                assert event == {"state": "waiting", "before": 1, "why": ""}
                while first.state != "running":
                    await asyncio.sleep(0)
                runs.cancel(second)
        assert seen[-1]["state"] == "cancelled" and not second.folder.exists()
        assert (first.state, third.state) == ("running", "waiting")
        runs.cancel(first)
        while third.state == "waiting":
            await third.told.wait()
        assert third.state == "running" and runs.facts(third)["before"] == 0
        with pytest.raises(LmworksError, match="cancelled"):
            first.finding()
        runs.cancel(third)
        await runs._worker
        runs.close()
        assert not runs._folder.exists()

    asyncio.run(asyncio.wait_for(story(), 60))


def test_the_queue_is_bounded_and_old_runs_are_put_away(monkeypatch):
    monkeypatch.setattr(runs_module, "KEPT", 3)

    async def story() -> None:
        runs = ClaimRuns()
        made = [runs.start(23, "quick", {}) for _ in range(WAITING)]
        with pytest.raises(QueueFull, match="wait already"):
            runs.start(23, "quick", {})
        for one in made:
            runs.cancel(one)
        last = runs.start(23, "quick", {})
        assert list(runs.all) == [one.id for one in (*made[-2:], last)]
        runs.cancel(last)
        await runs._worker
        runs.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": "0"}, "rows is 0"),
        ({"nonsense": "1"}, "nonsense is not a setting"),
        ({"rows": "4\nkeys = 0"}, "rows"),
        ({"rows": "9" * 5000}, "rows"),
    ],
)
def test_parameters_are_held_to_their_declaration(changes, said):
    with pytest.raises(ConfigError, match=said):
        ClaimRuns().start(23, "quick", changes)


def test_from_another_machine_numbers_can_be_changed_and_names_of_files_cannot():
    with pytest.raises(ConfigError, match="text names files of the server's machine"):
        ClaimRuns(texts=False).start(12, "quick", {"text": "/etc/passwd", "top_k": "5"})
    with pytest.raises(ConfigError, match="new names files"):
        ClaimRuns(texts=False).start(16, "quick", {"new": '{a = "/etc/passwd"}'})

    async def allowed() -> None:
        runs = ClaimRuns(texts=False)
        runs.cancel(runs.start(12, "quick", {"top_k": "5"}))
        await runs._worker

    asyncio.run(allowed())


def test_a_body_that_a_page_elsewhere_can_send_starts_nothing():
    runs = ClaimRuns()
    app = application(runs)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = ask(app, "/lab/runs", "POST", content='{"question": 23}', headers={"content-type": kind})
        assert answer.status_code == 400
    assert runs.all == {}


def test_events_end_and_what_runs_is_stopped_when_the_server_stops():
    stopping = [False]

    async def story() -> None:
        runs = ClaimRuns(stopping=lambda: stopping[0])
        one = runs.start(23, "quick", {})
        async for event in runs.events(one):
            stopping[0] = event.get("state") == "running"
        await runs._worker
        assert one.state == "cancelled" and one.why == "the server stops"

    asyncio.run(asyncio.wait_for(story(), 60))


@pytest.mark.slow
def test_a_run_that_fails_says_why_as_the_command_line_does(tmp_path):
    async def story() -> None:
        runs = ClaimRuns()
        one = runs.start(12, "quick", {"text": str(tmp_path / "nothing"), "model": str(tmp_path / "none")})
        async for _ in runs.events(one):
            pass
        assert one.state == "failed" and "none" in one.why and "Traceback" not in one.why

    asyncio.run(asyncio.wait_for(story(), 120))


def test_folders_of_results_come_before_what_is_shipped(tmp_path):
    fields = json.loads((store.SHIPPED / "q05.full.json").read_text(encoding="utf-8"))
    (tmp_path / "q05.quick.json").write_text(json.dumps(fields | {"scale": "quick", "note": "My own note."}))
    shelf = Shelf([tmp_path, Path(store.SHIPPED)])
    packed = shelf.file("q05.html").content
    assert b"My own note." in gzip.decompress(packed)
