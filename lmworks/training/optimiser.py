"""Which optimiser trains what: AdamW (Loshchilov and Hutter 2017), or Muon for matrices; decay on matrices only."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lmworks.models.config import ModelConfig
from lmworks.models.families.tables import rows_of
from lmworks.models.network import Network
from lmworks.training.muon import MuonAdamW
from lmworks.training.settings import TrainingConfig

Named = dict[str, nn.Parameter]


def trainable(network: nn.Module) -> Named:
    """The parameters that training may change, by path."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def make_optimiser(network: Network, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimiser that a config names, for what is trainable; each group has its highest rate as `highest`."""
    parameters = trainable(network)
    if config.optimiser == "adamw":
        if all(parameter.dtype == torch.float32 for parameter in parameters.values()):
            return adamw(parameters, config)
        return MuonAdamW([group | {"method": "adamw"} for group in _groups(parameters, config)], config)
    matrices = {
        name: one for name, one in parameters.items() if _in_blocks(name) and one.ndim == 2 and not _gates(name)
    }
    rest = {name: one for name, one in parameters.items() if name not in matrices}
    others = config.but(learning_rate=config.embedding_learning_rate or config.learning_rate)
    groups = [group | {"method": "adamw"} for group in _groups(rest, others)]
    if matrices:
        splits = [_heights(name, one, network.config) for name, one in matrices.items()]
        groups += [group | {"method": "muon", "splits": splits} for group in _groups(matrices, config)]
    return MuonAdamW(groups, config)


def adamw(parameters: Named, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW in float32, as torch has it."""
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(_groups(parameters, config), lr=config.learning_rate, betas=betas, fused=True)


def _groups(parameters: Named, config: TrainingConfig) -> list[dict[str, Any]]:
    """One group that decays (matrices) and one that does not (norms, biases, scalars)."""
    decays = {name: parameter for name, parameter in parameters.items() if parameter.ndim > 1}
    stays = {name: parameter for name, parameter in parameters.items() if parameter.ndim <= 1}
    return [
        {
            "params": list(group.values()),
            "names": list(group),
            "weight_decay": decay,
            "lr": config.learning_rate,
            "highest": config.learning_rate,
        }
        for group, decay in ((decays, config.weight_decay), (stays, 0.0))
        if group
    ]


def _heights(name: str, matrix: nn.Parameter, config: ModelConfig) -> list[int]:
    """The heights of the matrices that stand below one another in a joined one."""
    joined = name.endswith((".attention.qkv.weight", ".cross_attention.kv.weight")) or (
        ".feed_forward." in name and name.endswith(".up.weight") and config.gated
    )
    return rows_of(name, config) if joined else [matrix.shape[0]]


def _gates(name: str) -> bool:
    """Does it only choose or weigh experts? Such a row of scores learns as a head does, and not in every direction alike."""
    return name.endswith((".router.weight", ".shared_gate.weight"))


def _in_blocks(name: str) -> bool:
    """Is it in a block, of the decoder or of the encoder beside it?"""
    return name.startswith(("blocks.", "encoder.blocks."))
