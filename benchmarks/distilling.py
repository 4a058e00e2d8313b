"""A student that learns from its teacher beside one that learns the same rows from the text alone, in as many steps.

    python -m benchmarks.distilling --layers 15 --tokens 100000 --steps 200 --store

Both texts are read by document; the intervals are over documents, each paired with itself. CPU seconds are the
process's own, so that a busy machine changes them little. What is stored lies in benchmarks/distilling.json.
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


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both students, and what tells them apart."""
    from lmworks.evaluation import statistics
    from lmworks.jobs.distill import distill

    changes = [
        f"data.held_out={options.held_out}",
        f"data.general={options.general}",
        f"teaching.tokens={options.tokens}",
        f"training.steps={options.steps}",
        f"training.seed={options.seed}",
        *options.set,
    ]
    made, spent = {}, {}
    for name, share in (("taught", options.share), ("hard labels", 0.0)):
        started = time.process_time()
        made[name] = distill(
            "smollm2",
            options.data,
            folder / name.replace(" ", "-"),
            layers=options.layers,
            changes=[*changes, f"teaching.share={share}"],
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
        spent[name] = round(time.process_time() - started, 1)
    texts = {}
    for taught, hard in zip(made["taught"].texts, made["hard labels"].texts, strict=True):
        better = {
            "bits/byte": statistics.difference_of_ratios(hard.student_bits, taught.student_bits, taught.bytes),
            "KL, bits/token": statistics.difference_of_ratios(
                hard.divergence_bits, taught.divergence_bits, taught.tokens
            ),
        }
        texts[taught.text] = {
            "teacher": str(taught.teacher),
            "taught": str(taught.student),
            "hard labels": str(hard.student),
            "KL, taught": str(taught.divergence),
            "KL, hard labels": str(hard.divergence),
            "taught minus hard labels": {name: [one.value, one.interval] for name, one in better.items()},
        }
    return {
        "command": "python -m benchmarks.distilling " + " ".join(sys.argv[1:]),
        "machine": this_machine().name,
        "texts": texts,
        "costs": {one.name: one.figure for one in made["taught"].costs},
        "losses": {name: [one.training.losses[0], one.training.losses[-1]] for name, one in made.items()},
        "training, wall s": {name: round(one.training.seconds, 1) for name, one in made.items()},
        "whole run, CPU s": spent,
        "asked of the teacher, tokens": made["taught"].asked,
    }


def main() -> None:
    """Run, print, and store where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=15)
    parser.add_argument("--data", default="wikitext2")
    parser.add_argument("--general", default="python-reference")
    parser.add_argument("--held-out", type=float, default=0.3)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("models/distilling"))
    parser.add_argument("--store", action="store_true")
    options = parser.parse_args()
    facts = run(options, options.out)
    print(json.dumps(facts, indent=2))
    if options.store:
        add(STORED, facts)


if __name__ == "__main__":
    main()
