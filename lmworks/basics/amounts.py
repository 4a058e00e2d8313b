"""Numbers with their words, as messages say them: `1 row`, `2 rows`, `190 bytes`, `9.8 MB`."""

from __future__ import annotations

from collections.abc import Iterable


def counted(number: int, what: str) -> str:
    """A number and its noun: `1 row`, `1,200 rows`."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def listed(words: Iterable[str], last: str = "and") -> str:
    """Words as a sentence has them: `a`, `a and b`, `a, b and c`."""
    *others, end = words
    return f"{', '.join(others)} {last} {end}" if others else end


def size(count: int) -> str:
    """Bytes as people say them: `190 bytes`, `1.2 KB`, `46 KB`, `9.8 MB`, `1.6 GB`."""
    if count < 1_000:
        return counted(count, "byte")
    if count < 999_500:
        return f"{count / 1e3:.1f} KB" if count < 9_950 else f"{count / 1e3:.0f} KB"
    return f"{count / 1e6:.1f} MB" if count < 999_950_000 else f"{count / 1e9:,.1f} GB"
