"""What a page shows, beside what a command prints: figures of small networks differ from processor to processor."""

from __future__ import annotations

import re


def matches(shown: list[str], printed: list[str]) -> bool:
    """Whether a transcript is what was printed: `...` stands for anything, on a line of its own for any lines. Columns
    are as wide as their figures happen to be."""
    parts = [r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*?") + r"\n" for line in shown]
    pattern, text = "".join(parts), "".join(f"{line}\n" for line in printed)
    return re.fullmatch(re.sub(r"(?:\\ ){2,}", " {2,}", pattern), text) is not None


def but_for_figures(lines: list[str]) -> list[str]:
    """Lines with a # for each fraction, share and time, and without what only figures decide."""
    figure = re.compile(r"[+-]?\d[\d,]*(?:\.\d+(?:e-\d+)?|%| ms)")
    return [re.sub(r", (?:tie|(?:at|below) chance)", "", figure.sub("#", one)) for one in lines]
