"""Models of one shape as one: what each of them learnt, their difference from a base, is added to it.

    merged = FUNCTIONS["ties"](base, models, MergeSettings((1.0, 1.0)))     # one matrix at a time

Sources: model soups, Wortsman et al. 2022 (arXiv:2203.05482); task arithmetic, Ilharco et al. 2022 (arXiv:2212.04089);
TIES, Yadav et al. 2023 (arXiv:2306.01708); DARE, Yu et al. 2023 (arXiv:2311.03099). Going part of the way back to the
base: WiSE-FT, Wortsman et al. 2021 (arXiv:2109.01903).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lmworks.adaptation.merge_settings import MergeSettings
from lmworks.basics.arrays import Float
from lmworks.basics.errors import ModelError

Weight = Float[Tensor, "..."]


def linear(base: Weight, models: Sequence[Weight], settings: MergeSettings) -> Weight:
    """The mean of the models, by their weights."""
    total = sum(settings.weights)
    mean = torch.stack([one * (weight / total) for one, weight in zip(models, settings.weights, strict=True)]).sum(0)
    return base + settings.keep * (mean - base)


def task_arithmetic(base: Weight, models: Sequence[Weight], settings: MergeSettings) -> Weight:
    """The base, and the sum of the differences by their weights."""
    return base + settings.keep * _sum([one - base for one in models], settings.weights)


def ties(base: Weight, models: Sequence[Weight], settings: MergeSettings) -> Weight:
    """Of each difference the largest numbers; for each weight the sign that has more of them; the mean of those that
    have it."""
    trimmed = torch.stack(
        [weight * _largest(one - base, settings.density) for one, weight in zip(models, settings.weights, strict=True)]
    )
    elected = trimmed.sum(0).sign()
    agree = (trimmed.sign() == elected) & (trimmed != 0)
    mean = (trimmed * agree).sum(0) / agree.sum(0).clamp_min(1)
    return base + settings.keep * mean


def dare(base: Weight, models: Sequence[Weight], settings: MergeSettings) -> Weight:
    """Of each difference a random share, larger by as much as is missing; then as task arithmetic."""
    generator = torch.Generator().manual_seed(settings.seed)
    differences = []
    for one in models:
        kept = torch.rand(base.shape, generator=generator) < settings.density
        differences.append((one - base) * kept / settings.density)
    return base + settings.keep * _sum(differences, settings.weights)


Way = Callable[[Weight, Sequence[Weight], MergeSettings], Weight]
FUNCTIONS: dict[str, Way] = {"task": task_arithmetic, "linear": linear, "ties": ties, "dare": dare}
"""By what users call them: the base's weight and each model's, in float32, become one."""


def merged(
    base: dict[str, Tensor], models: Sequence[dict[str, Tensor]], settings: MergeSettings
) -> Iterator[tuple[str, Tensor]]:
    """All tensors by their names, one after another, what changes in float32. Those in which no model differs from the
    base are the base's own, and those of a single model that is kept whole that model's. ModelError where a number
    would not be finite."""
    whole = len(models) == 1 and settings.way in ("task", "linear") and settings.keep == 1
    whole = whole and (settings.way == "linear" or settings.weights == (1.0,))
    for number, (name, tensor) in enumerate(base.items()):
        others = [one[name] for one in models]
        if whole:
            yield name, others[0]
        elif all(torch.equal(one, tensor.to(one.dtype)) for one in others):
            yield name, tensor
        else:
            of_this = replace(settings, seed=settings.seed + number)
            made = FUNCTIONS[settings.way](tensor.float(), [one.float() for one in others], of_this)
            if not made.isfinite().all():
                raise ModelError(
                    f"{name} would not be finite: it is not in one of the models, or the weights are too large"
                )
            yield name, made


def _sum(differences: Sequence[Weight], weights: Sequence[float]) -> Weight:
    return torch.stack([weight * one for one, weight in zip(differences, weights, strict=True)]).sum(0)


def _largest(difference: Weight, density: float) -> Weight:
    """The largest numbers of a matrix, zeros instead of the others."""
    kept = max(1, round(density * difference.numel()))
    least = difference.abs().flatten().kthvalue(difference.numel() - kept + 1).values
    return difference * (difference.abs() >= least)
