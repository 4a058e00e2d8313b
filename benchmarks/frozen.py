"""What an adapter gains beside frozen matrices in 8 bits and beside exact ones: `lmworks build` on the same text and
recipe, and what its own report says of both.

    python -m benchmarks.frozen --store
    python -m benchmarks.frozen --data notes/ --seeds 1 2 3

What is stored lies in benchmarks/frozen.json. A step beside PEFT's is timed by `python -m benchmarks.adapters frozen
--dtype float32`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import builds

if TYPE_CHECKING:
    from lmworks.jobs.build import BuildResult

STORED = Path(__file__).with_suffix(".json")


def built(given: argparse.Namespace, seed: int, products: str) -> dict[str, Any]:
    """One build's figures."""

    def figures(result: BuildResult) -> dict[str, Any]:
        return {
            "frozen products": products,
            **{one.text: str(one.difference) for one in result.comparisons},
            "moved": str(result.moved),
            "last loss, nats": result.training.losses[-1],
            "training, wall s": round(result.training.seconds, 1),
        }

    changes = [f"training.frozen_products={products}", "model.dtype=float32"]
    return builds.built(given, seed, products, changes, figures)


def main() -> None:
    """Build, print, and store where asked."""
    given = builds.options(__doc__, "models/frozen")
    runs = [built(given, seed, products) for seed in given.seeds for products in ("int8", "exact")]
    builds.finish(given, STORED, runs)


if __name__ == "__main__":
    main()
