"""Lines about the files that a verb could not use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmworks.text.sources import Skipped

FEW = 5
"""Files that are named one by one where they were skipped for the same reason."""


def left_out(skipped: Iterable[Skipped]) -> Iterator[str]:
    """A line for each file that was skipped; where many were for one reason, one for all of them."""
    by_reason: dict[str, list[str]] = {}
    for one in skipped:
        by_reason.setdefault(one.reason, []).append(one.path)
    for reason, paths in by_reason.items():
        if len(paths) > FEW:
            yield f"{paths[0]} and {len(paths) - 1:,} more: {reason} (--json names all)"
        else:
            yield from (f"{path}: {reason}" for path in paths)
