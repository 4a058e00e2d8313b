"""What an adapter gains beside frozen matrices in 8 bits and beside exact ones: `lmworks build` on the same text and
recipe, and what its own report says of both.

    python -m benchmarks.frozen --store
    python -m benchmarks.frozen --data notes/ --seeds 1 2 3

CPU seconds are the process's own, so that a busy machine changes them little. What is stored lies in
benchmarks/frozen.json. A step beside PEFT's is timed by `python -m benchmarks.adapters frozen --dtype float32`.
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


def built(options: argparse.Namespace, seed: int, products: str) -> dict[str, Any]:
    """One build's figures."""
    import lmworks as lm

    started = time.process_time()
    result = lm.build(
        options.data,
        out=options.out / f"{products}-{seed}",
        recipe=options.recipe,
        changes=[f"training.seed={seed}", f"training.frozen_products={products}", "model.dtype=float32"],
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    return {
        "seed": seed,
        "frozen products": products,
        **{one.text: str(one.difference) for one in result.comparisons},
        "moved": str(result.moved),
        "last loss, nats": result.training.losses[-1],
        "training, wall s": round(result.training.seconds, 1),
        "whole run, CPU s": round(time.process_time() - started, 1),
    }


def main() -> None:
    """Build, print, and store where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="python-reference")
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--out", type=Path, default=Path("models/frozen"))
    parser.add_argument("--store", action="store_true")
    options = parser.parse_args()
    runs = [built(options, seed, products) for seed in options.seeds for products in ("int8", "exact")]
    facts = {
        "command": "python -m benchmarks.frozen " + " ".join(sys.argv[1:]),
        "machine": this_machine().name,
        "runs": runs,
    }
    print(json.dumps(facts, indent=2))
    if options.store:
        add(STORED, facts)


if __name__ == "__main__":
    main()
