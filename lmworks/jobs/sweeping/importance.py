"""How much each setting of a sweep mattered, beside what chance alone would show.

PED-ANOVA (Watanabe et al. 2023, https://arxiv.org/abs/2304.10255): how far the distribution of a setting's values among
the best quarter of the trials is from that among all. Pruned and diverged trials count as worse than the complete ones,
which is all that the method needs of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmworks.jobs.sweeping.study import TrialRecord, quiet_optuna

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

BEST = 0.25
"""The share of the trials that the rest is compared with."""
LEAST = 8
"""Fewer trials have fewer than two in their best quarter, and nothing can be said."""
SHUFFLES = 200


@dataclass(frozen=True)
class Importance:
    """A setting's share of what the settings explain; the shares add up to 1."""

    setting: str
    share: float
    chance: float
    """What 95 % of shuffles stay below, in which the trials' results are dealt out anew, on the same scale."""
    trials: int

    @property
    def is_chance(self) -> bool:
        """A share that may as well come from nothing."""
        return self.share <= self.chance

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"is_chance": self.is_chance}


def importances(
    records: Sequence[TrialRecord], distributions: Mapping[str, BaseDistribution], seed: int = 0
) -> list[Importance]:
    """Each setting's importance, the largest first; none where fewer than LEAST trials came to an end."""
    ended = [one for one in records if one.state in ("complete", "pruned", "diverged")]
    complete = [one.value for one in ended if one.value is not None]
    if len(ended) < LEAST or not complete:
        return []
    worst = max(complete) + 1.0
    values = np.array([worst if one.value is None else one.value for one in ended])
    found = _divergences(ended, distributions, values)
    draw = np.random.default_rng(seed)
    shuffled = [_divergences(ended, distributions, draw.permutation(values)) for _ in range(SHUFFLES)]
    total = sum(found.values()) or 1.0
    return sorted(
        (
            Importance(
                setting, value / total, float(np.quantile([one[setting] for one in shuffled], 0.95)) / total, len(ended)
            )
            for setting, value in found.items()
        ),
        key=lambda one: -one.share,
    )


def _divergences(
    records: Sequence[TrialRecord], distributions: Mapping[str, BaseDistribution], values: np.ndarray
) -> dict[str, float]:
    optuna = quiet_optuna()
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.trial.create_trial(params=one.settings, distributions=dict(distributions), value=float(value))
            for one, value in zip(records, values, strict=True)
        ]
    )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that shares need not add up to 1 is new in Optuna
        return optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False)
