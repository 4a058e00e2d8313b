"""LoRA and DoRA adapters in PEFT's format, read and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from lmworks.adaptation.adapter_files import BASE_VALUES, CONFIG, WEIGHTS, fill, write_files
from lmworks.adaptation.dora import DoRALinear
from lmworks.adaptation.lora import LoRALinear, add_lora, lora_layers, remove_adapters
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.nf4 import OLD_VALUES, VALUES, round_to_nf4
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.families import family_of
from lmworks.models.families.sources import ByHead, NeighbourRows, Ordered, Transposed
from lmworks.models.files.directory import read_safetensors
from lmworks.models.files.model_folder import read_json
from lmworks.models.network import Network

PREFIX = "base_model.model."

UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "modules_to_save": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "bias": ("none",),
    "layers_to_transform": (None, []),
    "lora_bias": (False, None),
    "trainable_token_indices": (None, []),
    "alora_invocation_tokens": (None, []),
    "layer_replication": (None, []),
    "target_parameters": (None, []),
    "use_qalora": (False, None),
    "use_bdlora": (False, None),
    "arrow_config": (None,),
    "velora_config": (None,),
    "monteclora_config": (None,),
    "kasa_config": (None,),
    # The others (pissa, olora, corda, loftq, ...) change the base's weights before training begins.
    "init_lora_weights": (True, False, None, "gaussian", "eva", "orthogonal"),
}
"""What an adapter may ask for that would change the result, and the values that ask for nothing."""


def write_adapter(folder: Path, network: Network, base: str) -> None:
    """Write the adapters of a network into an existing folder; `base` says which model they belong to."""
    layers = lora_layers(network)
    if not layers:
        raise ConfigError("the network has no adapters to save")
    _check_order(network)
    first = next(iter(layers.values()))
    turned = any(isinstance(source, Transposed) for source in family_of(network.config.family).tensors.values())
    write_files(
        folder,
        "LORA",
        base,
        {
            "r": first.rank,
            "lora_alpha": first.scale * first.rank,
            "lora_dropout": 0.0,
            "bias": "none",
            "use_rslora": False,
            "use_dora": isinstance(first, DoRALinear),
            "fan_in_fan_out": turned,
            "target_modules": sorted(
                {part.module.rpartition(".")[2] for layer in layers.values() for part in layer.parts}
            ),
            **({BASE_VALUES: first.rounded_to} if first.rounded_to is not None else {}),
        },
        lora_tensors(network),
    )


def read_adapter(folder: Path, network: Network) -> Network:
    """Put the adapter of a folder on a network, in place.

    ModelError for missing or unexpected tensors, wrong shapes, and features that are not supported: an adapter
    is loaded whole, or the network stays without one.
    """
    settings = read_json(folder / CONFIG)
    tensors = read_safetensors(folder / WEIGHTS)
    try:
        config = _config(folder, settings)
        _check_rank(folder, config.rank, tensors)
        _check_order(network)
        add_lora(network, config, kind=DoRALinear if settings.get("use_dora") else LoRALinear)
    except ConfigError as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from None
    try:
        fill(folder, lora_tensors(network), tensors)
    except ModelError:
        remove_adapters(network)
        raise
    if settings.get(BASE_VALUES) == VALUES:
        round_to_nf4(network)
        for layer in lora_layers(network).values():
            layer.rounded_to = VALUES
    return network


def _check_order(network: Network) -> None:
    """ConfigError where the rows of a joined matrix have another order in the model's files: an adapter's would too."""
    name = network.config.family
    if any(isinstance(source, ByHead | NeighbourRows | Ordered) for source in family_of(name).tensors.values()):
        raise ConfigError(
            f"adapters of a {name} model are not read or saved in PEFT's format, because the rows of query and key "
            "have another order in its files; merge the adapters and save the model"
        )


def _check_rank(folder: Path, rank: int, tensors: dict[str, Tensor]) -> None:
    """ModelError where the weights have another rank than the settings say, before anything of that size is made."""
    for name, tensor in tensors.items():
        if name.endswith("lora_A.weight") and len(tensor) != rank:
            raise ModelError(
                f"{folder / WEIGHTS}: {name} has {len(tensor)} rows, and {CONFIG} says r = {rank}; "
                "the two files do not belong together"
            )


def _config(folder: Path, settings: dict[str, Any]) -> LoRAConfig:
    if settings.get(BASE_VALUES) == OLD_VALUES:
        raise ModelError(
            f"{folder / CONFIG}: the adapter was trained on values of NF4 that are no longer made (query, key and "
            "value rounded as one matrix); train it again"
        )
    for key, harmless in (UNSUPPORTED | {BASE_VALUES: (None, VALUES)}).items():
        if key in settings and settings[key] not in harmless:
            raise ModelError(
                f"{folder / CONFIG}: {key} = {settings[key]!r} is not supported, and without it the answers would "
                "differ"
            )
    targets = settings.get("target_modules")
    if targets != "all-linear" and not (isinstance(targets, list) and all(isinstance(one, str) for one in targets)):
        raise ModelError(f"{folder / CONFIG}: target_modules is {targets!r}; a list of names is supported")
    return LoRAConfig(
        rank=settings.get("r", 8),
        alpha=settings.get("lora_alpha", 8),
        rank_stabilised=bool(settings.get("use_rslora")),
        targets="all" if targets == "all-linear" else tuple(sorted({one.rpartition(".")[2] for one in targets})),
    )


def lora_tensors(network: Network) -> dict[str, Tensor]:
    """The adapters' parameters by PEFT's names; views, so that they can be written to."""
    tensors: dict[str, Tensor] = {}
    for layer in lora_layers(network).values():
        downs = layer.down.detach().split(layer.rank)
        for part, down, up in zip(layer.parts, downs, layer.up, strict=True):
            tensors[f"{PREFIX}{part.module}.lora_A.weight"] = down
            tensors[f"{PREFIX}{part.module}.lora_B.weight"] = up.detach()
        if isinstance(layer, DoRALinear):
            for part, magnitude in zip(layer.parts, layer.magnitude, strict=True):
                tensors[f"{PREFIX}{part.module}.lora_magnitude_vector"] = magnitude.detach()
    return tensors
