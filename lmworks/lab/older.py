"""Findings of the first version, in which a rule gave one verdict: read as findings of today.

Their parts are the rule's checks, without seeds or items to judge them by again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lmworks.evaluation.measurement import Measurement
from lmworks.lab.chart import Chart
from lmworks.lab.finding import Finding
from lmworks.lab.verdict import FAILS, HOLDS, OPEN, PartResult

VERDICTS = {"yes": HOLDS, "no": FAILS, "undecided": OPEN}


def converted(fields: Mapping[str, Any]) -> Finding:
    """A finding of version 1 as one of today. KeyError, TypeError or ConfigError for what is none."""
    measurements = [Measurement(**one) for one in fields["measurements"]]
    parts = tuple(_part(line, {one.name: one for one in measurements}) for line in fields["reasons"])
    return Finding(
        version=1,
        question=fields["question"],
        claim=fields["claim"],
        headline=f"By an earlier rule: {fields['verdict']}.",
        parts=parts,
        measurements=tuple(measurements),
        chart=Chart(**fields["chart"]),
        note=fields["note"],
        recipe=fields["recipe"],
        scale=fields["scale"],
        seeds=max((one.seeds for one in measurements), key=len, default=()),
        rules=(fields["rule"],),
        commit=fields["commit"],
        machines=(fields["machine"],),
        started=fields["started"],
        seconds=fields["seconds"],
    )


def _part(line: str, measurements: Mapping[str, Measurement]) -> PartResult:
    """From `yes: BLEU, 4 beams minus greedy > 0 (1.7 ...)`."""
    word, _, rest = line.partition(": ")
    name = next((one for one in sorted(measurements, key=len, reverse=True) if rest.startswith(f"{one} ")), None)
    found = re.match(r" [<>] \S+", rest[len(name) :]) if name else None
    rule = rest[: len(name) + found.end()] if name and found else rest
    return PartResult(says=rule, verdict=VERDICTS[word], rule=rule, figure=measurements.get(name or ""))
