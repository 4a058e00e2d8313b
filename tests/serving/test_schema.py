"""Whatever the server's own description of itself allows, and what it does not: never an error of the server."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from later import Later

from lmworks.grounding.index import IndexSettings, build
from lmworks.serving.app import create_app
from lmworks.serving.models import ServedModels
from lmworks.serving.service import Service
from lmworks.serving.settings import ServerLimits
from serving.live import small

schemathesis, checks = Later("schemathesis"), Later("schemathesis.checks")
NAMES = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
CALM = settings(suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture(scope="module")
def with_documents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("documents")
    (folder / "rent.md").write_text("# The flat\n\nThe rent is due on the third day.\n")
    settings = IndexSettings(embedder=tiny.embedder(folder / "encoder"), longest=80)
    service = Service(small(context=64), name="tiny", index=build(folder / "rent.md", folder / "index", settings))
    yield schemathesis.openapi.from_asgi("/openapi.json", create_app(ServedModels.of(service)))
    service.close()


@pytest.fixture(scope="module")
def described():
    service = Service(small(context=64), name="tiny", limits=ServerLimits(seats=8, seconds=3600))
    yield schemathesis.openapi.from_asgi("/openapi.json", create_app(ServedModels.of(service)))
    service.close()


def try_out(described: schemathesis.schemas.BaseSchema, examples: int, only: Sequence[str] = ()) -> list[str]:
    """So many requests to each operation, with what its description allows and with what it does not."""
    tried = []
    for found in described.get_all_operations():
        operation = found.ok()
        if only and operation.path not in only:
            continue
        for mode in schemathesis.GenerationMode:
            try:
                cases = operation.as_strategy(generation_mode=mode)
                settings(CALM, max_examples=examples)(given(case=cases)(_hold))()
            except Unsatisfiable:  # an operation without a body has nothing to be wrong
                assert mode is schemathesis.GenerationMode.NEGATIVE
        tried.append(operation.path)
    return tried


def _hold(case: schemathesis.Case) -> None:
    case.call_and_validate(checks=_held(), timeout=300)


@cache
def _held() -> list[Any]:
    checks.load_all_checks()
    return [checks.CHECKS.get_one(name) for name in (*NAMES, "negative_data_rejection", "unsupported_method")]


def test_whatever_the_description_allows(described):
    tried = try_out(described, 12)
    assert "/v1/completions" in tried and len(tried) >= 9


def test_whatever_the_description_of_documents_allows(with_documents):
    paths = ["/v1/search", "/v1/passages/{chunk}", "/v1/chat/completions", "/v1/responses"]
    assert sorted(try_out(with_documents, 12, paths)) == sorted(paths)
    for body in ({"query": "rent"}, {"query": "rent", "k": 1, "by": "vectors"}):
        _hold(with_documents["/v1/search"]["POST"].Case(body=body))
    _hold(with_documents["/v1/passages/{chunk}"]["GET"].Case(path_parameters={"chunk": 0}))
    asked = {"messages": [{"role": "user", "content": "When is the rent due?"}]}
    for stream in (False, True):
        _hold(with_documents["/v1/chat/completions"]["POST"].Case(body=asked | {"stream": stream}))


def test_streams_are_described(described):
    for path in ("/v1/completions", "/v1/chat/completions", "/v1/responses"):
        told = described.raw_schema["paths"][path]["post"]["responses"]["200"]["content"]
        assert set(told) == {"application/json", "text/event-stream"}
        asked: dict[str, Any] = {"prompt": "a", "max_tokens": 2}
        if "chat" in path:
            asked = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 2}
        elif "responses" in path:
            asked = {"input": "a", "max_output_tokens": 2}
        _hold(described[path]["POST"].Case(body=asked | {"stream": True}))


@pytest.mark.slow
def test_much_of_what_the_description_allows(described):
    try_out(described, 1000)
