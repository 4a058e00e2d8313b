"""method = "dora": low-rank adapters that turn each row of a weight, and a trained length for it, in PEFT's format."""

from __future__ import annotations

from dataclasses import replace

from lmworks.adaptation.declaration import Method, Setup
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.methods.lora import LORA


class DoRAConfig(LoRAConfig):
    """Settings of a DoRA adapter: those of LoRA."""


def prepare(setup: Setup, settings: DoRAConfig) -> Setup:
    """Freeze the network and put adapters on it."""
    from lmworks.adaptation.dora import DoRALinear
    from lmworks.adaptation.lora import add_lora

    add_lora(setup.network, settings, setup.seed, DoRALinear)
    return setup


assert LORA.adapter is not None
DORA = Method(
    name="dora",
    summary="LoRA that learns the length of each row apart from its direction",
    settings=DoRAConfig,
    prepare=prepare,
    adapter=replace(LORA.adapter, kind="dora"),
)
