"""Adaptive softmax: a head whose cost follows how often each token occurs.

The most frequent tokens are predicted at once, together with one entry for each cluster of rarer ones; a cluster's own
softmax is computed only where the next token lies in it, from fewer dimensions the rarer it is. So its loss is a sum
of small cross-entropies (`softmaxes`), and full log-probabilities are computed only where all are asked for.

Tokens must be sorted by frequency, and ids are not: a tokenizer puts special tokens first and merges in the order they
were learnt, and other texts count otherwise. So the head keeps the order itself, as a buffer that is saved with it,
and every tokenizer fits:

    network.head.order_by(torch.bincount(training_ids, minlength=vocab_size))    # before the first step

Source: Grave et al. 2016, https://arxiv.org/abs/1609.04309; laid out as torch.nn.AdaptiveLogSoftmaxWithLoss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.config import ModelConfig
from lmworks.tokens.batch import IGNORE

Softmax = tuple[Float[Tensor, "rows inputs"], Float[Tensor, "outputs inputs"], Int[Tensor, " rows"]]
"""States, the matrix that turns them into logits, and the labels among these logits."""


class Cluster(nn.Module):
    """The logits of some rarer tokens, through a bottleneck."""

    def __init__(self, dim: int, bottleneck: int, tokens: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, bottleneck, bias=False)
        self.up = nn.Linear(bottleneck, tokens, bias=False)

    def forward(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch tokens"]:
        """Logits within the cluster."""
        return self.up(self.down(hidden))


class AdaptiveSoftmax(nn.Module):
    """A shortlist of frequent tokens and clusters of rarer ones, as `adaptive_cutoffs` and `adaptive_divisor` say."""

    rank: Int[Tensor, " vocab"]
    """Each token's place by frequency, from 0; the order of ids until `order_by` is called."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.starts = config.adaptive_cutoffs or ()
        """The first rank of each cluster; the shortlist ends where the first begins."""
        ends = (*self.starts[1:], config.vocab_size)
        self.shortlist = nn.Linear(config.dim, self.starts[0] + len(self.starts), bias=False)
        """Frequent tokens by rank, then an entry for each cluster."""
        self.clusters: Sequence[Cluster] = nn.ModuleList(  # type: ignore[assignment]
            Cluster(config.dim, config.cluster_dim(number), end - start)
            for number, (start, end) in enumerate(zip(self.starts, ends, strict=True), 1)
        )
        self.register_buffer("rank", torch.arange(config.vocab_size))

    @torch.no_grad()
    def order_by(self, counts: Int[Tensor, " vocab"]) -> None:
        """Give the tokens that occur most the first ranks, equally frequent ones in the order of their ids.

        Call it before training: a trained head's rows belong to the ranks that it was trained with.
        """
        if counts.shape != self.rank.shape:
            raise ConfigError(f"{counts.numel():,} counts were given for a vocabulary of {self.rank.numel():,} tokens")
        order = counts.argsort(descending=True, stable=True).to(self.rank.device)
        self.rank[order] = torch.arange(len(order), device=order.device)

    def check_ranks(self) -> None:
        """ModelError unless every rank is there once: a file from outside may hold anything."""
        whole = torch.arange(len(self.rank), device=self.rank.device)
        if self.rank.dtype != whole.dtype or not torch.equal(self.rank.sort().values, whole):
            raise ModelError("head.rank is not an order of the vocabulary; the file is damaged, fetch it again")

    def log_probabilities(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """The log-probability of every token, by id, in float32."""
        first = self.starts[0]
        short = F.log_softmax(self.shortlist(hidden).float(), dim=-1)
        parts = [short[..., :first]]
        for number, cluster in enumerate(self.clusters):
            inside = F.log_softmax(cluster(hidden).float(), dim=-1)
            parts.append(inside + short[..., first + number, None])
        return torch.cat(parts, dim=-1).index_select(-1, self.rank)

    def softmaxes(self, hidden: Float[Tensor, "rows dim"], labels: Int[Tensor, " rows"]) -> Iterator[Softmax]:
        """The cross-entropies whose sum is -log p(labels): the shortlist's, and each cluster's where a label is in it.

        A cluster without a label has no rows; its weights get a gradient of zero, so that on several machines all of
        them have one.
        """
        first, carries = self.starts[0], labels != IGNORE
        ranks = self.rank[labels.where(carries, 0)]
        cluster_of = torch.bucketize(ranks, torch.tensor(self.starts, device=ranks.device), right=True)
        entries = ranks.where(cluster_of == 0, first + cluster_of - 1)
        yield hidden, self.shortlist.weight, entries.where(carries, IGNORE)
        for number, (start, cluster) in enumerate(zip(self.starts, self.clusters, strict=True), 1):
            rows = ((cluster_of == number) & carries).nonzero()[:, 0]
            yield cluster.down(hidden[rows]), cluster.up.weight, ranks[rows] - start
