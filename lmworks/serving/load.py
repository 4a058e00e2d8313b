"""Load on a server: several clients at once, each of which sends its next request as soon as its last is answered.

    load = asyncio.run(measure("http://127.0.0.1:8000", concurrency=16, requests=64))
    load.first_token.p95, load.between_pieces.p50, load.tokens_per_second

The client may share the machine with the server: each piece of an answer costs it about 70 microseconds of a core.
Every request has a prompt of its own, so that none is read from the cache.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
import numpy as np

from lmworks.basics import progress
from lmworks.basics.amounts import counted
from lmworks.basics.errors import ConfigError, LmworksError

WORDS = "the old house by river had a garden where children would play until evening came"


@dataclass(frozen=True)
class Percentiles:
    """Of seconds."""

    p50: float
    p90: float
    p95: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Percentiles:
        """Of at least one value."""
        found = np.percentile(seconds, [50, 90, 95, 99, 100])
        return cls(*(round(float(one), 5) for one in found))


@dataclass
class Timing:
    """One request and what came of it, in seconds from when it was sent."""

    first: float | None = None
    """Until its first token."""
    whole: float = 0.0
    """Until its end."""
    between: list[float] = field(default_factory=list)
    """Between one piece and the next."""
    read: int = 0
    written: int = 0
    refused: int = 0
    """How often it was told to come again."""
    error: str | None = None

    @property
    def answered(self) -> bool:
        """Whether an answer came, without an error."""
        return self.error is None and self.first is not None


@dataclass(frozen=True)
class Load:
    """What a server did under load."""

    concurrency: int
    requests: int
    failed: int
    refused: int
    """Times that a request was told to come again (429)."""
    seconds: float
    prompt_tokens: int
    written_tokens: int
    first_token: Percentiles
    between_pieces: Percentiles
    """Of answers, as they come; a piece may bring several tokens."""
    request: Percentiles

    @classmethod
    def of(cls, timings: Sequence[Timing], settle: int, concurrency: int, seconds: float) -> Self:
        """Of all requests in the order of their numbers; the times of the first `settle` do not count."""
        good = [one for one in timings if one.answered]
        timed = [one for one in timings[settle:] if one.answered]
        return cls(
            concurrency,
            len(timings),
            len(timings) - len(good),
            sum(one.refused for one in timings),
            seconds,
            sum(one.read for one in good),
            sum(one.written for one in good),
            Percentiles.of([one.first for one in timed if one.first is not None]),
            Percentiles.of([gap for one in timed for gap in one.between] or [0.0]),
            Percentiles.of([one.whole for one in timed]),
        )

    @property
    def tokens_per_second(self) -> float:
        """Written by all clients together, from the first request to the end of the last answer."""
        return self.written_tokens / self.seconds

    @property
    def requests_per_second(self) -> float:
        """Answered."""
        return (self.requests - self.failed) / self.seconds


async def measure(  # noqa: PLR0913 (what a load is)
    address: str,
    *,
    concurrency: int = 16,
    requests: int = 64,
    prompt_tokens: int = 128,
    max_tokens: int = 128,
    model: str | None = None,
    key: str | None = None,
    temperature: float = 0.8,
    seed: int = 0,
    vary: bool = True,
    settle: int = 0,
) -> Load:
    """Ask `requests` times with `concurrency` clients.

    Times of the first `settle` requests do not count: clients that begin together are another load than clients that
    come and go. Answers have `max_tokens` tokens or, where they `vary`, from half of that to all of it: with equal
    lengths, clients that began together stay in step. LmworksError where no answer comes, ConfigError for what is no
    address.
    """
    for name, value in (
        ("concurrency", concurrency),
        ("requests", requests),
        ("prompt_tokens", prompt_tokens),
        ("max_tokens", max_tokens),
        ("requests after those that settle", requests - settle),
    ):
        if value < 1:
            raise ConfigError(f"{name} is {value}; give at least 1")
    async with Client(address, key) as client:
        model = model or await client.model()
        prompts = await _prompts(client, requests, prompt_tokens, seed)
        lengths, (least, most) = random.Random(seed), answer_lengths(max_tokens, vary)
        bodies = [
            {"model": model, "prompt": prompt, "temperature": temperature, "top_p": 0.95, "seed": number}
            | _streamed(lengths.randint(least, most))
            for number, prompt in enumerate(prompts, seed)
        ]
        started = time.perf_counter()
        timings = await _ask_all(client, bodies, concurrency)
        seconds = time.perf_counter() - started
    if not any(one.answered for one in timings[settle:]):
        errors = [one.error for one in timings if one.error is not None]
        raise LmworksError(f"{address}: no request was answered; the last error is: {errors[-1] if errors else None}")
    return Load.of(timings, settle, concurrency, seconds)


def answer_lengths(max_tokens: int, vary: bool = True) -> tuple[int, int]:
    """The tokens of the shortest and of the longest answer that are asked for."""
    return -(-max_tokens // 2) if vary else max_tokens, max_tokens


def _streamed(tokens: int) -> dict[str, Any]:
    """Asks for a stream of this many tokens; a server that does not know min_tokens may end earlier."""
    size = {"max_tokens": tokens, "min_tokens": tokens}
    return {**size, "stream": True, "stream_options": {"include_usage": True}}


async def _ask_all(client: Client, bodies: Sequence[dict[str, Any]], concurrency: int) -> list[Timing]:
    """What came of each request; each of the clients takes the next one that nobody has asked."""
    timings = [Timing() for _ in bodies]
    left = iter(enumerate(bodies))

    with progress.task(f"asking, {counted(concurrency, 'client')} at once", len(bodies), "requests") as advance:

        async def ask_what_is_left() -> None:
            for number, body in left:
                timings[number] = await client.ask(body)
                advance(1)

        await asyncio.gather(*(ask_what_is_left() for _ in range(concurrency)))
    return timings


class Client:
    """Asks one server; a connection for each request."""

    def __init__(self, address: str, key: str | None = None) -> None:
        """ConfigError for what is no address."""
        try:
            url = httpx.URL(address if "://" in address else f"http://{address}")
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigError(f"{address} is no address of a server; write it as http://127.0.0.1:8000")
        self.address = address
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=None,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def model(self) -> str:
        """The first model that the server names."""
        response = await self._send("GET", "/v1/models")
        try:
            if response.status_code == 200:
                return str(response.json()["data"][0]["id"])
        except (ValueError, LookupError, TypeError):
            pass
        raise LmworksError(
            f"{self.address} does not name its models (status {response.status_code}); "
            "give --api-key where it wants one"
        )

    async def tokens(self, text: str) -> list[int] | None:
        """A text's token ids; None where the server does not tell."""
        response = await self._send("POST", "/tokenize", {"prompt": text})
        return response.json()["tokens"] if response.status_code == 200 else None

    async def ask(self, body: dict[str, Any]) -> Timing:
        """One streamed completion; a server that is full is asked again when it says."""
        timing = Timing()
        started = time.perf_counter()
        while True:
            try:
                async with self._http.stream("POST", "/v1/completions", json=body) as response:
                    if response.status_code != 429:
                        await self._time(response, timing, started)
                        return timing
                timing.refused += 1
                await asyncio.sleep(float(response.headers.get("retry-after", "1")))
            except (httpx.HTTPError, ValueError) as error:
                timing.error = str(error) or type(error).__name__
                return timing

    async def _time(self, response: httpx.Response, timing: Timing, started: float) -> None:
        """Take the times at which the pieces of an answer come."""
        async for event in _events(response):
            if "error" in event:
                timing.error = str(event["error"].get("message"))
                return
            now = time.perf_counter() - started
            if usage := event.get("usage"):
                timing.read, timing.written = usage["prompt_tokens"], usage["completion_tokens"]
            if event.get("choices"):
                if timing.first is None:
                    timing.first = now
                else:
                    timing.between.append(now - timing.whole)
                timing.whole = now

    async def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        try:
            return await self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise LmworksError(
                f"{self.address} does not answer ({error}); start it with: lmworks serve MODEL"
            ) from None


async def _events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream; of anything but a stream the error that it tells."""
    if response.status_code != 200:
        told = json.loads(await response.aread() or b"{}")
        yield {"error": told.get("error", {"message": response.status_code})}
        return
    async for line in response.aiter_lines():
        if line.startswith("data: {"):
            yield json.loads(line[6:])


async def _prompts(client: Client, count: int, tokens: int, seed: int) -> list[list[int] | str]:
    """Prompts that begin differently, of `tokens` tokens each (roughly, where the server has no /tokenize)."""
    words = random.Random(seed)
    made: list[list[int] | str] = []
    for _ in range(count):
        text = " ".join(words.choices(WORDS.split(), k=tokens + 8))
        ids = await client.tokens(text) if not made or isinstance(made[0], list) else None
        made.append(text if ids is None else ids[:tokens])
    return made
