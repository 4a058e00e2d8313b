"""Are the labels of a batch what an objective is to predict? Counted place by place (pitfall 7)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lmworks.tokens.batch import Batch
from lmworks.tokens.labels import IGNORE


@dataclass(frozen=True)
class WrongLabels:
    """What of a batch is not as it should be."""

    compared: str
    """What was compared with what."""
    count: int
    """How many places are wrong."""
    unit: str = "labels"
    """What is counted."""
    where: str = ""
    """The first of them."""

    @classmethod
    def at(cls, wrong: Tensor, compared: str) -> WrongLabels:
        """Of a mask over rows and tokens."""
        places = wrong.nonzero().tolist()
        return cls(compared, len(places), where=f"row {places[0][0]}, token {places[0][1]}" if places else "")


def next_tokens(batch: Batch) -> WrongLabels:
    """The labels of a batch against the tokens one place on, where a document goes on."""
    goes_on = batch.documents[:, 1:] == batch.documents[:, :-1]
    labels, following = batch.labels[:, :-1], batch.tokens[:, 1:]
    return WrongLabels.at((labels != following) & (labels != IGNORE) & goes_on, "the labels and the next tokens")


def in_their_place(plain: Batch, prepared: Batch) -> WrongLabels:
    """The labels of a prepared batch against the tokens that stood there; all other tokens must be unchanged."""
    chosen = prepared.labels != IGNORE
    wrong = torch.where(chosen, prepared.labels != plain.tokens, prepared.tokens != plain.tokens)
    return WrongLabels.at(wrong, "the labels and the tokens that were masked")
