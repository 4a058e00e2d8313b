"""What shapes a reader, and the card that lies beside its weights."""

from __future__ import annotations

from pydantic import Field

from lmworks.basics.config import Config
from lmworks.evaluation.measurement import Measurement
from lmworks.grounding.heads.calibration import Calibration
from lmworks.models.config import ModelConfig

LABELS = ("begins", "ends", "answers")
"""What a reader's three scores of a token say."""


def reading_config(base: ModelConfig, labels: tuple[str, ...] = LABELS, dropout: float = 0.0) -> ModelConfig:
    """Of a base's trunk with a classifier of tokens."""
    return base.but(
        labels=labels,
        labels_of="tokens",
        pooler=False,
        head_transform=False,
        classifier_transform=False,
        head_bias=False,
        dropout=dropout,
    )


class ReaderRecipe(Config):
    """Everything that shapes a reader but its data."""

    base: str = "reranker"
    """The encoder: a reference that `lm.load` takes."""

    rank: int = Field(default=16, gt=0)
    """Rank of the adapters."""

    lowest: int = Field(default=4, ge=0)
    """The lowest block that is trained, from 0."""

    passes: int = Field(default=2, gt=0)
    """How often each question of SQuAD 2 is read, in another window each time."""

    answerable: int = Field(default=12000, ge=0)
    """Questions of SQuAD 1.1 at most, all of which have an answer, beside all of SQuAD 2 that are not held out."""

    without: int = Field(default=8000, ge=0)
    """Questions of SQuAD 1.1 that are given a text without their answer too."""

    beside: float = Field(default=0.25, ge=0, le=1)
    """The share of those texts that is another part of the paragraph with the answer, where it has one; the others are
    the most similar other paragraph of the article, as an index finds it."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """The highest."""

    rows: int = Field(default=16, gt=0)
    """Questions of a step."""

    seed: int = 0
    """Of the adapters, the windows and the order."""


class ReaderBase(Config):
    """The model that a reader's weights belong to."""

    reference: str
    sha256: str
    """Of its weights."""


class Data(Config):
    """A set that went into a reader, or that it was measured on."""

    name: str
    """In the data registry."""
    used: str
    """What for."""
    address: str
    sha256: str
    licence: str


class Card(Config):
    """What a reader is, what it was made of, and how good it is."""

    what: str = "reads answers out of texts: adapters and a classifier of tokens for the base"
    base: ReaderBase
    recipe: ReaderRecipe
    data: tuple[Data, ...] = ()
    rows: int = 0
    """Questions with their windows that were read, those read again counted again."""
    processor_minutes: float = 0.0
    """What training took of the processor, all threads together."""
    calibration: Calibration = Calibration()
    figures: dict[str, tuple[Measurement, ...]] = Field(default_factory=dict)
    """By what they were measured on."""
