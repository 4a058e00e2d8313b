"""Checkpoints: what a run needs to go on as if it had never stopped; whole or not there.

Safetensors and JSON; or, where each rank holds a part of every matrix, torch's distributed checkpoint, to which each
rank writes its part. Either is read by any number of ranks, however they share the network.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.files import directory_written_whole, restore_directory, says_why, write_json
from lmworks.models.files.directory import read_safetensors, write_safetensors
from lmworks.models.files.model_folder import read_json
from lmworks.training.optimiser import Named
from lmworks.training.ranks import ALONE, Ranks
from lmworks.training.sharding import has_parts, read_parts, rows_here, sharded, write_parts


class State(Config):
    """Where a run stands."""

    step: int = Field(ge=0)
    """Optimiser steps done; the data order and the learning rate follow from it."""
    tokens: int = Field(ge=0)
    """Supervised tokens seen."""
    seconds: float = 0.0
    """Time spent in steps, where a run of `max_seconds` counts it."""
    norm: float | None = None
    """The gradient's norm of late, by which a spike is known."""
    best: float | None = None
    """The lowest validation loss."""
    best_step: int = 0
    """The step after which it was measured."""
    waited: int = 0
    """Validations since then."""
    diverged: bool = False
    """Its validation, or the step after it, gave no finite number."""


def save_checkpoint(
    folder: Path, parameters: Named, optimiser: torch.optim.Optimizer, state: State, ranks: Ranks = ALONE
) -> None:
    """Write parameters, optimiser state and random states; the earlier checkpoint stays until this one is complete."""
    moments = {
        f"{name}/{key}": value
        for name, parameter in parameters.items()
        for key, value in optimiser.state[parameter].items()
        if isinstance(value, Tensor)
    }
    moments |= {_random(rank): numbers for rank, numbers in enumerate(ranks.gather(torch.get_rng_state()))}
    in_parts = any(map(sharded, parameters.values()))
    with ExitStack() as stack:
        writing = directory_written_whole(folder, alone=True)  # a run's folder is one run's
        temporary = ranks.same(ranks.first_alone(lambda: stack.enter_context(writing)))
        assert temporary is not None
        if in_parts:
            write_parts(temporary, {"parameters": parameters, "optimiser": moments})

        def write() -> None:
            with says_why(folder):
                if not in_parts:
                    write_safetensors(temporary / "parameters.safetensors", parameters)
                    write_safetensors(temporary / "optimiser.safetensors", moments)
            write_json(temporary / "state.json", state.model_dump())
            stack.close()  # the folder gets its name

        ranks.first_alone(write)


def load_checkpoint(folder: Path, parameters: Named, optimiser: torch.optim.Optimizer, ranks: Ranks = ALONE) -> State:
    """Put everything back in place; ModelError where the checkpoint is missing or belongs to another run.

    A rank that the checkpoint knows nothing of keeps its random state.
    """
    ranks.first_alone(lambda: restore_directory(folder))
    if not folder.is_dir():
        raise ModelError(f"{folder} does not exist: there is no run to resume; start it without --resume")
    in_parts = has_parts(folder)
    saved = (
        read_parts(folder, "parameters", parameters)
        if in_parts
        else read_safetensors(folder / "parameters.safetensors")
    )
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
            parameter.copy_(rows_here(saved[name], parameter))
    moments = (
        read_parts(folder, "optimiser", parameters) if in_parts else read_safetensors(folder / "optimiser.safetensors")
    )
    facts = read_json(folder / "state.json")
    try:
        random = {name: moments.pop(name) for name in list(moments) if name.startswith(_random(0))}
        if ranks.first or _random(ranks.rank) in random:
            torch.set_rng_state(random[_random(ranks.rank)])
        state: dict[str, dict[str, Any]] = {}
        for path, value in moments.items():
            name, _, key = path.rpartition("/")
            parameter = parameters[name]
            here = rows_here(value, parameter) if value.ndim else value
            state.setdefault(name, {})[key] = here.clone().to(parameter.device)
        optimiser.state.clear()  # a parameter that had no gradient yet has none there
        for name, values in state.items():
            optimiser.state[parameters[name]] = values
        return State(**facts)
    except (ConfigError, KeyError, RuntimeError) as error:
        raise ModelError(f"{folder} is damaged ({error}); remove it, and the run starts afresh") from None


def diverged(folder: Path) -> bool:
    """Is it of a run that diverged, and would again with the same recipe? Not where it is too damaged to say so."""
    try:
        return bool(read_json(folder / "state.json").get("diverged"))
    except ModelError:
        return False


def _random(rank: int) -> str:
    """What a rank's random state is called; that of one process has had the plain name from the beginning."""
    return f"random.{rank}" if rank else "random"
