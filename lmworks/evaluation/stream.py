"""The loss on a packed corpus: its whole stream in windows side by side, each token predicted once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lmworks.basics import progress
from lmworks.generation.scoring import logprobs_of, refuse_unless_causal
from lmworks.models.network import Network, evaluating
from lmworks.models.torch_runner import TorchRunner
from lmworks.tokens.shards import Shards

READ = 8192
"""Tokens that go through the network at once."""


@dataclass(frozen=True)
class StreamLoss:
    """How well a network predicts a stream of tokens."""

    nats: float
    """Summed over the tokens."""
    tokens: int

    @property
    def mean(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens


@torch.inference_mode()
def stream_loss(network: Network, shards: Shards, context: int, most: int | None = None) -> StreamLoss:
    """Every token but the first, or the first `most` of them, from those before it in its window of `context`.

    Windows do not overlap, so a token sees half a window on average: this is the loss that training itself sees, and
    higher than that of a text read with all its context (`likelihood.measure`).
    """
    refuse_unless_causal(network)
    total = min(shards.tokens - 1, most or shards.tokens)
    nats = 0.0
    rows, runner = max(READ // context, 1), TorchRunner(network)
    with evaluating(network), progress.task("validating", total, "tokens") as advance:
        for start in range(0, total, rows * context):
            stop = min(start + rows * context, total)
            ids = torch.from_numpy(shards.read(start, stop + 1).astype(np.int64)).to(network.device)
            whole = (stop - start) // context * context
            for part, width in ((ids[: whole + 1], context), (ids[whole:], stop - start - whole)):
                if width and len(part) > 1:
                    inputs, targets = part[:-1].view(-1, width), part[1:]
                    hidden = network.hidden(inputs).flatten(0, 1)
                    nats -= logprobs_of(runner, hidden, targets).double().sum().item()
            advance(stop - start)
    return StreamLoss(nats, total)
