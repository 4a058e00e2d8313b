"""What guards every route: who may ask, how much may be sent, and a line in the log for each request.

A key is sent as OpenAI's clients send it (`Authorization: Bearer KEY`), or by a browser as the password of its own
dialogue (Basic, any name). Without keys, and on the loopback, only requests to the loopback's own names are answered: a
page elsewhere whose name is made to point here (DNS rebinding) cannot read what is served. Bodies are JSON, which a
page elsewhere cannot send without being asked for leave first (CORS); forms with recordings, which it could send, are
refused where they come from one.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lmworks.basics.amounts import listed
from lmworks.basics.errors import ConfigError
from lmworks.serving.errors import REFUSED, Refused, as_page, as_response, refusal, refuse, stopping
from lmworks.serving.log import Log
from lmworks.serving.metrics import Metrics
from lmworks.serving.models import ServedModels
from lmworks.serving.record import RECORD, Record

OPEN = ("/health",)
"""Paths that need no key: whoever watches over the server has none."""
AUDIO = "/v1/audio/"
"""What begins the paths that take recordings, which are longer than texts."""


class Keys:
    """The keys that open the server."""

    def __init__(self, keys: Collection[str]) -> None:
        """ConfigError for a key that no client can send, and for an empty one (of a variable that is not set)."""
        for key in keys:
            if not re.fullmatch("[!-~]+", key):
                raise ConfigError(
                    "an API key is empty, or has spaces or letters beyond ASCII; give one of visible ASCII"
                )
        self._known = [hashlib.sha256(key.encode()).digest() for key in keys]

    def owner(self, authorization: str) -> str | None:
        """Whose a request is by its header: a name for each of the keys, one for everybody where there are none, and
        None where the header opens nothing. The time tells nothing of the keys."""
        if not self._known:
            return ""
        kind, _, said = authorization.partition(" ")
        if kind.lower() == "basic":
            try:
                said = base64.b64decode(said, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                said = ""
        elif kind.lower() != "bearer":
            said = ""
        sent = hashlib.sha256(said.strip().encode(errors="surrogateescape")).digest()
        return sent.hex() if sum(hmac.compare_digest(sent, key) for key in self._known) else None


class Guard:
    """Around the application."""

    def __init__(
        self,
        app: ASGIApp,
        models: ServedModels,
        metrics: Metrics,
        log: Log,
        hosts: Collection[str] | None = None,
        origins: Collection[str] = (),
    ) -> None:
        self._app, self._models, self._metrics, self._log = app, models, metrics, log
        self._keys, self._hosts, self._origins = Keys(models.keys), hosts, origins
        self._held = 0
        """Bytes of the bodies of all requests that are not answered yet."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through what may pass."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = scope[RECORD] = Record(keeps_text=self._log.text)
        started, begun = time.monotonic(), False

        async def sent(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun, record.status = True, message["status"]
                MutableHeaders(scope=message)["x-request-id"] = record.id
            await send(message)

        fault: Exception | None = None
        try:
            record.owner = self._keys.owner(Headers(scope=scope).get("authorization", ""))
            if (refused := self._refused(scope, record)) is not None:
                scope[REFUSED] = refused
                answer = as_page if _wants_page(scope) else as_response
                await answer(refused)(scope, receive, sent)
            else:
                await self._app(scope, self._bounded(scope, receive, record), sent)
        except Exception as error:
            fault = error
            record.status = 500
            if not begun:
                await refuse(scope, refusal(error))(scope, receive, sent)
        finally:
            self._held -= record.body_bytes
            if record.give_back is not None:
                record.give_back()
            self._ended(scope, record, time.monotonic() - started, fault)

    def _refused(self, scope: Scope, record: Record) -> Refused | None:
        headers = Headers(scope=scope)
        if self._hosts is not None and _host(headers.get("host", "")) not in self._hosts:
            return Refused(403, f"this server answers to {listed(sorted(self._hosts))} alone", code="host")
        if scope["path"] not in OPEN and record.owner is None:
            offered, way = "Bearer", "Authorization: Bearer KEY"
            if _wants_page(scope):
                offered = 'Basic realm="lmworks"'
                way = "load this page again, and give the key as the password, with any name"
            said = {"WWW-Authenticate": offered}
            what = "the key that was sent opens nothing here" if headers.get("authorization") else "a key is needed"
            return Refused(401, f"{what}: {way}", code="invalid_api_key", headers=said)
        if scope["path"] not in OPEN and self._models.stopping:
            return stopping(closes=True)
        if scope["path"].startswith(AUDIO) and self._is_foreign(headers):
            return Refused(403, "pages of other origins send no recordings here; allow one with --cors", code="origin")
        if headers.get("content-length", "0").isdecimal() and (
            int(headers.get("content-length", "0")) > self._most(scope)
        ):
            return self._too_large(scope)
        return None

    def _is_foreign(self, headers: Headers) -> bool:
        """Whether a page elsewhere sent it; programs name no origin."""
        origin = headers.get("origin")
        if origin is None or "*" in self._origins or origin in self._origins:
            return False
        return origin.partition("://")[2] != headers.get("host")

    def _most(self, scope: Scope) -> int:
        """Bytes that a body may have."""
        limits = self._models.limits
        return limits.audio_bytes if scope["path"].startswith(AUDIO) else limits.body_bytes

    def _too_large(self, scope: Scope) -> Refused:
        most = self._most(scope)
        # The connection stays: closed while the client still sends, it would be reset, and this answer with it.
        return Refused(413, f"the body is longer than {most:,} bytes", code="request_too_large")

    def _full(self) -> Refused:
        most = self._models.limits.held_bytes
        said = f"the bodies of the requests that wait already fill the {most:,} bytes that there are; ask again later"
        return Refused(429, said, code="queue_full", headers={"Retry-After": "1"})

    def _bounded(self, scope: Scope, receive: Receive, record: Record) -> Receive:
        """The body, as far as it keeps to its bounds of size and time, and all bodies together to theirs."""
        over, loop = False, asyncio.get_running_loop()
        end = loop.time() + self._models.limits.body_seconds

        async def received() -> Message:
            nonlocal over
            if over:  # what comes now is that the client left
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), end - loop.time())
            except TimeoutError:
                raise Refused(408, "the body did not come in time", headers={"Connection": "close"}) from None
            came = len(message.get("body", b""))
            record.body_bytes += came
            self._held += came
            over = not message.get("more_body", False)
            if record.body_bytes > self._most(scope):
                raise self._too_large(scope)
            # Bytes that came are counted, and not those that are announced, which cost a client nothing.
            if self._held > self._models.limits.held_bytes:
                raise self._full()
            return message

        return received

    def _ended(self, scope: Scope, record: Record, seconds: float, fault: Exception | None) -> None:
        route = scope.get("route")
        path = getattr(route, "path", None) or "other"
        self._metrics.responded(record.model, path, record.status)
        if record.work is not None:
            self._metrics.worked(record.work)
        if record.cited is not None:
            self._metrics.cited(record.model, record.cited.way, record.cited.answer.refused)
        self._log.request(scope, record, seconds, fault)


def _wants_page(scope: Scope) -> bool:
    return "text/html" in Headers(scope=scope).get("accept", "")


def _host(header: str) -> str:
    """The name in a Host header, without its port."""
    return header.rpartition(":")[0] if header.rpartition(":")[2].isdecimal() else header
