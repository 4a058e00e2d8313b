"""/v1/audio/transcriptions and /v1/audio/translations: what a recording says."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.datastructures import UploadFile

from lmworks.basics.errors import QueueFull
from lmworks.generation.transcript import Segment, Transcript
from lmworks.hearing_model import Heard, hearing
from lmworks.models.hearing.features import RATE
from lmworks.serving.errors import Refused, late
from lmworks.serving.models import ServedModels
from lmworks.serving.service import Service
from lmworks.serving.settings import ServerLimits
from lmworks.text.sound.reading import sound_of
from lmworks.tokens.speech import Task

AT_ONCE = 2
"""Recordings whose sound is in memory at once, up to half a gigabyte each; others wait."""
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
FIELDS = {
    "file": {"type": "string", "format": "binary", "description": "The recording: WAV; FLAC, Ogg, MP3 with soundfile."},
    "model": {"type": "string", "description": "One of /v1/models; the first unless it is given."},
    "language": {"type": "string", "description": "Code of the language that is spoken, told unless it is given."},
    "response_format": {"type": "string", "enum": list(FORMATS), "description": "json unless it is given."},
    "prompt": {"type": "string", "description": "Accepted, not used; so is temperature."},
    "temperature": {"type": "string"},
}
UNUSED = ("stream", "timestamp_granularities[]", "chunking_strategy", "include[]")
"""What OpenAI's clients may send beside."""
FORM = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": {"type": "object", "properties": FIELDS, "required": ["file"]}}},
    }
}


def routes(models: ServedModels) -> APIRouter:
    """The endpoints, for a server's models."""
    router, places = APIRouter(), _Places()

    @router.post("/v1/audio/transcriptions", summary="What a recording says", openapi_extra=FORM)
    async def transcribe(http: Request) -> Response:
        return await _heard(models, http, "transcribe", places)

    @router.post("/v1/audio/translations", summary="The same in English", openapi_extra=FORM)
    async def translate(http: Request) -> Response:
        return await _heard(models, http, "translate", places)

    return router


class _Places:
    """For recordings whose sound is in memory."""

    def __init__(self) -> None:
        self._free, self._waiting = asyncio.Semaphore(AT_ONCE), 0

    @contextlib.asynccontextmanager
    async def one(self, limits: ServerLimits) -> AsyncIterator[None]:
        """A place while the block runs. QueueFull where as many wait as may, Refused where the wait takes too long."""
        if self._waiting >= limits.queue:
            raise QueueFull(f"{self._waiting:,} recordings wait already; ask again later")
        self._waiting += 1
        try:
            await asyncio.wait_for(self._free.acquire(), limits.seconds)
        except TimeoutError:
            raise late(limits.seconds, "others were heard meanwhile; ask again later") from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()


async def _heard(models: ServedModels, http: Request, task: Task, places: _Places) -> Response:
    if http.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise Refused(415, "send multipart/form-data, as OpenAI's clients do, with the recording as its field file")
    async with http.form(max_files=1, max_fields=len(FIELDS) + len(UNUSED)) as form:
        file, fields = form.get("file"), {name: said for name, said in form.items() if isinstance(said, str)}
        kind = fields.get("response_format") or "json"
        if kind not in FORMATS:
            raise Refused(400, f"response_format is one of {', '.join(FORMATS)}", param="response_format")
        if not isinstance(file, UploadFile):
            raise Refused(400, "the form has no field file, which holds the recording", param="file")
        if unknown := form.keys() - FIELDS.keys() - set(UNUSED):
            name = min(unknown)[:40]
            raise Refused(400, f"{name} is not a field of this request", param=name, code="unknown_parameter")
        if fields.get("stream", "") not in ("", "false", "False"):
            raise Refused(400, "a transcript is not streamed; leave stream out", param="stream")
        if fields.get("timestamp_granularities[]") == "word":
            raise Refused(400, "segments have times here, and words have none; leave timestamp_granularities out")
        service = await models.lend(http, fields.get("model"))
        end = time.monotonic() + service.limits.seconds  # the wait for a place included
        async with places.one(service.limits):
            transcript = await _transcript(service, http, file, fields.get("language") or None, task, end)
    return _answer(transcript, kind, task)


async def _transcript(
    service: Service, http: Request, file: UploadFile, language: str | None, task: Task, end: float
) -> Transcript:
    """Window by window, so that others have their turns, and nobody waits for whom nobody listens to."""
    model = hearing(service.model)
    if await http.is_disconnected():  # while it waited
        raise Refused(499, "the client went away")
    segments, told = list[Segment](), language or "en"

    def begin() -> tuple[Iterator[Heard], float]:
        name, most = (file.filename or "the recording")[:80], service.limits.audio_seconds
        samples = sound_of(file.file, name, RATE, most)
        return model.listen(samples, language=language, task=task), len(samples) / RATE

    windows, seconds = await service.worker.run(begin)
    while (window := await service.worker.run(lambda: next(windows, None))) is not None:
        segments += window.segments
        told = window.language or told
        if await http.is_disconnected():
            raise Refused(499, "the client went away")
        if time.monotonic() > end and window.until < seconds:
            raise late(service.limits.seconds, "send a shorter recording")
    return Transcript.of(segments, told, seconds)


def _answer(transcript: Transcript, form: str, task: Task) -> Response:
    if form == "json":
        return JSONResponse({"text": transcript.text})
    if form == "verbose_json":
        facts: dict[str, Any] = {"task": task, **transcript.facts()}
        return JSONResponse(facts)
    texts = {"text": lambda: f"{transcript}\n", "srt": transcript.srt, "vtt": transcript.vtt}
    return PlainTextResponse(texts[form]())
