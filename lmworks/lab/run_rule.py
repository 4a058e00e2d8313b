"""Run an experiment that has a rule and no parts yet; its finding is one of today's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from lmworks.lab import older, provenance
from lmworks.lab.finding import Finding
from lmworks.lab.registry import RuleExperiment
from lmworks.lab.scale import Scale


def run(chosen: RuleExperiment, scale: Scale, overrides: Sequence[str] = ()) -> Finding:
    """Measure, judge by the rule, and convert."""
    recipe = chosen.settings(scale, overrides)
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    seen = chosen.measure(**recipe)
    verdict, reasons = chosen.rule.apply(seen.measurements)
    return older.converted(
        {
            "measurements": [one.to_json() for one in seen.measurements],
            "chart": seen.chart.model_dump(),
            "note": seen.note,
            "question": chosen.question,
            "claim": chosen.claim,
            "verdict": verdict,
            "rule": str(chosen.rule),
            "reasons": reasons,
            "recipe": recipe,
            "scale": scale,
            "machine": provenance.machine(),
            "commit": provenance.commit(),
            "started": started,
            "seconds": round(time.perf_counter() - clock, 1),
        }
    )
