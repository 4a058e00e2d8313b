"""Checkpoints: what a run needs to go on as if it had never stopped; safetensors and JSON, whole or not there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmworks.basics.errors import ModelError
from lmworks.basics.files import directory_written_whole, restore_directory, write_json
from lmworks.models.directory import read_json, read_safetensors, write_safetensors
from lmworks.training.optimiser import Named


@dataclass(frozen=True)
class State:
    """Where a run stands."""

    step: int
    """Optimiser steps done; the data order and the learning rate follow from it."""
    tokens: int
    """Supervised tokens seen."""
    seconds: float = 0.0
    """Time spent in steps, where a run of `max_seconds` counts it."""
    norm: float | None = None
    """The gradient's norm of late, by which a spike is known."""
    best: float | None = None
    """The lowest validation loss."""
    best_step: int = 0
    """The step behind which it was measured."""
    waited: int = 0
    """Validations since then."""


def save_checkpoint(folder: Path, parameters: Named, optimiser: torch.optim.Optimizer, state: State) -> None:
    """Write parameters, optimiser state and random state; the earlier checkpoint stays until this one is complete."""
    with directory_written_whole(folder) as temporary:
        write_safetensors(temporary / "parameters.safetensors", parameters)
        moments = {
            f"{name}/{key}": value
            for name, parameter in parameters.items()
            for key, value in optimiser.state[parameter].items()
            if isinstance(value, Tensor)
        }
        write_safetensors(temporary / "optimiser.safetensors", moments | {"random": torch.get_rng_state()})
        write_json(temporary / "state.json", asdict(state))


def load_checkpoint(folder: Path, parameters: Named, optimiser: torch.optim.Optimizer) -> State:
    """Put everything back in place; ModelError where the checkpoint is missing or belongs to another run."""
    restore_directory(folder)
    if not folder.is_dir():
        raise ModelError(f"{folder} does not exist: there is no run to resume; start it without --resume")
    saved = read_safetensors(folder / "parameters.safetensors")
    different = sorted(set(saved) ^ set(parameters))
    if different:
        raise ModelError(
            f"{folder} and this run differ in {different[0]} ({len(different)} parameters); "
            "resume with the recipe and model that the run was started with"
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            if saved[name].shape != parameter.shape:
                raise ModelError(
                    f"{folder}: {name} has the shape {list(saved[name].shape)}, and this run needs "
                    f"{list(parameter.shape)}; resume with the recipe that the run was started with"
                )
            parameter.copy_(saved[name])
    moments = read_safetensors(folder / "optimiser.safetensors")
    facts = read_json(folder / "state.json")
    try:
        torch.set_rng_state(moments.pop("random"))
        state: dict[str, dict[str, Any]] = {}
        for path, value in moments.items():
            name, _, key = path.rpartition("/")
            state.setdefault(name, {})[key] = value.clone()
        for name, values in state.items():
            optimiser.state[parameters[name]] = values
        return State(**facts)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ModelError(f"{folder} is damaged ({error}); remove it, and the run starts afresh") from None
