"""Which heads of a decoder do one of three simple things, told by a random text that is read twice.

    kinds = head_kinds(network)
    kinds.induction.flatten().argsort(descending=True)     # who looks at what came next the last time
    without = loss_without(network, kinds.most("induction", 4))        # nats of the second reading, without them

A head's mark is the weight it gives, on the mean, to one place: the token before (`previous`), the same token the last
time (`duplicate`), or the one after it (`induction`; Olsson et al. 2022, https://arxiv.org/abs/2209.11895). A mark says
where a head looks; that it matters only taking it away shows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import ConfigError
from lmworks.inside.heads import Head, attention_patterns, without_heads
from lmworks.models.hooks import hooked
from lmworks.models.network import Network, evaluating

LENGTH, ROWS = 32, 4


@dataclass(frozen=True, eq=False)
class HeadKinds:
    """The mean weight that each head gives to a place, [layers, heads]."""

    previous: Float[Tensor, "layers heads"]
    duplicate: Float[Tensor, "layers heads"]
    induction: Float[Tensor, "layers heads"]
    chance: float
    """That of a head that looks at all tokens alike, for the last two kinds."""

    def most(self, kind: str, count: int) -> list[Head]:
        """The heads with the highest marks of a kind, the first first. ConfigError for a kind that does not exist."""
        if kind not in (known := [field.name for field in fields(self) if field.name != "chance"]):
            raise ConfigError(f"there is no kind {kind!r} of heads; there are {', '.join(known)}")
        marks: Tensor = getattr(self, kind)
        places = marks.flatten().argsort(descending=True, stable=True)[:count].tolist()
        return [divmod(place, marks.shape[1]) for place in places]


def text_twice(network: Network, length: int = LENGTH, rows: int = ROWS, seed: int = 0) -> Int[Tensor, "rows seq"]:
    """Random tokens, none of them twice in a row's first half, read twice over."""
    vocab = network.config.vocab_size
    if length > vocab or 2 * length > network.longest:
        raise ConfigError(
            f"{length} different tokens, read twice, do not fit a vocabulary of {vocab:,} and a context of "
            f"{network.longest:,}; give a smaller length"
        )
    generator = torch.Generator().manual_seed(seed)
    once = torch.stack([torch.randperm(vocab, generator=generator)[:length] for _ in range(rows)])
    return torch.cat([once, once], dim=1).to(network.device)


@torch.no_grad()
def head_kinds(network: Network, length: int = LENGTH, rows: int = ROWS, seed: int = 0) -> HeadKinds:
    """Marks of all heads of a decoder, over the second reading."""
    _must_be_decoder(network)
    with evaluating(network):
        patterns = attention_patterns(network, text_twice(network, length, rows, seed)).float()
    at = torch.arange(length, 2 * length, device=patterns.device)

    def weight_at(places: Tensor) -> Float[Tensor, "layers heads"]:
        return patterns[:, :, :, at, places].mean(dim=(1, 3)).cpu()

    chance = float((1 / (at + 1.0)).mean())
    return HeadKinds(weight_at(at - 1), weight_at(at - length), weight_at(at - length + 1), chance)


def loss_without(
    network: Network, heads: Sequence[Head], length: int = LENGTH, rows: int = ROWS, seed: int = 0
) -> float:
    """Nats a token of the second reading, from its second token on, without some heads: what they are worth there."""
    return float(losses_without(network, heads, length, rows, seed).mean())


@torch.no_grad()
def losses_without(
    network: Network, heads: Sequence[Head], length: int = LENGTH, rows: int = ROWS, seed: int = 0
) -> Float[Tensor, " rows"]:
    """The same of each row."""
    _must_be_decoder(network)
    tokens = text_twice(network, length, rows, seed)
    with evaluating(network), hooked(network, without_heads(network, heads)):
        logits = network(tokens)[:, length:-1].float()
    wanted = tokens[:, length + 1 :]
    return torch.nn.functional.cross_entropy(logits.mT, wanted, reduction="none").mean(dim=1).cpu()


def others_than(network: Network, heads: Sequence[Head], seed: int = 0) -> list[Head]:
    """As many other heads, each of the same layer as one of these, drawn by the seed: what to compare with. Where a
    layer has too few others, all of these."""
    draw, found = random.Random(seed), list[Head]()
    for layer in sorted({layer for layer, _ in heads}):
        own = [head for at, head in heads if at == layer]
        left = [head for head in range(network.config.heads) if head not in own]
        found += [(layer, head) for head in draw.sample(left, min(len(own), len(left)))]
    return found


def _must_be_decoder(network: Network) -> None:
    if network.config.arrangement != "decoder":
        raise ConfigError(f"the network is an {network.config.arrangement}; these kinds of heads are a decoder's")
