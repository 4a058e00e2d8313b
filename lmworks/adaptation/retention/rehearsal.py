"""retain = "rehearsal": some rows of old text among the new ones, real text or what the model itself writes."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from lmworks.adaptation.declaration import Original, Retention, Setup
from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError


class RehearsalConfig(Config):
    """What is read again."""

    text: str | None = None
    """Where the old text is: a folder, a file or a name of the data registry; None for text that the model writes
    before it is trained, which needs no data. It must not be the text that measures what was forgotten."""

    share: float = Field(default=0.2, gt=0, lt=1)
    """Of all rows, those of old text."""


def prepare(setup: Setup, base: Original, settings: RehearsalConfig) -> Setup:
    """Mix old rows in. ConfigError where the old text is what measures the model, or too short."""
    if not setup.rows:  # a sketch, which reads nothing
        return setup
    wanted = with_old(len(setup.rows), settings) - len(setup.rows)
    rows = base.old_rows(settings.text, wanted, setup.seed)
    if len(rows) < wanted:
        raise ConfigError(
            f"{{at}}share asks for {wanted:,} rows of old text and {settings.text} gives {len(rows):,}; take less, or "
            "a longer text"
        )
    return replace(setup, rows=[*setup.rows, *rows])


def with_old(rows: int, settings: RehearsalConfig) -> int:
    """Rows of new text and old."""
    return rows + max(1, round(rows * settings.share / (1 - settings.share)))


REHEARSAL = Retention(
    "rehearsal",
    "rows of old text among the new ones: real text, or what the model itself writes before it is trained",
    RehearsalConfig,
    prepare,
    rows=with_old,
)
