"""How far a model has moved from its base, as KL(base || adapted) per token: zero where every prediction is as it was.

On text that the base itself writes it is a sign of forgetting that needs no data; on the new text it foretells what is
forgotten elsewhere (Shenfeld et al. 2025, https://arxiv.org/abs/2509.04259).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lmworks.basics import progress
from lmworks.evaluation import statistics
from lmworks.evaluation.likelihood import SEGMENT, counted_tokens
from lmworks.evaluation.measurement import Measurement
from lmworks.language_model import LanguageModel
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
    estimate = statistics.mean(per_text)
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
    base: Callable[[Tensor], Tensor],
    what: str,
    tokens: int | None = None,
) -> Measurement:
    """Mean KL from the base to the model on documents, in bits per token that counts (of a conversation what the
    assistant says), over up to `tokens` tokens; the interval is over segments, each of which is read by itself.

    `base` gives the base's logits, as in `drift`. DataError where nothing counts.
    """
    sums, counts = [], []
    window = min(SEGMENT, model.config.context)
    chosen = counted_tokens(model, documents, what, min(tokens or MOST, MOST))
    with progress.task(f"comparing with the base on {what}", sum(len(ids) for ids, _ in chosen), "tokens") as advance:
        for ids, counted in chosen:
            for start in range(0, len(ids) - 1, window):
                real = torch.tensor(counted[start + 1 : start + 1 + window])
                if real.any():
                    read = torch.tensor([ids[start : start + len(real)]], device=model.network.device)
                    far = kl(base(read)[0], model.logits(read)[0]).cpu()
                    sums.append(float(far[real].sum()) / np.log(2))
                    counts.append(int(real.sum()))
            advance(len(ids))
    estimate = statistics.ratio_of_sums(sums, counts)
    return Measurement(
        name=f"KL(base, tuned) on {what}",
        value=estimate.value,
        unit="bits/token",
        interval=estimate.interval,
        n=len(sums),
        ideal=0.0,
    )


def kl(base: Float[Tensor, "seq vocab"], other: Float[Tensor, "seq vocab"]) -> Float[Tensor, " seq"]:
    """KL(base || other) of each position, from logits, in nats."""
    p, q = base.log_softmax(-1), other.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)
