"""method = "qlora": LoRA beside weights that are kept in few bits, NF4 or those of the model's own file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

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

    start: Literal["rounding", "zero"] = "rounding"
    """rounding: adapters begin at what rounding to NF4 took from the matrices, as far as their rank holds it and the
    text needs it (LoftQ, LQER), so that training need not find it again; zero: as in LoRA. A private run begins at zero
    in any case, and so does one whose loss compares with the base (`lmworks prefer`, `retain`)."""


def prepare(setup: Setup, settings: QLoRAConfig) -> Setup:
    """Keep the matrices in few bits and put adapters beside them. ConfigError where the base's file has no grid."""
    from lmworks.adaptation.file_grid import freeze_as_stored
    from lmworks.adaptation.lora import add_lora, lora_layers
    from lmworks.adaptation.nf4 import NF4, VALUES, freeze_in_nf4
    from lmworks.adaptation.rounding_error import begin_at_rounding_error, inputs_of

    network = setup.network
    if settings.grid == "file":
        freeze_as_stored(network, setup.stored)
        add_lora(network, settings, setup.seed)
        return setup
    begins = settings.start == "rounding" and len(setup.calibration) > 0
    inputs = inputs_of(network, setup.objective, setup.calibration) if begins else {}
    add_lora(network, settings, setup.seed)
    begin_at_rounding_error(network, NF4.of, inputs)
    freeze_in_nf4(network)
    for layer in lora_layers(network).values():
        layer.rounded_to = VALUES
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
    few_bits=True,
    from_file=lambda settings: settings.grid == "file",
    kinds={grid: {"grid": grid} for grid in get_args(QLoRAConfig.model_fields["grid"].annotation)},
    adapter=replace(LORA.adapter, kind="qlora"),
)
