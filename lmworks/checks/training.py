"""Checks of how a network is trained, with its own settings on a few rows: pitfalls 7, 19, 20 and 24."""

from __future__ import annotations

import contextvars
import copy
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor

from lmworks.checks.result import Difference
from lmworks.models.network import Network
from lmworks.objectives import Loss, Objective
from lmworks.tokens.batch import Batch, Row
from lmworks.tokens.rows import Rows
from lmworks.training.loop import as_rows, row_seed, train
from lmworks.training.optimiser import make_optimiser, trainable
from lmworks.training.settings import TrainingConfig
from lmworks.training.step import accumulate

ROUNDING = 1e-4
"""How far two gradients in float32 may part, as a share of the longest: sums in another order give 3e-7, and a mean of
means over rows of 31 to 3 tokens gives 2.3 (tests/invariants)."""
STEPS, STOP = 4, 2
"""Steps of a short run, and the one after which it is stopped."""


def split_differences(
    network: Network, objective: Objective, rows: Rows | Sequence[Row], places: Sequence[int] | None = None
) -> list[Difference]:
    """Loss and gradient of rows (all, unless `places` are given) that go through the network at once, and one by one
    (pitfall 19).

    The rows should be of unequal length: only there does a mean of means show. The network must be in float32, with
    dropout off; its gradients are cleared.
    """
    rows = as_rows(rows)
    places = range(len(rows)) if places is None else places

    def prepared(some: Sequence[int]) -> Batch:
        return objective.prepare(rows.batch(some), [row_seed(0, 0, place) for place in some])

    whole, parts = [prepared(places)], [prepared([place]) for place in places]
    with objective.along(network):
        (one, first), (other, second) = (_gradient(network, objective, micro) for micro in (whole, parts))
    longest = max(float(gradient.abs().max()) for gradient in first.values())
    apart = {name: float((first[name] - second[name]).abs().max()) / max(longest, 1e-12) for name in first}
    worst = max(apart, key=apart.__getitem__)
    return [
        Difference("the gradients of rows at once and one by one", apart[worst], ROUNDING, "of the gradient", worst),
        Difference("the losses of rows at once and one by one", abs(one - other), ROUNDING * abs(one), "nats"),
    ]


def _gradient(network: Network, objective: Objective, micro: Sequence[Batch]) -> tuple[float, dict[str, Tensor]]:
    with torch.enable_grad():
        network.zero_grad()
        loss, _ = accumulate(network, objective, [batch.to(network.device) for batch in micro])
    gradients = {name: one.grad.clone() for name, one in trainable(network).items() if one.grad is not None}
    network.zero_grad()
    return loss, gradients


def group_differences(network: Network, config: TrainingConfig) -> list[Difference]:
    """What decays and what does not, and whether each trained parameter has one optimiser (pitfall 24)."""
    groups = make_optimiser(network, config.but(weight_decay=config.weight_decay or 0.1)).param_groups
    named = [name for group in groups for name in group["names"]]
    decays = {name for group in groups if group["weight_decay"] for name in group["names"]}
    sizes = {name: one.ndim for name, one in trainable(network).items()}
    small = sorted(name for name in decays if sizes.get(name, 0) < 2)
    spared = sorted(name for name, size in sizes.items() if size > 1 and name not in decays)
    astray = sorted(set(named) ^ set(sizes)) + sorted({name for name in named if named.count(name) > 1})
    return [
        Difference("what decays and matrices", len(small), 0, "norms and biases", ", ".join(small[:3])),
        Difference("the matrices and what decays", len(spared), 0, "matrices", ", ".join(spared[:3])),
        Difference("the trained parameters and the optimiser's", len(astray), 0, "parameters", ", ".join(astray[:3])),
    ]


def label_difference(objective: Objective, plain: Batch, prepared: Batch) -> Difference:
    """The labels of a batch against what its objective is to predict (pitfall 7)."""
    found = objective.wrong_labels(plain, prepared)
    return Difference(found.compared, found.count, 0, found.unit, found.where)


def resume_differences(
    network: Network, objective: Objective, rows: Rows | Sequence[Row], config: TrainingConfig
) -> list[Difference]:
    """A run of four steps, and one that is stopped after the second and goes on: losses and weights (pitfall 20)."""
    short = config.but(
        steps=STEPS,
        max_seconds=None,
        warmup=0.0,
        checkpoint_every=STOP,
        evaluate_every=None,
        patience=None,
        compile=False,
        tensorboard=False,
    )
    straight, stopped, resumed = (copy.deepcopy(network) for _ in range(3))

    def run(trained: Network, minimised: Objective, name: str, resume: bool = False) -> list[float]:
        return train(trained, minimised, rows, short, Path(folder) / name, resume=resume).losses

    with tempfile.TemporaryDirectory() as folder, torch.enable_grad(), _untracked():
        quietly = contextvars.Context().run  # without the progress lines of a run that is none
        whole = quietly(run, straight, objective, "straight")
        with suppress(_FailedError):
            quietly(run, stopped, _Failing(objective, STOP * short.accumulate), "stopped")
        rest = quietly(run, resumed, objective, "stopped", True)
    apart = [name for name, one in straight.state_dict().items() if not torch.equal(one, resumed.state_dict()[name])]
    losses = [one != other for one, other in zip(whole[STOP:], rest, strict=True)]
    return [
        Difference("the weights of a resumed run and a straight one", len(apart), 0, "tensors", ", ".join(apart[:3])),
        Difference("the losses of a resumed run and a straight one", sum(losses), 0, "steps"),
    ]


class _FailedError(Exception):
    """Stands for whatever ends a process in the middle of a step."""


class _Failing(Objective):
    """An objective that fails at the micro-batch with that number (from 0)."""

    def __init__(self, inner: Objective, at: int) -> None:
        self.inner, self.left = inner, at

    def __call__(self, network: Network, batch: Batch) -> Loss:
        if not self.left:
            raise _FailedError
        self.left -= 1
        return self.inner(network, batch)

    def counts(self, batch: Batch) -> tuple[int, ...]:
        return self.inner.counts(batch)

    def prepare(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        return self.inner.prepare(batch, seeds)

    @contextmanager
    def along(self, network: Network) -> Iterator[None]:
        with self.inner.along(network):
            yield


@contextmanager
def _untracked() -> Iterator[None]:
    """Without an MLflow server: a check is no run of the user's."""
    address = os.environ.pop("MLFLOW_TRACKING_URI", None)
    try:
        yield
    finally:
        if address is not None:
            os.environ["MLFLOW_TRACKING_URI"] = address
