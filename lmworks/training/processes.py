"""The processes that torchrun started: join them, and which of them speaks for all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from lmworks.basics.errors import LmworksError
from lmworks.training.ranks import ALONE, Ranks


def asked_for() -> int:
    """How many processes this one was started as one of (torchrun's WORLD_SIZE)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks that torchrun started, or ALONE. LmworksError on the others where one of them goes away."""
    if asked_for() == 1:
        yield ALONE
        return
    from lmworks.training.distributed import connected

    with connected() as ranks:
        yield ranks


def speaks() -> bool:
    """Is this process the one that prints the result?"""
    return os.environ.get("RANK", "0") == "0"


def refuse_ranks(what: str) -> None:
    """LmworksError under torchrun: for work that several processes would do over one another."""
    if asked_for() > 1:
        raise LmworksError(f"{what} is done by one process, and {asked_for()} were started; start it without torchrun")
