"""Connections: bounded in number and in the time for which they keep the server waiting; answers beside a flood."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from lmworks.serving.connections import SPARE_FILES, room
from lmworks.serving.service import Service
from lmworks.serving.settings import ServerLimits
from serving.live import ENDLESS, Live, running, small

JSON = {"content-type": "application/json"}
QUICK = ServerLimits(head_seconds=0.2, idle_seconds=0.2, body_seconds=1)
FEW = ServerLimits(connections=8, seats=6, queue=30)


def connect(live: Live, sent: bytes = b"", address: str = "127.0.0.1") -> socket.socket:
    """A connection from this address that says this much."""
    host, port = live.http.base_url.host, live.http.base_url.port
    made = socket.create_connection((host, port or 80), timeout=30, source_address=(address, 0))
    made.sendall(sent)
    return made


def all_of(connection: socket.socket) -> bytes:
    """Everything that comes until the server closes the connection."""
    with connection:
        return b"".join(iter(lambda: connection.recv(2**16), b""))


@pytest.fixture(scope="module")
def quick():
    with running(Service(small(), name="tiny", limits=QUICK)) as live:
        yield live


@pytest.fixture
def few():
    with running(Service(small(), name="tiny", limits=FEW)) as live:
        yield live


def test_a_head_has_a_bound_of_time(quick: Live):
    assert all_of(connect(quick)) == b""
    for begun in (b"G", b"GET /health HTTP/1.1\r\nHost: a\r\n"):
        head, _, body = all_of(connect(quick, begun)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408") and "did not come in time" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize("more", [b"", b"\r\n", b"G", b"POST /v1/completions HTTP/1.1\r\ncontent-length: 9\r\n\r\n"])
def test_an_idle_connection_has_a_bound_of_time(quick: Live, more: bytes):
    """Also one that says a little after an answer, to begin the time anew."""
    said = all_of(connect(quick, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" + more))
    assert said.startswith(b"HTTP/1.1 200") and b'"ok"' in said


def test_a_body_that_nobody_reads_has_a_bound_of_time(quick: Live):
    said = all_of(connect(quick, b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx"))
    assert said.startswith(b"HTTP/1.1 200")


def test_a_head_has_a_bound_of_size(quick: Live):
    endless = b"GET /health HTTP/1.1\r\nHost: a\r\nx: " + b"x" * 2**17
    assert all_of(connect(quick, endless)).startswith(b"HTTP/1.1 431")
    many = {f"x{number}": "x" * 100 for number in range(200)}
    assert quick.http.get("/health", headers=many).status_code == 200


@pytest.mark.parametrize("megabytes", [5, 50])
def test_a_client_that_sends_too_much_is_told(live: Live, megabytes: int):
    """It may read nothing before all is sent; closed meanwhile, a connection is reset, and the answer is lost."""
    for said in (b"", b"Expect: 100-continue\r\n"):  # the client that waits for no leave
        head = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + said
        body = b"x" * (megabytes * 10**6)
        told = all_of(connect(live, head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)))
        assert told.startswith(b"HTTP/1.1 413") and b"4,194,304 bytes" in told
    parts = (b"x" * 10**6 for _ in range(megabytes))
    assert live.http.post("/v1/completions", content=parts, headers=JSON).status_code == 413
    assert live.http.get("/health").status_code == 200


def test_those_that_say_nothing_make_room_and_those_that_are_answered_stay(few: Live):
    with few.http.stream("POST", "/v1/completions", json={"prompt": "a", "stream": True} | ENDLESS) as stream:
        lines = stream.iter_lines()
        next(lines)
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(connect(few, b"G", f"127.0.1.{number}")) for number in range(1, 41)]
            assert httpx.get(f"{few.address}/health").status_code == 200
            assert silent[0].recv(1) == b""  # the one that waited longest
        assert [line for line in lines if line][-1] == "data: [DONE]"


def test_no_address_has_all_connections(few: Live):
    asked = json.dumps({"prompt": "a", "stream": True, **ENDLESS}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    step = few.service.engine._scheduler.step
    few.service.engine._scheduler.step = lambda: time.sleep(0.02) or step()  # type: ignore[method-assign]
    with contextlib.ExitStack() as stack:
        for _ in range(4):  # answers that go on
            busy = stack.enter_context(connect(few, head + b"Content-Length: %d\r\n\r\n%s" % (len(asked), asked)))
            assert busy.recv(12) == b"HTTP/1.1 200"
        response = httpx.get(f"{few.address}/health")
        assert response.status_code == 429 and response.json()["error"]["code"] == "too_many_connections"
        elsewhere = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(transport=elsewhere) as other:
            assert other.get(f"{few.address}/health").status_code == 200


def test_there_are_as_many_connections_as_there_can_be_open_files():
    limits, opened = resource.getrlimit(resource.RLIMIT_NOFILE), len(list(Path("/dev/fd").iterdir()))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (opened + SPARE_FILES + 50, limits[1]))
        assert room(20) == 20 and 40 < room(2048) <= 50
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_process_with_few_open_files_answers_beside_a_thousand_silent_connections(tmp_path: Path):
    small().save(tmp_path)
    serve = f"{sys.executable} -m lmworks serve {tmp_path} --port 0 --name tiny"
    server = subprocess.Popen(["bash", "-c", f"ulimit -n 128; exec {serve}"], stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        address = next(json.loads(line) for line in server.stderr if '"serving"' in line)["address"]
        place = ("127.0.0.1", int(address.removesuffix("/v1").rpartition(":")[2]))
        with contextlib.ExitStack() as stack:
            for _ in range(1000):
                stack.enter_context(socket.create_connection(place)).sendall(b"G")
            for _ in range(20):
                assert httpx.get(address.replace("/v1", "/health")).status_code == 200
            answered = httpx.post(f"{address}/completions", json={"prompt": "a", "max_tokens": 2}, timeout=60)
            assert answered.status_code == 200
    finally:
        server.kill()
        server.communicate()
