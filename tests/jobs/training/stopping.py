"""A run that is stopped on its way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lmworks.basics.errors import Stopped
from lmworks.training import loop


@contextmanager
def stopped_before(step: int) -> Iterator[None]:
    """Ctrl-C before a step of training, counted from 1; the block must end by it."""
    take_step, taken = loop.take_step, []

    def stopping(*arguments: Any) -> Any:
        taken.append(1)
        if len(taken) == step:
            raise KeyboardInterrupt
        return take_step(*arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(loop, "take_step", stopping)
        yield
