"""The training loop: one for every network and objective.

    result = train(network, CausalLM(), rows, TrainingConfig(steps=100), Path("runs/first"))

A step's loss is the mean over all its supervised tokens, however they are split into micro-batches. The loop can
be stopped with Ctrl-C or SIGTERM and resumed: data order, learning rate, random numbers and loss go on as if it had
not been stopped, to the bit on one device.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from lmworks.basics import progress
from lmworks.basics.errors import DataError, LmworksError, Stopped
from lmworks.models.network import Network
from lmworks.objectives import Objective
from lmworks.tokens.batch import Batch, Row, batches
from lmworks.training.checkpoint import State, load_checkpoint, save_checkpoint
from lmworks.training.log import RunLog
from lmworks.training.optimiser import adamw, trainable
from lmworks.training.settings import TrainingConfig


class DivergedError(LmworksError):
    """The loss or the gradient is not a number any more."""


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


def train(
    network: Network,
    objective: Objective,
    rows: Sequence[Row],
    config: TrainingConfig,
    run: Path,
    *,
    resume: bool = False,
) -> TrainingResult:
    """Train whatever of the network requires gradients; checkpoints and log.jsonl go into `run`.

    Raises Stopped when it was interrupted, after saving; DivergedError when loss or gradient is not finite, with
    the parameters of the last good step saved.
    """
    if not rows:
        raise DataError("there is nothing to train on: no row of text is left after packing")
    torch.manual_seed(config.seed)
    parameters = trainable(network)
    optimiser = adamw(parameters, config)
    steps = steps_of(config, len(rows))
    checkpoint = run / "checkpoint"
    state = load_checkpoint(checkpoint, parameters, optimiser) if resume else State(0, 0)
    begun, losses, tokens = time.monotonic(), [], state.tokens
    network.train()
    try:
        with (
            RunLog(run / "log.jsonl", state.step if resume else None) as log,
            _polite_stop() as stop_asked,
            progress.task(
                "training", (steps - state.step) * config.rows * config.accumulate * config.context, "tokens"
            ) as advance,
        ):
            if not resume:
                log.write(
                    groups=[
                        {"names": group["names"], "weight_decay": group["weight_decay"]}
                        for group in optimiser.param_groups
                    ],
                    steps=steps,
                    rows=len(rows),
                )
            source = _micro_batches(rows, config, state.step)
            for step in range(state.step, steps):
                started = time.monotonic()
                micro = [batch.to(network.device) for batch in islice(source, config.accumulate)]
                rate = config.learning_rate_at(step, steps)
                try:
                    loss, count, norm = _step(network, objective, micro, optimiser, rate, config.clip)
                except DivergedError as error:
                    save_checkpoint(checkpoint, parameters, optimiser, State(step, tokens))
                    raise DivergedError(
                        f"step {step + 1}: {error}; the parameters of step {step} are in {checkpoint}. "
                        "Lower training.learning_rate, or look at the data"
                    ) from None
                tokens += count
                losses.append(loss)
                seconds = round(time.monotonic() - started, 4)
                log.write(step=step, loss=loss, tokens=count, learning_rate=rate, gradient_norm=norm, seconds=seconds)
                advance(sum(batch.tokens.numel() for batch in micro), step=f"{step + 1}/{steps}", loss=loss)
                last = step + 1 == steps
                if last or stop_asked() or (step + 1) % config.checkpoint_every == 0:
                    save_checkpoint(checkpoint, parameters, optimiser, State(step + 1, tokens))
                if stop_asked() and not last:
                    raise Stopped(
                        f"stopped after step {step + 1} of {steps}; go on with the same command and --resume "
                        f"(checkpoint in {checkpoint})"
                    )
    finally:
        network.eval()
    return TrainingResult(steps, tokens, time.monotonic() - begun, losses)


def steps_of(config: TrainingConfig, rows: int) -> int:
    """Optimiser steps of a run over that many rows."""
    per_epoch = math.ceil(rows / config.rows) / config.accumulate
    return config.steps or max(1, round(config.epochs * per_epoch))


def _step(
    network: Network,
    objective: Objective,
    micro: Sequence[Batch],
    optimiser: torch.optim.Optimizer,
    rate: float,
    clip: float,
) -> tuple[float, int, float]:
    """One optimiser step; its loss, its tokens and its gradient's norm before clipping.

    DivergedError, with the parameters untouched, where loss or gradient is not finite.
    """
    loss, count = _accumulate(network, objective, micro)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, clip))
    if not (math.isfinite(loss) and math.isfinite(norm)):
        optimiser.zero_grad()
        raise DivergedError(f"the loss is {loss:g} and the gradient's norm {norm:g}")
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    optimiser.zero_grad()
    return loss, count, norm


def _accumulate(network: Network, objective: Objective, micro: Sequence[Batch]) -> tuple[float, int]:
    """Gradients of the mean loss over all tokens of the micro-batches; that mean, and the number of tokens."""
    count = sum(batch.supervised for batch in micro)
    total = 0.0
    for batch in micro:
        loss = objective(network, batch).total / count
        loss.backward()
        total += float(loss.detach())
    return total, count


def _micro_batches(rows: Sequence[Row], config: TrainingConfig, step: int) -> Iterator[Batch]:
    """Batches from optimiser step `step` on, epoch after epoch, without end."""
    per_epoch = math.ceil(len(rows) / config.rows)
    epoch, skip = divmod(step * config.accumulate, per_epoch)
    while True:
        yield from islice(batches(rows, config.rows, config.seed, epoch), skip, None)
        epoch, skip = epoch + 1, 0


@contextmanager
def _polite_stop() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask the loop to stop behind the step it is in; a second Ctrl-C stops at once."""
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
