"""Run tasks on a model.

for one in evaluate("smollm2", tasks=["piqa"], limit=200): print(one.name, one)
measurements, items = evaluate(model, tasks=["arc-easy", "my-questions.jsonl"], shots=5, items=True)
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, overload

from lmworks.basics import progress
from lmworks.basics.arguments import checked
from lmworks.basics.declared import declared
from lmworks.basics.errors import ConfigError, DataError, Stopped
from lmworks.basics.files import must_be_writable, write_json
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.tasks.asked import AskedTask
from lmworks.evaluation.tasks.declaration import Item, Task
from lmworks.evaluation.tasks.find import find
from lmworks.evaluation.tasks.kind import Kind, Measured
from lmworks.evaluation.tasks.measured import compared, differences, measurements
from lmworks.evaluation.tasks.scores import ItemScores
from lmworks.evaluation.tasks.store import Store
from lmworks.generation.continuations import Reading
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.models.relatives.vectors import Vectors
from lmworks.tokens.tokenizer import Tokenizer

MEASUREMENTS = "measurements.json"
"""What figures are kept in, beside the items."""
PROBED = 32
"""Tokens by which a model is known again."""


@overload
def evaluate(
    model: Measured | str | os.PathLike[str],
    tasks: str | Sequence[str | Task],
    *,
    shots: int = ...,
    limit: int | None = ...,
    pmi: bool = ...,
    chat: bool = ...,
    run_programs: bool = ...,
    items: Literal[False] = ...,
    out: str | os.PathLike[str] | None = ...,
    beside: Measured | str | os.PathLike[str] | None = ...,
) -> list[Measurement]: ...
@overload
def evaluate(
    model: Measured | str | os.PathLike[str],
    tasks: str | Sequence[str | Task],
    *,
    shots: int = ...,
    limit: int | None = ...,
    pmi: bool = ...,
    chat: bool = ...,
    run_programs: bool = ...,
    items: Literal[True],
    out: str | os.PathLike[str] | None = ...,
    beside: Measured | str | os.PathLike[str] | None = ...,
) -> tuple[list[Measurement], dict[str, list[ItemScores]]]: ...
@checked
def evaluate(
    model: Measured | str | os.PathLike[str],
    tasks: str | Sequence[str | Task],
    *,
    shots: int = 0,
    limit: int | None = None,
    pmi: bool = False,
    chat: bool = False,
    run_programs: bool = False,
    items: bool = False,
    out: str | os.PathLike[str] | None = None,
    beside: Measured | str | os.PathLike[str] | None = None,
) -> list[Measurement] | tuple[list[Measurement], dict[str, list[ItemScores]]]:
    """How many items of each task the model has right, by each way to compare choices; with `items` also each item's
    scores, by task.

    The first `shots` items of a task stand before the others as examples; `limit` of these are measured. `pmi` also
    compares choices by what the question adds to their probability. With `chat` examples and question are the user's
    turn of the model's chat template. With `run_programs` programs that the model writes may be run, which tasks of
    programs need: in a process with little time and memory, but with your rights. With a folder `out` each item's
    scores are kept there as they are measured, and a run that was stopped goes on. `beside` is another model, or the
    same in another form: after the figures stand the differences, "OTHER minus MODEL: ...", those of shares as
    `TaskDifference`; of the same model in the same form there is none. ConfigError for what is no task, DataError for
    an item that cannot be scored.
    """
    must_be_a_folder(out)
    asked = asked_of([tasks] if isinstance(tasks, str) else tasks, shots, limit, pmi, chat, run_programs)
    loaded, *others = (
        one if isinstance(one, LanguageModel | Vectors) else load(one) for one in (model, beside) if one is not None
    )
    for other in others:
        if chat and isinstance(other, LanguageModel):
            must_chat(other.tokenizer, other.reference or "the model beside it")
    found = {one.what: run(loaded, one, out) for one in asked}
    figures = [figure for one in asked for figure in measurements(one.task, found[one.what], one.what)]
    apart: list[Measurement] = []
    for other in others:
        if told_by(other) != told_by(loaded):
            theirs = {one.what: run(other, one, None if out is None else Path(out) / "beside") for one in asked}
            named = f"{_name(other, 'the other')} minus {_name(loaded, 'the model')}"
            apart = [
                one.model_copy(update={"name": f"{named}: {one.name}"}) for one in differences_of(asked, found, theirs)
            ]
    if out is not None:
        keep(out, figures, [one.to_json() for one in apart])
    return ([*figures, *apart], found) if items else [*figures, *apart]


def _name(model: Measured, otherwise: str) -> str:
    return (model.reference if isinstance(model, LanguageModel) else None) or otherwise


def differences_of(
    asked: Sequence[AskedTask], first: Mapping[str, Sequence[ItemScores]], second: Mapping[str, Sequence[ItemScores]]
) -> list[Measurement]:
    """What a second model's figures are more than a first's, of the same items: of each task the share that is right,
    then the further figures."""
    shares = compared({one.what: one.task for one in asked if one.task.share}, first, second)
    further = (differences(one.task, one.what, first[one.what], second[one.what]) for one in asked)
    return [*shares, *(one for every in further for one in every)]


def asked_of(
    tasks: Sequence[str | Task],
    shots: int,
    limit: int | None,
    pmi: bool,
    chat: bool = False,
    run_programs: bool = False,
) -> list[AskedTask]:
    """Tasks as they are asked. ConfigError for none, and for two of one name."""
    asked = [
        AskedTask.of(find(one) if isinstance(one, str) else one, shots, limit, pmi, chat, run_programs)
        for one in dict.fromkeys(tasks)
    ]
    twice = [name for name, count in Counter(one.what for one in asked).items() if count > 1]
    if twice:
        raise ConfigError(f"two tasks are called {twice[0]}; rename a file, or measure them one after the other")
    if not asked:
        raise ConfigError("there is no task; name one")
    return asked


def must_be_a_folder(out: str | os.PathLike[str] | None) -> None:
    """ConfigError for a file in the place of the folder that is to keep the items, LmworksError where nothing can be
    written."""
    if out is None:
        return
    if Path(out).is_file():
        raise ConfigError(f"{out} is a file, and the items of each task have a file of their own; give a folder")
    must_be_writable(Path(out) / MEASUREMENTS)


def must_chat(tokenizer: Tokenizer, name: str) -> None:
    """ConfigError for a model that has no chat template of its own."""
    if tokenizer.chat.is_plain:
        raise ConfigError(f"{name} has no chat template; leave out --chat (chat=True)")


def keep(
    out: str | os.PathLike[str], figures: Sequence[Measurement], differences: Sequence[Mapping[str, Any]] = ()
) -> Path:
    """Write figures, and differences of two models as JSON has them, into a folder's measurements.json, beside those of
    other names; its path."""
    path = Path(out) / MEASUREMENTS
    try:
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        kept = {one["name"]: one for one in before}
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{path} holds no measurements; choose another folder, or remove the file") from None
    told = [*(one.to_json() for one in figures), *differences]
    write_json(path, list((kept | {one["name"]: one for one in told}).values()))
    return path


def run(
    model: Measured,
    asked: AskedTask,
    out: str | os.PathLike[str] | None = None,
    reading: Reading | None = None,
    told: bool = True,
) -> list[ItemScores]:
    """The scores of each item, in order; those that `out` holds already are not measured again. Progress shows unless
    that is somebody else's. ConfigError for a chat with a model that has no template."""
    if asked.chat and isinstance(model, LanguageModel):
        must_chat(model.tokenizer, model.reference or "the model")
    store = None if out is None else Store(_file(Path(out), asked), asked, told_by(model), _judged)
    kept = {} if store is None else dict(store.kept)
    left = [one for one in asked.items if one.name not in kept]
    if told and asked.task.left_out:
        progress.note(f"{asked.what}: {asked.task.left_out}")
    if told and store is not None and (changed := sum(one.name in store.changed for one in left)):
        items = "1 item is" if changed == 1 else f"{changed:,} items are"
        progress.note(f"{asked.what}: {items} asked otherwise than in {store.path}, and measured again")
    if told and 0 < len(left) < len(asked.items):
        before_it = len(asked.items) - len(left)
        items = "1 item was" if before_it == 1 else f"{before_it:,} items were"
        progress.note(f"{asked.what}: {items} measured before")
    try:
        quiet = nullcontext() if told else progress.hidden()
        with quiet, progress.task(f"measuring {asked.what}", len(left), "items") as advance:
            for scores in _scored(model, asked, left, Reading() if reading is None else reading):
                kept[scores.item] = scores
                if store is not None:
                    store.append(scores)
                advance(1)
        if store is not None:
            store.finish()
    except KeyboardInterrupt:
        if store is None:
            raise
        raise Stopped(
            f"stopped; {len(store.kept):,} items of {asked.what} are kept in {store.path}: the same command goes on"
        ) from None
    finally:
        if store is not None:
            store.close()
    return [kept[one.name] for one in asked.items]


def _file(out: Path, asked: AskedTask) -> Path:
    name = "".join(one if one.isalnum() or one in "-_." else "_" for one in asked.task.name)
    return out / f"{name}-{asked.shots}-shots{'-chat' * asked.chat}.jsonl"


def told_by(model: Measured) -> list[float]:
    """What tells a model from others, however its weights are kept: log-probabilities of some tokens, or what it makes
    a vector of."""
    if isinstance(model, Vectors):
        return [round(float(one), 4) for one in model.matrix[-1, :PROBED]]
    ids = [7919 * (at + 1) % model.config.vocab_size for at in range(min(PROBED, model.longest))]
    if model.config.arrangement == "encoder":
        return [round(one, 4) for one in model.embed([ids])[0, :PROBED].tolist()]
    [(_, found)] = model.continuations([(ids[:1], ids[1:])])
    return [round(one, 4) for one in found.logprobs]


def _kinds() -> list[Kind]:
    return list(declared("lmworks.evaluation.tasks.kinds", Kind).values())


def _judged(item: Item, found: ItemScores) -> ItemScores:
    [kind] = [one for one in _kinds() if isinstance(item, one.item)]
    return kind.judged(item, found)


def _scored(model: Measured, asked: AskedTask, left: Sequence[Item], reading: Reading) -> Iterator[ItemScores]:
    """The scores of items, one kind after the other. ConfigError for word vectors that are asked a question."""
    for kind in _kinds():
        own = [one for one in left if isinstance(one, kind.item)]
        if own and isinstance(model, Vectors) and not kind.of_words:
            raise ConfigError(f"word vectors answer no questions, and {asked.task.name} asks some; take weat")
        if own:
            yield from kind.scored(model, asked, own, reading)
