"""A server with a tiny model, and one with the real small one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import lmworks as lm
from lmworks.serving.service import Service
from lmworks.serving.settings import ServerLimits
from serving.live import Live, running, small


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """A tiny model of random weights."""
    with running(Service(small(), name="tiny", limits=ServerLimits(seats=6, queue=30))) as made:
        yield made


@pytest.fixture(scope="module")
def smollm2(smollm2_path: Path) -> Iterator[Live]:
    """The real small model."""
    with running(Service(lm.load("smollm2"), name="smollm2")) as made:
        yield made
