"""How much of the loss from rounding to NF4 an adapter recovers: `lmworks build` on the same text and recipe, beside a
base with its file's own values (LoRA), and beside one in NF4, where the adapter begins at the part of the rounding
error that its rank holds (QLoRA) or at zero.

    python -m benchmarks.rounding --store
    python -m benchmarks.rounding --data notes/ --seeds 1 2 3

What NF4 costs is measured by a run whose one step is too small to move anything. The recovered share is
1 - (QLoRA's result - LoRA's) / (the rounded model's - the model's own). Stored in benchmarks/rounding.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import builds

if TYPE_CHECKING:
    from lmworks.jobs.build import BuildResult

STORED = Path(__file__).with_suffix(".json")
UNTRAINED = ["method=qlora", "qlora.start=zero", "training.steps=1", "training.learning_rate=1e-12"]
RUNS = {
    "LoRA": ["method=lora"],
    "QLoRA": ["method=qlora"],
    "QLoRA from zero": ["method=qlora", "qlora.start=zero"],
}


def built(given: argparse.Namespace, seed: int, name: str, changes: list[str]) -> dict[str, Any]:
    """One build's figures: bits a byte of each text, before and after."""

    def figures(result: BuildResult) -> dict[str, Any]:
        texts = {
            one.text: {"before": one.before.value, "after": one.after.value, "difference": str(one.difference)}
            for one in result.comparisons
        }
        return {"run": name, **texts}

    return builds.built(given, seed, name.replace(" ", "-").lower(), changes, figures)


def main() -> None:
    """Build, print, and store where asked."""
    given = builds.options(__doc__, "models/rounding")
    rounded = built(given, given.seeds[0], "NF4, not trained", UNTRAINED)
    cost = rounded["held-out text"]["after"] - rounded["held-out text"]["before"]
    runs = [rounded]
    for seed in given.seeds:
        found = {name: built(given, seed, name, changes) for name, changes in RUNS.items()}
        least = found["LoRA"]["held-out text"]["after"]
        for one in found.values():
            one["recovered of what NF4 costs"] = 1 - (one["held-out text"]["after"] - least) / cost
        runs += found.values()
    builds.finish(given, STORED, runs, **{"NF4 costs, bits/byte": cost})


if __name__ == "__main__":
    main()
