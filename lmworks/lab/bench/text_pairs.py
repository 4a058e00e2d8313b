"""Encoders that learn from pairs of texts of several kinds, and what their frozen features tell of pairs: claim 11.

texts = texts_of(("ag-news", "wikitext2"), kilobytes=150)
network = pretrained(texts.all, NSP, share=0.15, config=pretraining(1000, 16, 0.02, seed=1))
told(network, texts.all, "random")                       # by the network's own classifier, 1 or 0 for each pair
hits(network, texts.news, "swapped", count=800, seed=1)  # by logistic regression on frozen features
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lmworks.basics.arrays import Float, Int
from lmworks.evaluation.held_out import classified, held_out_losses, mean_loss
from lmworks.lab.bench.encoders import CONTEXT, Prose, lowered, prose_of, regression_hits, small_network
from lmworks.lab.bench.training import fit
from lmworks.models.network import Network, evaluating
from lmworks.objectives import MaskedLM, NextSentence, Objective, SentenceOrder
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import parts, split
from lmworks.tokens.pair_labels import NEXT_SENTENCE
from lmworks.tokens.sentence_pairs import SentencePairs, write_sentences
from lmworks.training.settings import TrainingConfig

MASKED, NSP, ORDER = WAYS = ("masked tokens", "and next sentence", "and sentence order")
Wrong = Literal["random", "swapped"]
WRONG: dict[str, Wrong] = {MASKED: "random", NSP: "random", ORDER: "swapped"}
"""What the second text of half of all pairs is."""
UNJUDGED, JUDGED = 1, 2
"""Epochs from which pairs are drawn for features to learn from, and for those that are judged."""
PIECE = 2000
"""Characters of a piece of a long text; a random second piece comes from another text."""


@dataclass(frozen=True)
class Texts:
    """Texts of several kinds, and those of the first kind by themselves, with one tokenizer."""

    all: Prose
    first: Prose


def texts_of(references: Sequence[str], kilobytes: int) -> Texts:
    """Equal amounts of each reference, a tenth of each held out."""
    sides = [split(_pieces(reference, 1000 * kilobytes), 0.1) for reference in references]
    everything = prose_of(
        [one for side in sides for one in side.train], [one for side in sides for one in side.held_out]
    )
    with tempfile.TemporaryDirectory() as folder:  # what is in it is read at once
        train, held_out = (
            write_sentences(map(lowered, side), everything.tokenizer, Path(folder, name))
            for name, side in (("train", sides[0].train), ("held out", sides[0].held_out))
        )
    return Texts(everything, replace(everything, train=train, held_out=held_out))


def _pieces(reference: str, characters: int) -> list[Document]:
    found, size = [], 0
    for document in read(reference).documents:
        for piece in parts(document, PIECE):
            if size < characters:
                found.append(piece)
                size += len(lowered(piece).text)
    return found


def pretrained(text: Prose, way: str, share: float, config: TrainingConfig) -> Network:
    """A network that has learnt masked tokens of pairs, alone or with one of the objectives of pairs; all have the
    classifier."""
    network = small_network(text.tokenizer, config.seed, "encoder", segments=2, pooler=True, labels=NEXT_SENTENCE)
    if way == MASKED:  # what it does not train must not decay
        for part in (network.pooler, network.classifier):
            assert part is not None
            part.requires_grad_(False)
    objective: Objective = MaskedLM.of(text.tokenizer, share=share)
    if way != MASKED:
        objective += NextSentence() if way == NSP else SentenceOrder()
    fit(network, objective, SentencePairs(text.train, text.tokenizer, CONTEXT, wrong=WRONG[way]), config)
    return network


def told(network: Network, text: Prose, wrong: Wrong) -> list[float]:
    """1 for each held-out pair that the network's own classifier tells, else 0."""
    rows = SentencePairs(text.held_out, text.tokenizer, CONTEXT, wrong=wrong).at_epoch(JUDGED, 0)
    return [float(true == chosen) for true, chosen in classified(network, rows)]


def masked_loss(network: Network, text: Prose, pairs: int) -> float:
    """Nats per masked token of held-out pairs, at BERT's share."""
    rows = SentencePairs(text.held_out, text.tokenizer, CONTEXT)
    return mean_loss(list(held_out_losses(network, MaskedLM.of(text.tokenizer), rows, most=pairs * CONTEXT)))


def hits(network: Network, text: Prose, wrong: Wrong, count: int, seed: int) -> list[float]:
    """1 for each held-out pair that logistic regression on frozen features tells, else 0. It learns from `count` pairs
    of the training side."""
    learnt, judged = (SentencePairs(side, text.tokenizer, CONTEXT, wrong=wrong) for side in (text.train, text.held_out))
    half = len(learnt) // 2
    sides = {
        "train": (learnt.at_epoch(UNJUDGED, seed), range(min(count, half))),
        "dev": (learnt.at_epoch(UNJUDGED, seed), range(half, half + min(count // 2, half))),
        "test": (judged.at_epoch(JUDGED, 0), range(len(judged))),
    }
    features, classes = {}, {}
    for side, (rows, places) in sides.items():
        features[side], classes[side] = pair_features(network, rows, places)
    return regression_hits(features, classes)


@torch.no_grad()
def pair_features(
    network: Network, rows: SentencePairs, places: Sequence[int]
) -> tuple[Float[Tensor, "pairs features"], Int[Tensor, " pairs"]]:
    """Of each pair the means over the states of both texts, their distance and product, and the first state."""
    made, classes = [], []
    with evaluating(network):
        for start in range(0, len(places), 32):
            batch = rows.batch(places[start : start + 32])
            assert batch.segments is not None and batch.classes is not None
            hidden = network.hidden(batch.tokens, documents=batch.documents, segments=batch.segments)
            masks = [((batch.documents >= 0) & (batch.segments == one))[..., None] for one in (0, 1)]
            a, b = ((hidden * mask).sum(1) / mask.sum(1) for mask in masks)
            made.append(torch.cat([a, b, (a - b).abs(), a * b, hidden[:, 0]], dim=1))
            classes.append(batch.classes)
    return torch.cat(made), torch.cat(classes)
