"""How far a model has moved from its base on text that the base itself writes: a sign of forgetting that needs no data.

KL(base || adapted) per token, over the base's own samples: zero where every prediction is as it was.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement
from lmworks.language_model import LanguageModel


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


def kl(base: Float[Tensor, "seq vocab"], other: Float[Tensor, "seq vocab"]) -> Float[Tensor, " seq"]:
    """KL(base || other) of each position, from logits, in nats."""
    p, q = base.log_softmax(-1), other.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)
