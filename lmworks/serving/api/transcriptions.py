"""/v1/audio/transcriptions and /v1/audio/translations: what a recording says."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from lmworks.generation.transcript import Segment, Transcript
from lmworks.hearing_model import Heard, hearing
from lmworks.models.hearing.features import RATE
from lmworks.serving.api.forms import Part, read_form
from lmworks.serving.errors import Refused, late
from lmworks.serving.models import ServedModels
from lmworks.serving.service import Service
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
    router, places = APIRouter(), asyncio.Semaphore(AT_ONCE)

    @router.post("/v1/audio/transcriptions", summary="What a recording says", openapi_extra=FORM)
    async def transcribe(http: Request) -> Response:
        return await _heard(models, http, "transcribe", places)

    @router.post("/v1/audio/translations", summary="The same in English", openapi_extra=FORM)
    async def translate(http: Request) -> Response:
        return await _heard(models, http, "translate", places)

    return router


async def _heard(models: ServedModels, http: Request, task: Task, places: asyncio.Semaphore) -> Response:
    fields = read_form(await http.body(), http.headers.get("content-type", ""))
    form = _text(fields, "response_format") or "json"
    if form not in FORMATS:
        raise Refused(400, f"response_format is one of {', '.join(FORMATS)}", param="response_format")
    if "file" not in fields:
        raise Refused(400, "the form has no field file, which holds the recording", param="file")
    if unknown := fields.keys() - FIELDS.keys() - set(UNUSED):
        name = min(unknown)[:40]
        raise Refused(400, f"{name} is not a field of this request", param=name, code="unknown_parameter")
    if _text(fields, "stream") not in (None, "", "false", "False"):
        raise Refused(400, "a transcript is not streamed; leave stream out", param="stream")
    if _text(fields, "timestamp_granularities[]") == "word":
        raise Refused(400, "segments have times here, and words have none; leave timestamp_granularities out")
    service = await models.lend(http, _text(fields, "model"))
    async with places:
        transcript = await _transcript(service, http, fields["file"], _text(fields, "language") or None, task)
    return _answer(transcript, form, task)


async def _transcript(service: Service, http: Request, file: Part, language: str | None, task: Task) -> Transcript:
    """Window by window, so that others have their turns, and nobody waits for whom nobody listens to."""
    model, end = hearing(service.model), time.monotonic() + service.limits.seconds
    segments, told = list[Segment](), language or "en"

    def begin() -> tuple[Iterator[Heard], float]:
        name, most = (file.filename or "the recording")[:80], service.limits.audio_seconds
        samples = sound_of(io.BytesIO(file.content), name, RATE, most)
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


def _text(fields: Mapping[str, Part], name: str) -> str | None:
    return fields[name].text(name)[:1000] if name in fields else None
