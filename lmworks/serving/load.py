"""Load on a server: so many clients at once, each with its next request as soon as its last is answered.

    load = asyncio.run(measure("http://127.0.0.1:8000", concurrency=16, requests=64))
    load.first_token.p95, load.between_pieces.p50, load.tokens_per_second

Speaks plain HTTP over asyncio, as a client that costs little: it may share the machine with the server. Every request has a prompt
of its own, so that none is read from the cache, unless `shared` says otherwise.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from lmworks.basics.errors import ConfigError, LmworksError

WORDS = (
    "the",
    "old",
    "house",
    "by",
    "river",
    "had",
    "a",
    "garden",
    "where",
    "children",
    "would",
    "play",
    "until",
    "evening",
    "came",
)


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
class Asked:
    """One request and what came of it; seconds from when it was sent."""

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

    @property
    def tokens_per_second(self) -> float:
        """Written, by all clients together, from the first request to the end of the last answer."""
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
    """Ask `requests` times with `concurrency` clients; times of the first `settle` do not count: clients that begin together
    are another load than clients that come and go. Answers have `max_tokens` tokens, or, where they `vary`, half of it to all of
    it: with equal ones clients that began together go on in step. LmworksError where no answer comes, or the address is none."""
    for name, value in (
        ("concurrency", concurrency),
        ("requests", requests),
        ("prompt_tokens", prompt_tokens),
        ("max_tokens", max_tokens),
        ("requests after those that settle", requests - settle),
    ):
        if value < 1:
            raise ConfigError(f"{name} is {value}; give at least 1")
    client = Client(address, key)
    model = model or await client.model()
    prompts = await _prompts(client, requests, prompt_tokens, seed)
    draws, least = random.Random(seed), -(-max_tokens // 2) if vary else max_tokens
    lengths = [draws.randint(least, max_tokens) for _ in prompts]
    left = iter(enumerate(prompts))
    asked: dict[int, Asked] = {}

    async def one_client() -> None:
        for number, prompt in left:
            # Several servers know min_tokens; where one does not, answers may end earlier.
            size = {"max_tokens": lengths[number], "min_tokens": lengths[number]}
            body: dict[str, Any] = {"model": model, "prompt": prompt} | size
            body |= {"temperature": temperature, "top_p": 0.95, "seed": seed + number}
            body |= {"stream": True, "stream_options": {"include_usage": True}}
            asked[number] = await client.ask(body)

    started = time.perf_counter()
    await asyncio.gather(*(one_client() for _ in range(concurrency)))
    seconds = time.perf_counter() - started
    good = {at: one for at, one in asked.items() if one.error is None and one.first is not None}
    timed = [one for at, one in good.items() if at >= settle]
    if not timed:
        errors = [one.error for one in asked.values() if one.error is not None]
        raise LmworksError(f"{address}: no request was answered; the last error is: {errors[-1] if errors else None}")
    return Load(
        concurrency,
        requests,
        len(asked) - len(good),
        sum(one.refused for one in asked.values()),
        seconds,
        sum(one.read for one in good.values()),
        sum(one.written for one in good.values()),
        Percentiles.of([one.first for one in timed if one.first is not None]),
        Percentiles.of([gap for one in timed for gap in one.between] or [0.0]),
        Percentiles.of([one.whole for one in timed]),
    )


class Client:
    """Asks one server; a connection for each request."""

    def __init__(self, address: str, key: str | None = None) -> None:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        try:
            self._host, self._port = parts.hostname or "", parts.port or 80
        except ValueError:
            self._host, self._port = "", 0
        if parts.scheme != "http" or not self._host:
            raise ConfigError(f"{address} is no address of a server; write it as http://127.0.0.1:8000")
        self.address, self._key = address, key

    async def model(self) -> str:
        """The first model that the server names."""
        status, body = await self._whole("GET", "/v1/models")
        try:
            if status == 200:
                return str(json.loads(body)["data"][0]["id"])
        except (ValueError, LookupError, TypeError):
            pass
        raise LmworksError(
            f"{self.address} does not name its models (status {status}); give --api-key where it wants one"
        )

    async def tokens(self, text: str) -> list[int] | None:
        """A text's tokens; None where the server does not tell."""
        status, body = await self._whole("POST", "/tokenize", {"prompt": text})
        return json.loads(body)["tokens"] if status == 200 else None

    async def ask(self, body: dict[str, Any]) -> Asked:
        """One streamed completion; a server that is full is asked again when it says."""
        asked = Asked()
        started = time.perf_counter()
        while True:
            try:
                async for status, wait, event in self._events(body):
                    if status == 429:
                        asked.refused += 1
                        await asyncio.sleep(wait)
                        break
                    if "error" in event:
                        asked.error = str(event["error"].get("message"))
                        return asked
                    now = time.perf_counter() - started
                    if usage := event.get("usage"):
                        asked.read, asked.written = usage["prompt_tokens"], usage["completion_tokens"]
                    if event.get("choices"):
                        if asked.first is None:
                            asked.first = now
                        else:
                            asked.between.append(now - asked.whole)
                        asked.whole = now
                else:
                    return asked
            except (OSError, EOFError, ValueError, asyncio.IncompleteReadError) as error:
                asked.error = str(error) or type(error).__name__
                return asked

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[tuple[int, float, dict[str, Any]]]:
        reader, writer = await self._send("POST", "/v1/completions", body)
        try:
            status, headers = await _head(reader)
            if status != 200:
                rest = await reader.read()
                told = json.loads(rest[rest.find(b"{") : rest.rfind(b"}") + 1] or b"{}")
                yield status, float(headers.get("retry-after", "1")), {"error": told.get("error", {"message": status})}
                return
            async for line in reader:
                if line.startswith(b"data: {"):
                    yield status, 0.0, json.loads(line[6:])
        finally:
            writer.close()

    async def _whole(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
        try:
            reader, writer = await self._send(method, path, body)
            status, _ = await _head(reader)
            rest = await reader.read()
            writer.close()
        except (OSError, EOFError, ValueError) as error:
            raise LmworksError(
                f"{self.address} does not answer ({error}); start it with: lmworks serve MODEL"
            ) from None
        return status, rest[rest.find(b"{") : rest.rfind(b"}") + 1]

    async def _send(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sent = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}:{self._port}", "Connection: close"]
        lines += ["Content-Type: application/json", f"Content-Length: {len(sent)}"]
        lines += [f"Authorization: Bearer {self._key}"] if self._key else []
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=2**24)
        writer.write("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + sent)
        return reader, writer


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and headers of a response."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    return int(head[0].split()[1]), dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)


async def _prompts(client: Client, count: int, tokens: int, seed: int) -> list[list[int] | str]:
    """Prompts that have no beginning in common; of `tokens` tokens each where the server has /tokenize, else about so many."""
    draws = random.Random(seed)
    made: list[list[int] | str] = []
    for _ in range(count):
        text = " ".join(draws.choices(WORDS, k=tokens + 8))
        ids = await client.tokens(text) if not made or isinstance(made[0], list) else None
        made.append(text if ids is None else ids[:tokens])
    return made
