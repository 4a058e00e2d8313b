"""What a report of SmolLM2 says, and the CPU seconds that each of its sections takes.

python -m benchmarks.reporting folder             # a report that is there already, or goes on
python -m benchmarks.reporting folder --store     # and its report.json into benchmarks/reporting.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

STORED = Path(__file__).with_suffix(".json")


def table(stored: dict[str, Any]) -> str:
    """The key figure of each section, as rows of Markdown."""
    from lmworks.reporting.section import Found

    heading = "| section | what | figure | 95 % | n | chance | ideal | CPU s |"
    rows = []
    for name, one in stored["sections"].items():
        if "found" not in one:
            continue
        m = Found(**one["found"]).headlines[0]
        ends = "" if m.interval is None else f"{m.alike(m.interval[0])} ... {m.alike(m.interval[1])}"
        chance = "" if m.chance is None else m.alike(m.chance)
        ideal = "" if m.ideal is None else f"{m.ideal:g}"
        cells = [name, m.name, m.figure, ends, f"{m.n:,}", chance, ideal, f"{one['cpu_seconds']:.0f}"]
        rows.append(f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |"))
    return "\n".join([heading, "| --- " * 8 + "|", *rows])


def main() -> None:
    """Measure what is missing, print, and store where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    import lmworks as lm
    from lmworks.basics import progress

    with progress.shown():
        found = lm.report("smollm2", given.folder).to_json()
    print(table(found))
    if given.store:
        STORED.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
