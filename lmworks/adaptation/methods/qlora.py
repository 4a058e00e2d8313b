"""method = "qlora": LoRA beside weights that are kept in few bits, NF4 or those of the model's own file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from lmworks.adaptation.declaration import Method, Setup
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.methods.lora import LORA

if TYPE_CHECKING:
    from lmworks.models.network import Network


class QLoRAConfig(LoRAConfig):
    """Settings of an adapter on a base in few bits: those of LoRA, and which bits."""

    grid: Literal["nf4", "file"] = "nf4"
    """nf4 rounds the base's matrices to 4 bits (NF4, scales in 8 bits), which any base can be; file leaves them as a
    GGUF file holds them, and loses nothing."""


def prepare(setup: Setup, settings: QLoRAConfig) -> Setup:
    """Keep the matrices in few bits and put adapters beside them. ConfigError where the base's file has no grid."""
    from lmworks.adaptation.file_grid import freeze_as_stored
    from lmworks.adaptation.lora import add_lora, lora_layers
    from lmworks.adaptation.nf4 import freeze_in_nf4

    if settings.grid == "file":
        freeze_as_stored(setup.network, setup.stored)
    else:
        freeze_in_nf4(setup.network)
    add_lora(setup.network, settings, setup.seed)
    for layer in lora_layers(setup.network).values():
        layer.rounded_to = "nf4" if settings.grid == "nf4" else None
    return setup


def _settle(network: Network) -> None:
    from lmworks.adaptation.frozen import thaw

    thaw(network)


assert LORA.adapter is not None
QLORA = Method(
    name="qlora",
    summary="LoRA beside a base in few bits: NF4, and what rounding to it costs, or as a GGUF file holds it, lossless",
    settings=QLoRAConfig,
    prepare=prepare,
    settle=_settle,
    adapter=replace(LORA.adapter, kind="qlora"),
)
