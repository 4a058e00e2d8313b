"""A mixture of experts beside dense networks that use, or that hold, as many parameters; small, over bytes.

shape = Shape(dim=256, experts=16)
network = Network(shape.config(EXPERTS)).initialise(seed)
seconds = cpu_seconds({way: Network(shape.config(way)).initialise(0) for way in WAYS}, rows)
loads(network, data.held_out)                           # of each layer, each expert's load over an even load
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lmworks.basics.arrays import Int
from lmworks.jobs.planning.parameters import Parameters, count_parameters
from lmworks.lab.bench.costs import operations
from lmworks.lab.bench.small_network import BYTES, random_windows, windows
from lmworks.lab.bench.training import fit
from lmworks.models.config import ExpertSettings, ModelConfig
from lmworks.models.experts import expert_layers
from lmworks.models.hooks import hooked
from lmworks.models.network import Network
from lmworks.objectives import CausalLM, LoadBalance, Objective
from lmworks.training.settings import TrainingConfig

DENSE, EXPERTS, LARGE = WAYS = ("dense, as much as one token uses", "experts", "dense, as much as all experts")
LAYERS, HEADS, CONTEXT, TOP_K = 2, 4, 64, 2
BALANCE = 0.01
"""Of the balancing loss (Fedus et al. 2021, https://arxiv.org/abs/2101.03961, section 2.2)."""
Rows = Int[Tensor, "rows seq"]


@dataclass(frozen=True)
class Shape:
    """What the three share. A token uses feed-forwards of the network's own width, those of two experts."""

    dim: int
    experts: int

    def config(self, way: str) -> ModelConfig:
        """The network of one way; weights of experts sum to their number, so that their layer is as loud as a dense
        one."""
        experts = ExpertSettings(count=self.experts, top_k=TOP_K, hidden_dim=self.dim // TOP_K, scale=TOP_K)
        return ModelConfig(
            family="lmworks",
            vocab_size=BYTES,
            dim=self.dim,
            layers=LAYERS,
            heads=HEADS,
            context=CONTEXT,
            hidden_dim=self.dim * (self.experts // TOP_K if way == LARGE else 1),
            experts=experts if way == EXPERTS else None,
        )

    def parameters(self, way: str) -> Parameters:
        """All, and those that one token uses."""
        return count_parameters(self.config(way))


def trained(shape: Shape, way: str, text: Int[Tensor, " bytes"], config: TrainingConfig) -> Network:
    """A network that has read random windows of the text; experts with the balancing loss."""
    network = Network(shape.config(way)).initialise(config.seed)
    objective: Objective = CausalLM() + LoadBalance(BALANCE) if way == EXPERTS else CausalLM()
    fit(network, objective, random_windows(text, CONTEXT, config), config)
    return network


@torch.no_grad()
def multiplications(network: Network, rows: Rows) -> float:
    """Multiplications of a forward pass for each byte: half of the operations of its products."""
    return operations(lambda: network(rows)) / 2 / rows.numel()


@torch.no_grad()
def cpu_seconds(networks: Mapping[str, Network], rows: Rows, rounds: int) -> dict[str, float]:
    """The least CPU time of a forward pass for each byte, the networks taking turns: neighbours do not count."""
    least = dict.fromkeys(networks, float("inf"))
    for _ in range(rounds):
        for way, network in networks.items():
            started = time.process_time()
            network(rows)
            least[way] = min(least[way], time.process_time() - started)
    return {way: seconds / rows.numel() for way, seconds in least.items()}


@torch.no_grad()
def loads(network: Network, text: Int[Tensor, " bytes"], count: int = 100) -> list[list[float]]:
    """Of each layer the load of each expert on a text, over an even load, the largest first."""
    kept: dict[str, list[Tensor]] = {f"{path}.load": [] for path, _ in expert_layers(network)}
    with hooked(network, {path: each.append for path, each in kept.items()}):
        for rows in windows(text, CONTEXT, count):
            network(rows[:, :-1])
    totals = [torch.stack(each).sum(0).double() for each in kept.values()]
    return [sorted((total / total.mean()).tolist(), reverse=True) for total in totals]
