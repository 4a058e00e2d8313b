"""What went wrong, in OpenAI's form: {"error": {"message", "type", "param", "code"}}.

Every error that a client can cause is a sentence with a status of 4xx; nothing of the request's own text is repeated but short
values of settings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from lmworks.basics.errors import EngineClosed, LmworksError, QueueFull

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
"""OpenAI's names; other 4xx are invalid_request_error, 5xx server_error."""


class ErrorFacts(BaseModel):
    """What is told of an error."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorFacts


class Refused(Exception):
    """A request that is answered with an error of this status."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.facts = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refusal(error: Exception) -> Refused:
    """An error of ours as an answer; anything else is a fault of the server, whose details stay in its log."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, QueueFull):
        return Refused(429, str(error), code="queue_full", headers={"Retry-After": str(math.ceil(error.seconds))})
    if isinstance(error, EngineClosed):
        return stopping()
    if isinstance(error, LmworksError):
        code = "context_length_exceeded" if "tokens and the model reads" in str(error) else None
        return Refused(400, str(error), code=code)
    return Refused(500, "the server failed at this request; its log says why", code="internal_error")


def stopping() -> Refused:
    """What those are told whom a server that stops cannot answer any more."""
    return Refused(
        503, "the server is being stopped; ask again when it is back", code="stopping", headers={"Retry-After": "10"}
    )


def late(seconds: float, instead: str) -> Refused:
    """What those are told whose answer takes longer than it may."""
    return Refused(504, f"the answer took longer than {seconds:g} seconds; {instead}", code="timeout")


def as_response(refused: Refused) -> Response:
    """The answer. ASCII alone, so that whatever is quoted can be written."""
    return Response(json.dumps(refused.facts), refused.status, refused.headers, "application/json")


def tell_errors(app: FastAPI) -> None:
    """Answer all errors of an app in this form."""

    async def ours(_: Request, error: Exception) -> Response:
        return as_response(refusal(error))

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return as_response(_invalid(error.errors()))

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return as_response(Refused(error.status_code, str(error.detail), headers=error.headers))

    app.add_exception_handler(Refused, ours)
    app.add_exception_handler(LmworksError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, ours)


def _invalid(details: Sequence[Any]) -> Refused:
    """What pydantic says of a body, as one sentence about the field that comes first."""
    first = details[0]
    if first["type"] == "json_invalid":
        return Refused(400, f"the body is not JSON: {first.get('ctx', {}).get('error', 'it cannot be read')}")
    field = _field(first)
    if field is None and first["type"] == "value_error":  # of settings that do not go together
        return Refused(400, first["msg"].removeprefix("Value error, "), code="invalid_value")
    if field is None:
        return Refused(400, "the body is not a JSON object; send one with the content type application/json")
    # A field that may be of several kinds has a complaint of each; each says what it would take.
    same = [one for one in details if _field(one) == field]
    if first["type"] == "extra_forbidden":
        return Refused(400, f"{_path(first)} is not a setting of this request", param=field, code="unknown_parameter")
    if first["type"] == "missing":
        return Refused(400, f"{_path(first)} is missing", param=field, code="missing_required_parameter")
    said = list(dict.fromkeys(one["msg"].removeprefix("Value error, ").removeprefix("Input ") for one in same))
    return Refused(
        400, f"{_path(first)}{_shown(first)}: it {', or '.join(said[:4])}", param=field, code="invalid_value"
    )


def _field(detail: Any) -> str | None:
    where = [part for part in detail["loc"] if part not in ("body", "query", "path")]
    return str(where[0])[:100] if where else None


def _path(detail: Any) -> str:
    where = [str(part)[:100] for part in detail["loc"] if part not in ("body", "query", "path")]
    # Where a value may be of several kinds, pydantic adds the kind that it tried.
    return ".".join(part for part in where if "[" not in part and part not in ("str", "constrained-str"))


def _shown(detail: Any) -> str:
    value = detail.get("input")
    return f" is {value!r}" if isinstance(value, bool | int | float) and len(repr(value)) < 40 else ""
