"""A sequence of tasks by several seeds: what each way to keep the first one reached, beside the slider to the base.

python -m benchmarks.forgetting german --seeds 4 --store

A recipe of `lmworks forget`, or a TOML file. Called again it goes on where it was. CPU seconds are of this call's
process. What is stored lies in benchmarks/forgetting.json, a run for each recipe; it is stored after each seed, with
all seeds so far, so that a run that is stopped leaves what it found.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import this_machine

STORED = Path(__file__).with_suffix(".json")


def run(options: argparse.Namespace, seeds: int) -> dict[str, Any]:
    """The sequence by as many seeds, of which those before the last are known, and what it cost so far."""
    from lmworks.jobs.forget import forget

    changes = [f"seeds={list(range(seeds))}", *options.set]
    result = forget(options.recipe, options.out, changes=changes, say=lambda line: print(line, file=sys.stderr))
    facts = result.facts()
    del facts["folder"]
    return {
        "command": " ".join(
            ["python -m benchmarks.forgetting", options.recipe, f"--seeds {seeds} --store"]
            + [f"--set {change}" for change in options.set]
        ),
        "machine": this_machine().name,
        "CPU s": round(time.process_time()),
        **facts,
    }


def main() -> None:
    """Run, print, and store where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="german")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--store", action="store_true")
    options = parser.parse_args()
    for seeds in range(1, options.seeds + 1):
        facts = run(options, seeds)
        print(f"{seeds} of {options.seeds} seeds: {facts['finding']}", flush=True)
        if options.store:
            stored = json.loads(STORED.read_text()) if STORED.exists() else {}
            STORED.write_text(json.dumps(stored | {options.recipe: facts}, indent=1) + "\n")


if __name__ == "__main__":
    main()
