"""retain = "ewc": a spring on each weight, as stiff as old predictions depend on it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from lmworks.adaptation.declaration import Adapter, Original, Retention, Setup
from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError

if TYPE_CHECKING:
    from lmworks.models.network import Network


class EWCConfig(Config):
    """How stiff the springs are, and by which text."""

    strength: float = Field(default=1000.0, gt=0)
    """Times half the sum of F (w - w of the base)^2 is added to the loss, in nats a token: more keeps more."""

    text: str | None = None
    """The old text that tells which weights matter: a folder, a file or a name of the data registry; None for text that
    the model writes. It must not be the text that measures what was forgotten."""

    tokens: int = Field(default=8_000, gt=0)
    """At most about this many tokens of it are looked at, each as dear as a training step's."""

    earlier: str | None = None
    """A file of the springs of earlier tasks, which an earlier run left at `kept`: they are added, so that no earlier
    text is needed (online EWC)."""

    decay: float = Field(default=1.0, gt=0, le=1)
    """What the springs of `earlier` are multiplied by: below 1 the oldest tasks fade."""

    kept: str | None = None
    """Where the springs are written for a later run's `earlier`: two bytes for each weight that they hold."""


def prepare(setup: Setup, base: Original, settings: EWCConfig) -> Setup:
    """Measure the stiffness, and add the springs. ConfigError for adapters that move no weight, and as rehearsal."""
    from lmworks.adaptation.elastic import Elastic
    from lmworks.adaptation.springs import added, springs_of, write_springs

    must_go_with(base.adapter)
    if not setup.rows:  # a sketch, which reads nothing
        return setup
    rows = base.old_rows(settings.text, max(1, settings.tokens // base.context), setup.seed)
    springs = springs_of(setup.network, rows, setup.seed)
    if settings.earlier is not None:
        springs = added(springs, settings.earlier, settings.decay)
    if settings.kept is not None:
        write_springs(springs, settings.kept)
    return replace(setup, objective=setup.objective + Elastic(springs, settings.strength))


def must_go_with(adapter: Adapter | None) -> None:
    """ConfigError for adapters that move no weight."""
    if adapter is not None and not adapter.merges:
        raise ConfigError(
            "{at}strength is of springs that hold the base's weights, and "
            f"{adapter.kind} moves none of these, so that there is nothing to hold; take rehearsal or kl beside it"
        )


def keeps(network: Network, adapter: Adapter | None) -> float:
    """The stiffness of each weight that adapters move, in float32; of weights that are trained also where each was,
    and until the backward how far it is from there."""
    from lmworks.models.adapted import adapted_layers

    if adapter is not None:
        return 4.0 * sum(one.base.out_features * one.base.in_features for one in adapted_layers(network).values())
    return 12.0 * sum(one.numel() for one in network.parameters() if one.requires_grad and one.ndim > 1)


SUMMARY = "a spring on each weight, as stiff as predictions of old text depend on it"
EWC = Retention("ewc", SUMMARY, EWCConfig, prepare, keeps, must_go_with=must_go_with)
