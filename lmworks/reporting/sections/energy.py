"""What writing a token costs in energy: by the processor's counter where it can be read, else reckoned."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement
from lmworks.reporting.section import Found, Section
from lmworks.reporting.sections.speed import WRITTEN, write
from lmworks.reporting.subject import Subject

COUNTERS = Path("/sys/class/powercap")
WATTS = 10.0
"""Of a busy core, where nothing measures it: between a laptop's (5) and a server's (15)."""
Meter = Callable[[], float]
"""Joules so far."""


def meter(folder: Path = COUNTERS) -> Meter | None:
    """The energy of all processor packages (RAPL); None where nobody may read it."""
    counters = sorted(folder.glob("intel-rapl:[0-9]*/energy_uj"))
    counters = [one for one in counters if one.parent.name.count(":") == 1]  # packages, not their parts
    try:
        [int(one.read_text(encoding="ascii")) for one in counters]
    except (OSError, ValueError):
        return None
    if not counters:
        return None
    return lambda: sum(int(one.read_text(encoding="ascii")) for one in counters) / 1e6


def _measure(subject: Subject) -> Found:
    model, rounds = subject.model, subject.scaled(5, 20)
    written = min(WRITTEN, model.longest // 4)
    counted = meter()
    joules = counted or (lambda: WATTS * time.process_time())
    write(model, written)
    costs = []
    for _ in range(rounds):
        before = joules()
        count = write(model, written)
        # A counter that began anew in between would give less than nothing.
        if (spent := joules() - before) >= 0:
            costs.append(spent / count)
    estimate = statistics.mean(costs, bounds=statistics.AT_LEAST_0)
    how = (
        "Measured by the processor's counter (RAPL), which counts what other programs do meanwhile too."
        if counted
        else f"No counter of energy can be read here ({COUNTERS}), so this is an estimate: CPU seconds x {WATTS:g} "
        "watts for a busy core, an assumption that may be off by a factor of two; memory and fans are not in it."
    )
    return Found(
        measurements=(
            Measurement(
                name="energy a written token" + ("" if counted else f", at {WATTS:g} W a core"),
                value=estimate.value,
                unit="J",
                interval=estimate.interval,
                n=len(costs),
            ),
        ),
        note=f"{rounds} texts of {written} tokens after one that warms up. {how}",
    )


ENERGY = Section(
    name="energy",
    place=70,
    title="Energy",
    says="A thousand tokens at 1 J each are 0.28 watt-hours. The interval is that of the repetition; it does not hold "
    "what the assumption may be off by.",
    measure=_measure,
    seconds=(10.0, 40.0),
)
