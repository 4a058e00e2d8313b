"""Small networks that read every byte of a piece of text once: what a scaling law is fitted to.

network = trained(piece(data.train, 30_000, seed=1), width=32, seed=1)
parameters(network)
"""

from __future__ import annotations

from torch import Tensor

from lmworks.basics.arrays import Int
from lmworks.lab.bench.byte_rows import byte_rows
from lmworks.lab.bench.small_network import small_network
from lmworks.lab.bench.training import fit
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.training.settings import TrainingConfig

LAYERS, HEAD, CONTEXT, RATE, EMBEDDING_RATE = 2, 16, 64, 0.02, 8e-3
ROWS = 4
"""Rows of a step: few, so that the least data still makes steps enough; the first hundred follow no power law."""


def parameters(network: Network) -> int:
    """Parameters of the blocks, as Kaplan et al. count them."""
    return sum(parameter.numel() for parameter in network.blocks.parameters())  # type: ignore[attr-defined]


def piece(text: Int[Tensor, " bytes"], amount: int, seed: int) -> Int[Tensor, " bytes"]:
    """This many bytes from a place of the text that depends on the seed; the end continues at the beginning."""
    return text.roll(-seed * len(text) // 7)[:amount]


def trained(text: Int[Tensor, " bytes"], width: int, seed: int) -> Network:
    """A network that has read every byte of the text once."""
    network = small_network(seed, dim=width, layers=LAYERS, heads=max(width // HEAD, 1), context=CONTEXT)
    config = TrainingConfig(
        context=CONTEXT,
        rows=ROWS,
        epochs=1,
        optimiser="muon",
        learning_rate=RATE,
        embedding_learning_rate=EMBEDDING_RATE,
        warmup=0.1,
        seed=seed,
    )
    fit(network, CausalLM(), byte_rows(text, CONTEXT), config)
    return network
