"""Whole texts by networks that restore masks, and by those that predict the next token: written, weighed, and tried in
a gap. What claim 9 compares.

    filled(masked, tokenizer, lengths=[7, 12], again=3, seed=1)         # new texts by a masked network
    costs(network, tokenizer, texts, causal=False)                      # bits and tokens of each, from the left
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.arrays import Float, Int
from lmworks.lab.bench.gaps import Gap
from lmworks.models.network import Network, evaluating
from lmworks.models.relatives.ngram import Ngram
from lmworks.tokens.tokenizer import Tokenizer

Ids = list[int]


@torch.inference_mode()
def filled(network: Network, tokenizer: Tokenizer, lengths: Sequence[int], again: int, seed: int) -> list[Ids]:
    """New texts of these lengths by a network that restores masks: every place once in random order, then `again`
    times more."""
    draw, order = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    opening, closing, mask = list(tokenizer.prefix), list(tokenizer.suffix), tokenizer.require_mask()
    width = max(lengths) + len(opening) + len(closing)
    rows = [[*opening, *[mask] * length, *closing] for length in lengths]
    tokens = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    real = torch.tensor([[at < len(row) for at in range(width)] for row in rows])
    with evaluating(network):
        for _ in range(1 + again):
            places = [len(opening) + order.permutation(length) for length in lengths]
            for turn in range(max(lengths)):
                at = [number for number, row in enumerate(places) if turn < len(row)]
                where = [int(places[number][turn]) for number in at]
                tokens[at, where] = mask
                states = network.hidden(tokens[at], real[at])[range(len(at)), where]
                p = _usual(network.logits(states), tokenizer).softmax(-1)
                tokens[at, where] = torch.multinomial(p, 1, generator=draw)[:, 0]
    return [row[len(opening) : len(opening) + length] for row, length in zip(tokens.tolist(), lengths, strict=True)]


def _usual(logits: Float[Tensor, "rows vocab"], tokenizer: Tokenizer) -> Float[Tensor, "rows vocab"]:
    """Without the special tokens: they are not of the text."""
    logits[:, list(tokenizer.special)] = -math.inf
    return logits


@torch.inference_mode()
def costs(network: Network, tokenizer: Tokenizer, texts: Sequence[Ids], causal: bool) -> list[tuple[float, int]]:
    """Bits and tokens of texts of known length, each token from those before it: for a masked network, masks follow
    them."""
    found = []
    opening, closing, mask = list(tokenizer.prefix), list(tokenizer.suffix), tokenizer.require_mask()
    with evaluating(network):
        for ids in texts:
            wanted, at = torch.tensor(ids), torch.arange(len(ids))
            if causal:
                states = network.hidden(torch.tensor([[*opening, *ids]]))[0, len(opening) - 1 : -1]
            else:
                rows = [[*opening, *ids[:known], *[mask] * (len(ids) - known), *closing] for known in range(len(ids))]
                states = network.hidden(torch.tensor(rows))[at, len(opening) + at]
            nats = -float(network.logits(states).log_softmax(-1)[at, wanted].sum())
            found.append((nats / math.log(2), len(ids)))
    return found


@torch.inference_mode()
def tried_at_gaps(network: Network, gaps: Sequence[Gap]) -> list[float]:
    """-log p of each hidden token where every token of the vocabulary is tried in the gap: p(token | the rest) is the
    share of its text among all."""
    nats = []
    with evaluating(network):
        for one in gaps:
            rows = torch.tensor(one.tokens).repeat(network.config.vocab_size, 1)
            rows[:, one.at] = torch.arange(len(rows))
            p = torch.cat([_from(network, some, one.at) for some in rows.split(256)]).log_softmax(0)
            nats.append(-float(p[one.token]))
    return nats


def _from(network: Network, rows: Int[Tensor, "rows seq"], at: int) -> Float[Tensor, " rows"]:
    """log p of each row from a place on."""
    logits = network.logits(network.hidden(rows)[:, at - 1 : -1])
    return (logits.gather(2, rows[:, at:, None])[..., 0] - logits.logsumexp(2)).sum(1)


def bits_per_token(texts: Sequence[Ids], likely: Ngram, end: int) -> float:
    """Bits per token of texts and their ends, all together, under a model that judges them."""
    logprobs = np.concatenate([likely.score([*ids, end]) for ids in texts])
    return -float(logprobs.mean()) / math.log(2)
