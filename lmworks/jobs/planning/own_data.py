"""What a tune of a text of one's own learns: read, split and packed into rows as the run itself would, before it.

    found = read_own(recipe)
    found.lines, found.steps, found.learnt

The longest of what a plan does beside timing: a text is made into tokens once.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmworks.basics.amounts import counted
from lmworks.jobs.build_text import refusal_by, with_counterparts
from lmworks.jobs.learning import Learning
from lmworks.jobs.recipe import Recipe
from lmworks.jobs.runs import say_skipped
from lmworks.loading import load_tokenizer, must_learn_text
from lmworks.text.corpus.folder import read_split
from lmworks.text.document import Document
from lmworks.tokens.batch import TILE, examples_of
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.training.loop import steps_of


@dataclass(frozen=True)
class OnlyTokenizer:
    """Of a model whose weights are not read."""

    tokenizer: Tokenizer


@dataclass(frozen=True)
class OwnData:
    """A text, counted."""

    name: str
    amounts: str
    """How large what is trained on and what is held out are, in words."""
    said: tuple[str, ...]
    """What the run will say of its rows."""
    examples: int
    """Documents and conversations to train on."""
    held_out: int
    """Of those that measure."""
    rows: int
    """In a pass over the text, those of old text too that a retention adds."""
    tokens: int
    """Read in a pass."""
    conversation: int
    """Tokens of the longest conversation to train on; 0 where there is none."""
    learnt: int
    """Of them predicted: of a conversation, what the assistant says."""
    longest: int
    """Tokens of the fullest row."""
    width: float
    """Places of a batch's rows on average, padding counted."""
    documents: int
    """Of the row that holds the most."""
    steps: int | None
    """None where the clock ends the run."""
    steps_a_pass: float
    """In which every row is read once."""
    scored: int
    """Tokens that are scored to say what was gained and lost: held-out and general text before and after, and the
    held-out text by base and result side by side."""

    @property
    def passes(self) -> float | None:
        """How often the text is read."""
        return None if self.steps is None else self.steps / self.steps_a_pass

    @property
    def tokens_a_step(self) -> float:
        """Of them, read and padding not counted."""
        return self.tokens / self.steps_a_pass

    @property
    def amount(self) -> str:
        """What is read and learnt, in words."""
        often = ""
        if (passes := self.passes) is not None:
            often = f", {passes:.3g} {'pass' if round(passes, 2) == 1 else 'passes'} over the text"
        return (
            f"{counted(self.tokens, 'token')} in a pass, {self.learnt:,} of them learnt; "
            f"about {self.tokens_a_step:,.0f} a step{often}"
        )


def read_own(recipe: Recipe, say: Callable[[str], None] = lambda line: None) -> OwnData:
    """What the recipe's text gives the recipe's model to learn; says what of it is left out.

    DataError for no such text, or nothing in it to learn; ConfigError for a model that learns no text.
    """
    must_learn_text(recipe.model.reference)
    refusal = refusal_by(recipe.model.reference)
    reading, parts = read_split(recipe.data.text, recipe.data.held_out, refusal=refusal)
    say_skipped(reading, say)
    parts = with_counterparts(parts, recipe.data.counterfactual)
    model = OnlyTokenizer(load_tokenizer(recipe.model.reference))
    said: list[str] = []
    rows = Learning().rows(recipe, model, parts, said.append)
    chosen, training = recipe.chosen, recipe.training
    every = len(rows) if chosen.retention is None else chosen.retention.rows(len(rows), chosen.kept_by)
    old = (every - len(rows)) * training.context  # rows of old text are full, and all of them is learnt
    sizes = [sum(len(piece.tokens) for piece in row) for row in rows]
    learnt = sum(sum(piece.supervised[1:]) for row in rows for piece in row)
    return OwnData(
        name=reading.name,
        amounts=parts.amounts,
        said=tuple(said),
        examples=len(parts.train),
        held_out=len(parts.held_out),
        rows=every,
        tokens=sum(sizes) + old,
        conversation=max(
            (
                len(example.tokens)
                for one in parts.train
                if one.messages is not None
                for example in examples_of(one, model.tokenizer)
            ),
            default=0,
        ),
        learnt=learnt + old,
        longest=training.context if old else max(sizes),
        width=_mean_width(sizes, training.rows, training.seed),
        documents=max(len(row) for row in rows),
        steps=steps_of(training, every),
        steps_a_pass=math.ceil(every / training.rows) / training.accumulate,
        scored=2 * recipe.evaluation.tokens + 4 * _up_to(recipe.evaluation.tokens, parts.held_out, model.tokenizer),
    )


def _mean_width(sizes: Sequence[int], rows: int, seed: int) -> float:
    """Of the batches of a pass: each as wide as the fullest of its rows, in tiles (tokens/batch.py)."""
    order = list(sizes)
    random.Random(seed).shuffle(order)
    widths = [-(-max(order[start : start + rows]) // TILE) * TILE for start in range(0, len(order), rows)]
    return sum(widths) / len(widths)


def _up_to(most: int, documents: Sequence[Document], tokenizer: Tokenizer) -> int:
    """Tokens of the documents, or as many as are scored at most."""
    count = 0
    for document in documents:
        count += sum(len(one.tokens) for one in examples_of(document, tokenizer))
        if count >= most:
            return most
    return count
