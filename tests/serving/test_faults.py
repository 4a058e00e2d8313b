"""What goes wrong between a client and a server, on purpose."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest

from lmworks.basics.errors import QueueFull
from lmworks.generation.engine import Engine
from lmworks.generation.strategies import Sample
from lmworks.serving.service import Service
from lmworks.serving.settings import ServerLimits
from lmworks.tokens.tokenizer import Tokenizer
from serving.live import ENDLESS, Live, post, running, small

JSON = {"content-type": "application/json"}


def settled(engine: Engine, running: int = 0, waiting: int = 0) -> None:
    """Wait until this many requests run and wait."""
    end = time.monotonic() + 30
    while (engine.state.running, engine.state.waiting) != (running, waiting):
        assert time.monotonic() < end, engine.state
        time.sleep(0.002)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_a_client_that_leaves_in_mid_stream_stops_its_work(live: Live, path: str):
    engine, before = live.service.engine, live.service.engine.state
    asked: dict[str, Any] = (
        {"messages": [{"role": "user", "content": "a"}]} if "chat" in path else {"prompt": "a", "n": 2}
    )
    with live.http.stream("POST", path, json=asked | ENDLESS | {"stream": True}) as stream:
        next(stream.iter_lines())
    settled(engine)
    after = engine.state
    assert after.cancelled == before.cancelled + asked.get("n", 1)
    assert 0 < after.written_tokens - before.written_tokens < 400 * asked.get("n", 1)
    assert after.prompt_tokens > before.prompt_tokens  # they were read, too
    assert after.cache_bytes == engine._scheduler.bytes


def test_a_client_that_leaves_before_its_answer_stops_its_work(live: Live):
    """Whole answers, those that run and those that wait for a seat."""
    engine, before = live.service.engine, live.service.engine.state
    client = HTTPConnection(live.address.removeprefix("http://"))
    client.request("POST", "/v1/completions", json.dumps({"prompt": "a", "n": 30} | ENDLESS), JSON)
    settled(engine, running=6, waiting=24)
    client.close()
    settled(engine)
    assert engine.state.cancelled == before.cancelled + 30


def test_a_cancelled_request_gets_no_further_step(live: Live):
    """From the moment that the server knows of it: at most the step that runs."""
    engine = live.service.engine
    seen: list[int] = []
    cancelled = threading.Event()
    handle_of: list[Any] = []
    run = engine.run

    def watched_run(request: Any) -> Any:
        handle = run(request)
        cancel = handle.cancel

        def noted() -> None:
            if not cancelled.is_set():
                with engine._changed:
                    seen.append(len(handle.sequence.tokens))
                    cancel()
                cancelled.set()

        handle.cancel = noted
        handle_of.append(handle)
        return handle

    engine.run = watched_run  # type: ignore[method-assign]
    try:
        with live.http.stream("POST", "/v1/completions", json={"prompt": "a", "stream": True} | ENDLESS) as stream:
            next(stream.iter_lines())
    finally:
        engine.run = run  # type: ignore[method-assign]
    assert cancelled.wait(30)
    settled(engine)
    assert len(handle_of[0].sequence.tokens) - seen[0] <= 1


def test_a_thousand_requests_on_a_queue_of_forty():
    """Those that find it full are told when to come again; none is lost, none gets the answer of another."""
    with running(Service(small(), name="tiny", limits=ServerLimits(seats=8, queue=40))) as live:
        model, full, waits = live.service.model, 0, set()

        async def ask(seed: int) -> str:
            nonlocal full
            asked = {"prompt": f"{seed % 7}", "seed": seed, "temperature": 1.5, "max_tokens": 2}
            while True:
                status, headers, body = await post(live.address, "/v1/completions", asked)
                if status == 200:
                    return body["choices"][0]["text"]
                assert status == 429 and body["error"]["code"] == "queue_full"
                full += 1
                waits.add(int(headers["retry-after"]))
                await asyncio.sleep(float(headers["retry-after"]))

        async def all_() -> list[str]:
            return await asyncio.gather(*map(ask, range(1000)))

        answers = asyncio.run(all_())
        assert full and min(waits) >= 1  # how often depends on the machine
        for seed in range(0, 1000, 37):
            alone = model.generate(f"{seed % 7}", Sample(temperature=1.5, seed=seed), max_new_tokens=2)
            assert answers[seed] == alone
        state = live.service.engine.state
        assert state.finished == 1000 and state.refused == full and state.failed == 0


def test_several_answers_are_queued_all_or_none(live: Live):
    with running(Service(small(), name="tiny", limits=ServerLimits(seats=1, queue=3))) as small_queue:
        engine = small_queue.service.engine
        first = engine.submit("a", Sample(seed=1, min_new_tokens=400), max_new_tokens=400)
        settled(engine, running=1)
        waiting = engine.submit("b", max_new_tokens=2)
        response = small_queue.post("/v1/completions", prompt="a", n=3, max_tokens=2)
        assert response.status_code == 429 and engine.state.waiting == 1
        first.cancel()
        assert waiting.answer(30).finish == "length"
        assert "the queue holds 3" in small_queue.error("/v1/completions", prompt="a", n=4)["message"]


def test_answers_that_are_queued_already_go_when_the_next_finds_no_place(live: Live, monkeypatch: pytest.MonkeyPatch):
    """Between the look whether there is room and the queue others may come: none of the request's answers stays."""
    engine, run, queued = live.service.engine, live.service.engine.run, []

    def fills(request: Any) -> Any:
        if len(queued) == 2:
            raise QueueFull("30 requests wait already; ask again later", 3)
        queued.append(run(request))
        return queued[-1]

    monkeypatch.setattr(engine, "run", fills)
    response = live.post("/v1/completions", prompt="a", n=3, **ENDLESS)
    assert response.status_code == 429 and response.headers["retry-after"] == "3"
    assert [handle.answer(30).finish for handle in queued] == ["cancelled", "cancelled"]


def test_hostile_bodies(live: Live):
    """Each is answered at once, with a sentence."""
    a_million = json.dumps({"prompt": "a", "stop": ["a"] * 10**6})
    wide = json.dumps({"prompt": "a", "logit_bias": {str(n): 1 for n in range(100_000)}})
    unknown = json.dumps({"prompt": "a", **{f"x{n}": 1 for n in range(100_000)}})
    many = json.dumps({"prompt": [[1]] * 200_000})
    for body in (a_million, wide, unknown, many, '{"prompt": ' + "[" * 50_000 + "]" * 50_000 + "}"):
        response = live.http.post("/v1/completions", content=body, headers=JSON)
        assert response.status_code in (400, 413) and len(response.text) < 2000, body[:50]
    response = live.http.post("/v1/completions", content=b"x" * 2**23, headers=JSON)
    assert response.status_code == 413


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/inspect"])
def test_a_prompt_that_cannot_fit_is_not_tokenized(live: Live, path: str, monkeypatch: pytest.MonkeyPatch):
    """3.9 MB of one letter take seconds; that they are too long is seen at once."""
    monkeypatch.setattr(Tokenizer, "encode", lambda *_, **__: {}["tokenized"])
    long = "a" * 3_900_000
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": long}]} if "chat" in path else {"prompt": long}
    assert "tokens and the model reads 512" in live.error(path, **asked)["message"]


def test_a_prompt_of_many_answers_is_tokenized_once(live: Live, monkeypatch: pytest.MonkeyPatch):
    read, encode = [], live.service.model.encode_prompt
    monkeypatch.setattr(live.service.model, "encode_prompt", lambda one, *most: read.append(one) or encode(one, *most))
    assert live.post("/v1/completions", prompt=["a", "b"], n=5, max_tokens=1).status_code == 200
    assert [one for one in read if isinstance(one, str)] == ["a", "b"]


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\U0010ffff", "\u202e", "\ufeff", "", " " * 400, "<|im_end|>" * 20])
def test_odd_texts_are_texts(live: Live, text: str):
    for path in ("/v1/completions", "/tokenize", "/v1/inspect"):
        limit = {"max_tokens": 2} if "completions" in path else {}
        assert live.post(path, prompt=text, **limit).status_code == 200, path
    turns = [{"role": "user", "content": text}]
    assert live.post("/v1/chat/completions", messages=turns, max_tokens=2).status_code == 200
    assert live.post("/v1/completions", prompt="a", stop=[text or "b"], max_tokens=2).status_code in (200, 400)


def test_half_a_surrogate_is_refused_everywhere(live: Live):
    bodies = {
        "/v1/completions": '{"prompt": "a\\ud800"}',
        "/v1/chat/completions": '{"messages": [{"role": "user", "content": "\\udfff"}]}',
        "/v1/embeddings": '{"input": ["a", "\\ud83d"]}',
        "/tokenize": '{"prompt": "\\ud800"}',
        "/v1/inspect": '{"prompt": "\\ud800"}',
    }
    bodies |= {
        "/v1/completions?": '{"prompt": "a", "\\ud800": 1}',
        "/v1/completions??": '{"prompt": "a", "model": "\\ud800"}',
    }
    for path, body in bodies.items():
        response = live.http.post(path.rstrip("?"), content=body, headers=JSON)
        assert response.status_code == 400 and response.json()["error"]["message"], path


def test_a_network_that_fails_is_told_and_the_server_goes_on(live: Live, monkeypatch: pytest.MonkeyPatch):
    def fails(*_: Any) -> Any:
        raise RuntimeError("inner detail")

    monkeypatch.setattr(live.service.engine._scheduler, "step", fails)
    response = live.post("/v1/completions", prompt="a")
    assert response.status_code == 500 and "inner detail" not in response.text
    monkeypatch.undo()
    assert live.post("/v1/completions", prompt="a", max_tokens=2).status_code == 200


def test_at_the_end_of_the_grace_period_those_who_run_are_told():
    limits = ServerLimits(grace_seconds=0.2)
    told: dict[str, Any] = {}

    def whole(live: Live) -> None:
        told["whole"] = live.post("/v1/completions", prompt="a", **ENDLESS)

    def stream(live: Live) -> None:
        with live.http.stream("POST", "/v1/completions", json={"prompt": "b", "stream": True} | ENDLESS) as response:
            told["stream"] = [line for line in response.iter_lines() if line]

    with running(Service(small(), name="tiny", limits=limits), closing=False) as live:
        step = live.service.engine._scheduler.step
        live.service.engine._scheduler.step = lambda: time.sleep(0.02) or step()  # type: ignore[method-assign]
        threads = [threading.Thread(target=target, args=(live,)) for target in (whole, stream)]
        for thread in threads:
            thread.start()
        settled(live.service.engine, running=2)
    for thread in threads:
        thread.join(30)
    assert told["whole"].status_code == 503 and told["whole"].json()["error"]["code"] == "stopping"
    assert "retry-after" in told["whole"].headers
    assert json.loads(told["stream"][-2].removeprefix("data: "))["error"]["code"] == "stopping"


def test_while_it_stops_health_says_so_and_nothing_else_is_answered():
    """Connections are accepted until what runs has ended, so that a load balancer hears why."""
    told: dict[str, Any] = {}
    with running(Service(small(), name="tiny"), closing=False) as live:
        step = live.service.engine._scheduler.step
        live.service.engine._scheduler.step = lambda: time.sleep(0.01) or step()  # type: ignore[method-assign]
        asking = threading.Thread(target=lambda: told.update(whole=live.post("/v1/completions", prompt="a", **ENDLESS)))
        asking.start()
        settled(live.service.engine, running=1)
        live.server.should_exit = True
        until = time.monotonic() + 20
        while httpx.get(f"{live.address}/health").status_code == 200 and time.monotonic() < until:
            time.sleep(0.02)
        health = httpx.get(f"{live.address}/health")
        assert (health.status_code, health.json()) == (503, {"status": "stopping"})
        refused = httpx.post(f"{live.address}/v1/completions", json={"prompt": "b"})
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "stopping"
        assert refused.headers["connection"] == "close" and "retry-after" in refused.headers
        asking.join(60)
    assert told["whole"].status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{live.address}/health")


@pytest.mark.parametrize("grace", ["30", "0.2"])
def test_kill_term_under_load(tmp_path: Path, grace: str):
    """A real process: what runs is finished, or told; nothing new is taken; the process ends by the signal."""
    folder = tmp_path / "tiny"
    small(context=4096).save(folder)
    command = [sys.executable, "-m", "lmworks", "serve", str(folder), "--port", "0", "--grace", grace, "--name", "tiny"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        said = next(json.loads(line) for line in server.stderr if '"serving"' in line)
        address = said["address"].removesuffix("/v1")
        tokens = 3000 if grace == "0.2" else 150
        ends: list[tuple[int | None, str]] = []

        def ask(number: int) -> None:
            body = {"prompt": f"{number}", "max_tokens": tokens, "min_tokens": tokens, "stream": bool(number % 2)}
            response = httpx.post(f"{address}/v1/completions", json=body, timeout=60)
            ends.append((response.status_code, response.text))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
        for thread in threads:
            thread.start()
        counted = ("lmworks:num_requests", "lmworks:request_success_total")
        seen = 0.0
        while seen < 24:  # all are there, or answered already
            counts = httpx.get(f"{address}/metrics").text.splitlines()
            seen = sum(float(line.split()[-1]) for line in counts if line.startswith(counted))
        server.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        assert server.wait(30) == -signal.SIGTERM
        log = [json.loads(line) for line in server.stderr]
        assert [line["event"] for line in log if line["event"] != "request"] == ["stopping", "stopped"]
        assert len(ends) == 24
        if grace == "30":
            assert all(status == 200 and "error" not in text for status, text in ends)
        else:
            assert all('"stopping"' in text for _, text in ends)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/health")
    finally:
        server.kill()
        server.wait()


def test_bodies_that_are_held_at_once_have_a_bound():
    """Those that wait keep theirs; whoever comes beyond the bound is told to come again, and has it when they left."""
    limits = ServerLimits(body_bytes=4000, audio_bytes=4000, held_bytes=6000)
    asked = json.dumps({"prompt": "a", "max_tokens": 1}).encode().ljust(3500)
    with running(Service(small(), name="tiny", limits=limits)) as live:
        host, _, port = live.address.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as slow:
            head = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 3500\r\n"
            slow.sendall(head + b"Content-Type: application/json\r\n\r\n" + asked[:3000])
            answers = [_full(live, asked)]
            for parts in ([asked], [asked[:2000], asked[2000:]]):  # with its length said before, and without
                answers.append(live.http.post("/v1/completions", content=iter(parts), headers=JSON))
            for answer in answers:
                assert answer.status_code == 429 and answer.json()["error"]["code"] == "queue_full"
                assert "fill the 6,000 bytes" in answer.json()["error"]["message"] and answer.headers["retry-after"]
            assert live.post("/v1/completions", prompt="a", max_tokens=1).status_code == 200
            slow.sendall(asked[3000:])
            assert slow.recv(12) == b"HTTP/1.1 200"
        for _ in range(5):  # what was answered, and what was refused, is held no more
            assert live.http.post("/v1/completions", content=asked, headers=JSON).status_code == 200


def _full(live: Live, body: bytes) -> httpx.Response:
    """The first refusal; the server may not have read yet what fills it."""
    end = time.monotonic() + 30
    while (answer := live.http.post("/v1/completions", content=body, headers=JSON)).status_code == 200:
        assert time.monotonic() < end
    return answer


@pytest.mark.slow
def test_a_soak_leaves_memory_flat():
    """Minutes of every kind of request, good, bad and cut off: as many as a day brings at one or two a minute. The
    first compile kernels and fill what is kept for good (the tokenizer's words, in each thread); after that nothing may
    grow."""
    import gc
    import os
    import random

    def resident() -> int:
        gc.collect()  # what waits for the collector is not lost
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    seconds = float(os.environ.get("LMWORKS_SOAK_SECONDS", "240"))
    with running(Service(small(), name="tiny", limits=ServerLimits(seats=8, queue=40))) as live:
        draws = random.Random(0)

        def one(client: httpx.Client) -> None:
            kind = draws.randrange(8)
            text = "".join(draws.choices("abc né😀", k=draws.randrange(1, 300)))
            body = {"prompt": text, "max_tokens": draws.randrange(1, 60), "seed": draws.randrange(9), "logprobs": 2}
            if kind == 0:
                client.post("/v1/embeddings", json={"input": [text] * 3})
            elif kind == 1:
                client.post("/v1/inspect", json={"prompt": text[:60], "attention": [0]})
            elif kind == 2:
                client.post("/v1/completions", json=body | {"unknown": 1})
            elif kind == 3:
                with client.stream("POST", "/v1/completions", json=body | ENDLESS | {"stream": True}) as stream:
                    next(stream.iter_lines())
            elif kind == 4:
                form = {"regex": "[abc]{1,9}"}
                client.post("/v1/completions", json=body | {"structured_outputs": form})
            else:
                client.post("/v1/completions", json=body | {"stream": kind == 5, "echo": kind == 6})

        def many() -> None:
            with httpx.Client(base_url=live.address, timeout=600) as client:
                while time.monotonic() < end:
                    one(client)

        sizes = []
        for _ in range(6):
            end = time.monotonic() + seconds / 6
            threads = [threading.Thread(target=many) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            settled(live.service.engine)
            # The beginnings of texts that are kept grow up to a bound of their own, and are no leak.
            kept = live.service.engine.state.cache_bytes
            sizes.append((resident() - kept) / 2**20)
            print(f"{sizes[-1]:.1f} MB beside {kept / 2**20:.1f} MB of kept keys and values")
        finished = live.service.engine.state.finished
        print(f"{finished} answers")
        assert finished > 100 and live.service.engine.state.failed == 0
        assert sizes[-1] < sizes[1] + 5, sizes  # with 10,000 words kept in each thread it was 9 to 13
