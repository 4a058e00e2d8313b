"""Progress where there is no terminal: a line now and then, and one at the end."""

from __future__ import annotations

import pytest

from lmworks.basics import progress


@pytest.mark.parametrize("part", [1.0, 0.1])
def test_the_end_is_said_once(part: float, capsys: pytest.CaptureFixture[str]):
    """Also by sums that are a hair less than the whole, and where there is more than was foreseen."""
    with progress.shown(), progress.task("reading", 3, "pages") as advance:
        for number in range(int(3 / part) + 5):
            advance(part, page=number)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("reading  100 %") and line.endswith(f"page {int(3 / part) - 1}")
