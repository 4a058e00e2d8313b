"""The folder of a run: the recipe and text that it was started with, and must be resumed with; its clock; provenance.

A run that is stopped and resumed is one run: its facts count all of its parts.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, Stopped
from lmworks.basics.files import beside, names_in, restore_directory, says_why, write_json
from lmworks.basics.memory import keep_freed_memory, peak_megabytes
from lmworks.basics.recipe_file import RecipeFile
from lmworks.evaluation.measurement import Measurement
from lmworks.language_model import LanguageModel
from lmworks.models.files.model_folder import read_json, refuse_foreign_files
from lmworks.models.files.references import must_not_replace
from lmworks.models.network import Network
from lmworks.text.sources import Reading
from lmworks.training.checkpoint import diverged
from lmworks.training.loop import TrainingResult, Validate
from lmworks.vision_model import VisionModel

RECIPE, CLOCK, LOG = "recipe.json", "clock.json", "log.jsonl"
FREE = {"training.distribution"}
"""What may differ in a resumed run: any checkpoint is read in any distribution."""

_OPENED: ContextVar[Path | None] = ContextVar("_OPENED", default=None)
"""The folder of the run that a `resumable` job has opened."""

Given = ParamSpec("Given")
Made = TypeVar("Made")
AnyRecipe = TypeVar("AnyRecipe", bound=RecipeFile)
AnyModel = TypeVar("AnyModel", bound=LanguageModel | VisionModel)


@dataclass(frozen=True)
class RunResult(Generic[AnyRecipe, AnyModel]):
    """What a run made from nothing."""

    folder: Path
    model: AnyModel
    recipe: AnyRecipe
    training: TrainingResult
    validation_loss: float
    """Of what is held out, in the unit of what is minimised."""
    measurements: list[Measurement]
    """Figures of what is held out."""
    facts: dict[str, Any]
    """What lmworks.json holds."""


def recipe_and_folder(
    kind: type[AnyRecipe], recipe: str | Path | AnyRecipe, changes: Sequence[str], out: str | os.PathLike[str] | None
) -> tuple[AnyRecipe, Path]:
    """The recipe that a run is started with, and where its result goes: `out`, or models/NAME of the recipe's file."""
    if isinstance(recipe, kind):
        chosen, name = recipe, "model"
    else:
        assert isinstance(recipe, str | Path)
        chosen, name = kind.read(recipe, changes), Path(recipe).stem
    return chosen, Path(out) if out is not None else Path("models") / name


def open_run(folder: Path, recipe: RecipeFile, resume: bool, say: Callable[[str], None], *read: str | None) -> Path:
    """The folder of a run whose result goes into `folder`, `<folder>.run`; ConfigError for what must not be overwritten
    (the models that are `read` for it, too) or cannot be resumed."""
    run = beside(folder, "", ".run")
    refuse_foreign_files(folder)
    must_not_replace(folder, *read)
    check_run(run, recipe, resume, say)
    say_replaced(folder, say)
    keep_freed_memory()
    _OPENED.set(run)
    return run


def resumable(job: Callable[Given, Made]) -> Callable[Given, Made]:
    """A job whose run is opened by `open_run`: Ctrl-C beside its training (while a text is read, or the result is
    measured) is Stopped, too, and says whether a checkpoint is there to go on from."""

    @functools.wraps(job)
    def done(*given: Given.args, **named: Given.kwargs) -> Made:
        before = _OPENED.set(None)
        try:
            return job(*given, **named)
        except KeyboardInterrupt:
            run = _OPENED.get()
            if run is None:
                raise
            if not (checkpoint := run / "checkpoint").exists():
                raise Stopped("stopped before the first checkpoint; the same command starts it again") from None
            raise Stopped(
                f"stopped; go on with the same command and --resume (checkpoint in {checkpoint})", resume=True
            ) from None
        finally:
            _OPENED.reset(before)

    return done


def check_run(run: Path, recipe: RecipeFile, resume: bool, say: Callable[[str], None]) -> None:
    """Refuse to overwrite a run that was stopped, or to resume one with another recipe.

    A run that diverged moves aside for a fresh one.
    """
    checkpoint = run / "checkpoint"
    restore_directory(checkpoint)
    if not resume:
        if checkpoint.exists():
            if not diverged(checkpoint):
                raise ConfigError(
                    f"{run} holds a run that was stopped; go on with --resume, or remove that folder to start afresh"
                )
            _move_aside(run, say)
        return
    if not (run / RECIPE).exists():
        raise ConfigError(f"{run} does not hold a run to resume; start it without --resume")
    if not checkpoint.exists():
        raise ConfigError(
            f"{run} holds a run that ended before its first checkpoint, so there is nothing to resume; start it "
            "without --resume"
        )
    theirs = recipe.written_before(read_json(run / RECIPE))
    for key, value in recipe.model_dump(mode="json").items():
        _same(key, value, theirs.get(key), run)


def _move_aside(run: Path, say: Callable[[str], None]) -> None:
    """Keep the last run that diverged, and no earlier one: each is as large as its text and its checkpoint."""
    aside = run.with_name(f"{run.name}.diverged")
    with says_why(aside):
        if aside.exists():
            shutil.rmtree(aside)
        run.replace(aside)
    say(f"diverged       the run before this one; its log and its last good step are in {aside} now")


def _same(key: str, value: Any, theirs: Any, run: Path) -> None:
    if isinstance(value, dict) and isinstance(theirs, dict):
        for name in sorted({*value, *theirs}):
            _same(f"{key}.{name}", value.get(name), theirs.get(name), run)
    elif value != theirs and key not in FREE:
        raise ConfigError(
            f"{key} is {value!r} and was {theirs!r} when the run was started; resume with the same recipe, "
            f"or remove {run} to start afresh"
        )


def start_run(
    run: Path, recipe: RecipeFile, texts: Mapping[str, tuple[str, str]], resume: bool, started: float
) -> None:
    """Write down a fresh run's recipe and the hashes of its texts, or check that a resumed run has the same ones.

    `texts` gives, for each side of the text, where it comes from and its hash; `started` is time.time() when this
    process began.
    """
    path = run / RECIPE
    if not resume:
        write_json(path, recipe.model_dump(mode="json") | {side: digest for side, (_, digest) in texts.items()})
    theirs = read_json(path)
    for side, (source, digest) in texts.items():
        if theirs.get(side) != digest:
            raise ConfigError(
                f"{source} does not hold what the run was started with; put it back, or remove {run} to start afresh"
            )
    _start_clock(run, started, resume)


def _start_clock(run: Path, now: float, resume: bool) -> None:
    """Note when the first part of the run began, the seconds that earlier parts spent, and when this part began.

    An earlier part ended when it wrote the last line of its log.
    """
    clock = {"began": now, "spent": 0.0}
    if resume:
        began = (run / RECIPE).stat().st_mtime  # a run of a version that had no clock
        clock = read_json(run / CLOCK) if (run / CLOCK).exists() else {"began": began, "spent": 0.0, "since": began}
        clock["spent"] += max(0.0, (run / LOG).stat().st_mtime - clock["since"])
    write_json(run / CLOCK, clock | {"since": now})


def training_facts(training: TrainingResult, run: Path) -> dict[str, Any]:
    """What lmworks.json says of the training: of all parts of the run, by its log."""
    lines = _log(run)
    steps = [line for line in lines if "loss" in line]
    earlier = steps[: len(steps) - len(training.losses)]
    return {
        **{key: value for key, value in dataclasses.asdict(training).items() if key != "losses"},
        "seconds": training.seconds + sum(line["seconds"] for line in earlier),
        "validation": [[line["step"] + 1, line["validation_loss"]] for line in lines if "validation_loss" in line],
        "skipped": sum(line.get("skipped", False) for line in steps),
        "first_loss": steps[0]["loss"] if steps else None,
        "last_loss": steps[-1]["loss"] if steps else None,
    }


def logged_losses(run: Path) -> list[float]:
    """The loss of each step of the run, all its parts together."""
    return [line["loss"] for line in _log(run) if "loss" in line]


def _log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / LOG).read_text(encoding="utf-8").splitlines()]


def say_replaced(folder: Path, say: Callable[[str], None] | None = None) -> None:
    """Tell that a finished result is there and will be gone; as a note of its own where a job says nothing else."""
    if names_in(folder):
        told = f"{folder}, when the new one is complete; give another --out to keep it"
        progress.note(f"replaces {told}") if say is None else say(f"replaces       {told}")


def say_skipped(reading: Reading, say: Callable[[str], None]) -> None:
    """Tell which files of a text were not read, and why, and of which tables one column alone is the text."""
    for skipped in reading.skipped[:5]:
        say(f"skipped        {skipped.path}: {skipped.reason}")
    if len(reading.skipped) > 5:
        say(f"skipped        {len(reading.skipped) - 5:,} more")
    columns = dict.fromkeys((one.source.rpartition("#")[0], one.column) for one in reading.documents if one.column)
    for source, column in list(columns)[:5]:
        file = source.removesuffix(f":{column}")
        say(
            f"column         {file}: only the column `{column}` is read; if these are questions and answers, call the "
            "columns `prompt` and `completion`"
        )
    if len(columns) > 5:
        say(f"column         {len(columns) - 5:,} more")


def source_digest() -> str:
    """The first digits of the SHA-256 of this lmworks' own source files: two checkouts may have one version."""
    whole = hashlib.sha256()
    home = Path(__file__).parents[1]
    for path in sorted(home.rglob("*.py")):
        whole.update(str(path.relative_to(home)).encode() + path.read_bytes())
    return whole.hexdigest()[:12]


def held_out_loss(training: TrainingResult, validate: Validate, network: Network) -> float:
    """The validation loss of a trained network: the last that was measured, if the network is still that of the last
    step."""
    measured = training.validation if training.best_step is None else []
    return measured[-1][1] if measured else validate(network)


def finish_run(
    run: Path,
    folder: Path,
    recipe: AnyRecipe,
    model: AnyModel,
    training: TrainingResult,
    loss: float,
    figures: list[Measurement],
    **described: Any,
) -> RunResult[AnyRecipe, AnyModel]:
    """Save what a run of `lmworks train` made, with all that is known of it in lmworks.json; `described` says what it
    was made from."""
    facts = {
        "made_by": "lmworks train",
        "recipe": recipe.model_dump(mode="json"),
        **described,
        "training": training_facts(training, run),
        "validation_loss": loss,
        "measurements": [one.to_json() for one in figures],
        **provenance(run),
    }
    save_result(run, folder, model, facts)
    return RunResult(folder, model, recipe, training, loss, figures, facts)


def save_result(run: Path, folder: Path, model: LanguageModel | VisionModel, facts: dict[str, Any]) -> None:
    """Write a run's model, its facts and its log into `folder`, and remove the run's folder; the model is then that of
    `folder`. The log of a private run is not kept: it has the loss of what was learnt."""
    model.save(folder, facts)
    if "private" not in facts:
        shutil.copyfile(run / LOG, folder / LOG)
    end_run(run, folder)
    model.source, model.reference = folder, str(folder)


def end_run(run: Path, folder: Path) -> None:
    """Remove the folder of a run whose result is complete; TensorBoard's events move to `<folder>.tensorboard`."""
    events, kept = run / "tensorboard", folder.with_name(f"{folder.name}.tensorboard")
    if events.is_dir():
        if kept.is_dir() and all(path.name.startswith("events.out.tfevents") for path in kept.iterdir()):
            shutil.rmtree(kept)  # of the run that this one replaces
        number = 1
        while kept.exists():  # somebody's own folder
            kept, number = folder.with_name(f"{folder.name}.tensorboard-{number}"), number + 1
        events.replace(kept)
    shutil.rmtree(run, ignore_errors=True)


def provenance(run: Path) -> dict[str, Any]:
    """With what, where, when and how long: `seconds` are those of all parts of the run, not the time between them."""
    clock = read_json(run / CLOCK)
    return {
        "versions": {
            name: importlib.metadata.version(name) for name in ("lmworks", "torch", "tokenizers", "safetensors")
        }
        | {"python": platform.python_version()},
        "machine": {
            "processor": platform.machine(),
            "system": platform.system(),
            "cores": os.cpu_count(),
            "peak_mb": round(peak_megabytes()),
        },
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock["began"])),
        "seconds": round(clock["spent"] + time.time() - clock["since"], 1),
    }
