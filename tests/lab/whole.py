"""What every experiment owes, whatever its parameters."""

from __future__ import annotations

from collections.abc import Sequence

from lmworks.lab import page
from lmworks.lab.finding import Finding
from lmworks.lab.run import RunOptions, run


def whole(question: int, changes: Sequence[str]) -> Finding:
    """Run an experiment with tiny parameters and two seeds, and hold it to what its page needs."""
    finding = run(question, "quick", RunOptions(changes, seeds=2))
    assert finding.chart is not None and finding.chart.in_text() and len(finding.note) > 100
    assert all(one.verdict and one.rule and one.figure is not None for one in (*finding.parts, *finding.also))
    assert len(finding.seeds) in (0, 2)
    assert finding.headline in " ".join(page.markdown([finding], {question: "a name"}).split())
    return finding
