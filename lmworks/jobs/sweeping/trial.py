"""One trial of a sweep: a recipe with some settings changed, trained on a text that the trials share."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from lmworks.basics.errors import ConfigError, LmworksError, Stopped
from lmworks.basics.files import directory_written_whole, restore_directory
from lmworks.basics.memory import is_out_of_memory
from lmworks.jobs.sweeping.space import Tables, with_settings
from lmworks.jobs.sweeping.study import DONE, SharedStudy
from lmworks.jobs.tasks.task import task_of
from lmworks.jobs.train import PreparedText, fit, open_prepared, prepare
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.language_model import LN_2
from lmworks.text.document import Document
from lmworks.text.splits import Split, data_hash
from lmworks.tokens.shards import Shards
from lmworks.training.loop import DivergedError

if TYPE_CHECKING:
    import optuna

Curve = Sequence[tuple[float, float]]
"""Share of a run that was done, and the bits per byte of the held-out text then."""


BYTES_A_TOKEN = 4


class Hopeless(Exception):
    """A trial that is worse than half of those before it."""


class PackedTexts:
    """The packed text for each tokenizer that trials ask for, made once for all workers of a folder."""

    def __init__(self, parts: Split, folder: Path, most: int) -> None:
        """About `most` tokens are held out: `most` x BYTES_A_TOKEN bytes, the same text for every tokenizer."""
        self.parts = replace(parts, held_out=_beginning(parts.held_out, BYTES_A_TOKEN * most))
        self.folder = folder
        self.hash = data_hash([*self.parts.train, *self.parts.held_out])
        self._open: dict[str, PreparedText] = {}

    def of(self, recipe: TrainRecipe) -> PreparedText:
        """The text of a recipe, packed now or before."""
        said = recipe.model_dump(mode="json")
        random = recipe.embedding.source == "random"
        vectors = None if random else {**said["embedding"], "frozen": None}  # word vectors lie beside the text
        deciding = json.dumps([self.hash, said["tokenizer"], vectors], sort_keys=True)
        key = hashlib.sha256(deciding.encode()).hexdigest()[:16]
        if key not in self._open:
            self._open[key] = self._prepared(recipe, self.folder / key)
        return self._open[key]

    def _prepared(self, recipe: TrainRecipe, place: Path) -> PreparedText:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_suffix(".lock")):
            restore_directory(place)
            if not place.exists():
                with directory_written_whole(place) as temporary:
                    prepare(recipe, self.parts, temporary)
        return open_prepared(recipe, place)


def _beginning(documents: Sequence[Document], size: int) -> list[Document]:
    """The first documents, up to `size` bytes; the last one is cut there."""
    kept: list[Document] = []
    for document in documents:
        if size <= 0:
            break
        text = document.text.encode()
        cut = document.messages is None and len(text) > size
        kept.append(Document(text[:size].decode(errors="ignore"), document.source) if cut else document)
        size -= len(text)
    return kept


def bits_per_byte(text: PreparedText, loss: float) -> float:
    """A loss in nats per token as bits per byte of the held-out text: comparable whatever the tokenizer."""
    assert isinstance(text.held_out, Shards)
    return loss * text.held_out.tokens / text.held_out.info.bytes / LN_2


def run_trial(
    study: SharedStudy, trial: optuna.Trial, tables: Tables, texts: PackedTexts, folder: Path, compare_with: int | None
) -> None:
    """Train a claimed trial and tell the study what came of it; its log is kept in `folder`.

    It is pruned where it is worse than the median of at least `compare_with` complete trials at the same share of their
    run; None never prunes. Raises Stopped, and leaves the trial to be run again.
    """
    from optuna.exceptions import UpdateFinishedTrialError

    name = f"{trial.number:04d}"
    run = folder / name
    try:
        try:
            study.complete(trial, _value(study, trial, tables, texts, run, compare_with))
        except Hopeless:
            study.prune(trial)
        except DivergedError as error:
            study.prune(trial, diverged=str(error).partition("; the parameters of step")[0])
        except UpdateFinishedTrialError:
            pass  # the connection to the database was lost, and another worker has it by now
        except Stopped:
            raise
        except (LmworksError, MemoryError, RuntimeError) as error:
            if not (isinstance(error, LmworksError) or is_out_of_memory(error)):
                raise
            study.fail(trial, str(error).splitlines()[0])
        if (run / "log.jsonl").exists():
            (run / "log.jsonl").replace(folder / f"{name}.jsonl")
    finally:
        shutil.rmtree(run, ignore_errors=True)


def _value(
    study: SharedStudy, trial: optuna.Trial, tables: Tables, texts: PackedTexts, run: Path, compare_with: int | None
) -> float:
    settings: dict[str, Any] = {**trial.params, "training.checkpoint_every": 10**9}  # a trial is not resumed
    settings["validation.tokens"] = (
        10**12
    )  # all of the text, which is cut already: tokens are not those of another trial
    recipe = TrainRecipe(**with_settings(tables, settings))
    if not task_of(recipe).bits_per_byte:
        raise ConfigError(
            f"a sweep compares bits per byte, which objective.kind = {recipe.objective.kind!r} does not have; train "
            "such recipes one by one"
        )
    text = texts.of(recipe)
    curve: list[tuple[float, float]] = []

    def report(done: float, loss: float) -> None:
        curve.append((done, bits_per_byte(text, loss)))
        trial.report(curve[-1][1], round(DONE * done))
        if compare_with is None or not recipe.training.warmup < done < 1:  # while the rate rises nothing is decided
            return
        others = [one.curve for one in study.records() if one.state == "complete"]
        if len(others) >= compare_with and is_hopeless(curve, others):
            raise Hopeless

    return bits_per_byte(text, fit(recipe, text, run, report=report).validation_loss)


def is_hopeless(curve: Curve, others: Sequence[Curve]) -> bool:
    """Is the best of a run so far worse than what half of the others had at the same share of theirs?

    The median stopping rule (Golovin et al. 2017, Vizier, section 3.2.2), with shares of the run in place of steps, so
    that runs of different length, or by the clock, can be compared.
    """
    done = curve[-1][0]
    return min(value for _, value in curve) > median(_at(other, done) for other in others)


def _at(curve: Curve, done: float) -> float:
    """A curve's value between two of its points, evenly; before the first and after the last, theirs."""
    import numpy as np

    return float(np.interp(done, [at for at, _ in curve], [value for _, value in curve]))
