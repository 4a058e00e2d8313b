"""The folder of an adapter, of whatever kind: adapter_config.json and adapter_model.safetensors, as PEFT names them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.files import says_why, write_json
from lmworks.models.files.model_folder import read_json

if TYPE_CHECKING:  # whether a folder is an adapter's is asked before PyTorch is needed
    from torch import Tensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TYPE = "peft_type"
"""The key by which an adapter's settings name its kind."""
BOTTLENECK = "LMWORKS_BOTTLENECK"
"""The kind of bottlenecks: PEFT has no such adapter."""
BASE_VALUES = "lmworks_base_values"
"""A key of ours, which PEFT passes over: the base's matrices as the adapter saw them in training."""
NF4_VALUES = "nf4 of each matrix"
"""What it says where they were rounded to NF4 (nf4.py)."""
NF4_GRID = "nf4"
"""What a base is loaded on so that such adapters can stand beside it."""


def is_adapter(folder: Path) -> bool:
    """Does the folder hold an adapter rather than a whole model?"""
    return (folder / CONFIG).is_file()


def must_be_adapter(folder: Path) -> None:
    """ModelError unless the folder holds an adapter."""
    if not is_adapter(folder):
        raise ModelError(f"{folder} holds no adapter ({CONFIG}); give the folder that lmworks tune or PEFT wrote")


def led_by(folder: Path) -> int:
    """Vectors that an adapter puts before each text: those of a trained prompt."""
    said = read_json(folder / CONFIG)
    length = said.get("num_virtual_tokens") if said.get(TYPE) == "PROMPT_TUNING" else 0
    return length if isinstance(length, int) else 0


def grid_of(folders: Iterable[Path]) -> str | None:
    """What a base is rounded to so that all of these adapters can stand beside it: NF4 where they were trained on that,
    None where they were trained on the values of its files. ConfigError where they do not agree, ModelError for a
    folder without an adapter."""
    folders = list(folders)
    for folder in folders:
        must_be_adapter(folder)
    found = {folder: read_json(folder / CONFIG).get(BASE_VALUES) == NF4_VALUES for folder in folders}
    rounded, plain = ([folder for folder, one in found.items() if one is said] for said in (True, False))
    if rounded and plain:
        raise ConfigError(
            f"{rounded[0]} was trained on its base's values in NF4 and {plain[0]} on those of the base's files, and "
            "one base has one kind of them; put them beside two, or train both alike"
        )
    return NF4_GRID if rounded else None


def kept_files(folder: Path) -> list[Path]:
    """What an adapter is packed from, beside its base's weights as they are; none of a kind that is not packed alone,
    or that changes the base."""
    said = read_json(folder / CONFIG)
    if said.get(TYPE) not in ("LORA", BOTTLENECK) or said.get(BASE_VALUES) is not None:
        return []
    return [folder / CONFIG, folder / WEIGHTS]


def write_files(folder: Path, kind: str, base: str, settings: Mapping[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write an adapter into an existing folder; `base` is the reference of the model that it belongs to."""
    from lmworks.models.files.directory import write_safetensors

    with says_why(folder):
        write_safetensors(folder / WEIGHTS, tensors)
    said = {TYPE: kind, "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "inference_mode": True}
    write_json(folder / CONFIG, said | dict(settings))


def fill(folder: Path, places: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copy the file's tensors into their places, all of them checked first. ModelError for missing or unexpected ones,
    other shapes, and values that are not finite."""
    import torch

    missing, unexpected = sorted(set(places) - set(tensors)), sorted(set(tensors) - set(places))
    if missing or unexpected:
        what = f"lacks {missing[0]}" if missing else f"holds {unexpected[0]}, which this model has no place for"
        raise ModelError(
            f"{folder / WEIGHTS} {what} ({len(missing)} missing, {len(unexpected)} unexpected); "
            "the adapter was made for another model, or another version of its code"
        )
    for name, place in places.items():
        if place.shape != tensors[name].shape:
            raise ModelError(
                f"{folder / WEIGHTS}: {name} has the shape {list(tensors[name].shape)}, and this model "
                f"needs {list(place.shape)}; the adapter was made for another model"
            )
        if not torch.isfinite(tensors[name].float().sum()):
            raise ModelError(f"{folder / WEIGHTS}: {name} holds values that are not finite; fetch or train it again")
    for name, place in places.items():
        place.copy_(tensors[name])
