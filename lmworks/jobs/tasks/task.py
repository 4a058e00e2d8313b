"""Task: what an objective brings to a run of `lmworks train` beside its loss: data, rows, figures, a sample.

An objective names its task (`ObjectiveKind.task`), and several share one: any that predicts the tokens of a stream of
text is "writing". Each file of lmworks/jobs/tasks declares one, or a few, as a TaskKind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from lmworks.basics.declared import declared
from lmworks.evaluation.held_out import held_out_losses, mean_loss
from lmworks.evaluation.measurement import Measurement
from lmworks.jobs.runs import say_skipped
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.language_model import LanguageModel
from lmworks.models.network import Network
from lmworks.objectives import L1, L2, LoadBalance, Objective, RouterZLoss
from lmworks.text.corpus.folder import read_split
from lmworks.text.document import Document
from lmworks.text.splits import Split
from lmworks.tokens.rows import Rows
from lmworks.tokens.tokenizer import Tokenizer

Say = Callable[[str], None]


class PackedText(Protocol):
    """A side of the text, written with the run's tokenizer: shards, sentences, pairs."""

    @property
    def tokens(self) -> int:
        """Ids in all of it."""

    def digest(self) -> str:
        """Tells it from any other."""


class Task(ABC):
    """What a kind of objective brings to a run."""

    loss_unit: ClassVar[str] = "nats/token"
    """What the validation loss is in."""
    bits_per_byte: ClassVar[bool] = False
    """That loss can be told in bits per byte of the text, whatever the tokenizer."""

    def __init__(self, recipe: TrainRecipe) -> None:
        self.recipe = recipe

    def read(self, say: Say) -> Split:
        """The recipe's text, split into what is trained on and what is held out."""
        data = self.recipe.data
        reading, parts = read_split(data.text, data.held_out, data.hold_out, data.validation)
        sizes = [sum(len(one.text.encode()) for one in side) / 1e3 for side in (parts.train, parts.held_out)]
        say(
            f"text           {reading.name}: train {len(parts.train):,} documents, {sizes[0]:,.0f} KB, "
            f"held out {len(parts.held_out):,} documents, {sizes[1]:,.0f} KB"
            + (f"; {parts.duplicates:,} exact duplicates left out" if parts.duplicates else "")
        )
        say_skipped(reading, say)
        return parts

    @abstractmethod
    def write(self, documents: Sequence[Document], tokenizer: Tokenizer, place: Path) -> None:
        """One side of the text, packed for this task."""

    @abstractmethod
    def open(self, place: Path, tokenizer: Tokenizer) -> PackedText:
        """What `write` wrote."""

    def name_of(self, place: Path) -> str:
        """What a side of the text is called in what a user reads; where it lies is nothing to them."""
        data = self.recipe.data
        if place.name == "train":
            return f"the training text ({data.text})"
        return f"the held-out text ({data.validation or data.text})"

    @abstractmethod
    def rows(self, packed: Any, tokenizer: Tokenizer) -> Rows:
        """The rows of one side; DataError where there are less than a batch."""

    def held_out_rows(self, packed: Any, tokenizer: Tokenizer) -> Rows:
        """The rows of what is held out; DataError where there are none, however few may do."""
        return self.rows(packed, tokenizer)

    def remarks(self, rows: Rows) -> list[str]:
        """What there is to say of the rows before they are learnt from."""
        return []

    def plain(self, tokenizer: Tokenizer) -> Objective:
        """The objective without what is added to it in training alone."""
        settings = self.recipe.objective
        return settings.part.make(settings.plain(), tokenizer)

    def objective(self, tokenizer: Tokenizer) -> Objective:
        """What is minimised."""
        settings = self.recipe.objective
        objective = settings.part.make(settings, tokenizer)
        if balance := self.recipe.balance(tokenizer.vocab_size):
            objective += LoadBalance(balance)
        if settings.router_z_loss:
            objective += RouterZLoss(settings.router_z_loss)
        if settings.l1:
            objective += L1(settings.l1)
        return objective + L2(settings.l2) if settings.l2 else objective

    def validation_loss(self, network: Network, tokenizer: Tokenizer, held_out: Any) -> float:
        """The loss on what is held out, in `loss_unit`: neither smoothed nor penalised, always of the same items."""
        objective, rows = self.plain(tokenizer), self.held_out_rows(held_out, tokenizer)
        return mean_loss(list(held_out_losses(network, objective, rows, most=self.recipe.validation.tokens)))

    @abstractmethod
    def measure(self, model: LanguageModel, held_out: Any, documents: Sequence[Document]) -> list[Measurement]:
        """The figures of a finished run."""

    def measured_on(self, documents: Sequence[Document]) -> Sequence[Document]:
        """What a finished model is measured on: what is held out, unless the task has a text for it."""
        return documents

    def example(self, documents: Sequence[Document]) -> str:
        """A held-out text that `sample` shows something with; none where it needs none."""
        return ""

    @property
    def prompt(self) -> str:
        """The beginning that the sample continues."""
        return ""

    @abstractmethod
    def sample(self, model: LanguageModel, example: str) -> Iterator[str]:
        """What a result can do, as text, in pieces as they come."""

    @abstractmethod
    def next_steps(self, folder: Path) -> str:
        """What to do with the result."""


@dataclass(frozen=True)
class TaskKind:
    """A task that an objective can name."""

    name: str
    """`ObjectiveKind.task`."""
    make: type[Task]


def task_of(recipe: TrainRecipe) -> Task:
    """The task of a recipe's objective."""
    return declared("lmworks.jobs.tasks", TaskKind)[recipe.objective.part.task].make(recipe)
