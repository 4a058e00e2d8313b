"""The claims' pages at `/lab`: the files of `lmworks lab --export`, and what runs a claim again.

    mount(app, ClaimRuns())        # None: pages alone

Pages are made when they are first asked for and kept until a stored result changes.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from pydantic import BaseModel, Field

from lmworks.lab import registry, store
from lmworks.lab.scale import Scale
from lmworks.lab.site.benches.declaration import benches
from lmworks.lab.site.claims import Claim, claims
from lmworks.lab.site.pages import Pages, files
from lmworks.lab.site.words import FIRST, Words, languages
from lmworks.serving.errors import Refused
from lmworks.serving.lab.runs import ClaimRun, ClaimRuns
from lmworks.serving.packed import CompressedFile

FOLDERS = (Path("lab-results"), store.SHIPPED)
"""Where results are looked for, as by `lmworks lab`."""


class RunRequest(BaseModel):
    """A run that is asked for."""

    question: int
    scale: Scale = "quick"
    set: dict[str, str] = Field(default_factory=dict, max_length=50)
    """Parameters that differ from the scale's defaults, as `--set` takes them."""


class Shelf:
    """The pages as they are now."""

    def __init__(self, folders: Sequence[Path] = FOLDERS, controlled: bool = False) -> None:
        self._folders, self._controlled = folders, controlled
        self._lock = threading.Lock()
        self._state: object = None
        self._claims: list[Claim] = []
        self._makes: dict[str, Callable[[], bytes]] = {}
        self._packed: dict[str, CompressedFile] = {}

    def claims(self) -> list[Claim]:
        """Every claim, read again when a result has changed."""
        with self._lock:
            return self._read()

    def file(self, name: str) -> CompressedFile | None:
        """A file; None where there is none."""
        with self._lock:
            self._read()
            if name not in self._packed and name in self._makes:
                self._packed[name] = CompressedFile.of(name, self._makes[name]())
            return self._packed.get(name)

    def _read(self) -> list[Claim]:
        found = sorted(path for folder in self._folders for path in folder.glob("q*.json"))
        state = [(path, path.stat().st_mtime_ns, path.stat().st_size) for path in found]
        if state != self._state:
            self._claims = claims(self._folders)
            self._makes, self._packed, self._state = files(self._claims, self._controlled), {}, state
        return self._claims


def mount(app: FastAPI, runs: ClaimRuns | None, folders: Sequence[Path] = FOLDERS) -> Shelf:
    """Put the pages into an application; without `runs`, nothing is run."""
    benches()  # imported here, and not by the threads that make pages
    shelf = Shelf(folders, controlled=runs is not None)
    router = APIRouter(include_in_schema=False)

    @router.get("/lab")
    async def front() -> RedirectResponse:
        return RedirectResponse("/lab/")

    if runs is not None:
        _run_routes(router, shelf, runs)

    @router.get("/lab/{name:path}")
    async def file(name: str, request: Request) -> Response:
        name = f"{name}index.html" if not name or name.endswith("/") else name
        found = await asyncio.to_thread(shelf.file, name)
        if found is None:
            raise Refused(404, f"there is no page {name[:80]!r} of the lab; its front is /lab/")
        return found.answer(request)

    app.include_router(router)
    return shelf


def _run_routes(router: APIRouter, shelf: Shelf, runs: ClaimRuns) -> None:
    def named(id: str) -> ClaimRun:
        if id not in runs.all:
            raise Refused(404, f"there is no run {id[:40]!r}, or it was put away; start it again")
        return runs.all[id]

    @router.post("/lab/runs", status_code=201)
    async def start(asked: RunRequest) -> JSONResponse:
        await asyncio.to_thread(registry.load, asked.question)  # importing an experiment takes seconds at first
        return JSONResponse(runs.facts(runs.start(asked.question, asked.scale, asked.set)), 201)

    @router.get("/lab/runs")
    async def every() -> JSONResponse:
        return JSONResponse([runs.facts(one) for one in runs.all.values()])

    @router.get("/lab/runs/{id}")
    async def state(id: str) -> JSONResponse:
        return JSONResponse(runs.facts(named(id)))

    @router.delete("/lab/runs/{id}")
    async def cancel(id: str) -> JSONResponse:
        runs.cancel(named(id))
        return JSONResponse(runs.facts(named(id)))

    @router.get("/lab/runs/{id}/events")
    async def events(id: str) -> StreamingResponse:
        return StreamingResponse(
            _sent(runs, named(id)), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    @router.get("/lab/runs/{id}/result.json")
    async def result(id: str) -> JSONResponse:
        return JSONResponse(store.as_json(named(id).finding()))

    @router.get("/lab/runs/{id}/beside.{language}.html")
    async def beside(id: str, language: str) -> Response:
        one = named(id)
        return Response(await asyncio.to_thread(_beside, shelf, one, language), media_type="text/html; charset=utf-8")


def _beside(shelf: Shelf, one: ClaimRun, language: str) -> str:
    words = Words.of(language if language in languages() else FIRST)
    known = shelf.claims()
    claim = next(claim for claim in known if claim.number == one.question)
    asked = [change.partition("=")[0] for change in one.changes]
    return Pages(known, words, served=True).beside(claim, one.finding(), f"/lab/runs/{one.id}/result.json", asked)


async def _sent(runs: ClaimRuns, one: ClaimRun) -> AsyncIterator[str]:
    """Server-sent events; `retry` keeps a browser from asking again at once when the server has ended."""
    yield "retry: 5000\n\n"
    async for event in runs.events(one):
        yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
