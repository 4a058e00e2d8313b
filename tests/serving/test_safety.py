"""Keys, bounds and names: who may ask, and how much."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import time
from typing import Any

import httpx
import openai
import pytest

from lmworks.basics.errors import ConfigError
from lmworks.generation.strategies import Greedy
from lmworks.serving.api.work import AnswerJob, Work
from lmworks.serving.app import create_app
from lmworks.serving.errors import Refused
from lmworks.serving.guard import Keys
from lmworks.serving.log import Log
from lmworks.serving.models import ServedModels
from lmworks.serving.run import must_be_safe, names_of
from lmworks.serving.service import Service
from lmworks.serving.settings import ServerLimits
from serving.live import Live, running, small

KEYS = ("first-key", "second-key")
TEXT = {"prompt": "Hi", "max_tokens": 2}


@pytest.fixture(scope="module")
def locked():
    service = Service(small(), name="tiny", keys=KEYS)
    with running(service, origins=["https://mine.example"]) as live:
        yield live


def test_nothing_is_answered_without_a_key(locked: Live):
    paths = [("GET", path) for path in ("/v1/models", "/metrics", "/openapi.json", "/", "/nothing")]
    paths += [("POST", path) for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/inspect")]
    paths += [("POST", "/tokenize"), ("POST", "/detokenize")]
    for method, path in paths:
        for header in ("", "Bearer wrong", "Bearer", "Basic !", "Bearer first-ke", "first-key", "Bearer \xe9"):
            response = locked.http.request(method, path, headers={"Authorization": header.encode("latin-1")})
            assert response.status_code == 401, (path, header)
            wrong = "the key that was sent opens nothing here" if header else "a key is needed"
            assert response.json()["error"]["message"] == f"{wrong}: Authorization: Bearer KEY"
            assert response.json()["error"]["code"] == "invalid_api_key"
    assert locked.http.get("/health").status_code == 200


@pytest.mark.parametrize("key", KEYS)
def test_each_key_opens(locked: Live, key: str):
    client = openai.OpenAI(base_url=f"{locked.address}/v1", api_key=key, max_retries=0)
    assert client.completions.create(model="tiny", **TEXT).choices
    basic = base64.b64encode(f"anybody:{key}".encode()).decode()
    assert locked.http.get("/v1/models", headers={"Authorization": f"Basic {basic}"}).status_code == 200
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key=f"{key}x").models.list()


def test_a_browser_is_asked_for_the_key_by_its_own_dialogue(locked: Live):
    response = locked.http.get("/", headers={"Accept": "text/html"})
    assert response.headers["www-authenticate"].startswith("Basic")
    # What is seen by those who close the dialogue.
    assert response.headers["content-type"].startswith("text/html")
    assert "give the key as the password" in response.text


def test_pages_elsewhere_may_ask_only_where_they_are_named(locked: Live, live: Live):
    asked = {"Origin": "https://mine.example", "Access-Control-Request-Method": "POST"}
    allowed = "access-control-allow-origin"
    assert locked.http.options("/v1/completions", headers=asked).headers[allowed] == "https://mine.example"
    other = locked.http.options("/v1/completions", headers=asked | {"Origin": "https://other.example"})
    assert allowed not in other.headers
    assert allowed not in live.http.options("/v1/completions", headers=asked).headers


def test_a_server_without_keys_answers_to_the_loopback_s_names_alone():
    with running(Service(small(), name="tiny"), hosts=names_of("127.0.0.1", 0)) as live:
        for name in ("localhost:8000", "127.0.0.1:1", "[::1]:9", "localhost"):
            assert live.http.get("/v1/models", headers={"Host": name}).status_code == 200, name
        response = live.http.get("/v1/models", headers={"Host": "evil.example:8000"})
        assert response.status_code == 403 and "localhost" in response.json()["error"]["message"]


def test_beyond_this_machine_only_with_a_key():
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(ConfigError, match="give --api-key, or --without-key"):
            must_be_safe(host, (), False)
        must_be_safe(host, KEYS, False)
        must_be_safe(host, (), True)
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        must_be_safe(host, (), False)
        assert host in (names_of(host, 0) or ())


def test_an_empty_key_is_none():
    """`--api-key "$KEY"` without that variable would open the server to everybody."""
    for key in ("", " ", "a b", " a", "é"):
        with pytest.raises(ConfigError, match="an API key is empty"):
            must_be_safe("0.0.0.0", [key], False)
        with pytest.raises(ConfigError, match="an API key is empty"):
            Keys(["good", key])


def test_a_body_has_bounds_of_size_and_time():
    limits = ServerLimits(body_bytes=1000, body_seconds=0.2)
    with running(Service(small(), name="tiny", limits=limits)) as live:
        response = live.post("/v1/completions", prompt="x" * 2000)
        assert response.status_code == 413 and "1,000 bytes" in response.json()["error"]["message"]
        parts = (b"x" * 100 for _ in range(20))  # sent in chunks, its size is not said
        response = live.http.post("/v1/completions", content=parts, headers={"Content-Type": "application/json"})
        assert response.status_code == 413
        with socket.create_connection(live.http.base_url.netloc.decode().split(":")) as slow:  # type: ignore[arg-type]
            slow.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: a\r\n"
                b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
            )
            assert b" 408 " in slow.recv(1000)
        assert live.post("/v1/completions", **TEXT).status_code == 200


def test_a_body_that_comes_in_parts_is_measured_as_a_whole(live: Live):
    """Its size is not said: it is refused with the part that goes over the bound, and read where it keeps to it."""
    models = ServedModels.of(Service(live.service.model, name="tiny", limits=ServerLimits(body_bytes=1000)))
    app = create_app(models)
    models.loaded[0].close()  # what is said of a body that was read is that the server stops

    async def status(sizes: list[int]) -> tuple[int, int]:
        """What is answered, and how many parts were taken."""
        body, taken, sent = json.dumps({"prompt": "x" * (sum(sizes) - 14)}).encode(), 0, []

        async def receive() -> dict[str, Any]:
            nonlocal taken
            start, taken = sum(sizes[:taken]), taken + 1
            return {
                "type": "http.request",
                "body": body[start : start + sizes[taken - 1]],
                "more_body": taken < len(sizes),
            }

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        headers = [(b"content-type", b"application/json"), (b"host", b"localhost")]
        scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": headers, "query_string": b""}
        await app(scope | {"http_version": "1.1", "scheme": "http"}, receive, send)
        return sent[0]["status"], taken

    assert asyncio.run(status([100] * 10)) == (503, 10)  # 1,000 bytes are allowed
    assert asyncio.run(status([100] * 9 + [101])) == (413, 10)
    assert asyncio.run(status([300] * 20)) == (413, 4)  # the rest is not waited for


def test_a_request_has_a_bound_of_time():
    with running(Service(small(), name="tiny", limits=ServerLimits(seconds=0.3))) as live:
        endless = {"prompt": "a", "max_tokens": 500, "min_tokens": 500, "temperature": 0}
        blocker = [live.service.engine.submit("b", max_new_tokens=500) for _ in range(1)]
        live.service.engine._scheduler.step = lambda: time.sleep(0.01) or []  # type: ignore[method-assign]
        response = live.post("/v1/completions", **endless)
        assert response.status_code == 504 and "longer than 0.3 seconds" in response.json()["error"]["message"]
        with live.http.stream("POST", "/v1/completions", json=endless | {"stream": True}) as stream:
            lines = [line for line in stream.iter_lines() if line]
        assert (
            json.loads(lines[-2].removeprefix("data: "))["error"]["code"] == "timeout" and lines[-1] == "data: [DONE]"
        )
        del blocker


def test_the_bound_of_time_stops_every_answer_of_a_request():
    """The first answer is short and over; those that still run when the time is up are told and cancelled, too."""
    with running(Service(small(), name="tiny", limits=ServerLimits(seconds=1))) as live:
        service, step = live.service, live.service.engine._scheduler.step
        assert live.post("/v1/completions", **TEXT).status_code == 200  # all is compiled
        service.engine._scheduler.step = lambda: time.sleep(0.01) or step()  # type: ignore[method-assign]

        async def ends() -> list[str]:
            lengths = (2, 500)
            work = await Work.begin(service, [AnswerJob("a", Greedy(min_new_tokens=most), most) for most in lengths], 2)
            finished: list[int] = []
            with pytest.raises(Refused, match="longer than 1 seconds"):
                async for number, delta in work.deltas():
                    finished += [number] * (delta.finish is not None)
            assert finished == [0]
            return [handle.answer(30).finish for handle in work.handles]

        assert asyncio.run(ends()) == ["length", "cancelled"]


def test_the_log_tells_all_but_the_text():
    for text in (False, True):
        written = io.StringIO()
        with running(Service(small(), name="tiny"), log=Log(written, text)) as live:
            live.post("/v1/completions", prompt="a secret", max_tokens=3, temperature=0)
            live.post("/v1/completions", prompt="a secret", temprature=3)
            live.http.get("/health")
        good, bad = map(json.loads, written.getvalue().splitlines())
        assert (good["path"], good["status"], good["finish"]) == ("/v1/completions", 200, ["length"])
        assert (good["prompt_tokens"], good["completion_tokens"]) == (8, 3) and good["first_token_seconds"] > 0
        assert (bad["status"], "prompt_tokens" in bad) == (400, False)
        assert ("a secret" in written.getvalue()) == text


def test_a_fault_of_the_server_is_told_without_its_details(monkeypatch: pytest.MonkeyPatch):
    written = io.StringIO()
    with running(Service(small(), name="tiny"), log=Log(written)) as live:
        monkeypatch.setattr(live.service.model, "request", lambda *_, **__: {}["inner detail"])
        response = live.post("/v1/completions", **TEXT)
        monkeypatch.undo()
        assert response.status_code == 500 and "inner detail" not in response.text
        assert response.json()["error"]["type"] == "server_error"
        assert live.post("/v1/completions", **TEXT).status_code == 200
    assert "KeyError: 'inner detail'" in json.loads(written.getvalue().splitlines()[0])["fault"]


def test_each_response_has_an_id_that_the_log_names(live: Live):
    first, second = (live.http.get("/v1/models").headers["x-request-id"] for _ in range(2))
    assert first != second and first.startswith("req-")
    assert isinstance(live.http, httpx.Client)
