"""method = "prompt": vectors before every text are trained (prompt tuning), saved in PEFT's format."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from lmworks.adaptation.declaration import Adapter, Method, Setup
from lmworks.adaptation.prompt_config import PromptConfig

if TYPE_CHECKING:
    from torch import Tensor

    from lmworks.models.network import Network


def prepare(setup: Setup, settings: PromptConfig) -> Setup:
    """Freeze the network and put a prompt before its texts."""
    from lmworks.adaptation.prompt_tuning import add_prompt

    add_prompt(setup.network, settings, setup.seed)
    return setup


def _write(folder: Path, network: Network, base: str) -> None:
    from lmworks.adaptation.prompt_tuning import write_prompt

    write_prompt(folder, network, base)


def _read(folder: Path, network: Network) -> Network:
    from lmworks.adaptation.prompt_tuning import read_prompt

    return read_prompt(folder, network)


def _tensors(network: Network) -> dict[str, Tensor]:
    from lmworks.adaptation.prompt_tuning import prompt_tensors

    return prompt_tensors(network)


def _off(network: Network) -> AbstractContextManager[None]:
    from lmworks.adaptation.lora import adapters_off

    return adapters_off(network)


PROMPT = Method(
    name="prompt",
    summary="a few vectors before every text (prompt tuning): the fewest numbers; runs in PyTorch and is never merged",
    settings=PromptConfig,
    prepare=prepare,
    adapter=Adapter(_write, _read, _tensors, _off, merges=False, kind="prompt", type="PROMPT_TUNING"),
)
