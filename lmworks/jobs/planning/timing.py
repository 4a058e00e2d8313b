"""The time of work on this machine, from what a small network of the same shape takes just now.

The small network has a few of the blocks and as large a share of the vocabulary, so that blocks, embedding and head
have the weight in it that they have in the whole: what the whole takes is that time by its operations, or by its bytes.
(Blocks are not told apart by a difference of two times: on a machine that does something else too, the difference
between one and two blocks may be anything, and thirty blocks are that anything thirty times.)

A few sequences of a training step are timed, shortened; the optimiser is timed by itself, as it steps once for all of
them. Nothing is timed where a block is too large to be trained within a moment; then a share of the device's speed is
assumed. A network that only runs is timed on what will run it, with narrower blocks where they are large; tokens are
written by all its blocks, or many, as two would stay in the caches from one token to the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from lmworks.adaptation.declaration import Chosen, Setup
from lmworks.basics.arrays import Int
from lmworks.basics.errors import ConfigError
from lmworks.generation.scheduler import PREFILL
from lmworks.generation.scoring import logprobs_of
from lmworks.jobs.planning.adapting import method_flops, trained_by
from lmworks.jobs.planning.flops import Flops, decoding_flops, forward_flops
from lmworks.jobs.planning.parameters import count_parameters
from lmworks.jobs.planning.workload import DOCUMENTS, made_up, usual_objective
from lmworks.kernels import CompiledRunner
from lmworks.models.config import ModelConfig
from lmworks.models.kv_cache import KVCache
from lmworks.models.network import Network
from lmworks.models.precision import dtype_of
from lmworks.models.runner import Row, Runner, TokenChoice
from lmworks.models.torch_runner import TorchRunner
from lmworks.objectives.declaration import FullRow, ObjectiveSettings
from lmworks.training.blocks import fast_blocks
from lmworks.training.optimiser import make_optimiser
from lmworks.training.settings import TrainingConfig
from lmworks.training.step import accumulate

BLOCKS = 2
"""Of the network that is timed, on the side that has fewer."""
SMALLEST_VOCABULARY = 256
MOST, WANTED = 1.5e11, 1e10
"""Operations of a step of it: with more than MOST nothing is timed, and of many sequences about WANTED are."""
CONTEXT = 256
"""Tokens of a sequence that are timed; a longer one takes as much more as it has more operations."""
LARGEST = 80_000_000
"""Parameters of it, from which on no step is timed."""
WIDEST = 4_000_000
"""Parameters of a block, from which on a narrower one is timed where a network only runs."""
SHORTEST = 64
"""Tokens of a prompt, below which nothing is timed."""
LONG = 4096
"""Tokens of a second prompt, in which attention has more of the time, and its keys leave the nearest caches."""
AT_ONCE = 8
"""Texts that are written side by side."""
WRITTEN = 32
"""Tokens that are written in one go to time one."""
DEEPEST = 160_000_000
"""Weights of the network that writes them, at most."""


def shrunk(config: ModelConfig, blocks: int = BLOCKS) -> ModelConfig:
    """A network of a few blocks, with as large a share of the vocabulary."""
    sides = [config.layers]
    if config.arrangement == "encoder-decoder":
        sides.append(config.encoder().layers)
    share = min(1.0, blocks / min(sides))
    changes: dict[str, object] = {"layers": max(1, round(share * config.layers)), "window_layers": None}
    if len(sides) == 2:
        changes["encoder_layers"] = max(1, round(share * sides[1]))
    if config.adaptive_cutoffs is None:
        changes["vocab_size"] = max(min(SMALLEST_VOCABULARY, config.vocab_size), round(share * config.vocab_size))
    return config.but(**changes)


def narrowed(config: ModelConfig) -> ModelConfig:
    """With narrower blocks where they are large: fewer heads, and all else in proportion."""
    share = (WIDEST / max(count_parameters(config.but(layers=1, window_layers=None)).block, 1)) ** 0.5
    if share >= 1 or config.arrangement != "decoder":
        return config
    kv_heads = max(1, round(share * config.kv_heads))

    def part(width: int) -> int:
        return 64 * max(1, round(share * width / 64))

    try:
        return config.but(
            kv_heads=kv_heads,
            heads=kv_heads * (config.heads // config.kv_heads),
            head_dim=config.head_dim,
            dim=part(config.dim),
            hidden_dim=part(config.hidden_dim),
        )
    except ConfigError:  # a setting that goes with the width
        return config


def step_seconds(
    config: ModelConfig,
    training: TrainingConfig,
    dtype: str,
    chosen: Chosen | None,
    objective: ObjectiveSettings | None = None,
    documents: int = DOCUMENTS,
) -> float | None:
    """Seconds of an optimiser step on this CPU, with all its micro-batches, trained by the method of `chosen`.

    Without a method, all weights are trained. `documents` is how many a row of text holds.
    """
    objective = objective or usual_objective(config)
    timed = training.but(context=min(training.context, CONTEXT))
    small = shrunk(config)
    operations = _operations(small, timed, objective, None)
    if operations > MOST or count_parameters(small).base > LARGEST:
        return None
    timed = timed.but(rows=max(1, min(training.rows, round(WANTED / operations))))
    with torch.random.fork_rng():
        try:
            of_a_row = max(1, round(documents * timed.context / training.context))
            gradients, update = _timed_step(small, timed, dtype, chosen, objective, of_a_row)
        except ConfigError:  # a method that asks for more blocks than are timed
            return None
    rows = training.rows * training.accumulate / timed.rows
    more = _operations(config, training, objective, chosen) / _operations(small, timed, objective, chosen)
    return gradients * more * rows + update * _trained(config, chosen) / _trained(small, chosen)


@dataclass(frozen=True)
class Rates:
    """How fast something runs networks of a shape on this machine."""

    products: float
    """Seconds of an operation in products with weights, where many tokens are read."""
    attention: float
    """Seconds of one in attention."""
    token: float
    """Seconds of a weight that a written token is multiplied with, where the weights are at hand."""
    tokens: float
    """The same where AT_ONCE texts are written side by side, for all of them."""
    scoring: float
    """Seconds of an operation of the head where every token's logits are made and compared."""

    def prompt(self, flops: Flops) -> float:
        """Seconds of a text that is read."""
        return self.products * (flops.matrices + flops.head) + self.attention * flops.attention

    def scored(self, flops: Flops) -> float:
        """Seconds of one of which every token is predicted."""
        return self.products * flops.matrices + self.attention * flops.attention + self.scoring * flops.head


def rates(config: ModelConfig, dtype: str, bits: int | None = None) -> Rates | None:
    """Of the compiled path in these bits, or of PyTorch in a type; None where a text has too few tokens to be timed."""
    size = min(config.context, PREFILL)
    if size < SHORTEST:
        return None
    narrow = narrowed(config)
    small, deep = shrunk(narrow), shrunk(narrow, deep_blocks(narrow))

    def runner_of(one: ModelConfig) -> Runner:
        network = Network(one).initialise().to(dtype_of(dtype)).eval().requires_grad_(False)
        return TorchRunner(network) if bits is None else CompiledRunner(network, bits)

    with torch.random.fork_rng(), torch.inference_mode(False):
        if config.arrangement != "decoder":
            return _of_two_sides(runner_of(small), small, size)
        reads, writes = runner_of(small), runner_of(deep)
        with torch.inference_mode():
            products, attention, scoring = _of_reading(reads, small, size, min(config.context, LONG))
            token, tokens = _of_writing(writes, deep, size)
            return Rates(products, attention, token, tokens, scoring)


def deep_blocks(config: ModelConfig) -> int:
    """How many blocks write a token that is timed: of few the weights would stay in the processor's caches from one
    token to the next, those of all of them may come from memory."""
    counted = count_parameters(config)
    return max(BLOCKS, min(config.layers, int(config.layers * DEEPEST / max(counted.base, 1))))


def _of_reading(runner: Runner, small: ModelConfig, size: int, longer: int) -> tuple[float, float, float]:
    """Seconds of an operation in products, in attention, and of the head where every token is scored."""
    counted = count_parameters(small)
    ids = np.random.default_rng(0).integers(small.vocab_size, size=(1, longer))

    def read(tokens: int) -> Callable[[], object]:
        def run() -> object:
            fresh = runner.new_cache(1, tokens)
            for start in range(0, tokens, PREFILL):
                part = runner.next_logits(ids[:, start : min(start + PREFILL, tokens)], fresh)
            return part

        return run

    short, long = fastest(read(size)), fastest(read(longer)) if longer > size else None
    flops = forward_flops(small, counted, size, FullRow(size, 0, 1))
    products = short / flops.all
    attention = products
    if long is not None:
        further = forward_flops(small, counted, longer, FullRow(longer, 0, 1))
        products, attention = two_rates(flops, short, further, long)
    head = forward_flops(small, counted, size, FullRow(size, 0, size)).head
    read_ids = torch.from_numpy(ids)[:, :size]
    hidden = runner.hidden(read_ids)[0]
    return products, attention, fastest(lambda: logprobs_of(runner, hidden, read_ids[0])) / head


def _of_writing(runner: Runner, deep: ModelConfig, size: int) -> tuple[float, float]:
    """Seconds of a weight that a token is multiplied with, of one text and of AT_ONCE."""
    ids = np.random.default_rng(0).integers(deep.vocab_size, size=(1, size))
    cache, beside = runner.new_cache(1, size + 64), runner.new_cache(AT_ONCE, size)
    runner.next_logits(ids[:, : size // 2], cache)
    runner.next_logits(ids[:, :16].repeat(AT_ONCE, axis=0), beside)
    begun = ids[:, :1]
    written = decoding_flops(deep, count_parameters(deep), size // 2).all / 2
    token = _one_token(runner, begun, cache) / written
    return token, fastest(lambda: runner.next_logits(begun.repeat(AT_ONCE, axis=0), beside), 20) / written


def _one_token(runner: Runner, begun: Int[np.ndarray, "1 1"], cache: KVCache) -> float:
    """Seconds to write a token of a text, as a text is written: several without Python in between where the runner can,
    as Python would weigh more beside a few blocks than beside all of them."""
    if not runner.can_write(cache):
        return fastest(lambda: runner.next_logits(begun, cache), WRITTEN)
    row = Row(begun[0].tolist(), TokenChoice(), (0.0,) * WRITTEN)
    return fastest(lambda: runner.write([row], cache, WRITTEN, np.zeros(1, np.int64))) / WRITTEN


def two_rates(short: Flops, seconds: float, long: Flops, longer: float) -> tuple[float, float]:
    """Seconds of an operation in products and of one in attention, from the times of two texts; both the same where
    noise would make one of them negative."""
    one, two = short.matrices + short.head, long.matrices + long.head
    attention = (longer * one - seconds * two) / (long.attention * one - short.attention * two)
    products = (seconds - attention * short.attention) / one
    if attention > 0 and products > 0:
        return products, attention
    even = (seconds + longer) / (short.all + long.all)
    return even, even


def _of_two_sides(runner: Runner, config: ModelConfig, size: int) -> Rates:
    """Of an encoder, which writes nothing, and of an encoder-decoder."""
    two_sides, counted = config.arrangement == "encoder-decoder", count_parameters(config)
    ids = torch.randint(config.vocab_size, (1, size))
    texts = ids.numpy()

    def read() -> object:
        if not two_sides:
            return runner.hidden(ids)
        return runner.next_logits(texts[:, :1], runner.new_cache(1, size, runner.encode(texts)))

    with torch.inference_mode():
        row = FullRow(1, size, 1) if two_sides else FullRow(size, 0, 0)
        products = fastest(read) / forward_flops(config, counted, size, row).all
        if not two_sides:
            return Rates(products, products, 0.0, 0.0, 0.0)
        cache = runner.new_cache(1, size, runner.encode(texts))
        runner.read(texts[:, SHORTEST // 2 :], cache)
        written = decoding_flops(config, counted, size // 2).all / 2
        token = fastest(lambda: runner.next_logits(texts[:, :1], cache), SHORTEST // 2 - 1) / written
        return Rates(products, products, token, token * AT_ONCE, 0.0)


def _operations(
    config: ModelConfig, training: TrainingConfig, objective: ObjectiveSettings, chosen: Chosen | None
) -> float:
    """Of one sequence, forward and as far back as the method goes."""
    return method_flops(config, training.but(recompute=False), objective, chosen).all


def _trained(config: ModelConfig, chosen: Chosen | None) -> int:
    return count_parameters(config).base if chosen is None else max(trained_by(config, chosen), 1)


def _timed_step(
    config: ModelConfig,
    training: TrainingConfig,
    dtype: str,
    chosen: Chosen | None,
    settings: ObjectiveSettings,
    documents: int,
) -> tuple[float, float]:
    """Seconds of the gradients of one micro-batch, and of the rest of a step."""
    objective, batch = made_up(config, settings, training.rows, training.context, documents)
    network = Network(config).initialise().to(dtype_of(dtype))
    if chosen is not None:
        setup = chosen.retain(chosen.prepare(Setup(network, objective, [])))
        network, objective = setup.network, setup.objective
    optimiser = make_optimiser(network, training)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]

    def gradients() -> None:
        optimiser.zero_grad()
        accumulate(network, objective, [batch])

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(parameters, training.clip)
        optimiser.step()

    with fast_blocks(network.train(), training.but(compile=False), lambda: None):
        return fastest(gradients, most=0.6), fastest(update)


def fastest(work: Callable[[], object], times: int = 5, most: float = 0.2) -> float:
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
