"""Run tasks on a model.

for one in evaluate("smollm2", tasks=["piqa"], limit=200): print(one.name, one)
measurements, items = evaluate(model, tasks=["arc-easy", "my-questions.jsonl"], shots=5, items=True)
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, DataError, Stopped
from lmworks.basics.files import write_json
from lmworks.encoding.pseudo_likelihood import pseudo_logprobs
from lmworks.evaluation.bias.association import strengths, vectors_of
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.tasks.calling import calls_scored
from lmworks.evaluation.tasks.declaration import BETWEEN, Association, Calling, Choices, Item, Question, Scoring, Task
from lmworks.evaluation.tasks.find import find
from lmworks.evaluation.tasks.measured import measurements
from lmworks.evaluation.tasks.scores import ItemScores, of_answer, of_choices, shared
from lmworks.evaluation.tasks.store import Store
from lmworks.generation.continuations import Continuation, Reading
from lmworks.generation.engine import Engine
from lmworks.generation.handle import RequestHandle
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.models.relatives.vectors import Vectors
from lmworks.tokens.continuation import encode_pairs

Measured = LanguageModel | Vectors
"""What tasks are run on: a model, or word vectors, which only tests of associations can be asked."""
WRITTEN_AT_ONCE = 16
PROBED = 32
"""Tokens by which a model is known again."""


@dataclass(frozen=True)
class Asked:
    """A task's items as they are asked: what stands before each, and which are measured."""

    task: Task
    shots: int
    examples: str
    """Solved items, which are not measured."""
    items: Sequence[Item]
    every: Sequence[Item]
    """All items of the task."""
    pmi: bool = False

    @classmethod
    def of(cls, task: Task, shots: int = 0, limit: int | None = None, pmi: bool = False) -> Asked:
        """The first `shots` items as examples, and the `limit` items after them. ConfigError where none is left."""
        for name, value, least in (("shots", shots, 0), ("limit", limit, 1)):
            if value is not None and value < least:
                raise ConfigError(f"{name} is {value}; give {least} or more")
        if shots and not task.examples:
            raise ConfigError(f"{task.name} compares whole sentences, and takes no examples; leave out the shots")
        every = task.items()
        if shots >= len(every):
            raise ConfigError(
                f"{task.name} has {len(every):,} items; {shots} of them as examples leave none to measure"
            )
        examples = "".join(one.shown + BETWEEN for one in every[:shots])
        chosen = every[shots:] if limit is None else every[shots : shots + limit]
        # Where the context holds the choice, no domain tells anything of what follows.
        pmi = pmi and "characters" in task.scored and isinstance(chosen[0], Choices)
        return cls(task, shots, examples, chosen, every, pmi)

    @property
    def what(self) -> str:
        """The task and its prompts, in words."""
        return self.task.name + (f", {self.shots} shots" if self.shots else "")

    @property
    def scored(self) -> tuple[Scoring, ...]:
        """How choices are compared."""
        return (*self.task.scored, "pmi") if self.pmi else self.task.scored

    @property
    def digest(self) -> str:
        """SHA-256 of everything that an item's scores depend on but the model and the item."""
        return hashlib.sha256(
            repr((self.task.name, self.examples, self.scored, self.task.longest)).encode()
        ).hexdigest()


@overload
def evaluate(
    model: Measured | str | os.PathLike[str],
    tasks: str | Sequence[str | Task],
    *,
    shots: int = ...,
    limit: int | None = ...,
    pmi: bool = ...,
    items: Literal[False] = ...,
    out: str | os.PathLike[str] | None = ...,
) -> list[Measurement]: ...
@overload
def evaluate(
    model: Measured | str | os.PathLike[str],
    tasks: str | Sequence[str | Task],
    *,
    shots: int = ...,
    limit: int | None = ...,
    pmi: bool = ...,
    items: Literal[True],
    out: str | os.PathLike[str] | None = ...,
) -> tuple[list[Measurement], dict[str, list[ItemScores]]]: ...
def evaluate(
    model: Measured | str | os.PathLike[str],
    tasks: str | Sequence[str | Task],
    *,
    shots: int = 0,
    limit: int | None = None,
    pmi: bool = False,
    items: bool = False,
    out: str | os.PathLike[str] | None = None,
) -> list[Measurement] | tuple[list[Measurement], dict[str, list[ItemScores]]]:
    """How many items of each task the model has right, by each way to compare choices; with `items` also each item's
    scores, by task.

    The first `shots` items of a task stand before the others as examples; `limit` of these are measured. `pmi` also
    compares choices by what the question adds to their probability. With a folder `out` each item's scores are kept
    there as they are measured, and a run that was stopped goes on. ConfigError for what is no task, DataError for an
    item that cannot be scored.
    """
    asked = asked_of([tasks] if isinstance(tasks, str) else tasks, shots, limit, pmi)
    loaded = model if isinstance(model, Measured) else load(model)
    found = {one.what: run(loaded, one, out) for one in asked}
    figures = [figure for one in asked for figure in measurements(one.task, found[one.what], one.what)]
    if out is not None:
        keep(out, figures)
    return (figures, found) if items else figures


def asked_of(tasks: Sequence[str | Task], shots: int, limit: int | None, pmi: bool) -> list[Asked]:
    """Tasks as they are asked. ConfigError for none, and for two of one name."""
    asked = [Asked.of(find(one) if isinstance(one, str) else one, shots, limit, pmi) for one in dict.fromkeys(tasks)]
    twice = [name for name, count in Counter(one.what for one in asked).items() if count > 1]
    if twice:
        raise ConfigError(f"two tasks are called {twice[0]}; rename a file, or measure them one after the other")
    if not asked:
        raise ConfigError("there is no task; name one")
    return asked


def keep(out: str | os.PathLike[str], figures: Sequence[Measurement]) -> Path:
    """Write figures into a folder's measurements.json, beside those of other names; its path."""
    path = Path(out) / "measurements.json"
    try:
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        kept = {one["name"]: one for one in before}
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{path} holds no measurements; choose another folder, or remove the file") from None
    write_json(path, list((kept | {one.name: one.to_json() for one in figures}).values()))
    return path


def run(
    model: Measured, asked: Asked, out: str | os.PathLike[str] | None = None, reading: Reading | None = None
) -> list[ItemScores]:
    """The scores of each item, in order; those that `out` holds already are not measured again."""
    store = None if out is None else Store(_file(Path(out), asked), asked.digest, told_by(model))
    kept = {} if store is None else dict(store.kept)
    left = [one for one in asked.items if one.name not in kept]
    if len(left) < len(asked.items):
        progress.note(f"{asked.what}: {len(asked.items) - len(left):,} items were measured before")
    try:
        with progress.task(f"measuring {asked.what}", len(left), "items") as advance:
            for scores in _scored(model, asked, left, Reading() if reading is None else reading):
                kept[scores.item] = scores
                if store is not None:
                    store.append(scores)
                advance(1)
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


def _file(out: Path, asked: Asked) -> Path:
    name = "".join(one if one.isalnum() or one in "-_." else "_" for one in asked.task.name)
    return out / f"{name}-{asked.shots}-shots.jsonl"


def told_by(model: Measured) -> list[float]:
    """What tells a model from others, however its weights are kept: log-probabilities of some tokens, or what it makes
    a vector of."""
    if isinstance(model, Vectors):
        return [round(float(one), 4) for one in model.matrix[-1, :PROBED]]
    ids = [7919 * (at + 1) % model.config.vocab_size for at in range(min(PROBED, model.config.context))]
    if model.config.arrangement == "encoder":
        return [round(one, 4) for one in model.embed([ids])[0, :PROBED].tolist()]
    [(_, found)] = model.continuations([(ids[:1], ids[1:])])
    return [round(one, 4) for one in found.logprobs]


def _scored(model: Measured, asked: Asked, left: Sequence[Item], reading: Reading) -> Iterator[ItemScores]:
    tests = [one for one in left if isinstance(one, Association)]
    vectors = vectors_of(model, [text for one in tests for text in one.texts]) if tests else {}
    for one in tests:
        yield ItemScores(one.name, one.group, strengths(vectors, one))
    choices = [one for one in left if isinstance(one, Choices)]
    questions = [one for one in left if isinstance(one, Question)]
    if isinstance(model, Vectors):
        if choices or questions:
            raise ConfigError(f"word vectors answer no questions, and {asked.task.name} asks some; take weat")
        return
    if choices and model.config.arrangement == "encoder":
        yield from _masked(model, asked, choices)
        return
    yield from _choices(model, asked, choices, reading)
    yield from _answers(model, asked, questions)
    yield from calls_scored(model, [one for one in left if isinstance(one, Calling)], asked.task.longest)


def _masked(model: LanguageModel, asked: Asked, left: Sequence[Choices]) -> Iterator[ItemScores]:
    """Pairs of sentences by a masked model: each token that both share is masked, one at a time (Nangia et al. 2020,
    https://arxiv.org/abs/2010.00133, section 3)."""
    if "shared" not in asked.task.scored:
        model.must_write()
    for item in left:
        sentences = [model.tokenizer.encode(text, special=False) for text in item.choices]
        places = shared(*sentences)
        found = [
            sum(pseudo_logprobs(model.runner, model.tokenizer, ids, own))
            for ids, own in zip(sentences, places, strict=True)
        ]
        yield ItemScores(item.name, item.group, {"shared": found}, item.right)


def _choices(model: LanguageModel, asked: Asked, left: Sequence[Choices], reading: Reading) -> Iterator[ItemScores]:
    texts: list[tuple[str, str]] = []
    owners: list[int] = []
    for number, item in enumerate(left):
        texts += item.after(asked.examples)
        if asked.pmi:
            texts += ((asked.task.domain, continuation) for _, continuation in item.asked)
        owners += [number] * (len(texts) - len(owners))
    pairs = encode_pairs(model.tokenizer, texts)
    for (_, continuation), owner in zip(pairs, owners, strict=True):
        if len(continuation) > model.config.context:
            raise DataError(
                f"{left[owner].name}: a choice has {len(continuation):,} tokens and the model reads "
                f"{model.config.context:,}; leave the item out, or take a model that reads more"
            )
    first = {owner: at for at, owner in reversed(list(enumerate(owners)))}
    found: dict[int, dict[int, Continuation]] = defaultdict(dict)
    for number, one in model.continuations(pairs, reading):
        owner = owners[number]
        found[owner][number - first[owner]] = one
        item = left[owner]
        if len(found[owner]) == len(item.asked) * (1 + asked.pmi):
            done = found.pop(owner)
            ordered = [done[at] for at in range(len(done))]
            at = first[owner]
            tokens = [continuation for _, continuation in pairs[at : at + len(item.asked)]]
            yield of_choices(item, asked.scored, ordered[: len(item.asked)], ordered[len(item.asked) :], tokens)
    if reading.cut:
        progress.note(
            f"{asked.what}: {reading.cut:,} prompts are longer than the {model.config.context:,} tokens that the model "
            "reads, and lost their beginning; fewer shots keep it"
        )


def _answers(model: LanguageModel, asked: Asked, left: Sequence[Question]) -> Iterator[ItemScores]:
    """Written side by side; on the compiled path the engine reads shared beginnings once."""
    if not left:
        return
    with Engine(model, seats=WRITTEN_AT_ONCE, queue=len(left)) as engine:
        for item, handle in [(one, _begun(engine, asked, one)) for one in left]:
            yield of_answer(item, handle.answer().text.strip())


def _begun(engine: Engine, asked: Asked, item: Question) -> RequestHandle:
    try:
        return engine.submit(asked.examples + item.prompt, max_new_tokens=asked.task.longest, stop=["\n"])
    except ConfigError as error:  # the prompt is longer than the window
        raise DataError(f"{item.name}: {error}") from None
