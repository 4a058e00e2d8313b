"""sweep: search over a recipe's settings, alone or together with other workers of the same study.

    result = sweep("shakespeare-char", "space.toml", trials=20, out="sweeps/shakespeare")
    print(result.best.value, result.best.settings)      # result.best_recipe is a file for `lmworks train`

The folder holds the study (journal.log, unless it is in PostgreSQL), the trials' logs, the best recipe as best.toml,
and sweep.json with all of it. Every trial has the recipe's own training.seed, so that trials differ only in settings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmworks.basics.arguments import checked
from lmworks.basics.config import merge, overrides, to_toml
from lmworks.basics.errors import ConfigError, LmworksError, Stopped
from lmworks.basics.files import must_be_writable, names_in, says_why, write_json, written_whole
from lmworks.basics.memory import keep_freed_memory
from lmworks.basics.postgresql import without_password
from lmworks.basics.terminal import for_shell
from lmworks.jobs.sweeping.importance import Importance, importances
from lmworks.jobs.sweeping.space import Space, Tables, with_settings
from lmworks.jobs.sweeping.study import (
    SharedStudy,
    TrialRecord,
    check_address,
    open_study,
    quiet_optuna,
)
from lmworks.jobs.sweeping.trial import PackedTexts, run_trial
from lmworks.jobs.train import read_parts
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.training.processes import refuse_ranks
from lmworks.training.settings import TrainingConfig

Say = Callable[[str], None]
STARTUP = 5
"""Trials drawn at random before the sampler learns from them; pruning waits for as many complete ones."""


@dataclass(frozen=True)
class SweepResult:
    """Where a study stands when a worker leaves it."""

    folder: Path
    storage: str
    """The journal file, or the database without its password."""
    trials: tuple[TrialRecord, ...]
    """All that count, in the order of their numbers; some may be running elsewhere."""
    importance: tuple[Importance, ...]
    """The most important setting first; empty where the trials are too few."""
    best_recipe: Path
    """The best trial's recipe, for `lmworks train`."""
    seed: int
    """The sampler's."""
    training_seed: int
    """Of every trial."""

    @property
    def ranking(self) -> list[TrialRecord]:
        """The complete trials, the best first."""
        return _ranking(self.trials)

    @property
    def best(self) -> TrialRecord:
        """The complete trial with the fewest bits per byte."""
        return self.ranking[0]

    @property
    def of_the_recipe(self) -> TrialRecord | None:
        """The trial of the recipe as it stands, where the space holds it."""
        return next((one for one in self.trials if one.is_recipe), None)

    def count(self, state: str) -> int:
        """How many trials are in a state."""
        return sum(one.state == state for one in self.trials)

    def facts(self) -> dict[str, Any]:
        """Plain values, what a reader wants first at the top."""
        return {
            "best": self.best.facts(),
            "best_recipe": str(self.best_recipe),
            "folder": str(self.folder),
            "storage": self.storage,
            "importance": [one.facts() for one in self.importance],
            "trials": [one.facts() for one in self.trials],
            "unit": "bits/byte",
            "sampler_seed": self.seed,
            "training_seed": self.training_seed,
        }


@checked
def sweep(
    recipe: str | Path | Tables,
    space: str | Path | Tables,
    trials: int,
    out: str | os.PathLike[str] | None = None,
    *,
    changes: Sequence[str] = (),
    storage: str | None = None,
    seed: int = 0,
    prune: bool = True,
    startup: int = STARTUP,
    say: Say = lambda line: None,
) -> SweepResult:
    """Train trials until the study has `trials` of them, those of an earlier run and of other workers counted.

    `recipe` and `space` are files, or their tables; a recipe can also be the name of a shipped one. The first trial is
    the recipe itself, where the space holds it. A trial that diverges, or cannot be run, is recorded and does not end
    the sweep.

    Raises LmworksError with one sentence, before anything is trained where recipe or space is wrong; Stopped when it
    was interrupted: called again, it continues.
    """
    for name, value in (("trials", trials), ("startup", startup)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be 1 or more")
    if storage is not None:
        check_address(storage)
    refuse_ranks("lmworks sweep")
    quiet_optuna()
    tables = recipe_tables(recipe, changes)
    chosen = TrainRecipe(**tables)
    searched = Space(space, tables) if isinstance(space, Mapping) else Space.read(space, tables)
    name = "recipe" if isinstance(recipe, Mapping) else Path(recipe).stem
    folder = Path(out) if out is not None else Path("sweeps") / name
    _refuse_foreign(folder)
    must_be_writable(folder)
    keep_freed_memory()
    texts = PackedTexts(read_parts(chosen, say), folder / "texts", chosen.validation.tokens)
    with says_why(folder):
        (folder / "locks").mkdir(parents=True, exist_ok=True)
    texts.of(chosen)  # a text that cannot be packed ends the sweep here, and not each trial
    plan = {
        "recipe": chosen.model_dump(mode="json"),
        "space": searched.facts(),
        "seed": seed,
        "startup": startup,
        "prune": prune,
        "text": texts.hash,
    }
    _say_what_decides(chosen.training, prune, say)
    compare_with = startup if prune and chosen.training.evaluate_every is not None else None
    kept_in = without_password(storage) if storage else str(folder / "journal.log")

    def run(trial: Any) -> None:
        run_trial(study, trial, tables, texts, folder / "trials", compare_with)

    with open_study(folder, storage) as study:
        place = str(folder) if storage is None else f"{folder.resolve().name} of {kept_in}"
        study.agree(plan, searched.of_the_recipe(tables), place)
        _work(study, searched, trials, seed, startup, run, say)
        records = study.records()
    return _result(folder, kept_in, records, searched, tables, plan)


def _say_what_decides(config: TrainingConfig, prune: bool, say: Say) -> None:
    """What of a recipe makes trials compare less well than they could."""
    if config.max_seconds is not None:
        say(
            "trials         end by the clock: whatever else this machine does, other workers too, decides with them; "
            "training.steps is fairer"
        )
    if prune and config.evaluate_every is None:
        say(
            "pruning        none: trials are validated only at their end; --set training.evaluate_every=STEPS asks for "
            "more"
        )


def recipe_tables(recipe: str | Path | Tables, changes: Sequence[str] = ()) -> dict[str, Any]:
    """What a recipe's file and `changes` say, validated; the dial is turned only when a TrainRecipe is made of it."""
    if isinstance(recipe, Mapping):
        tables = merge(recipe, overrides(changes))
        TrainRecipe(**tables)
        return tables
    TrainRecipe.read(recipe, changes)  # its errors name the file
    return merge(TrainRecipe.tables(TrainRecipe.path_of(recipe)), overrides(changes))


def _work(
    study: SharedStudy, space: Space, most: int, seed: int, startup: int, run: Callable[[Any], None], say: Say
) -> None:
    """Claim and run trials until there are enough."""
    distributions = space.distributions()
    while (trial := study.claim(most, distributions, seed, startup)) is not None:
        try:
            run(trial)
        except Stopped:
            done = sum(one.state != "running" for one in study.records())
            raise Stopped(
                f"stopped in trial {trial.number}, with {done} of {most} done; run the same command again, and it goes "
                "on with that trial"
            ) from None
        records = study.records()
        for record in records:
            if record.number == trial.number:  # not there where the connection was lost and another worker has it
                say(_line(record, records, most))


def _line(record: TrialRecord, records: Sequence[TrialRecord], most: int) -> str:
    settings = ", ".join(f"{name} {_short(value)}" for name, value in record.settings.items())
    came = f"{record.value:.4f} bits/byte" if record.value is not None else record.state
    best = _ranking(records)[:1]
    best_so_far = f"   best {best[0].value:.4f}, trial {best[0].number}" if best else ""
    done = sum(one.state != "running" for one in records)
    return f"trial {record.number:<5} {came:<18} {settings}{best_so_far}   ({done} of {most})"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _ranking(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The complete trials, the best first."""
    return sorted((one for one in records if one.value is not None), key=lambda one: (one.value, one.number))


def _result(
    folder: Path, storage: str, records: Sequence[TrialRecord], space: Space, tables: Tables, plan: Mapping[str, Any]
) -> SweepResult:
    """Written down and returned; LmworksError where no trial was completed."""
    ranking = _ranking(records)
    if not ranking:
        why = next((one.why for one in records if one.why), "")
        running = sum(one.state == "running" for one in records)
        raise LmworksError(
            f"no trial is complete ({len(records)} begun, {running} of them running elsewhere"
            f"{f'; the first that failed: {why}' if why else ''}); the study is in {folder}"
        )
    best = ranking[0]
    with written_whole(folder / "best.toml") as temporary:
        temporary.write_text(
            f"# The best of {len(records)} trials (trial {best.number}, {best.value:.4f} bits/byte): "
            f"lmworks train {for_shell(folder / 'best.toml')}\n" + to_toml(with_settings(tables, best.settings)),
            encoding="utf-8",
        )
    found = importances(records, space.distributions())
    result = SweepResult(
        folder,
        storage,
        tuple(records),
        tuple(found),
        folder / "best.toml",
        plan["seed"],
        plan["recipe"]["training"]["seed"],
    )
    write_json(folder / "sweep.json", result.facts() | {"plan": dict(plan)})
    return result


def _refuse_foreign(folder: Path) -> None:
    """A folder with something else in it is not written into."""
    if folder.exists() and not (folder.is_dir() and ((folder / "locks").is_dir() or not names_in(folder))):
        raise ConfigError(f"{folder} is there and is no sweep's folder; give another --out")
