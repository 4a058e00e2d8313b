"""What each way to change a trained model declares of itself: recipes, `lmworks build` and `lmworks explain` read it.

    setup = METHODS["lora"].prepare(Setup(network, CausalLM(), rows), LoRAConfig(rank=4))
    train(setup.network, setup.objective, setup.rows, ...)

Each file of lmworks/adaptation/methods holds one. Recipes are read without torch, which takes seconds to load: such a
file imports it, and what needs it, inside the functions that use it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from lmworks.models.network import Network
    from lmworks.objectives import Objective
    from lmworks.tokens.batch import Row


@dataclass(frozen=True)
class Setup:
    """What a run trains, what it minimises, and what it reads."""

    network: Network
    """Trained is what requires gradients."""
    objective: Objective
    """Objectives add up, so a penalty is one more summand."""
    rows: Sequence[Row]
    """More rows can be mixed in; each epoch shuffles them all."""
    seed: int = 0


@dataclass(frozen=True)
class Adapter:
    """How to handle what is learnt beside frozen weights."""

    write: Callable[[Path, Network, str], None]
    """Writes the adapter into a folder that exists, with the reference of the base it belongs to."""
    merge: Callable[[Network], Network]
    """Adds the adapter to the weights, in place: a plain network remains."""
    off: Callable[[Network], AbstractContextManager[None]]
    """Within this context the network is the base."""


@dataclass(frozen=True)
class Method:
    """One way to change a trained model."""

    name: str
    """What `method` is in a recipe; also the name of the table with the method's settings, so a Python name."""
    summary: str
    """What it is, in a clause."""
    settings: type[Config]
    """The table; its docstrings are the help."""
    prepare: Callable[[Setup, Any], Setup]
    """Changes a setup by the settings, with the network in place: freezes, adds layers, adds to objective or rows.
    ConfigError for a network that the method does not fit; `{at}` in it is the method's table. The network may be on
    the meta device, without rows to learn from: that tells early whether the method fits, and lets a planner count."""
    settle: Callable[[Network], None] = lambda network: None
    """What is done, in place, once training has ended: a base in few bits becomes plain matrices of the same values."""
    adapter: Adapter | None = None
    """None for a method that changes the weights themselves: then the whole model is saved."""


@dataclass(frozen=True)
class Chosen:
    """A method and its settings: what a recipe chose."""

    method: Method
    settings: Config

    def prepare(self, setup: Setup) -> Setup:
        """Change a setup; ConfigError, with the path of the setting, where the method does not fit the network."""
        try:
            return self.method.prepare(setup, self.settings)
        except ConfigError as error:
            raise error.inside((self.method.name,)) from None
