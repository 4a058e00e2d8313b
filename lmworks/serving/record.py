"""What is known of a request when it is over, for the log and the counts."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lmworks.grounding.answer import GroundedAnswer, Way
from lmworks.serving.api.work import Work


@dataclass(frozen=True)
class Cited:
    """An answer from documents."""

    way: Way
    answer: GroundedAnswer

    @property
    def facts(self) -> dict[str, Any]:
        """For the log: not what was answered."""
        return {"grounding": self.way, "refused": self.answer.refused, "citations": len(self.answer.citations)}


RECORD = "lmworks.record"
"""Where a request's record lies in its ASGI scope."""


@dataclass
class Record:
    """One request."""

    id: str = field(default_factory=lambda: f"req-{secrets.token_hex(8)}")
    status: int = 499
    """What was answered; as nginx has it, 499 where the client left before."""
    owner: str | None = None
    """Whose it is, by its key: the same for everybody where there are no keys."""
    body_bytes: int = 0
    """Of its body, as far as it came."""
    model: str | None = None
    """Which model it was for, as far as it came to one."""
    give_back: Callable[[], None] | None = None
    """Tells the models that it needs this one no more."""
    work: Work | None = None
    cited: Cited | None = None
    keeps_text: bool = False
    """Whether the log is to hold what was asked."""
    text: str | None = None
    """What was asked."""
