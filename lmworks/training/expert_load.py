"""How many tokens a step sends to each expert, over all micro-batches and ranks: for the log and routers' biases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lmworks.models.experts import Experts, expert_layers
from lmworks.models.hooks import hooked
from lmworks.models.network import Network
from lmworks.training.ranks import ALONE, Ranks


class ExpertLoad:
    """Rows that each expert of a network computed or had no place for; empty where there are no experts."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.layers: dict[str, Experts] = dict(expert_layers(network))
        self.computed = {
            path: torch.zeros(layer.settings.count, dtype=torch.float64) for path, layer in self.layers.items()
        }
        self.dropped = {
            path: torch.zeros(layer.settings.count, dtype=torch.float64) for path, layer in self.layers.items()
        }

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the passes inside the block, and not those that are made again going back."""
        if not self.layers:
            yield
            return
        functions = {f"{path}.load": self._adding(total) for path, total in self.computed.items()}
        functions |= {f"{path}.dropped": self._adding(total) for path, total in self.dropped.items()}
        with hooked(self.network, functions):
            yield

    @staticmethod
    def _adding(total: Tensor) -> Any:
        def add(rows: Tensor) -> None:
            total.add_(rows.to(total.device))

        return add

    def over(self, ranks: Ranks = ALONE) -> None:
        """Make these the rows of all ranks."""
        for totals in (self.computed, self.dropped) if self.layers else ():
            summed = ranks.total(torch.cat(list(totals.values())).tolist())
            sizes = [len(total) for total in totals.values()]
            for total, rows in zip(
                totals.values(), torch.tensor(summed, dtype=torch.float64).split(sizes), strict=True
            ):
                total.copy_(rows)

    def move_biases(self) -> None:
        """Move the bias of every router that has one and is trained."""
        for path, layer in self.layers.items():
            if layer.settings.bias_rate and layer.router.weight.requires_grad:
                layer.router.move_bias((self.computed[path] + self.dropped[path]).to(layer.router.lifts.device))

    def facts(self) -> dict[str, Any]:
        """What the log says: rows that each expert computed, by layer, and the share that was dropped."""
        if not self.layers:
            return {}
        computed = sum(float(total.sum()) for total in self.computed.values())
        dropped = sum(float(total.sum()) for total in self.dropped.values())
        return {
            "expert_load": {path: total.long().tolist() for path, total in self.computed.items()},
            "experts_dropped": dropped / max(computed + dropped, 1),
        }


def biases(network: Network) -> dict[str, Tensor]:
    """The routers' biases by path, which no gradient moves: what a checkpoint keeps beside the parameters."""
    return {name: buffer for name, buffer in network.named_buffers() if name.endswith("router.lifts")}


def seen(network: Network) -> dict[str, Tensor]:
    """What norms by the batch have seen of it (means, variances), by path; for the same."""
    return {name: one for name, one in network.named_buffers() if name.endswith(("running_mean", "running_var"))}
