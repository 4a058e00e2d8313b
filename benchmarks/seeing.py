"""Models of images trained from nothing: what a recipe of `lmworks train` reaches, and in how many CPU seconds.

    python -m benchmarks.seeing emoji-clip --store
    python -m benchmarks.seeing cifar-resnet --set training.epochs=4 --set training.max_seconds=none --store

CPU seconds are the process's own, of training alone and of reading, training and measuring together, so that a busy
machine changes them little; those of a run that was resumed are of its last part. What is stored lies in
benchmarks/seeing.json.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.machine import this_machine
from benchmarks.store import add

STORED = Path(__file__).with_suffix(".json")


def run(recipe: str, folder: Path, changes: list[str], resume: bool) -> dict[str, Any]:
    """A run, its figures and what it took."""
    import torch

    from lmworks.jobs import contrast, image_classes, image_tokens
    from lmworks.jobs.contrast_recipe import ContrastRecipe
    from lmworks.jobs.image_classes_recipe import ImageClassesRecipe
    from lmworks.jobs.image_recipes import image_recipe
    from lmworks.jobs.image_tokens_recipe import ImageTokensRecipe

    jobs: dict[Any, tuple[Any, Any]] = {
        ContrastRecipe: (contrast, contrast.contrast),
        ImageClassesRecipe: (image_classes, image_classes.train_classes),
        ImageTokensRecipe: (image_tokens, image_tokens.train_image_tokens),
    }
    module, learn = jobs[image_recipe(recipe)]
    train, spent = module.train, []

    def timed(*given: Any, **named: Any) -> Any:
        begun = time.process_time()
        result = train(*given, **named)
        spent.append(time.process_time() - begun)
        return result

    started = time.process_time()
    with patch.object(module, "train", timed):
        made = learn(recipe, folder, changes=changes, resume=resume, say=lambda line: print(line, file=sys.stderr))
    for one in made.measurements:
        print(one, flush=True)
    return {
        "recipe": recipe,
        "cpu_seconds": round(time.process_time() - started, 1),
        "training_cpu_seconds": round(sum(spent), 1),
        "threads": torch.get_num_threads(),
        "steps": made.training.steps,
        "rows": made.recipe.training.rows,
        "resumed": resume,
        "validation_loss": made.validation_loss,
        "measurements": [one.to_json() for one in made.measurements],
    }


def keep(command: str, found: dict[str, Any], store: bool) -> None:
    """Add a run to what is stored, or print it."""
    record = {"command": command, "machine": this_machine().name, "date": time.strftime("%Y-%m-%d"), **found}
    if store:
        add(STORED, record)
    else:
        print(json.dumps(record, indent=2))


def main() -> None:
    """Run a recipe, print its figures, and store them where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="emoji-clip, cifar-resnet, image-tokens, or the path of a recipe")
    parser.add_argument("--set", action="append", default=[], help="a setting of the recipe, as of lmworks train")
    parser.add_argument("--out", type=Path, help="the model's folder; models/RECIPE unless given")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    parser.add_argument("--store", action="store_true", help=f"add the figures to {STORED.name}")
    options = parser.parse_args()
    folder = options.out or Path("models") / Path(options.recipe).stem
    found = run(options.recipe, folder, options.set, options.resume)
    sets = "".join(f" --set {shlex.quote(one)}" for one in options.set)
    keep(f"python -m benchmarks.seeing {options.recipe}{sets} --store", found, options.store)


if __name__ == "__main__":
    main()
