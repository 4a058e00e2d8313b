"""retain = "nothing": the new text alone decides."""

from __future__ import annotations

from lmworks.adaptation.declaration import Original, Retention, Setup
from lmworks.basics.config import Config


class NothingConfig(Config):
    """There is nothing to set."""


def prepare(setup: Setup, base: Original, settings: NothingConfig) -> Setup:
    """As it is."""
    return setup


NOTHING = Retention("nothing", "the new text alone decides", NothingConfig, prepare)
