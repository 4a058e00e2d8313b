"""Noise against exposure: how far planted secrets can be read off a small model, and what the noise costs."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmworks.lab.site.benches.declaration import Bench, Control, Example, StaticTable

if TYPE_CHECKING:
    from lmworks.evaluation.measurement import Measurement
    from lmworks.lab.site.words import Words

NOISES = (0, 0.4, 0.8, 1.2, 1.6, 2.0)
"""As multiples of the norm that each document's gradient is cut to; 0 for training without noise or cut."""
TEXT, DOCUMENTS, STEPS, ROWS, SECRETS, REPEATS = "sms-spam", 200, 60, 16, 8, (1, 16)


def _example() -> Example:
    """Exposure by repeats, held-out loss and epsilon, for each noise."""
    from lmworks.lab.site.benches.stories import stories
    from lmworks.text.sources import read

    messages = [json.dumps({"text": one.text}) for one in read(TEXT).documents[:DOCUMENTS]]
    with tempfile.TemporaryDirectory() as folder:
        base = stories().save(Path(folder, "base"))
        text = Path(folder, "messages.jsonl")
        text.write_text("\n".join(messages), encoding="utf-8")
        runs = [_run(text, base, Path(folder, str(noise)), noise) for noise in NOISES]
    facts = {"documents": DOCUMENTS, "steps": STEPS, "rows": ROWS, "secrets": SECRETS, "repeats": REPEATS}
    return {"runs": runs, **facts}


def _run(text: Path, base: Path, out: Path, noise: float) -> dict[str, Any]:
    from lmworks.evaluation.privacy.canaries import exposures, make, measured
    from lmworks.jobs.build import build
    from lmworks.jobs.recipe import Recipe

    settings: dict[str, Any] = {
        "method": "lora",
        "lora": {"rank": 16},
        "data": {"held_out": 0.2},
        "training": {"steps": STEPS, "rows": ROWS, "context": 128, "learning_rate": 1e-2, "seed": 1},
        "canaries": {"count": SECRETS, "repeats": REPEATS},
        "private": {"noise": noise, "seed": 1} if noise else {},
        "grounding": {"index": False},
    }
    result = build(str(text), str(base), out, recipe=Recipe.model_validate(settings))
    found = measured(exposures(result.model, make(SECRETS, REPEATS)), "")
    loss = result.comparisons[0]
    return {
        "noise": noise,
        "epsilon": None if result.private is None else round(result.private.epsilon, 1),
        "exposure": [_rounded(one) for one, _ in found],
        "before": _rounded(loss.before)[0],
        "loss": _rounded(loss.after),
    }


def _rounded(one: Measurement) -> list[float]:
    """A value with the ends of its interval."""
    return [round(value, 3) for value in (one.value, *(one.interval or (one.value, one.value)))]


def _table(example: Example, words: Words) -> StaticTable:
    say = words.group("bench_privacy")
    heads = (say["noise"], say["epsilon"], *(say["exposure"].format(n=n) for n in example["repeats"]), say["loss"])
    rows = [
        (
            f"{one['noise']:g}",
            say["unbounded"] if one["epsilon"] is None else f"{one['epsilon']:g}",
            *(f"{each[0]:.1f}" for each in one["exposure"]),
            f"{one['loss'][0]:.2f}",
        )
        for one in example["runs"]
    ]
    return StaticTable(say["all"], heads, rows)


BENCH = Bench(
    "privacy",
    claims=(18, 50),
    scripts=("privacy.js",),
    controls=(Control("noise", "range", "0", 0, NOISES[-1], NOISES[1]),),
    example=_example,
    table=_table,
)
