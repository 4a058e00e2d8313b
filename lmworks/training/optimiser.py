"""The optimiser that a config names, and how its groups are made: decay on matrices only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmworks.training.declaration import Group, Rule

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lmworks.models.network import Network
    from lmworks.training.settings import TrainingConfig

Named = dict[str, "nn.Parameter"]


def trainable(network: nn.Module) -> Named:
    """The parameters that training may change, by path."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def make_optimiser(network: Network, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimiser that a config names, for what is trainable; each group has its highest rate as `highest`."""
    return config.part.make(network, trainable(network), config)


def groups(parameters: Named, config: TrainingConfig, rate: float | None = None) -> list[Group]:
    """One group that decays (matrices) and one that does not (norms, biases, scalars), at `rate` or the config's."""
    highest = config.learning_rate if rate is None else rate
    decays = {name: parameter for name, parameter in parameters.items() if parameter.ndim > 1}
    stays = {name: parameter for name, parameter in parameters.items() if parameter.ndim <= 1}
    return [
        {
            "params": list(group.values()),
            "names": list(group),
            "weight_decay": decay,
            "lr": highest,
            "highest": highest,
        }
        for group, decay in ((decays, config.weight_decay), (stays, 0.0))
        if group
    ]


def by_rule(rule: Rule, parameters: Named, config: Any) -> torch.optim.Optimizer:
    """An optimiser that steps all parameters by one rule."""
    from lmworks.training.rules import Rules

    return Rules([group | {"rule": rule} for group in groups(parameters, config)], config)
