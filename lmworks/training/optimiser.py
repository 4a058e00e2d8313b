"""AdamW (Loshchilov and Hutter 2017) with weight decay on matrices only."""

from __future__ import annotations

import torch
from torch import nn

from lmworks.training.settings import TrainingConfig

Named = dict[str, nn.Parameter]


def trainable(network: nn.Module) -> Named:
    """The parameters that training may change, by path."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def adamw(parameters: Named, config: TrainingConfig) -> torch.optim.AdamW:
    """The optimiser, with one group that decays (matrices) and one that does not (norms, biases, scalars)."""
    decays = {name: parameter for name, parameter in parameters.items() if parameter.ndim > 1}
    stays = {name: parameter for name, parameter in parameters.items() if parameter.ndim <= 1}
    groups = [
        {"params": list(group.values()), "names": list(group), "weight_decay": decay}
        for group, decay in ((decays, config.weight_decay), (stays, 0.0))
        if group
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)
