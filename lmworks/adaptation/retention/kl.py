"""retain = "kl": on the new text, predictions may not move far from the base's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from lmworks.adaptation.declaration import Adapter, Original, Retention, Setup
from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError

if TYPE_CHECKING:
    from lmworks.models.network import Network


class KLConfig(Config):
    """How far predictions may move."""

    strength: float = Field(default=0.3, gt=0)
    """Times KL(base || model) of each token is added to the loss: more keeps more, and learns less."""


def prepare(setup: Setup, base: Original, settings: KLConfig) -> Setup:
    """Add the distance to what is minimised. ConfigError for an objective that predicts no tokens."""
    from lmworks.adaptation.near_base import DistanceToBase, NearBase
    from lmworks.objectives.kinds.causal import CausalLM
    from lmworks.objectives.preference import Preference

    if isinstance(setup.objective, Preference):
        near = DistanceToBase(settings.strength, base.states_of(setup.network))
        return replace(setup, objective=setup.objective + near)
    if type(setup.objective) is not CausalLM:
        raise ConfigError("{at}kl compares the predictions of next tokens; train with the objective 'causal'")
    found = setup.objective
    objective = NearBase(found.label_smoothing, found.z_loss, settings.strength, base.states_of(setup.network))
    return replace(setup, objective=objective)


def keeps(network: Network, adapter: Adapter | None) -> float:
    """A copy of the base, where its own weights are trained."""
    return float(sum(one.nbytes for one in network.parameters())) if adapter is None else 0.0


KL = Retention(
    "kl",
    "predictions on the new text stay near the base's, which costs a second forward pass in each step",
    KLConfig,
    prepare,
    keeps,
    passes=1.0,
)
