"""The server's log: a line of JSON for each request, without what was asked or answered unless that is wanted."""

from __future__ import annotations

import json
import sys
import time
import traceback
from typing import Any, TextIO

from starlette.types import Scope

from lmworks.serving.api.work import Work
from lmworks.serving.errors import REFUSED
from lmworks.serving.record import Record

QUIET = ("/health", "/metrics", "/page/")
"""Paths whose requests are told only where they fail: they are asked every few seconds, or are parts of the page."""


class Log:
    """Where lines are written to: standard error unless it is given; None for nowhere."""

    def __init__(self, to: TextIO | None = sys.stderr, text: bool = False) -> None:
        self._to, self.text = to, text
        """`text`: whether prompts are logged, too."""

    def event(self, name: str, **facts: Any) -> None:
        """Something happened."""
        if self._to is None:
            return
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{int(time.time() * 1000) % 1000:03}Z"
        print(json.dumps({"time": when, "event": name} | facts), file=self._to, flush=True)

    def request(self, scope: Scope, record: Record, seconds: float, fault: Exception | None) -> None:
        """A request is over."""
        if scope["path"].startswith(QUIET) and record.status < 400:
            return
        client = scope.get("client")
        facts: dict[str, Any] = {
            "id": record.id,
            "client": client[0] if client else None,
            "method": scope["method"],
            "path": scope["path"][:200],
            "status": record.status,
            "seconds": round(seconds, 4),
        }
        if record.work is not None:
            facts |= _of(record.work)
        if record.cited is not None:
            facts |= record.cited.facts
        if (refused := scope.get(REFUSED)) is not None:  # not its words, which may quote what was asked
            said = refused.facts["error"]
            facts["error"] = said["code"] or said["type"]
            facts |= {} if said["param"] is None else {"param": said["param"]}
        if record.text is not None:
            facts["text"] = record.text
        if fault is not None:
            facts["fault"] = "".join(traceback.format_exception(fault))
        self.event("request", **facts)


def _of(work: Work) -> dict[str, Any]:
    """What a request's work was."""
    firsts = [handle.first - handle.created for handle in work.handles if handle.first is not None]
    usage = work.usage
    return {
        "prompt_tokens": usage["prompt_tokens"],
        "cached_tokens": usage["prompt_tokens_details"]["cached_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "first_token_seconds": round(min(firsts), 4) if firsts else None,
        **({"adapter": [one.sequence.request.adapter for one in work.handles]} if work.service.adapters else {}),
        "finish": [handle.sequence.finish or ("cancelled" if handle.cancelled else None) for handle in work.handles],
    }
