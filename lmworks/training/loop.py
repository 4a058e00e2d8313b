"""The training loop: one for every network and objective.

    result = train(network, CausalLM(), rows, TrainingConfig(steps=100), Path("runs/first"))

A step's loss is the mean over all its supervised tokens, however they are split into micro-batches. The loop can
be stopped with Ctrl-C or SIGTERM and resumed: data order, learning rate, random numbers and loss go on as if it had
not been stopped, to the bit on one device (a run of `max_seconds` follows the clock, which no run repeats).
Several processes run the same loop, each on its part of a step (`lmworks.training.ranks`).
"""

from __future__ import annotations

import math
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, DataError, Stopped
from lmworks.models.network import Network
from lmworks.objectives import Objective
from lmworks.tokens.batch import Batch, Row
from lmworks.tokens.rows import ExampleRows, Rows
from lmworks.training import rows_apart
from lmworks.training.blocks import fast_blocks
from lmworks.training.checkpoint import State, load_checkpoint, save_checkpoint
from lmworks.training.expert_load import biases, seen
from lmworks.training.log import RunLog
from lmworks.training.optimiser import make_optimiser, trainable
from lmworks.training.private.dp_sgd import Private
from lmworks.training.ranks import ALONE, Ranks
from lmworks.training.settings import TrainingConfig
from lmworks.training.step import DivergedError, Gradients, Step, accumulate, take_step
from lmworks.training.tracking import Tracker, tracker

__all__ = ["DivergedError", "Report", "TrainingResult", "first_batches", "steps_of", "train"]

Validate = Callable[[Network], float]
"""The loss of a network on text that is not trained on, in nats per token."""
Report = Callable[[float, float], None]
"""Told of each validation: the share of the run that is done, and the loss. What it raises ends the run."""


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run did."""

    steps: int
    tokens: int
    """Supervised tokens, those of repeated rows counted again."""
    seconds: float
    """Of this process; a resumed run does not know the earlier ones."""
    losses: list[float]
    """Nats per token of each step that this process made."""
    validation: list[tuple[int, float]] = field(default_factory=list)
    """Steps done and the validation loss after them, as this process measured it."""
    best_step: int | None = None
    """The step whose parameters the network was given back, where patience stopped the run."""
    skipped: int = 0
    """Steps that were left out as spikes by this process."""


def train(
    network: Network,
    objective: Objective,
    rows: Rows | Sequence[Row],
    config: TrainingConfig,
    run: Path,
    *,
    resume: bool = False,
    validate: Validate | None = None,
    report: Report | None = None,
    ranks: Ranks = ALONE,
    private: Private | None = None,
) -> TrainingResult:
    """Train whatever of the network requires gradients; checkpoints and log.jsonl go into `run`. Each of several ranks
    gives the same network and rows. A `private` run draws its own rows and makes its own gradients.

    Raises Stopped when it was interrupted, after saving; DivergedError when loss, gradient or validation loss is not
    finite, with the parameters of the last good step saved.
    """
    rows = as_rows(rows)
    if not len(rows):
        raise DataError("there is nothing to train on: no row of text is left after packing")
    if not trainable(network):
        raise ConfigError(
            "nothing of the network can be trained: all its weights are frozen; call network.requires_grad_(True), or "
            "unfreeze an adapter's "
            "alone (lora_layers)"
        )
    ranks.check(config)
    if private is not None:
        private.check(network, config, len(rows), ranks)
    torch.manual_seed(config.seed)
    network.train()
    begun = time.monotonic()
    try:
        with (
            objective.along(network),
            ranks.holding(network, config) as part,
            fast_blocks(part, config, lambda: _rehearse(part, objective, rows, config, ranks)),
        ):
            ranks.seed(config.seed)  # the rehearsal drew from it
            going = _Run(
                part, objective, make_optimiser(part, config), config, run, rows, validate, ranks, report, private
            )
            if resume:
                going.load("checkpoint")
            with (
                RunLog(
                    run / "log.jsonl" if ranks.first else None,
                    going.state.step if resume else None,
                    going.validates_at_once,
                ) as log,
                tracker(config, run if ranks.first else None) as track,
                _polite_stop() as stop_asked,
            ):
                if not resume:
                    log.write(**going.facts())
                going.to_the_end(log, track, stop_asked)
    finally:
        network.eval()
    return going.result(time.monotonic() - begun)


def steps_of(config: TrainingConfig, rows: int) -> int | None:
    """Optimiser steps of a run over that many rows; None where the clock ends it."""
    if config.max_seconds is not None:
        return None
    per_epoch = math.ceil(rows / config.rows) / config.accumulate
    return config.steps or max(1, round(config.epochs * per_epoch))


@dataclass
class _Run:
    """A run on its way."""

    network: Network
    objective: Objective
    optimiser: torch.optim.Optimizer
    config: TrainingConfig
    folder: Path
    rows: Rows
    validate: Validate | None
    ranks: Ranks
    report: Report | None = None
    private: Private | None = None
    state: State = field(default_factory=lambda: State(step=0, tokens=0))
    losses: list[float] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    skipped: int = 0
    stopped_early: bool = False

    def __post_init__(self) -> None:
        self.steps = steps_of(self.config, len(self.rows))
        self.parameters: dict[str, Any] = trainable(self.network) | biases(self.network) | seen(self.network)

    def facts(self) -> dict[str, Any]:
        """The first line of the log: what is trained and how."""
        groups = [
            {"names": group["names"], "weight_decay": group["weight_decay"], "highest": group["highest"]}
            for group in self.optimiser.param_groups
        ]
        return {"groups": groups, "steps": self.steps, "rows": len(self.rows)}

    @property
    def over(self) -> bool:
        """Is there no step left?"""
        if self.stopped_early:
            return True
        if self.steps is None:
            return self.state.seconds >= (self.config.max_seconds or 0)
        return self.state.step >= self.steps

    @property
    def validates_at_once(self) -> bool:
        """Was it resumed after the checkpoint of its last step? That is saved before the validation."""
        return self.over and not self.stopped_early

    def _done(self) -> float:
        """The share of the run that is over."""
        if self.steps is None:
            return min(self.state.seconds / (self.config.max_seconds or 1), 1.0)
        return self.state.step / self.steps

    def to_the_end(self, log: RunLog, track: Tracker, stop_asked: Callable[[], bool]) -> None:
        """Step by step; raises Stopped after a step when it is asked to."""
        source = self._micro_batches()
        total, unit = self._left()
        each = total / max(
            (self.steps or 0) - self.state.step, 1
        )  # as batches pad their rows, each has another number of tokens
        if self.validates_at_once:
            self._validate_where_due(log, track)
        with progress.task("training", total, unit) as advance:
            while not self.over:
                micro = [batch.to(self.network.device) for batch in next(source)]
                before = self.state.seconds
                facts = self._step(micro)
                log.write(**facts)
                track(self.state.step, facts)
                advance(
                    self.state.seconds - before if self.steps is None else each, step=self._place(), loss=facts["loss"]
                )
                last = self.over
                if last:  # a validation may fail, and must not take the run with it
                    self.save("checkpoint")
                self._validate_where_due(log, track)
                asked = self.ranks.total([stop_asked()])[0] > 0
                if not last and (self.over or asked or self.state.step % self.config.checkpoint_every == 0):
                    self.save("checkpoint")
                if asked and not self.over:
                    raise Stopped(
                        f"stopped after step {self._place(' of ')}; go on with the same command and --resume "
                        f"(checkpoint in {self.folder / 'checkpoint'})",
                        resume=True,
                    )
        if self.stopped_early:
            load_checkpoint(self.folder / "best", self.parameters, self.optimiser, self.ranks)

    def _micro_batches(self) -> Iterator[list[Batch]]:
        """This rank's micro-batches of each step from here on, without end."""
        if self.private is None:
            source = _micro_batches(self.rows, self.objective, self.config, self.state.step, self.ranks)
            while True:
                yield list(islice(source, self.ranks.micro_batches(self.config)))
        for step in count(self.state.step):
            drawn, size = self.private.places(step), self.config.rows
            parts = [drawn[start : start + size] for start in range(0, len(drawn), size)]
            yield [_batch(self.rows, self.objective, self.config, step, part) for part in parts]

    def _step(self, micro: Sequence[Batch]) -> dict[str, Any]:
        """A step; what the log says of it."""
        config, state = self.config, self.state
        started = time.monotonic()
        if self.steps is None:
            share = config.share_at_time(state.seconds / (config.max_seconds or 1))
        else:
            share = config.share_at_step(state.step, self.steps)
        longest = math.inf
        if config.skip_spikes is not None and state.norm is not None and state.step >= 20:
            longest = config.skip_spikes * state.norm
        clip = config.clip
        make: Gradients | None = None
        if self.private is not None:  # rows are clipped, and the noise beside them must not be
            clip, make = math.inf, partial(self.private.gradients, step=state.step)
        elif self.ranks is ALONE and rows_apart.go_apart(self.network, self.objective, micro):
            make = rows_apart.gradients
        try:
            step = take_step(
                self.network, self.objective, micro, self.optimiser, share, clip, longest, self.ranks, make
            )
        except DivergedError as error:
            raise self._diverged(f"step {state.step + 1}: {error}") from None
        seconds = self.ranks.same(time.monotonic() - started)
        self.losses.append(step.loss)
        self.skipped += not step.taken
        norm = (
            state.norm if not step.taken else step.norm if state.norm is None else 0.95 * state.norm + 0.05 * step.norm
        )
        counted = state.seconds + seconds if self.steps is None else 0.0
        self.state = state.but(
            step=state.step + 1, tokens=state.tokens + step.count, seconds=counted, norm=norm, diverged=False
        )
        return _facts(state.step, step, config.learning_rate * share, seconds)

    def _validate_where_due(self, log: RunLog, track: Tracker) -> None:
        """The validation loss, at its steps and at the end; patience is counted here."""
        every = self.config.evaluate_every
        if self.validate is None or not (self.over or (every and self.state.step % every == 0)):
            return
        self.network.eval()
        loss = self.ranks.measured(self.validate, self.network)
        self.network.train()
        self.validation.append((self.state.step, loss))
        if not math.isfinite(loss):
            raise self._diverged(f"the validation loss is {loss:g}")
        facts = {"step": self.state.step - 1, "validation_loss": loss}
        log.write(**facts)
        track(self.state.step, facts)
        if self.report is not None:
            self.report(self._done(), loss)
        if self.state.best is None or loss < self.state.best:
            self.state = self.state.but(best=loss, best_step=self.state.step, waited=0)
            if self.config.patience is not None:
                self.save("best")
        else:
            self.state = self.state.but(waited=self.state.waited + 1)
            self.stopped_early = self.config.patience is not None and (
                self.over or self.state.waited >= self.config.patience
            )

    def _diverged(self, how: str) -> DivergedError:
        """What to raise where a loss or gradient is not finite, with the state before it saved."""
        self.state = self.state.but(diverged=True)
        self.save("checkpoint")
        return DivergedError(
            f"{how}; the parameters of step {self.state.step} are in {self.folder / 'checkpoint'}. Start afresh with a "
            f"lower rate, --set training.learning_rate={self.config.learning_rate / 3:.1g} (this run moves aside), or "
            "look at the "
            "text that it broke on"
        )

    def save(self, name: str) -> None:
        """Write a checkpoint of this moment."""
        save_checkpoint(self.folder / name, self.parameters, self.optimiser, self.state, self.ranks)

    def load(self, name: str) -> None:
        """Go on from a checkpoint."""
        self.state = load_checkpoint(self.folder / name, self.parameters, self.optimiser, self.ranks)
        patience = self.config.patience  # which may have ended it
        self.stopped_early = patience is not None and self.state.waited >= patience

    def result(self, seconds: float) -> TrainingResult:
        """What the run did."""
        best = self.state.best_step if self.stopped_early else None
        return TrainingResult(
            self.state.step, self.state.tokens, seconds, self.losses, self.validation, best, self.skipped
        )

    def _left(self) -> tuple[float, str]:
        config = self.config
        if self.steps is None:
            return (config.max_seconds or 0) - self.state.seconds, "s"
        width = self.rows.width(config.context)
        return round((self.steps - self.state.step) * config.rows * config.accumulate * width), "tokens"

    def _place(self, of: str = "/") -> str:
        return f"{self.state.step}{of}{self.steps}" if self.steps is not None else f"{self.state.step}"


def _facts(number: int, step: Step, rate: float, seconds: float) -> dict[str, Any]:
    facts = {
        "step": number,
        "loss": step.loss,
        "tokens": step.count,
        "learning_rate": rate,
        "gradient_norm": step.norm,
        "seconds": round(seconds, 4),
        **step.experts,
    }
    return facts if step.taken else facts | {"skipped": True}


def _rehearse(network: Network, objective: Objective, rows: Rows, config: TrainingConfig, ranks: Ranks) -> None:
    """Forward and backward once, for the compiler; nothing of it stays."""
    batch = next(_micro_batches(rows, objective, config, 0, ranks))
    accumulate(network, objective, [batch.to(network.device)], ranks)
    network.zero_grad()


def first_batches(rows: Rows | Sequence[Row], config: TrainingConfig, objective: Objective) -> Iterator[Batch]:
    """The micro-batches that a run of one process begins with, without end."""
    return _micro_batches(as_rows(rows), objective, config, 0, ALONE)


def as_rows(rows: Rows | Sequence[Row]) -> Rows:
    """Packed rows in memory, or whatever comes as Rows already."""
    return rows if isinstance(rows, Rows) else ExampleRows(rows)


def _micro_batches(
    rows: Rows, objective: Objective, config: TrainingConfig, step: int, ranks: Ranks
) -> Iterator[Batch]:
    """A rank's batches from optimiser step `step` on, epoch after epoch, without end."""
    for epoch, places, counts in ranks.share(config, _places(rows, config, step)):
        batch = _batch(rows.at_epoch(epoch, config.seed), objective, config, epoch, places)
        yield batch if counts else batch.without_loss()


def _batch(rows: Rows, objective: Objective, config: TrainingConfig, epoch: int, places: list[int]) -> Batch:
    """Some rows as the objective wants them."""
    return objective.prepare(rows.batch(places), [row_seed(config.seed, epoch, place) for place in places])


def _places(rows: Rows, config: TrainingConfig, step: int) -> Iterator[tuple[int, list[int]]]:
    """The epoch and the rows of each micro-batch from optimiser step `step` on."""
    epoch, skip = divmod(step * config.accumulate, rows.batches(config.rows))
    while True:
        for places in rows.order(config.rows, epoch, config.seed)[skip:]:
            yield epoch, places
        epoch, skip = epoch + 1, 0


def row_seed(seed: int, epoch: int, place: int) -> int:
    """What an objective prepares a row from."""
    return random.Random(f"{seed}/{epoch}/{place}").getrandbits(63)


@contextmanager
def _polite_stop() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask the loop to stop after the step it is in; a second Ctrl-C stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield asked.is_set
        return

    def ask(number: int, frame: object) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    earlier = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
