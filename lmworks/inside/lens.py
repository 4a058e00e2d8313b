"""The logit lens: what a decoder would say if it stopped after each of its layers.

said = logit_lens(network, tokens)       # [layers + 1, batch, vocab]: log-probabilities of the next token
said[0]                                  # of the embedding alone; said[-1] is what the network says

Source: nostalgebraist 2020, "interpreting GPT: the logit lens". Middle layers were not trained to be read so: what a
lens shows is a lower bound of what is there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.models.hooks import HookFunction, hooked
from lmworks.models.network import Network, evaluating
from lmworks.models.stack import Tokens


@torch.no_grad()
def logit_lens(network: Network, tokens: Tokens, at: int = -1) -> Float[Tensor, "stages batch vocab"]:
    """Log-probabilities of what follows the token at place `at`, read from the stream before the first block and after
    each. ConfigError for a network that is no decoder, or whose last norm is inside its blocks."""
    if network.config.arrangement != "decoder" or network.config.norm_place == "after":
        raise ConfigError("a lens reads the stream of a decoder whose last norm comes after its blocks; take one")
    stages: list[Tensor] = []

    def read(stream: Tensor) -> None:
        stages.append(stream[:, at])

    layers = range(network.config.layers)
    points: dict[str, HookFunction] = {"blocks.0.residual_in": read}
    points |= {f"blocks.{layer}.residual_out": read for layer in layers}
    with evaluating(network):
        with hooked(network, points):
            network.hidden(tokens)
        return torch.stack([network.logits(network.norm(stage)).log_softmax(dim=-1) for stage in stages])
