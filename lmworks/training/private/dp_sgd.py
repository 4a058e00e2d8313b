"""DP-SGD: steps of which each reads every row with the same small probability, clips each row's gradient, and adds
noise. Whatever the optimiser makes of that is as private.

    private = Private(clip=1.0, noise=0.8, rows=1000, expected=16, key=secrets.token_bytes(32))
    train(network, CausalLM(), rows, config, folder, private=private)

Which rows a step reads, and its noise, follow from a secret key and the step's number, so that a resumed run goes on
as if it had never stopped, to the bit. The numbers are NumPy's Philox with 128 bits of that, in float32, as
torch.Generator would keep 32 bits of a seed. They are not made for secrets: against somebody who could measure the low
bits of released weights, take another generator.
Source: Abadi et al. 2016, https://arxiv.org/abs/1607.00133, algorithm 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lmworks.basics.errors import ConfigError
from lmworks.models.network import Network
from lmworks.objectives import Objective
from lmworks.tokens.batch import Batch
from lmworks.training.private.clipping import Clipping
from lmworks.training.ranks import Ranks
from lmworks.training.settings import TrainingConfig


@dataclass(frozen=True)
class Private:
    """How a run is private."""

    clip: float
    """The longest gradient of a row."""
    noise: float
    """Its standard deviation as a multiple of `clip`."""
    rows: int
    """How many there are."""
    expected: int
    """How many a step reads on average."""
    key: bytes
    """What sampling and noise follow from; whoever knows it can take the noise away."""

    @property
    def rate(self) -> float:
        """The probability with which a step reads a row."""
        return self.expected / self.rows

    def check(self, network: Network, config: TrainingConfig, rows: int, ranks: Ranks) -> None:
        """ConfigError for a run that would not be as private as this says."""
        if rows != self.rows:
            raise ConfigError(f"the noise is for {self.rows:,} rows and there are {rows:,}; count them again")
        if ranks.size > 1:
            raise ConfigError(
                "private training runs in one process, and torchrun started several; start it without torchrun"
            )
        if config.max_seconds is not None:
            raise ConfigError(
                "private training needs to know its number of steps, from which the noise follows; give training.steps "
                "and not training.max_seconds"
            )
        if config.compile:
            raise ConfigError(
                "training.compile is for batches of one shape, and a private step reads a random number of rows; set "
                "training.compile = false"
            )
        if getattr(network.config, "experts", None) is not None:
            raise ConfigError(
                "private training does not go with experts: which of them a token reaches depends on the other "
                "documents of its batch; take a model without"
            )

    def places(self, step: int) -> list[int]:
        """The rows that a step reads: each with the probability `rate`, whatever the others do."""
        drawn = self._numbers("rows", step).random(self.rows)
        return [int(place) for place in np.flatnonzero(drawn < self.rate)]

    def gradients(self, network: Network, objective: Objective, micro: Sequence[Batch], step: int) -> tuple[float, int]:
        """Leave the noisy mean of a step's clipped gradients in the parameters; the loss, which is not private, and how
        many tokens it is of. A step that reads nothing is noise alone."""
        found = Clipping(network, objective, self.clip).of(micro)
        numbers = self._numbers("noise", step)
        trained = (one for one in network.parameters() if one.requires_grad)
        for parameter, total in zip(trained, found.sums, strict=True):
            noise = torch.as_tensor(numbers.standard_normal(total.shape, np.float32)).to(total.device)
            total.add_(noise, alpha=self.noise * self.clip).div_(self.expected)
            parameter.grad = total.to(parameter.dtype)
        return found.loss / max(found.tokens, 1), found.tokens

    def _numbers(self, what: str, step: int) -> np.random.Generator:
        return numbers_of(hashlib.sha256(self.key + f"/{what}/{step}".encode()).digest())


def numbers_of(digest: bytes) -> np.random.Generator:
    """Random numbers that follow from the first 128 bits of a digest."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))
