"""What went wrong, in OpenAI's form: {"error": {"message", "type", "param", "code"}}.

Every error that a client can cause is a sentence with a status of 4xx. Of the request's own text only short values of
settings are repeated.
"""

from __future__ import annotations

import difflib
import html
import json
import math
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from lmworks.basics.errors import EngineClosed, LmworksError, QueueFull
from lmworks.generation.request import without_sliding

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
"""OpenAI's names; other 4xx are invalid_request_error, 5xx server_error."""

NOWHERE = {
    404: "there is nothing at this path; GET /openapi.json lists what there is",
    405: "this path is not for this method; GET /openapi.json says which one it is for",
}
"""What those are told who ask for what is not there."""

REFUSED = "lmworks.refused"
"""Where a request that is refused has the refusal in its ASGI scope."""

TOO_LONG = "context_length_exceeded"
"""OpenAI's code for a text of more tokens than the model reads."""

TEXT_FIELDS = ("messages", "input", "prompt")
"""Which fields of a request hold what the model reads."""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>lmworks: {what}</title>
<main><h1>Not shown: {what}</h1><p>{message}</p></main>
</html>
"""
"""What a browser shows of an error before there is a page."""


class ErrorFacts(BaseModel):
    """What is said about an error."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorFacts


class Refused(HTTPException):
    """A request that is answered with an error of this status.

    Only an HTTPException reaches its handler out of the reading of a body; FastAPI calls anything else a body that
    cannot be parsed.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.status = status
        kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.facts = {"error": {"message": message, "type": kind, "param": param, "code": code}}

    def __str__(self) -> str:
        return self.detail


def refusal(error: Exception, text_field: str | None = None) -> Refused:
    """An error of ours as an answer, of a text that is too long about the field that holds it; anything else is a fault
    of the server, whose details stay in its log."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, QueueFull):
        return Refused(429, str(error), code="queue_full", headers={"Retry-After": str(math.ceil(error.seconds))})
    if isinstance(error, EngineClosed):
        return stopping()
    if isinstance(error, LmworksError):
        said = without_sliding(error)
        too_long = "tokens and the model reads" in said
        return Refused(400, said, param=text_field if too_long else None, code=TOO_LONG if too_long else None)
    return Refused(500, "the server failed at this request; its log says why", code="internal_error")


def stopping(closes: bool = False) -> Refused:
    """What those are told whom a server that stops cannot answer any more; `closes` their connection, too."""
    headers = {"Retry-After": "10"} | ({"Connection": "close"} if closes else {})
    return Refused(503, "the server is being stopped; ask again when it is back", code="stopping", headers=headers)


def late(seconds: float, instead: str) -> Refused:
    """What those are told whose answer takes longer than it may."""
    return Refused(504, f"the answer took longer than {seconds:g} seconds; {instead}", code="timeout")


def refuse(scope: MutableMapping[str, Any], refused: Refused) -> Response:
    """The answer to a request, which its log line tells of."""
    scope[REFUSED] = refused
    return as_response(refused)


def as_response(refused: Refused) -> Response:
    """The answer. ASCII alone, so that whatever is quoted can be written."""
    return Response(json.dumps(refused.facts), refused.status, refused.headers, "application/json")


def as_page(refused: Refused) -> Response:
    """The answer for people: the same sentence on a page of its own."""
    facts = refused.facts["error"]
    what, message = (html.escape(str(facts[key])) for key in ("type", "message"))
    what = what.replace("_", " ")
    return Response(PAGE.format(what=what, message=message), refused.status, refused.headers, "text/html")


NO_JSON: dict[type[Exception], str] = {
    RecursionError: "it is nested too deeply",
    UnicodeDecodeError: "it is not UTF-8",
    ValueError: "a number has too many digits",
}
"""Why a body cannot be read, by what the JSON module raises beside its own error."""


def tell_errors(app: FastAPI) -> None:
    """Answer all errors of an app in this form."""

    async def ours(request: Request, error: Exception) -> Response:
        settings = _settings_of(request)
        text_field = next((name for name in TEXT_FIELDS if name in settings), None)
        return refuse(request.scope, refusal(error, text_field))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return refuse(request.scope, _invalid(error.errors(), _settings_of(request)))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = NOWHERE.get(error.status_code, str(error.detail))
        reasons = (why for kind, why in NO_JSON.items() if isinstance(error.__cause__, kind))
        if error.status_code == 400 and (why := next(reasons, None)) is not None:
            said = f"the body is not JSON that is read here: {why}"
        if error.status_code == 404:
            said = _meant(request.scope, app) or said
        return refuse(request.scope, Refused(error.status_code, said, headers=error.headers))

    app.add_exception_handler(Refused, ours)
    app.add_exception_handler(LmworksError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, ours)


NEWER = {
    "functions": "tools",
    "function_call": "tool_choice",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "messages": "input",
    "response_format": "text",
}
"""What OpenAI calls now, or at a newer endpoint, what it called so before."""
ELSEWHERE = {
    "/v1/conversations": "conversations are kept by POST /v1/responses; go on with previous_response_id",
    "/v1/engines": "this is GET /v1/models now",
}
"""What is there in place of a path of OpenAI's."""


def _meant(scope: Scope, app: FastAPI) -> str | None:
    """Where somebody may have wanted to go who asks for a path that is not there: mostly a base URL without /v1, or
    with it twice."""
    path = scope["path"]
    for near in (f"/v1{path}", path.removeprefix("/v1")):
        if near != path and any(one.matches({**scope, "path": near})[0] is not Match.NONE for one in app.routes):
            return f"there is nothing at this path; did you mean {near}? the base URL of OpenAI's clients ends in /v1"
    return ELSEWHERE.get("/v1/" + path.removeprefix("/v1").strip("/").partition("/")[0])


def _settings_of(request: Request) -> set[str]:
    """The fields of the body that a route reads."""
    body = getattr(request.scope.get("route"), "body_field", None)
    kind = getattr(getattr(body, "field_info", None), "annotation", None)
    return kind.names() if kind is not None and hasattr(kind, "names") else set()


WANTED = {
    "string_type": "a text",
    "string_unicode": "whole characters",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_parsing": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} item{s}",
    "too_long": "at most {max_length} item{s}",
    "string_too_short": "at least {min_length} character{s}",
    "string_too_long": "at most {max_length} character{s}",
    "literal_error": "{expected}",
}
"""What is to be given instead, by pydantic's names of what is wrong."""


OBJECTS = {"tool_choice": ", or an object that names one of the functions"}
"""What may be given besides, by fields that are words or objects."""
KINDS = ("str", "constrained-str", "NamedTool", "ChosenFunction")
"""What pydantic calls a kind that it tried, where a value may be of several."""


def _invalid(details: Sequence[Any], settings: Collection[str] = ()) -> Refused:
    """What pydantic says of a body, as one sentence about the field that comes first; `settings` are those that there
    are."""
    first = details[0]
    if first["type"] == "json_invalid":
        return Refused(400, f"the body is not JSON: {first['ctx']['error']} (character {first['loc'][-1]:,})")
    field = _field(first)
    if field is None and first["type"] == "value_error":  # of settings that do not go together
        return Refused(400, _own(first), code="invalid_value")
    if field is None:
        return Refused(400, "the body is not a JSON object; send one with the content type application/json")
    # A field that may be of several kinds has a complaint of each: those count that came furthest into the value.
    about = [one for one in details if _field(one) == field]
    first = max(about, key=_how_far)
    same = [one for one in about if _how_far(one) == _how_far(first) and _path(one) == _path(first)]
    path = ".".join(_path(first))
    if first["type"] == "extra_forbidden":
        newer = NEWER.get(path)
        near = [newer] if newer in settings else difflib.get_close_matches(path, settings, n=1, cutoff=0.75)
        do = f"did you mean {near[0]}?" if near else "leave it out"
        return Refused(400, f"{path} is not a setting of this request; {do}", param=field, code="unknown_parameter")
    if first["type"] == "missing":
        return Refused(400, f"{path} is missing", param=field, code="missing_required_parameter")
    if first["type"] == "value_error":
        said = f"{path}: {_own(first)}"
    elif first["type"] == "none_required" or first.get("ctx", {}).get("max_length") == 0:
        said = f"{path} is not done here; leave it out"
    else:
        *others, last = dict.fromkeys(map(_wanted, same))
        said = f"{path} {_shown(first)}; give {', '.join(others)}{' or ' * bool(others)}{last}{OBJECTS.get(path, '')}"
    return Refused(400, said, param=field, code="invalid_value")


def _how_far(detail: Any) -> tuple[int, bool, list[int]]:
    path = _path(detail)
    return len(path), not detail["type"].endswith("_type"), [int(part) for part in path if part.isdecimal()]


def _own(detail: Any) -> str:
    """The words of a check of ours."""
    return str(detail["msg"].removeprefix("Value error, "))


def _wanted(detail: Any) -> str:
    said = {name: _number(value) for name, value in detail.get("ctx", {}).items()}
    plural = "" if said.get("min_length", said.get("max_length")) == "1" else "s"
    return WANTED.get(detail["type"], "another value").format(**said, s=plural)


def _number(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value).replace("False", "false")  # as JSON has it


def _shown(detail: Any) -> str:
    """What the value is; itself where it is short and no text."""
    value, kind = detail["input"], detail["type"]
    if kind == "string_unicode":
        return "has half a surrogate pair"
    if "_short" in kind or "_long" in kind:
        what = "characters" if kind.startswith("string") else "items"
        return f"has {len(value):,} {what}" if value else "is empty"
    if value is None or isinstance(value, bool | int | float):
        said = json.dumps(value)
        return f"is {said}" if len(said) < 40 else "is a longer number"
    if kind == "literal_error" and isinstance(value, str) and len(value) < 40:
        return f"is {value!r}"
    return "is a text" if isinstance(value, str) else "is a list" if isinstance(value, list) else "is an object"


def _field(detail: Any) -> str | None:
    where = detail["loc"][1:]  # after "body", "query" or "path"
    return str(where[0])[:100] if where else None


def _path(detail: Any) -> list[str]:
    where = [str(part)[:100] for part in detail["loc"][1:]]
    # Where a value may be of several kinds, pydantic adds the kind that it tried.
    return [part for part in where if "[" not in part and part not in KINDS]
