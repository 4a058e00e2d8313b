"""The time of a step on this machine: timed with one block and with two, and continued to as many as there are.

Blocks are alike, so each further one adds what the second one adds; in an encoder-decoder this holds for either side.
A few sequences of a step are timed, shortened, and the rest extrapolated; the optimiser is timed by itself, as it steps
once for all of them. Blocks are not compiled, which would take longer than a plan may. Nothing is timed where a network
is too large; then a share of the device's speed is assumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from lmworks.adaptation.declaration import Chosen, Setup
from lmworks.generation.scheduler import PREFILL
from lmworks.jobs.planning.flops import forward_flops, training_flops
from lmworks.jobs.planning.parameters import count_parameters
from lmworks.jobs.planning.workload import made_up, row_of, usual_objective
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.models.precision import dtype_of
from lmworks.objectives.declaration import ObjectiveSettings
from lmworks.training.by_hand.fused_block import choose_blocks
from lmworks.training.optimiser import make_optimiser
from lmworks.training.settings import TrainingConfig
from lmworks.training.step import accumulate, take_step

MOST, WANTED = 1.5e11, 3e10
"""Operations of a step of two blocks: with more than MOST nothing is timed, and of many sequences about WANTED are."""
CONTEXT = 256
"""Tokens of a sequence that are timed; a longer one takes as much more as it has more operations."""
LARGEST = 80_000_000
"""Parameters of a network of two blocks, from which on nothing is timed."""
SHORTEST = 64
"""Tokens of a prompt, below which nothing is timed."""


def step_seconds(
    config: ModelConfig,
    training: TrainingConfig,
    dtype: str,
    chosen: Chosen | None,
    objective: ObjectiveSettings | None = None,
) -> float | None:
    """Seconds of an optimiser step on this CPU, with all its micro-batches, trained by the method of `chosen`.

    Without a method, all weights are trained.
    """
    objective = objective or usual_objective(config)
    timed = training.but(context=min(training.context, CONTEXT))
    operations = _operations(_of(config, 2), timed, objective)
    if operations > MOST or count_parameters(_of(config, 2)).base > LARGEST:
        return None
    timed = timed.but(rows=max(1, min(training.rows, round(WANTED / operations))))
    with torch.random.fork_rng():
        one, *others = (_timed_step(small, timed, dtype, chosen, objective) for small in _small(config))
    gradients, update = (
        _all_blocks(first, second, config) for first, second in zip(one, zip(*others, strict=True), strict=True)
    )
    longer = _operations(config, training, objective) / _operations(config, timed, objective)
    return gradients * longer * training.rows * training.accumulate / timed.rows + update


def reading_seconds(config: ModelConfig, dtype: str) -> tuple[float, float] | None:
    """Seconds to read a prompt (an encoder's text, an encoder-decoder's source) as long as the model reads, and to
    write a token after up to PREFILL of them; 0 for an encoder, which writes none.

    A longer prompt takes as much more time as it has more operations.
    """
    size = min(config.context, PREFILL)
    small = _of(config, 2)
    parameters = count_parameters(small)
    if size < SHORTEST or parameters.base > LARGEST or forward_flops(small, parameters, size).all > MOST:
        return None
    with torch.random.fork_rng():
        one, *others = (_timed_reading(small, dtype, size) for small in _small(config))
    prompt, token = (
        _all_blocks(first, second, config) for first, second in zip(one, zip(*others, strict=True), strict=True)
    )
    whole = count_parameters(config)
    longer = forward_flops(config, whole, config.context).all / forward_flops(config, whole, size).all
    return prompt * longer, token


def _of(config: ModelConfig, layers: int, encoder: int | None = None) -> ModelConfig:
    """With `layers` blocks, on either side unless the encoder has another number."""
    sides = {"encoder_layers": encoder or layers} if config.arrangement == "encoder-decoder" else {}
    return config.but(layers=layers, window_layers=None, **sides)


def _small(config: ModelConfig) -> list[ModelConfig]:
    """With one block, and with one more on each side."""
    two_sides = config.arrangement == "encoder-decoder"
    return [_of(config, 1), _of(config, 2, 1), *([_of(config, 1, 2)] if two_sides else [])]


def _all_blocks(one: float, others: Sequence[float], config: ModelConfig) -> float:
    """The time of all blocks from those of `_small`."""
    sides = (config.layers, config.encoder().layers) if len(others) > 1 else (config.layers,)
    more = (_continued(one, two, layers) - one for two, layers in zip(others, sides, strict=True))
    return one + sum(more)


def _continued(one: float, two: float, layers: int) -> float:
    return one + (layers - 1) * max(two - one, 0.0)


def _operations(config: ModelConfig, training: TrainingConfig, objective: ObjectiveSettings) -> float:
    """Of one sequence, forward and back."""
    row = row_of(objective, training.context)
    return training_flops(config, count_parameters(config), training.context, row=row).all


def _timed_step(
    config: ModelConfig, training: TrainingConfig, dtype: str, chosen: Chosen | None, settings: ObjectiveSettings
) -> tuple[float, float]:
    """Seconds of the gradients of one micro-batch, and of the rest of a step."""
    objective, batch = made_up(config, settings, training.rows, training.context)
    network = Network(config).initialise().to(dtype_of(dtype))
    if chosen is not None:
        setup = chosen.prepare(Setup(network, objective, []))
        network, objective = setup.network, setup.objective
    choose_blocks(network.train(), training.recompute)
    optimiser = make_optimiser(network, training)

    def gradients() -> None:
        accumulate(network, objective, [batch])
        optimiser.zero_grad()

    step = _fastest(lambda: take_step(network, objective, [batch], optimiser, 1.0, training.clip))
    alone = _fastest(gradients)
    return min(alone, step), max(step - alone, 0.0)


def _timed_reading(config: ModelConfig, dtype: str, size: int) -> tuple[float, float]:
    """Seconds to read a prompt and to write a token after it."""
    network = Network(config).initialise().to(dtype_of(dtype)).eval().requires_grad_(False)
    ids = torch.randint(config.vocab_size, (1, size))

    def read() -> object:
        if not config.causal:
            return network.hidden(ids)
        memory = network.encode(ids) if two_sides else None
        begun = ids[:, :1] if two_sides else ids
        return network.logits(network.hidden(begun, cache=network.new_cache(1, size, memory))[:, -1])

    def write() -> object:
        return network.logits(network.hidden(ids[:, :1], cache=cache)[:, -1])

    two_sides = config.arrangement == "encoder-decoder"
    with torch.inference_mode():
        if not config.causal:
            return _fastest(read), 0.0
        cache = network.new_cache(1, size, network.encode(ids) if two_sides else None)
        network.hidden(ids[:, SHORTEST // 2 :], cache=cache)
        return _fastest(read), _fastest(write, SHORTEST // 2 - 1)


def _fastest(work: Callable[[], object], times: int = 3, most: float = 0.25) -> float:
    """Seconds of the fastest of some runs, one before them not counted, and none begun after `most` seconds."""
    work()
    best, spent = float("inf"), 0.0
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
        best, spent = min(best, seconds), spent + seconds
        if spent > most:
            break
    return best
