"""One micro-batch as a run's objective sees it, made up: what is timed, counted and followed before there is a text.

Rows are full: as many tokens as `training.context` says, nothing padded. What a text makes shorter takes less.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from lmworks.models.config import ModelConfig
from lmworks.objectives import Objective
from lmworks.objectives.declaration import FullRow, ObjectiveSettings
from lmworks.tokens.batch import IGNORE, TILE, Batch


def usual_objective(config: ModelConfig) -> ObjectiveSettings:
    """How a model is trained of which nothing more is known: a decoder to continue a text, an encoder to tell classes
    where it has some and else to fill gaps, an encoder-decoder to make a target of a source."""
    if config.arrangement == "encoder":
        return ObjectiveSettings(kind="classification" if config.labels else "masked")
    return ObjectiveSettings(kind="causal" if config.arrangement == "decoder" else "seq2seq")


def row_of(objective: ObjectiveSettings, context: int) -> FullRow:
    """A full row of `context` tokens."""
    return objective.part.row(objective, context)


def padded(objective: ObjectiveSettings, context: int) -> int:
    """The width of a batch of packed rows of `context` tokens; rows of one text each are as wide as they are."""
    return -(-context // TILE) * TILE if row_of(objective, context).packed else context


DOCUMENTS = 2
"""Of a packed row, where nothing is known of a text: attention needs a mask then."""


def made_up(
    config: ModelConfig, settings: ObjectiveSettings, rows: int, context: int, documents: int = DOCUMENTS
) -> tuple[Objective, Batch]:
    """The objective without what a recipe adds to it, and a micro-batch of random tokens; from PyTorch's generator.

    A packed row holds `documents` documents of equal length, each after a trained prompt if there is one.
    """
    row, part = row_of(settings, context), settings.part
    plain = settings.plain()
    objective = part.make(plain, None) if part.planned is None else part.planned(plain, config.vocab_size)
    tokens = torch.randint(config.vocab_size, (rows, row.tokens))
    places = torch.arange(row.tokens).expand(rows, -1)
    labels = tokens.clone()
    if row.predicted < row.tokens:
        chosen = torch.linspace(0, row.tokens - 1, row.predicted).round().long()
        labels = torch.full_like(tokens, IGNORE)
        labels[:, chosen] = tokens[:, chosen]
    batch = Batch(tokens, labels, places, torch.zeros_like(tokens))
    if row.source:
        source = torch.randint(config.vocab_size, (rows, row.source))
        batch = replace(batch, source=source, source_real=torch.ones_like(source, dtype=torch.bool))
    if row.packed:
        batch = replace(batch, documents=places * min(documents, row.tokens) // row.tokens)
    if row.pair:
        batch = replace(batch, segments=torch.zeros_like(tokens))
    if row.classes:
        batch = replace(batch, classes=torch.zeros(rows, dtype=torch.long))
    return objective, batch
