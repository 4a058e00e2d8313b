"""What heads are for: networks split into few or many, how unlike heads look, which copy, what is lost without some."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import DataError
from lmworks.inside.heads import Head, attention_patterns, without_heads
from lmworks.lab.bench.small_network import small_network
from lmworks.language_model import LanguageModel
from lmworks.models.hooks import hooked
from lmworks.models.network import Network
from lmworks.text.document import Document

REPEATED = 32
"""Random tokens in a text that is then said again."""


def split_network(seed: int, dim: int, heads: int, keys: int, context: int) -> Network:
    """A small decoder whose width is split into heads; what shared keys and values save goes into the feed-forward."""
    config = small_network(seed, dim=dim, heads=heads, context=context).config
    saved = 2 * dim * (heads - keys) * config.head_dim
    per_row = 3 * dim  # gate, up and down
    return Network(config.but(kv_heads=keys, hidden_dim=config.hidden_dim + saved // per_row)).initialise(seed)


def distance_of_heads(patterns: Float[Tensor, "layers batch heads seq keys"]) -> float:
    """Half the sum of absolute differences of two heads' weights: mean over tokens, pairs of heads of a layer, layers.
    The first token, which sees nothing else, is left out."""
    each = patterns[..., 1:, :].float()
    heads = each.shape[2]
    pairs = [
        0.5 * (each[:, :, one] - each[:, :, other]).abs().sum(dim=-1).mean()
        for one in range(heads)
        for other in range(one)
    ]
    return float(torch.stack(pairs).mean())


def beginnings(
    model: LanguageModel, documents: Sequence[Document], tokens: int, most: int
) -> tuple[Int[Tensor, "batch seq"], list[str]]:
    """The first tokens of up to `most` documents that have as many, and these documents' names."""
    found: dict[str, list[int]] = {}
    for document in documents:
        ids = model.tokenizer.encode(document.text[: 12 * tokens], special=False)
        if len(ids) >= tokens and len(found) < most:
            found[document.source] = ids[:tokens]
    if len(found) < 2:
        raise DataError(
            f"{len(found)} of {len(documents)} documents have {tokens} tokens, and two or more are wanted; give "
            "another text, or fewer tokens"
        )
    return torch.tensor(list(found.values())), list(found)


@torch.no_grad()
def costs(
    network: Network, rows: Int[Tensor, "batch seq"], gone: Iterable[Head] = (), start: int = 0
) -> list[list[float]]:
    """Bits and tokens of each row from place `start` on, without some heads."""
    with hooked(network, without_heads(network, gone)):
        logits = network.logits(network.hidden(rows)[:, start:-1])
    bits = F.cross_entropy(logits.mT, rows[:, start + 1 :], reduction="none").sum(1) / 0.6931471805599453
    return [[one, float(rows.shape[1] - start - 1)] for one in bits.tolist()]


def damage(network: Network, rows: Int[Tensor, "batch seq"], heads: Sequence[Head]) -> dict[Head, float]:
    """What rows cost more without each head alone, in bits."""

    def all_bits(gone: Sequence[Head]) -> float:
        return sum(bits for bits, _ in costs(network, rows, gone))

    with_all, found = all_bits([]), {}
    with progress.task("taking heads away", len(heads), "heads") as advance:
        for head in heads:
            found[head] = all_bits([head]) - with_all
            advance(1)
    return found


def drawn(heads: Sequence[Head], count: int, seed: int) -> list[Head]:
    """Some of the heads, by seed."""
    order = torch.randperm(len(heads), generator=torch.Generator().manual_seed(seed))
    return [heads[at] for at in order[:count].tolist()]


def said_twice(network: Network, seed: int, rows: int) -> Int[Tensor, "batch seq"]:
    """Random tokens, and the same again."""
    generator = torch.Generator().manual_seed(seed)
    once = torch.randint(1_000, network.config.vocab_size, (rows, REPEATED), generator=generator)
    return torch.cat([once, once], dim=1)


def copy_scores(network: Network, twice: Int[Tensor, "batch seq"]) -> Float[Tensor, "layers heads"]:
    """Mean weight, in the second half, on the token after the same token in the first half."""
    weights = attention_patterns(network, twice).float().diagonal(1 - REPEATED, dim1=-2, dim2=-1)
    return weights[..., 1:].mean(dim=(1, 3))


def copiers(network: Network, seed: int, count: int, rows: int = 4) -> list[Head]:
    """The heads that copy most on random texts, best first."""
    scores = copy_scores(network, said_twice(network, seed, rows))
    order = scores.flatten().argsort(descending=True)[:count].tolist()
    return [divmod(place, scores.shape[1]) for place in order]
