"""What a server lets its clients ask for; the defaults suit a small model on a few cores. `lmworks serve` has options
for some, a `Service` made in Python takes all."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError

WEEK = 7 * 24 * 60 * 60
"""Seconds; whoever asks for more has mistyped, and no timer can wait for ever."""


class ServerLimits(Config):
    """Bounds that keep one client from taking everything. What exceeds one is refused with a sentence that names it."""

    seats: int = Field(default=16, gt=0, le=1024)
    """Answers that are written side by side."""

    queue: int = Field(default=100, gt=0, le=100_000)
    """Answers that may wait for a seat."""

    connections: int = Field(default=2048, gt=1)
    """Open connections, as far as the system's limit of open files allows; one address may have half of them."""

    head_seconds: float = Field(default=20, gt=0, le=WEEK)
    """Seconds that a client may take to send a request's line and headers."""

    idle_seconds: float = Field(default=75, gt=0, le=WEEK)
    """Seconds that a connection stays open between two requests: longer than clients keep one (httpx 5), so that none
    closes just as the next request comes."""

    body_bytes: int = Field(default=4 * 2**20, gt=0)
    """Bytes of a request's body."""

    audio_bytes: int = Field(default=25 * 2**20, gt=0)
    """Bytes of one that sends a recording."""

    held_bytes: int = Field(default=256 * 2**20, gt=0)
    """Bytes of all bodies that are held at once, each from its first byte to the end of its answer."""

    audio_seconds: float = Field(default=2 * 3600, gt=0, le=WEEK)
    """Seconds that a recording may last; few bytes can hold hours, each of which takes 230 MB of memory."""

    body_seconds: float = Field(default=60, gt=0, le=WEEK)
    """Seconds that a client may take to send it."""

    seconds: float = Field(default=600, gt=0, le=WEEK)
    """Seconds that a request may take, its time in the queue included."""

    grace_seconds: float = Field(default=30, ge=0, le=WEEK)
    """Seconds that running requests have to finish in when the server is asked to stop."""

    answers: int = Field(default=64, gt=0)
    """Answers of one request: prompts times `n`."""

    texts: int = Field(default=256, gt=0)
    """Texts of one request for vectors."""

    inspected_tokens: int = Field(default=512, gt=0)
    """Tokens of a text that is looked into."""

    kept_responses: int = Field(default=1000, ge=0)
    """Responses of /v1/responses that are kept to go on with, in memory; of the key with most, the oldest goes."""

    kept_bytes: int = Field(default=64 * 2**20, ge=0)
    """Bytes of all of them, each with the whole conversation before it."""

    question: int = Field(default=4096, gt=0)
    """Characters of a question to the documents."""

    passages: int = Field(default=100, gt=0)
    """Passages of one search."""

    surrounding: int = Field(default=4096, gt=0)
    """Characters around a passage, on each side."""

    @model_validator(mode="after")
    def _each_body_fits(self) -> Self:
        longest = max(self.body_bytes, self.audio_bytes)
        if self.held_bytes < longest:
            raise ConfigError(f"{{at}}held_bytes is {self.held_bytes:,}; a single body may have {longest:,}")
        return self
