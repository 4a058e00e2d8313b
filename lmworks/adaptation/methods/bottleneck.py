"""method = "bottleneck": narrow layers after the frozen ones of each block."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from lmworks.adaptation.bottleneck_config import BottleneckConfig
from lmworks.adaptation.declaration import Adapter, Method, Setup

if TYPE_CHECKING:
    from torch import Tensor

    from lmworks.models.network import Network


def prepare(setup: Setup, settings: BottleneckConfig) -> Setup:
    """Freeze the network and put bottlenecks into it."""
    from lmworks.adaptation.bottleneck import add_bottlenecks

    add_bottlenecks(setup.network, settings, setup.seed)
    return setup


def _write(folder: Path, network: Network, base: str) -> None:
    from lmworks.adaptation.bottleneck import write_bottlenecks

    write_bottlenecks(folder, network, base)


def _read(folder: Path, network: Network) -> Network:
    from lmworks.adaptation.bottleneck import read_bottlenecks

    return read_bottlenecks(folder, network)


def _tensors(network: Network) -> dict[str, Tensor]:
    from lmworks.adaptation.bottleneck import bottleneck_tensors

    return bottleneck_tensors(network)


def _off(network: Network) -> AbstractContextManager[None]:
    from lmworks.adaptation.lora import adapters_off

    return adapters_off(network)


BOTTLENECK = Method(
    name="bottleneck",
    summary="narrow layers after attention and feed-forward (Houlsby, Pfeiffer); runs in PyTorch and is never merged",
    settings=BottleneckConfig,
    prepare=prepare,
    adapter=Adapter(_write, _read, _tensors, _off, merges=False, kind="bottleneck", type="LMWORKS_BOTTLENECK"),
)
