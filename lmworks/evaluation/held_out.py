"""An objective's own loss on held-out rows, prepared in the same way each time: the same masks, the same pairs.

    parts = list(held_out_losses(network, MaskedLM.of(tokenizer), rows))
    loss = mean_loss(parts)

It is for masked tokens, pairs of sentences and classes what bits per byte are for a stream of text.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from lmworks.basics import progress
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import AT_LEAST_0, ratio_of_sums
from lmworks.models.network import Network, evaluating
from lmworks.objectives import MaskedLM, Objective
from lmworks.tokens.batch import IGNORE, Batch
from lmworks.tokens.rows import Rows

Parts = list[tuple[float, int]]
"""What each part of an objective sums up to, and how much it counted."""
AT_ONCE = 32
"""Rows that go through the network together."""


def held_out_batches(objective: Objective, rows: Rows, size: int = AT_ONCE, most: int | None = None) -> Iterator[Batch]:
    """Rows in their order, prepared from seeds that never change, until about `most` tokens have been given."""
    left = math.inf if most is None else most
    with progress.task("validating", len(rows), "rows") as advance:
        for start in range(0, len(rows), size):
            if left <= 0:
                break
            places = list(range(start, min(start + size, len(rows))))
            batch = objective.prepare(rows.batch(places), [fixed_seed(place) for place in places])
            left -= int((batch.documents >= 0).sum())
            yield batch
            advance(len(places))


@torch.inference_mode()
def held_out_losses(
    network: Network, objective: Objective, rows: Rows, size: int = AT_ONCE, most: int | None = None
) -> Iterator[Parts]:
    """The loss of each batch, part by part; with `size` 1 of each row."""
    for batch in held_out_batches(objective, rows, size, most):
        with evaluating(network):
            loss = objective(network, batch.to(network.device))
        yield [(float(part.total), part.count) for part in (loss, *loss.others)]


def mean_loss(losses: Sequence[Parts]) -> float:
    """The mean over all batches: each part over what it counted, added up."""
    sums = [tuple(map(sum, zip(*part, strict=True))) for part in zip(*losses, strict=True)]
    return sum(total / max(count, 1) for total, count in sums)


def nats_per_token(name: str, rows: Iterable[Parts], vocab_size: int) -> Measurement:
    """The mean loss of an objective's first part, with its interval over rows; chance is a blind guess."""
    nats, counts = zip(*(row[0] for row in rows if row[0][1]), strict=True)
    estimate = ratio_of_sums(nats, counts, bounds=AT_LEAST_0)
    return Measurement(
        name=name,
        value=estimate.value,
        unit="nats/token",
        interval=estimate.interval,
        n=len(nats),
        seeds=(0,),
        chance=math.log(vocab_size),
        ideal=0.0,
    )


@torch.inference_mode()
def restored(
    network: Network, objective: MaskedLM, rows: Rows, most: int | None = None
) -> list[tuple[list[int], list[int]]]:
    """For each row with masked tokens, the true ones and those that the network finds likeliest."""
    pairs: list[tuple[list[int], list[int]]] = []
    for row in held_out_batches(objective, rows, 1, most):
        batch = row.to(network.device)
        masked = batch.labels != IGNORE
        with evaluating(network):
            guesses = network.logits(objective.states(network, batch)[masked]).argmax(-1)
        if len(guesses):
            pairs.append((batch.labels[masked].tolist(), guesses.tolist()))
    return pairs


@torch.inference_mode()
def classified(
    network: Network, rows: Rows, most: int | None = None, prepare: Callable[[Batch], Batch] = lambda batch: batch
) -> list[tuple[int, int]]:
    """The true class of each row and the one that the network's classifier gives it."""
    pairs: list[tuple[int, int]] = []
    left = math.inf if most is None else most
    for start in range(0, len(rows), AT_ONCE):
        if left <= 0:
            break
        batch = prepare(rows.batch(list(range(start, min(start + AT_ONCE, len(rows)))))).to(network.device)
        assert batch.classes is not None
        with evaluating(network):
            hidden = network.hidden(batch.tokens, documents=batch.documents, segments=batch.segments)
            chosen = network.classify(hidden, batch.documents >= 0).argmax(-1)
        pairs += zip(batch.classes.tolist(), chosen.tolist(), strict=True)
        left -= int((batch.documents >= 0).sum())
    return pairs


def fixed_seed(place: int) -> int:
    """The seed of a held-out row, whatever the run's."""
    return random.Random(f"held out/{place}").getrandbits(63)
