"""The text of a build: read and split, searched for leaks, packed into rows; and the general text beside it.

Each step says what it found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import chain
from typing import Any, Protocol

from lmworks.basics.amounts import counted
from lmworks.basics.errors import DataError
from lmworks.evaluation.leaks import leaks, shared_words
from lmworks.evaluation.privacy.canaries import must_be_kept, of_recipe, plant
from lmworks.evaluation.privacy.canary_config import CanaryConfig
from lmworks.evaluation.tasks.own import own_task
from lmworks.jobs.comparing import GENERAL
from lmworks.jobs.recipe import DataSettings
from lmworks.jobs.runs import say_skipped
from lmworks.jobs.verdicts import few_steps_remark, leak_remark
from lmworks.loading import load_tokenizer
from lmworks.text import registry
from lmworks.text.corpus.folder import corpus_of, read_split
from lmworks.text.counterfactual import augmented, swaps_named
from lmworks.text.document import Document
from lmworks.text.sources import Refusal, read
from lmworks.text.splits import Split, data_hash
from lmworks.tokens.batch import Example, Row, examples_of, pack
from lmworks.tokens.chat.conversation import refusal
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.training.loop import steps_of
from lmworks.training.settings import TrainingConfig

Say = Callable[[str], None]


class Reads(Protocol):
    """A recipe that names a text and how it is trained on."""

    @property
    def data(self) -> DataSettings:
        """The text."""

    @property
    def training(self) -> TrainingConfig:
        """How rows are made of it."""


class Tokenizes(Protocol):
    """A model, of which the tokenizer alone is needed."""

    @property
    def tokenizer(self) -> Tokenizer:
        """What makes tokens of a text."""


NAMED = 5
"""Held-out documents whose names are printed; lmworks.json holds all of them."""


def read_text(recipe: Reads, model: str, say: Say) -> Split:
    """The text, split, without conversations that the model's template refuses; says what was read, what was not, and
    what is held out."""
    reading, parts = read_split(recipe.data.text, recipe.data.held_out, refusal=refusal_by(model))
    say_skipped(reading, say)
    say_split(reading.name, parts, say)
    more = with_counterparts(parts, recipe.data.counterfactual)
    if more is not parts:
        count = len(more.train) - len(parts.train)
        say(f"counterparts   {count:,} of {len(parts.train):,} training documents have one")
    return more


def refusal_by(model: str) -> Refusal:
    """Why the chat template of a model, by its reference, takes no such conversation; its tokenizer is read for the
    first one."""
    tokenizer = cache(lambda: load_tokenizer(model))
    return lambda document: None if document.messages is None else refusal(tokenizer(), document)


def with_counterparts(parts: Split, counterfactual: str) -> Split:
    """The split with the counterparts of what is trained on, but for those that are a held-out text."""
    swaps = swaps_named(counterfactual)
    if swaps is None:
        return parts
    held_out = {one.hash for one in parts.held_out}
    return replace(parts, train=[one for one in augmented(parts.train, swaps) if one.hash not in held_out])


def say_split(name: str, parts: Split, say: Say) -> None:
    """Tell how large the two parts are, and what is held out."""
    say(f"text           {name}: {parts.amounts}")
    sources = [one.source for one in parts.held_out]
    more = f" and {len(sources) - NAMED:,} more" if len(sources) > NAMED else ""
    say(f"held out       {', '.join(sources[:NAMED])}{more}")


def leak_of(recipe: Reads, parts: Split, say: Say) -> str:
    """Say how much held-out text stands in the training text; returns a remark where that makes figures mislead."""
    shared = shared_words(parts.train, parts.held_out)
    duplicates = f"; {counted(parts.duplicates, 'duplicate')} left out" if parts.duplicates else ""
    say(f"overlap        {shared}{duplicates}")
    is_corpus = corpus_of(recipe.data.text) is not None
    return leak_remark(shared, leaks(parts.train, parts.held_out), recipe.data.text, is_corpus)


def rows_of(recipe: Reads, model: Tokenizes, parts: Split, say: Say) -> list[Row]:
    """The training text as rows of tokens; says which conversations had to be cut, and which call tools that they do
    not describe."""
    settings = recipe.training
    every = [examples_of(document, model.tokenizer) for document in parts.train]
    rows = pack(list(chain.from_iterable(every)), settings.context, seed=settings.seed)
    say(f"to train       {counted(len(rows), 'row')} of {settings.context} tokens, {length_of(settings, len(rows))}")
    say_how(every, parts.train, settings.context, say)
    say_undescribed(parts.train, say)
    return rows


def say_how(every: Sequence[Sequence[Example]], documents: Sequence[Document], context: int, say: Say) -> None:
    """Say which conversations are learnt answer by answer, and which are longer than `context` tokens; `every` are the
    documents in tokens."""
    spoken = [examples for examples, of in zip(every, documents, strict=True) if of.messages is not None]
    if several := [examples for examples in spoken if len(examples) > 1]:
        say(
            f"answers        {counted(len(several), 'conversation')} as {sum(map(len, several)):,} examples, each "
            "answer after its own prompt: the chat template writes earlier turns differently once others follow"
        )
    conversations = [max(examples, key=lambda one: len(one.tokens)) for examples in spoken]
    if long := [one for one in conversations if len(one.tokens) > context]:
        longest = max(long, key=lambda one: len(one.tokens))
        size = len(longest.tokens)
        say(
            f"cut            {len(long):,} of {counted(len(conversations), 'conversation')}: longer than "
            f"training.context={context}, so what comes after is learnt without what stands before it; the longest, "
            f"{longest.source}, has {size:,} tokens (--set training.context={size} keeps all whole)"
        )


def say_undescribed(documents: Sequence[Document], say: Say) -> None:
    """Say which conversations call tools that they do not describe."""
    if bare := [one for one in documents if one.calls and not one.tools]:
        say(
            f"tools          {counted(len(bare), 'conversation')} with calls and without `tools` ({bare[0].source} "
            "first): a model that answers is shown what it may call; give each record its `tools`, beside its "
            "`messages`"
        )


def with_canaries(settings: CanaryConfig, model: Tokenizes, parts: Split, say: Say) -> Split:
    """The text with canaries in what is trained on. DataError for one that the tokenizer cannot keep."""
    canaries = of_recipe(settings)
    must_be_kept(model.tokenizer, canaries)
    places = sum(one.repeats for one in canaries)
    say(
        f"canaries       {len(canaries):,} in {places:,} places of the text to train on, the first: "
        f"{canaries[0].sentence()}"
    )
    return replace(parts, train=plant(parts.train, canaries, settings.seed))


def length_of(training: TrainingConfig, rows: int) -> str:
    """How long a run over this many rows is, in words."""
    steps = steps_of(training, rows)
    return counted(steps, "step") if steps is not None else f"{training.max_seconds:g} s"


def say_few_steps(training: TrainingConfig, rows: int, say: Say) -> None:
    """Say before the first step of a run over this many rows that there will be too few to judge it by."""
    if few := few_steps_remark(steps_of(training, rows)):
        say(f"few steps      {few}")


def general_text(recipe: Reads, say: Say) -> dict[str, list[Document]]:
    """The general text; none where the data registry's file cannot be had here. Any other trouble is an error."""
    name = recipe.data.general
    if (found := documents_if_had(name)) is not None:
        return {GENERAL: found}
    say(f"general text   {name} is not on this machine and cannot be fetched; connect once, or set LMWORKS_DATA")
    say("instead        forgetting is measured as the drift from the base, on texts that the base itself writes")
    return {}


def documents_if_had(name: str) -> list[Document] | None:
    """The documents of a text; None where it is one of the data registry and cannot be had here. Any other trouble is
    an error."""
    try:
        return read(name).documents
    except DataError:
        if name not in registry.ENTRIES:
            raise
        return None


def task_of_calls(recipe: Reads, parts: Split) -> str | None:
    """What `lmworks evaluate --task` may be given where the text has conversations that call tools: a file that a
    corpus holds out, if it reads one, else FILE, for one that is yours to give; None for any other text."""
    if not any(one.calls and one.tools for one in (*parts.train, *parts.held_out)):
        return None
    corpus = corpus_of(recipe.data.text)
    for file in [] if corpus is None else sorted(corpus.glob("held_out/**/*.jsonl")):
        with suppress(DataError):  # one that has plain texts, or pairs of answers
            own_task(file)
            return str(file)
    return "FILE"


def data_facts(parts: Split) -> dict[str, Any]:
    """What lmworks.json says of the text."""
    return {
        "train": data_hash(parts.train),
        "held_out": data_hash(parts.held_out),
        "held_out_sources": [document.source for document in parts.held_out],
        "documents": [len(parts.train), len(parts.held_out)],
        "duplicates": parts.duplicates,
    }
