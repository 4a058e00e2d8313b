"""Dense layers that pooled states go through, as folders of sentence-transformers hold them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ModelError
from lmworks.basics.files import write_json
from lmworks.encoding.pooling import Pooling
from lmworks.models.files.directory import read_safetensors, write_safetensors
from lmworks.models.files.model_folder import read_json

ACTIVATIONS = {
    "torch.nn.modules.activation.Tanh": torch.tanh,
    "torch.nn.modules.activation.ReLU": torch.relu,
    "torch.nn.modules.activation.GELU": torch.nn.functional.gelu,
    "torch.nn.modules.linear.Identity": lambda x: x,
}


@dataclass(frozen=True, eq=False)
class Dense:
    """A layer on pooled states: activation(weight x + bias)."""

    weight: Float[Tensor, "out dim"]
    bias: Float[Tensor, " out"] | None
    activation: str
    """Its name in `ACTIVATIONS`."""

    @property
    def width(self) -> int:
        """Of what comes out."""
        return len(self.weight)

    def __call__(self, x: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch out"]:
        """The vectors after it."""
        weight, bias = (None if one is None else one.to(x) for one in (self.weight, self.bias))
        assert weight is not None
        with torch.autocast(x.device.type, enabled=False):  # one small product for each text, and all of its precision
            return ACTIVATIONS[self.activation](torch.nn.functional.linear(x, weight, bias))

    @classmethod
    def read(cls, folder: Path, width: int) -> Self:
        """A layer of sentence-transformers on states of this width; ModelError for one that is not as simple."""
        said = read_json(folder / "config.json")
        activation = said.get("activation_function", "torch.nn.modules.activation.Tanh")
        if activation not in ACTIVATIONS or said.get("use_residual"):
            raise ModelError(f"{folder}: a dense layer with {activation}, or with a residual, is not supported")
        if not {said.get(f"module_{end}_name") for end in ("input", "output")} <= {None, "sentence_embedding"}:
            raise ModelError(f"{folder}: a dense layer on anything but the pooled state is not supported")
        tensors = read_safetensors(folder / "model.safetensors")
        weight, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
        fits = weight is not None and weight.ndim == 2 and weight.shape[1] == width
        if weight is None or not fits or (bias is not None and bias.shape != weight.shape[:1]):
            raise ModelError(
                f"{folder}: model.safetensors holds no layer on {width} dimensions; fetch or copy it again"
            )
        return cls(weight.float(), None if bias is None else bias.float(), activation)

    def write(self, folder: Path) -> None:
        """The same back, into a new folder."""
        folder.mkdir()
        out, width = self.weight.shape
        sizes = {"in_features": width, "out_features": out, "bias": self.bias is not None}
        write_json(folder / "config.json", sizes | {"activation_function": self.activation})
        named = {"linear.weight": self.weight, "linear.bias": self.bias}
        write_safetensors(folder / "model.safetensors", {name: one for name, one in named.items() if one is not None})


def read_dense(folder: Path, pooling: Pooling, width: int) -> list[Dense]:
    """The dense layers that a folder says, one on the other, the first on states of this width."""
    layers: list[Dense] = []
    for name in pooling.dense:
        layers.append(Dense.read(folder / name, layers[-1].width if layers else width))
    return layers
