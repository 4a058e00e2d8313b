"""What an objective declares of itself, so that recipes, the planner, `lmworks check` and `lmworks explain` know it.

Each file of lmworks/objectives/kinds holds the objective, its settings and an ObjectiveKind. Recipes are read without
torch, which takes seconds to load: such a file imports it, and what needs it, inside the functions that use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from lmworks.basics.config import Config
from lmworks.basics.declared import declared
from lmworks.basics.part_settings import PartSettings

if TYPE_CHECKING:
    from lmworks.objectives.loss import Objective


@dataclass(frozen=True)
class FullRow:
    """A row of full length as the network reads it in training: what a planner counts."""

    tokens: int
    """What a decoder or an encoder reads; of an encoder-decoder the target."""
    source: int
    """What the encoder of an encoder-decoder reads; 0 where there is none."""
    predicted: int
    """States that go through the head."""
    packed: bool = False
    """Several documents stand in a row, which is padded to whole tiles."""
    pair: bool = False
    """Two texts stand in a row, told apart by segments."""
    classes: bool = False
    """A class of the row is predicted."""


def packed_row(settings: Any, context: int) -> FullRow:
    """Packed documents, each of whose tokens is predicted."""
    return FullRow(context, 0, context, packed=True)


@dataclass(frozen=True)
class ObjectiveKind:
    """An objective that a recipe can name."""

    name: str
    """`objective.kind`."""
    summary: str
    """What is learnt, in a clause."""
    settings: type[Config]
    """What [objective] may hold: a child of ObjectiveSettings."""
    arrangement: str
    """What it trains: a "decoder", an "encoder" or an "encoder-decoder"."""
    make: Callable[[Any, Any], Objective]
    """The objective, from its settings and a tokenizer."""
    task: str = "writing"
    """Its data and figures: one of lmworks/jobs/tasks."""
    network: Mapping[str, Any] = field(default_factory=dict)
    """What the network is unless the recipe says otherwise."""
    row: Callable[[Any, int], FullRow] = packed_row
    """What a row of a given number of tokens is, with given settings."""
    planned: Callable[[Any, int], Objective] | None = None
    """For the planner, which has no tokenizer and whose made-up batches are prepared already: the objective of some
    settings and the size of a vocabulary. None where `make` needs no tokenizer either."""
    paired: bool = False
    """It learns from records with a prompt and its response, and can be measured on others."""
    labelled: bool = False
    """The network's labels are the classes of the text."""


class ObjectiveSettings(PartSettings):
    """What is minimised."""

    named_by = "kind"

    kind: str = "causal"
    """What is learnt."""

    l1: float = Field(default=0.0, ge=0)
    """Times the sum of the matrices' magnitudes."""

    l2: float = Field(default=0.0, ge=0)
    """Times half the sum of the matrices' squares, through the loss; training.weight_decay is the decoupled form."""

    load_balance: float | None = Field(default=None, ge=0)
    """Times the loss that levels the load of experts, in each layer and micro-batch; None for 0.01 where the network
    has experts and no bias that does it."""

    router_z_loss: float = Field(default=0.0, ge=0)
    """Times the squared log of the routers' normaliser; ST-MoE takes 1e-3."""

    @classmethod
    def parts(cls) -> dict[str, ObjectiveKind]:
        """Every objective that is declared, by `kind`."""
        return declared("lmworks.objectives.kinds", ObjectiveKind)

    @property
    def part(self) -> ObjectiveKind:
        """The one that `kind` names."""
        return self.parts()[self.kind]

    def plain(self) -> Self:
        """Without what is added in training alone: what a network is validated by."""
        return self


class SmoothedSettings(ObjectiveSettings):
    """Of a cross-entropy whose targets can be smoothed."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread evenly over all tokens, or classes."""

    def plain(self) -> Self:
        """Without smoothing."""
        return self.but(label_smoothing=0.0)


class TokenSettings(SmoothedSettings):
    """Of an objective that predicts tokens."""

    z_loss: float = Field(default=0.0, ge=0)
    """Times the squared log of the softmax's normaliser; 1e-4 keeps logits from drifting."""

    def plain(self) -> Self:
        """Without smoothing and the penalty on logits."""
        return self.but(label_smoothing=0.0, z_loss=0.0)
