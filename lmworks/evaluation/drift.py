"""How far a model has moved from its base, as KL(base || adapted) per token: zero where every prediction is as it was.

On text that the base itself writes it is a sign of forgetting that needs no data; on the new text it foretells what is
forgotten elsewhere (Shenfeld et al. 2025, https://arxiv.org/abs/2509.04259).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arrays import Float, Int
from lmworks.evaluation import statistics
from lmworks.evaluation.likelihood import SEGMENT, counted_tokens
from lmworks.evaluation.measurement import Measurement
from lmworks.generation.scoring import grouped
from lmworks.language_model import LanguageModel
from lmworks.models.network import Network, evaluating
from lmworks.text.document import Document

MOST = 4_096
"""Tokens of the new text that are compared: two forward passes of each."""


@torch.inference_mode()
def drift(model: LanguageModel, texts: list[list[int]], base: Callable[[Tensor], Tensor]) -> Measurement:
    """Mean KL from the base to the model, in bits per token; the interval is over texts.

    `base` gives the base's logits: another network, or the model's own with its adapters off.
    """
    per_text = []
    for ids in texts:
        tokens = torch.tensor([ids], device=model.network.device)
        per_text.append(float(kl(base(tokens)[0], model.logits(tokens)[0]).mean()) / np.log(2))
    estimate = statistics.mean(per_text, bounds=statistics.AT_LEAST_0)
    return Measurement(
        name="drift from the base",
        value=estimate.value,
        unit="bits/token",
        interval=estimate.interval,
        n=len(texts),
        seeds=tuple(range(len(texts))),
        ideal=0.0,
    )


@torch.inference_mode()
def moved_on(
    model: LanguageModel,
    documents: Sequence[Document],
    base: Callable[[], AbstractContextManager[Network]],
    what: str,
    tokens: int | None = None,
) -> Measurement:
    """Mean KL from the base to the model on documents, in bits per token that counts (of a conversation what the
    assistant says), over up to `tokens` tokens; the interval is over pieces of a segment's length.

    Inside `base()`, the network that it yields is the base: a separate network, or the model's own with its adapters
    off. Both run in PyTorch. DataError where nothing counts.
    """
    window = min(SEGMENT, model.longest)
    pieces = [
        (ids[start : start + window + 1], counted[start + 1 : start + window + 1])
        for ids, counted in counted_tokens(model, documents, what, min(tokens or MOST, MOST))
        for start in range(0, len(ids) - 1, window)
    ]
    sums, counts = [], []
    sizes = [len(counted) for _, counted in pieces]
    with progress.task(f"comparing with the base on {what}", sum(sizes), "tokens") as advance:
        for group in grouped(sizes, window):
            lengths = torch.tensor([sizes[at] for at in group])
            read = torch.tensor([[token for at in group for token in pieces[at][0][:-1]]], device=model.network.device)
            of = torch.arange(len(group)).repeat_interleave(lengths)[None].to(read.device)
            with base() as network:
                first = _logits(network, read, of)
            far = kl(first, _logits(model.network, read, of)).cpu() / np.log(2)
            for at, piece in zip(group, far.split(lengths.tolist()), strict=True):
                real = torch.tensor(pieces[at][1])
                if real.any():
                    sums.append(float(piece[real].sum()))
                    counts.append(int(real.sum()))
            advance(int(lengths.sum()))
    estimate = statistics.ratio_of_sums(sums, counts, bounds=statistics.AT_LEAST_0)
    return Measurement(
        name=f"KL(base, tuned) on {what}",
        value=estimate.value,
        unit="bits/token",
        interval=estimate.interval,
        n=len(sums),
        ideal=0.0,
    )


def _logits(
    network: Network, tokens: Int[Tensor, "one seq"], documents: Int[Tensor, "one seq"]
) -> Float[Tensor, "seq vocab"]:
    with evaluating(network):
        return network.logits(network.hidden(tokens, documents=documents)[0])


def kl(base: Float[Tensor, "seq vocab"], other: Float[Tensor, "seq vocab"]) -> Float[Tensor, " seq"]:
    """KL(base || other) of each position, from logits, in nats."""
    p, q = base.log_softmax(-1), other.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)
