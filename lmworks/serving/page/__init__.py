"""The page at `/`: a chat with conversations that stay in the browser, the next token under the sampling settings, a
look inside.

    mount(app)

Static files and nothing from elsewhere, so it works offline; all that it does goes through the API, with the same
queue, limits and keys (`guard.py`).
"""

from __future__ import annotations

import asyncio
import re

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response

from lmworks.lab.site.words import FIRST, languages
from lmworks.serving.errors import Refused
from lmworks.serving.packed import CompressedFile
from lmworks.serving.page.files import LANGUAGES, files, policy


def mount(app: FastAPI) -> None:
    """Put the page into an application."""
    router, packed = APIRouter(include_in_schema=False), dict[str, CompressedFile]()

    def file(name: str) -> CompressedFile | None:
        if name not in packed and name in files():
            packed[name] = CompressedFile.of(name, files()[name])
        return packed.get(name)

    @router.get("/")
    async def page(request: Request, lang: str | None = None) -> Response:
        code = language(lang or "", request.headers.get("accept-language", ""))
        found = await asyncio.to_thread(file, f"index.{code}.html")
        assert found is not None
        return found.answer(request, {"Content-Security-Policy": policy(), "Vary": "Accept-Encoding, Accept-Language"})

    @router.get("/page/{name}")
    async def script(name: str, request: Request) -> Response:
        found = await asyncio.to_thread(file, name) if name.endswith(".js") else None
        if found is None:
            raise Refused(404, f"there is no file {name[:80]!r} of the page; it is at /")
        return found.answer(request)

    app.include_router(router)


def language(asked: str, accepted: str) -> str:
    """The page's language: the one that is asked for, else the first that the browser accepts and there is.

    language("", "fr, de-AT;q=0.8, en;q=0.5")
    'de'
    """
    known = languages(LANGUAGES)
    found = re.findall(r"([A-Za-z]{2,3})[\w-]*\s*(?:;\s*q=([\d.]+))?", accepted[:500])
    ranked = sorted(found, key=lambda one: -float(one[1] if re.fullmatch(r"\d+(\.\d+)?", one[1]) else 1))
    wanted = [asked, *(code.lower() for code, _ in ranked)]
    return next((code for code in wanted if code in known), FIRST)
