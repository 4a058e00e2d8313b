"""What a server lets its clients ask for; the defaults suit a small model on a few cores."""

from __future__ import annotations

from pydantic import Field

from lmworks.basics.config import Config


class ServerLimits(Config):
    """Bounds that keep one client from taking everything. What exceeds one is refused with a sentence that names it."""

    body_bytes: int = Field(default=4 * 2**20, gt=0)
    """Bytes of a request's body."""

    body_seconds: float = Field(default=60, gt=0)
    """Seconds that a client may take to send it."""

    seconds: float = Field(default=600, gt=0)
    """Seconds that a request may take, its time in the queue included."""

    grace_seconds: float = Field(default=30, ge=0)
    """Seconds that running requests have to finish in when the server is asked to stop."""

    answers: int = Field(default=64, gt=0)
    """Answers of one request: prompts times `n`."""

    texts: int = Field(default=256, gt=0)
    """Texts of one request for vectors."""

    inspected_tokens: int = Field(default=512, gt=0)
    """Tokens of a text that is looked into."""
