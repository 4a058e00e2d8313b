"""method = "qlora": LoRA beside weights that are kept in 4 bits, NF4."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lmworks.adaptation.declaration import Method, Setup
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.methods.lora import LORA

if TYPE_CHECKING:
    from lmworks.models.network import Network


class QLoRAConfig(LoRAConfig):
    """Settings of an adapter on a base in NF4: those of LoRA."""


def prepare(setup: Setup, settings: QLoRAConfig) -> Setup:
    """Put the matrices into 4 bits and adapters beside them."""
    from lmworks.adaptation.lora import add_lora
    from lmworks.adaptation.nf4 import freeze_in_nf4

    freeze_in_nf4(setup.network)
    add_lora(setup.network, settings, setup.seed)
    return setup


def _settle(network: Network) -> None:
    from lmworks.adaptation.frozen import thaw

    thaw(network)


def _write(folder: Path, network: Network, base: str) -> None:
    from lmworks.adaptation.peft_format import write_adapter

    write_adapter(folder, network, base, on_nf4=True)


assert LORA.adapter is not None
QLORA = Method(
    name="qlora",
    summary="LoRA beside a base in 4 bits (NF4): a third of the memory for weights, and what rounding them costs",
    settings=QLoRAConfig,
    prepare=prepare,
    settle=_settle,
    adapter=replace(LORA.adapter, write=_write, kind="qlora"),
)
