"""The relation between two spans of a sentence, read by an encoder with a mark around each.

    head = RelationHead.load()
    head.relations([("The author uses a disassembler.", (4, 10), (18, 30))])      # [("Instrument-Agency(e2,e1)", 0.9)]

A row is [CLS] ... $ first $ ... # second # ... [SEP]; the states at the two opening marks give the scores. What ships
is an adapter of the encoder and these scores' weights. Sources: Baldini Soares et al. 2019, https://arxiv.org/abs/1906.03158
(states of marks); Wu and He 2019, https://arxiv.org/abs/1905.08284 ($ and # as marks).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.basics.config import Config
from lmworks.basics.errors import ModelError
from lmworks.grounding.graph.semeval import RELATIONS, Span
from lmworks.grounding.heads.files import base_of, filled
from lmworks.grounding.heads.network import add_adapters, reading_network
from lmworks.language_model import LanguageModel
from lmworks.models.files.model_folder import read_json
from lmworks.models.network import Network, evaluating
from lmworks.objectives.loss import Loss, OfStates
from lmworks.tokens.batch import Batch
from lmworks.tokens.labels import IGNORE
from lmworks.tokens.pairs import RowsByLength, padded, real
from lmworks.tokens.source import around_a_text
from lmworks.tokens.tokenizer import Tokenizer

FILE = Path(__file__).with_name("relations.safetensors")
"""The head that ships; its card lies beside it."""
LABELS = tuple(f"{one} at {mark}" for mark in ("$", "#") for one in RELATIONS)
LONGEST = 40
"""Tokens of a row; a longer sentence is cut around its spans."""
LONGEST_SPAN = 8
"""Tokens of a span that are read."""


class RelationRecipe(Config):
    """Everything that shapes the relation head."""

    base: str = "minilm"
    """The encoder: a reference that `lm.load` takes."""

    rank: int = Field(default=16, gt=0)
    """Rank of the adapters."""

    lowest: int = Field(default=2, ge=0)
    """The lowest block that is trained, from 0."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """The highest."""

    rows: int = Field(default=32, gt=0)
    """Sentences of a step."""

    minutes: float = Field(default=18, gt=0)
    """How long it learns; in that time two cores read each sentence several times."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Of the states, while it learns."""

    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of the target that is spread over all relations."""

    seed: int = 0
    """Of the adapters and the order."""


Marked = tuple[str, Span, Span]
"""A sentence and two spans of it that do not overlap, the first one first."""


@dataclass(frozen=True)
class RelationRow:
    """What the encoder reads, and what is to be learnt of it."""

    tokens: list[int]
    first: int
    """Where the first opening mark stands."""
    second: int
    relation: int = 0


class RelationRows(RowsByLength):
    """Rows as batches; `classes` holds the relation at the first mark, and that of the second after all relations."""

    def __init__(self, rows: Sequence[RelationRow]) -> None:
        self.rows = rows
        self.lengths = [(len(row.tokens),) for row in rows]

    def batch(self, places: Sequence[int]) -> Batch:
        """Rows as tensors."""
        chosen = [self.rows[place] for place in places]
        tokens = padded([row.tokens for row in chosen])
        classes = torch.full_like(tokens, IGNORE)
        for at, row in enumerate(chosen):
            classes[at, row.first], classes[at, row.second] = row.relation, len(RELATIONS) + row.relation
        return Batch(
            tokens,
            torch.full_like(tokens, IGNORE),
            torch.arange(tokens.shape[1]).expand_as(tokens),
            torch.where(real([row.tokens for row in chosen]), 0, -1),
            classes=classes,
        )


@dataclass(eq=False)
class RelationLoss(OfStates):
    """Cross-entropy of the relation of each row."""

    label_smoothing: float = 0.0

    def of_states(self, network: Network, batch: Batch, hidden: Float[Tensor, "batch seq dim"]) -> Loss:
        """The loss, counted in rows."""
        assert batch.classes is not None
        scores = scores_of(network, hidden, batch.classes)
        truth = torch.where(batch.classes == IGNORE, -1, batch.classes).amax(1) - len(RELATIONS)
        total = F.cross_entropy(scores, truth, reduction="sum", label_smoothing=self.label_smoothing)
        return Loss(total, len(truth))

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """Rows."""
        return (len(batch.tokens),)


def scores_of(
    network: Network, hidden: Float[Tensor, "batch seq dim"], classes: Tensor
) -> Float[Tensor, "batch relations"]:
    """The scores of the relations of each row: those at its first mark and those at its second, added."""
    marks = classes != IGNORE
    each = network.classify(hidden)[marks].view(len(hidden), 2, 2, len(RELATIONS))
    return each[:, 0, 0] + each[:, 1, 1]


def row_of(tokenizer: Tokenizer, marked: Marked, relation: int = 0) -> RelationRow:
    """A sentence as a row; one that is too long keeps what lies around its spans."""
    text, first, second = marked
    ends = (0, *first, *second, len(text))
    pieces = [text[start:end] for start, end in itertools.pairwise(ends)]
    ids = tokenizer.encode_batch([*pieces, "$", "#"], special=False)
    before, one, between, two, after, (dollar, *_), (number, *_) = ids
    one, two = one[:LONGEST_SPAN], two[:LONGEST_SPAN]
    opening, closing = around_a_text(tokenizer)
    room = LONGEST - len(opening) - len(closing) - 4 - len(one) - len(two)
    between = between if len(between) <= room else between[: room // 2] + between[len(between) - room // 2 :]
    around = (room - len(between)) // 2
    before, after = before[max(len(before) - around, 0) :], after[:around]
    start = len(opening) + len(before)
    marked_one = [dollar, *one, dollar]
    tokens = [*opening, *before, *marked_one, *between, number, *two, number, *after, *closing]
    return RelationRow(tokens, start, start + len(marked_one) + len(between), relation)


def relation_network(base: Network, dtype: torch.dtype, rank: int, lowest: int, dropout: float, seed: int) -> Network:
    """The base's trunk with fresh adapters on the blocks from `lowest` on, and scores of tokens that are 0."""
    return add_adapters(reading_network(base, dtype, LABELS, dropout), rank, rank, lowest, seed)


@dataclass
class RelationHead:
    """A network that tells relations, with its tokenizer."""

    network: Network
    tokenizer: Tokenizer

    @classmethod
    def load(cls, file: Path = FILE) -> Self:
        """The head that ships, or another file of the kind; its base is fetched if it is not here."""
        if not file.is_file():
            made = "python -m lmworks.grounding.graph.train_relations"
            raise ModelError(f"{file} is not here; install lmworks again, or make it: {made} {file.parent}")
        card = read_json(file.with_suffix(".json"))
        base, recipe = LanguageModel.load(card["base"]["reference"]), RelationRecipe(**card["recipe"])
        if base_of(base).sha256 != card["base"]["sha256"]:
            raise ModelError(f"{file} was trained on other weights than {base.reference} holds (their SHA-256 differs)")
        network = relation_network(base.network, torch.float32, recipe.rank, recipe.lowest, 0.0, recipe.seed)
        return cls(filled(network, file), base.tokenizer)

    def relations(self, marked: Sequence[Marked], rows: int = 64) -> list[tuple[str, float]]:
        """The likeliest relation of each pair of spans, and its probability."""
        made = RelationRows([row_of(self.tokenizer, one) for one in marked])
        order = sorted(range(len(marked)), key=lambda at: made.lengths[at])
        found: list[tuple[str, float]] = [(RELATIONS[0], 1.0)] * len(marked)
        with evaluating(self.network):
            for start in range(0, len(order), rows):
                places = order[start : start + rows]
                batch = made.batch(places)
                assert batch.classes is not None
                hidden = self.network.hidden(batch.tokens, documents=batch.documents)
                chances = scores_of(self.network, hidden, batch.classes).softmax(-1)
                for place, (chance, best) in zip(places, zip(*chances.max(-1), strict=True), strict=True):
                    found[place] = RELATIONS[int(best)], float(chance)
        return found
