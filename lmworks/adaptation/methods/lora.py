"""method = "lora": low-rank adapters beside frozen weights, saved in PEFT's format."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from lmworks.adaptation.declaration import Adapter, Method, Setup
from lmworks.adaptation.lora_config import LoRAConfig

if TYPE_CHECKING:
    from torch import Tensor

    from lmworks.models.network import Network


def prepare(setup: Setup, settings: LoRAConfig) -> Setup:
    """Freeze the network and put adapters on it."""
    from lmworks.adaptation.lora import add_lora

    add_lora(setup.network, settings, setup.seed)
    return setup


def _write(folder: Path, network: Network, base: str) -> None:
    from lmworks.adaptation.peft_format import write_adapter

    write_adapter(folder, network, base)


def _read(folder: Path, network: Network) -> Network:
    from lmworks.adaptation.peft_format import read_adapter

    return read_adapter(folder, network)


def _tensors(network: Network) -> dict[str, Tensor]:
    from lmworks.adaptation.peft_format import lora_tensors

    return lora_tensors(network)


def _off(network: Network) -> AbstractContextManager[None]:
    from lmworks.adaptation.lora import adapters_off

    return adapters_off(network)


LORA = Method(
    name="lora",
    summary="low-rank adapters on the linear layers; all weights of the model stay as they are",
    settings=LoRAConfig,
    prepare=prepare,
    adapter=Adapter(_write, _read, _tensors, _off),
)
