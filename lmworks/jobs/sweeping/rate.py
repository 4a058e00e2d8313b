"""The learning-rate finder on a recipe: its text, its fresh network, its objective."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lmworks.basics.memory import keep_freed_memory
from lmworks.jobs.train import assemble, open_prepared, prepare, read_parts
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.training.rate_finder import RateCurve, find_rate


def find_rate_of(
    recipe: str | Path | TrainRecipe,
    changes: Sequence[str] = (),
    *,
    steps: int = 100,
    say: Callable[[str], None] = lambda line: None,
) -> RateCurve:
    """A range test with a recipe; nothing of it is kept. Raises LmworksError with one sentence."""
    chosen = recipe if isinstance(recipe, TrainRecipe) else TrainRecipe.read(recipe, changes)
    keep_freed_memory()
    parts = read_parts(chosen, say)
    with tempfile.TemporaryDirectory() as folder:
        prepare(chosen, parts, Path(folder))
        model, objective, rows = assemble(chosen, open_prepared(chosen, Path(folder)))
        return find_rate(model.network, objective, rows, chosen.training, steps=steps)
