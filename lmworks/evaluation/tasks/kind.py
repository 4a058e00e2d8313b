"""What a kind of item is: how what a model makes of it is scored. A new kind is a new file in `kinds/`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lmworks.evaluation.tasks.asked import AskedTask
from lmworks.evaluation.tasks.scores import ItemScores
from lmworks.generation.continuations import Reading
from lmworks.language_model import LanguageModel
from lmworks.models.relatives.vectors import Vectors

Measured = LanguageModel | Vectors
"""What tasks are run on: a model, or word vectors, which only few kinds of item can be asked."""


@dataclass(frozen=True)
class Kind:
    """A kind of item."""

    name: str
    item: type[Any]
    """What its items are instances of."""
    scored: Callable[[Any, AskedTask, Sequence[Any], Reading], Iterator[ItemScores]]
    """(model, what is asked, items of this kind, what was read) -> their scores, as they are done."""
    judged: Callable[[Any, ItemScores], ItemScores]
    """(an item, what was measured of it) -> the same with the verdict that the item's present key gives."""
    of_words: bool = False
    """Whether word vectors can be asked them."""
