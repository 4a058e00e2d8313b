"""The diagonal of the Fisher information: how much the predictions of a text depend on each weight.

    fisher = diagonal_fisher(network, batches, seed=0)     # by parameter, [its shape], per token

Of each row the labels are sampled from the network's own predictions, the gradient of their summed log-likelihood is
taken, and squared. Squares of the sums are unbiased here, as the terms of different tokens are independent and have a
mean of zero. Not so with true labels (that is the empirical Fisher, which vanishes where a text is learnt), nor with
squares of a batch's mean, which fall with the size of the batch. Sources: Kirkpatrick et al. 2017 (EWC),
https://arxiv.org/abs/1612.00796; Kunstner et al. 2019, https://arxiv.org/abs/1905.12558; van de Ven 2025,
https://arxiv.org/abs/2502.11756.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.models.network import Network
from lmworks.objectives.cross_entropy import cross_entropy
from lmworks.tokens.batch import Row, stack
from lmworks.tokens.labels import IGNORE


def diagonal_fisher(network: Network, rows: Sequence[Row], parameters: Sequence[Tensor], seed: int) -> list[Tensor]:
    """One tensor per parameter, float32 and of its shape: the squared derivative of a sampled label's log-likelihood,
    averaged over the predicted tokens. The parameters must require gradients."""
    generator = torch.Generator().manual_seed(seed)
    totals = [torch.zeros(one.shape) for one in parameters]
    counted = 0
    with progress.task("weighing weights", len(rows), "rows") as advance:
        for row in rows:
            batch = stack([row])
            hidden = network.hidden(batch.tokens, documents=batch.documents).flatten(0, 1)
            real = batch.labels.flatten() != IGNORE
            loss = _sampled_loss(network, hidden, real, generator)
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            for number, gradient in enumerate(gradients):
                if gradient is not None:
                    totals[number] += gradient.float().square()
            counted += int(real.sum())
            advance(1)
    return [total / max(counted, 1) for total in totals]


def _sampled_loss(network: Network, hidden: Tensor, real: Tensor, generator: torch.Generator) -> Tensor:
    """The summed cross-entropy of labels that are sampled from the network's predictions."""
    nothing = torch.full(real.shape, IGNORE)
    [(states, head, _)] = network.softmaxes(hidden, nothing)
    labels = nothing.clone()
    with torch.no_grad():
        for rows in real.nonzero()[:, 0].split(256):
            logits = (states[rows] @ head.T).float()
            if (cap := network.config.logit_cap) is not None:
                logits = cap * (logits / cap).tanh()
            labels[rows] = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return cross_entropy(states, head, labels, logit_cap=network.config.logit_cap)
