"""An adapter's folder, whatever its kind: adapter_config.json and adapter_model.safetensors, named as PEFT does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.files import says_why, write_json
from lmworks.models.files.model_folder import read_json

if TYPE_CHECKING:  # `is_adapter` is called before PyTorch is loaded
    from torch import Tensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TYPE = "peft_type"
"""The key by which an adapter's settings name its kind."""
BOTTLENECK = "LMWORKS_BOTTLENECK"
"""The kind of bottleneck adapters, which PEFT does not have."""
BASE_VALUES = "lmworks_base_values"
"""A key of ours, which PEFT ignores: the values that the base's matrices had while the adapter was trained."""
NF4_VALUES = "nf4 of each matrix"
"""That key's value where each matrix was rounded to NF4 by itself (nf4.py)."""
NF4_GRID = "nf4"
"""The grid that a base is loaded on to serve such adapters."""


def is_adapter(folder: Path) -> bool:
    """Does the folder hold an adapter rather than a whole model?"""
    return (folder / CONFIG).is_file()


def must_be_adapter(folder: Path) -> None:
    """ModelError unless the folder holds an adapter."""
    if not is_adapter(folder):
        raise ModelError(f"{folder} holds no adapter ({CONFIG}); give the folder that lmworks tune or PEFT wrote")


def led_by(folder: Path) -> int:
    """How many vectors an adapter puts before each text: the length of a trained prompt, else 0."""
    said = read_json(folder / CONFIG)
    length = said.get("num_virtual_tokens") if said.get(TYPE) == "PROMPT_TUNING" else 0
    return length if isinstance(length, int) else 0


def grid_of(folders: Iterable[Path]) -> str | None:
    """The grid that a base must be rounded to for all of these adapters: NF4 if they were trained on NF4 values, None
    if they were trained on the values in the base's files. ConfigError where they differ, ModelError for a folder
    without an adapter."""
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
    """The files from which an adapter is packed separately from its unchanged base; empty for a kind that cannot be
    packed separately, or that needs other base values."""
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
    """Copy the file's tensors into their places, after checking all of them. ModelError for a tensor that is missing or
    unexpected, has another shape, or holds values that are not finite."""
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
