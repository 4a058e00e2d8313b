"""Blocks compiled by torch.compile for the length of a training run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError
from lmworks.models.network import Network
from lmworks.training.settings import TrainingConfig


@contextmanager
def compiled(network: Network, config: TrainingConfig, rehearse: Callable[[], None]) -> Iterator[None]:
    """Run blocks compiled where `config.compile` says so; `rehearse` runs once, so that no step waits for the compiler.

    One block is compiled and used for all: they differ in nothing but their weights. ConfigError without a compiler.
    """
    if not config.compile:
        yield
        return
    if network.device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX") or "g++", "clang++"))):
        raise ConfigError(
            "training.compile needs a C++ compiler, and neither g++ nor clang++ is here; install one, "
            "or set training.compile = false"
        )
    plain = network.run_block
    network.run_block = torch.compile(plain, dynamic=False)
    try:
        with progress.task("compiling", 1) as advance:
            rehearse()
            advance(1)
        yield
    finally:
        network.run_block = plain
