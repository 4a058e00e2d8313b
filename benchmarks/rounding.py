"""How much of what NF4's rounding costs an adapter recovers: `lmworks build` on the same text and recipe beside the
file's own values (LoRA), beside NF4 ones (QLoRA, which begins at what its rank holds of the rounding error), and beside
NF4 ones from zero.

    python -m benchmarks.rounding --store
    python -m benchmarks.rounding --data notes/ --seeds 1 2 3

What NF4 costs is measured by a run whose one step is too small to move anything. The recovered share is
1 - (QLoRA's result - LoRA's) / (the rounded model's - the model's own). Stored in benchmarks/rounding.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import this_machine
from benchmarks.store import add

STORED = Path(__file__).with_suffix(".json")
UNTRAINED = ["method=qlora", "qlora.start=zero", "training.steps=1", "training.learning_rate=1e-12"]
RUNS = {
    "LoRA": ["method=lora"],
    "QLoRA": ["method=qlora"],
    "QLoRA from zero": ["method=qlora", "qlora.start=zero"],
}


def built(options: argparse.Namespace, seed: int, name: str, changes: list[str]) -> dict[str, Any]:
    """One build's figures: bits a byte of each text, before and after."""
    import lmworks as lm

    started = time.process_time()
    result = lm.build(
        options.data,
        out=options.out / f"{name.replace(' ', '-').lower()}-{seed}",
        recipe=options.recipe,
        changes=[f"training.seed={seed}", *changes, *options.set],
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    return {
        "seed": seed,
        "run": name,
        **{
            one.text: {"before": one.before.value, "after": one.after.value, "difference": str(one.difference)}
            for one in result.comparisons
        },
        "whole run, CPU s": round(time.process_time() - started, 1),
    }


def main() -> None:
    """Build, print, and store where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="python-reference")
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("models/rounding"))
    parser.add_argument("--store", action="store_true")
    options = parser.parse_args()
    rounded = built(options, options.seeds[0], "NF4, not trained", UNTRAINED)
    cost = rounded["held-out text"]["after"] - rounded["held-out text"]["before"]
    runs = [rounded]
    for seed in options.seeds:
        found = {name: built(options, seed, name, changes) for name, changes in RUNS.items()}
        least = found["LoRA"]["held-out text"]["after"]
        for one in found.values():
            one["recovered of what NF4 costs"] = 1 - (one["held-out text"]["after"] - least) / cost
        runs += found.values()
    facts = {
        "command": "python -m benchmarks.rounding " + " ".join(sys.argv[1:]),
        "machine": this_machine().name,
        "NF4 costs, bits/byte": cost,
        "runs": runs,
    }
    print(json.dumps(facts, indent=2))
    if options.store:
        add(STORED, facts)


if __name__ == "__main__":
    main()
