"""Run an experiment: settings, measurements, verdict.

finding = run(12, "quick", ["steps=200"])
finding.verdict
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from lmworks.lab import registry, store
from lmworks.lab.finding import Finding


def run(question: int, scale: registry.Scale = "quick", overrides: Sequence[str] = ()) -> Finding:
    """Run the experiment of a question with its defaults of that scale, some set by `name=value`.

    Raises ConfigError for an unknown question, scale or parameter; what the data or the model lacks is their
    own error.
    """
    chosen = registry.load(question)
    recipe = chosen.settings(scale, overrides)
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    seen = chosen.measure(**recipe)
    verdict, reasons = chosen.rule.apply(seen.measurements)
    return Finding(
        measurements=seen.measurements,
        chart=seen.chart,
        note=seen.note,
        question=question,
        claim=chosen.claim,
        verdict=verdict,
        rule=str(chosen.rule),
        reasons=reasons,
        recipe=recipe,
        scale=scale,
        machine=store.machine(),
        commit=store.commit(),
        started=started,
        seconds=round(time.perf_counter() - clock, 1),
    )
