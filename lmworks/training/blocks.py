"""How the blocks run for the length of a training run: by hand-written forward and backward, compiled, or plainly."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError
from lmworks.models.network import Network
from lmworks.training.by_hand.eight_bits import in_eight_bits
from lmworks.training.by_hand.fused_block import FusedBlocks, choose_blocks
from lmworks.training.settings import TrainingConfig


@contextmanager
def fast_blocks(network: Network, config: TrainingConfig, rehearse: Callable[[], None]) -> Iterator[None]:
    """Run blocks in the fastest way that covers them, compiled where `config.compile` says so.

    Then `rehearse` runs once, so that no step waits for the compiler. One block is compiled and used for all, as they
    differ only in their weights. ConfigError without a compiler.
    """
    if not hasattr(network, "run_block"):  # a recurrent network, whose cells are the library's own
        if config.compile:
            raise ConfigError(
                "training.compile joins a transformer's blocks, and the network is recurrent; leave it out"
            )
        yield
        return
    if config.compile and network.config.experts is not None:
        raise ConfigError(
            "training.compile does not go with experts: how many rows each of them gets changes from step to step, and "
            "each number would be compiled anew; set training.compile = false"
        )
    before = network.run_block
    choose_blocks(network, config.recompute)
    try:
        if config.compile:
            _compile(network, rehearse)
        with in_eight_bits(network) if config.frozen_products == "int8" else nullcontext():
            yield
    finally:
        network.run_block = before


def _compile(network: Network, rehearse: Callable[[], None]) -> None:
    if network.device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX") or "g++", "clang++"))):
        raise ConfigError(
            "training.compile needs a C++ compiler, and neither g++ nor clang++ is here; install one, "
            "or set training.compile = false"
        )
    if isinstance(network.run_block, FusedBlocks):
        network.run_block.compile()
    else:
        network.run_block = torch.compile(network.run_block, dynamic=False)
    with progress.task("compiling", 1) as advance:
        rehearse()
        advance(1)
