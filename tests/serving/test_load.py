"""Load on a server: what is measured is what was answered."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import tiny

from lmworks.basics.errors import ConfigError, LmworksError
from lmworks.cli import main
from lmworks.serving.load import Client, measure
from lmworks.serving.service import Service
from lmworks.serving.settings import ServerLimits
from serving.live import Live, running, small


def test_a_load_is_counted(live: Live):
    before = live.service.engine.state
    load = asyncio.run(measure(live.address, concurrency=4, requests=10, prompt_tokens=9, max_tokens=7, vary=False))
    after = live.service.engine.state
    assert (load.requests, load.failed, load.written_tokens, load.prompt_tokens) == (10, 0, 70, 90)
    assert after.written_tokens - before.written_tokens == 70 and after.finished - before.finished == 10
    for times in (load.first_token, load.between_pieces, load.request):
        assert 0 < times.p50 <= times.p90 <= times.p95 <= times.p99 <= times.longest
    assert load.first_token.longest <= load.request.longest <= load.seconds
    assert load.tokens_per_second == pytest.approx(70 / load.seconds)


def test_answers_of_several_lengths(live: Live):
    load = asyncio.run(measure(live.address, concurrency=2, requests=12, prompt_tokens=3, max_tokens=8))
    assert 12 * 4 <= load.written_tokens < 12 * 8 and load.failed == 0


def test_times_of_those_who_begin_together_do_not_count(live: Live):
    said = {"requests": 9, "prompt_tokens": 3, "max_tokens": 5, "vary": False}
    load = asyncio.run(measure(live.address, concurrency=4, settle=8, **said))
    assert load.written_tokens == 45 and load.first_token.p50 == load.first_token.longest
    assert load.request.longest < load.seconds
    with pytest.raises(ConfigError, match="requests after those that settle is 0"):
        asyncio.run(measure(live.address, settle=9, **said))


def test_a_full_server_is_asked_again():
    with running(Service(small(), name="tiny", limits=ServerLimits(seats=1, queue=1), keys=["k"])) as live:
        load = asyncio.run(measure(live.address, concurrency=5, requests=5, prompt_tokens=3, max_tokens=40, key="k"))
        assert load.failed == 0 and load.refused == live.service.engine.state.refused > 0
        with pytest.raises(LmworksError, match="status 401"):
            asyncio.run(measure(live.address))


def test_what_cannot_be_measured(live: Live):
    for address in ("ftp://a", "http://", "http://a:b"):
        with pytest.raises(ConfigError, match="no address of a server"):
            Client(address)
    with pytest.raises(LmworksError, match="does not answer"):
        asyncio.run(measure("http://127.0.0.1:1"))
    with pytest.raises(LmworksError, match=r"no request was answered; .* reads 512"):
        asyncio.run(measure(live.address, prompt_tokens=600, requests=1))
    with pytest.raises(ConfigError, match="concurrency is 0"):
        asyncio.run(measure(live.address, concurrency=0))


def test_the_verb_says_what_it_sends_and_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    folder = str(tiny.language_model().save(tmp_path / "model"))
    asked = ["--concurrency", "1,2", "--requests", "3", "--prompt-tokens", "4", "--max-tokens", "6", "--json"]
    monkeypatch.setattr("sys.argv", ["lmworks", "bench", "serve", folder, *asked])
    with pytest.raises(SystemExit, match="0"):
        main()
    told = capfd.readouterr()
    assert "sends   3 requests by 1, then 2 clients at once: prompts of 4 tokens, answers of 3 to 6" in told.err
    assert "asking, 1 client at once" in told.err and "asking, 2 clients at once" in told.err
    assert [one["requests"] for one in json.loads(told.out)] == [3, 3]  # and no "Ctrl-C ends" of the server before it
