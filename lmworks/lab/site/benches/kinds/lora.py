"""LoRA by rank: what a small model gains on a new text, and what it forgets of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmworks.lab.site.benches.declaration import Bench, Control, Example, StaticTable

if TYPE_CHECKING:
    from lmworks.lab.site.words import Words

RANKS = (1, 4, 16)
NEW, OWN, STEPS = "wikitext2", "tinystories-sample", 40
"""The text that it learns, and one of the kind that it was made from."""


def _example() -> Example:
    """Bits per byte before and after on both texts, for each rank and for training every weight."""
    from lmworks.lab.site.benches.stories import stories

    with tempfile.TemporaryDirectory() as folder:
        base = stories().save(Path(folder, "base"))
        found = [_tuned(base, Path(folder, str(rank)), {"method": "lora", "lora": {"rank": rank}}) for rank in RANKS]
        whole = _tuned(base, Path(folder, "full"), {"method": "full"})
    for rank, one in zip(RANKS, found, strict=True):
        one["rank"] = rank
    return {"ranks": found, "full": whole, "steps": STEPS}


def _tuned(base: Path, out: Path, method: dict[str, Any]) -> dict[str, Any]:
    """The differences in bits per byte, after minus before, with their intervals; and how many numbers were trained."""
    from lmworks.jobs.build import build
    from lmworks.jobs.recipe import Recipe

    recipe = Recipe.model_validate(
        {
            "data": {"general": OWN},
            "training": {"steps": STEPS, "rows": 8, "context": 128, "learning_rate": 3e-3, "seed": 1},
            "grounding": {"index": False},
            **method,
        }
    )
    result = build(NEW, str(base), out, recipe=recipe)
    gained, forgotten = (one.difference for one in result.comparisons[:2])
    return {
        "gained": [round(one, 4) for one in (gained.value, *(gained.interval or ()))],
        "forgotten": [round(one, 4) for one in (forgotten.value, *(forgotten.interval or ()))],
        "trained": _numbers(out),
    }


def _numbers(folder: Path) -> int:
    """How many numbers the files of weights hold: of an adapter, those that were trained."""
    import math

    from safetensors import safe_open

    count = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return count


def _table(example: Example, words: Words) -> StaticTable:
    say = words.group("bench_lora")
    rows = [(str(one["rank"]), *_row(one)) for one in example["ranks"]]
    return StaticTable(
        say["all"],
        (say["rank"], say["trained"], say["gained"], say["forgotten"]),
        [*rows, (say["full"], *_row(example["full"]))],
    )


def _row(one: dict[str, Any]) -> tuple[str, str, str]:
    return f"{one['trained']:,}", f"{one['gained'][0]:+.3f}", f"{one['forgotten'][0]:+.3f}"


BENCH = Bench(
    "lora",
    claims=(4, 14, 35),
    scripts=("lora.js",),
    controls=(Control("rank", "choice", "4", choices=(*map(str, RANKS), "full")),),
    example=_example,
    table=_table,
)
