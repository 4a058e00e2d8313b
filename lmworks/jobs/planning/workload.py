"""One micro-batch as a run's objective sees it, made up: what is timed, counted and followed before there is a text.

Rows are full: as many tokens as `training.context` says, nothing padded. What a text makes shorter takes less.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from lmworks.jobs.training_recipe import ObjectiveSettings
from lmworks.models.config import ModelConfig
from lmworks.objectives import (
    CausalLM,
    Classification,
    MaskedLM,
    NextSentence,
    Objective,
    SentenceOrder,
    SequenceToSequence,
)
from lmworks.tokens.batch import IGNORE, TILE, Batch

PAIRS: dict[str, type[NextSentence | SentenceOrder]] = {
    "masked+next-sentence": NextSentence,
    "masked+sentence-order": SentenceOrder,
}


@dataclass(frozen=True)
class Row:
    """Tokens of one row."""

    tokens: int
    """What a decoder or an encoder reads; of an encoder-decoder the target."""
    source: int
    """What the encoder of an encoder-decoder reads; 0 where there is none."""
    predicted: int
    """States that go through the head."""


def usual_objective(config: ModelConfig) -> ObjectiveSettings:
    """How a model is trained of which nothing more is known: a decoder to go on with a text, an encoder to tell classes where
    it has some and else to fill gaps, an encoder-decoder to make a target of a source."""
    if config.arrangement == "encoder":
        return ObjectiveSettings(kind="classification" if config.labels else "masked")
    return ObjectiveSettings(kind="causal" if config.arrangement == "decoder" else "seq2seq")


def row_of(objective: ObjectiveSettings, context: int) -> Row:
    """A full row of `context` tokens."""
    if objective.kind == "seq2seq":
        return Row(context, context, context)
    if objective.kind == "spans":  # each cut is a sentinel in the source; the target holds them all, and one more
        out = max(round(objective.share * context), 1)
        cuts = max(round(out / objective.span_length), 1)
        return Row(out + cuts + 2, context - out + cuts + 1, out + cuts + 2)
    if objective.kind == "classification":
        return Row(context, 0, 0)
    share = objective.share if objective.kind.startswith("masked") else 1.0
    return Row(context, 0, max(round(share * context), 1))


def padded(objective: ObjectiveSettings, context: int) -> int:
    """The width of a batch of packed rows of `context` tokens; rows of one text each are as wide as they are."""
    return -(-context // TILE) * TILE if objective.kind in ("causal", "prefix") else context


def made_up(config: ModelConfig, settings: ObjectiveSettings, rows: int, context: int) -> tuple[Objective, Batch]:
    """The objective without what a recipe adds to it, and a micro-batch of random tokens; from PyTorch's generator."""
    row = row_of(settings, context)
    tokens = torch.randint(config.vocab_size, (rows, row.tokens))
    places, documents = torch.arange(row.tokens).expand(rows, -1), torch.zeros_like(tokens)
    labels = tokens.clone()
    if row.predicted < row.tokens:
        chosen = torch.linspace(0, row.tokens - 1, row.predicted).round().long()
        labels = torch.full_like(tokens, IGNORE)
        labels[:, chosen] = tokens[:, chosen]
    if row.source:
        source = torch.randint(config.vocab_size, (rows, row.source))
        real = torch.ones_like(source, dtype=torch.bool)
        return SequenceToSequence(), Batch(tokens, labels, places, documents, source=source, source_real=real)
    paired = settings.kind in PAIRS
    classes = torch.zeros(rows, dtype=torch.long) if paired or settings.kind == "classification" else None
    batch = Batch(tokens, labels, places, documents, segments=documents if paired else None, classes=classes)
    if settings.kind == "classification":
        return Classification(), batch
    if not settings.kind.startswith("masked"):
        return CausalLM(), replace(
            batch, documents=(places * 2 >= row.tokens).long()
        )  # two packed in a row, and so a mask
    masked = MaskedLM(mask=0, ordinary=np.ones(config.vocab_size, bool), share=settings.share)
    return (masked + PAIRS[settings.kind]() if paired else masked), batch
