"""What the families that read images share: how a patch's matrix and sizes are written, and two towers in one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.families.sources import Named, Rows, Shaped, Source, reshaped
from lmworks.models.families.tables import Family
from lmworks.models.vision.config import BLOCKS, ImageConfig
from lmworks.models.vision.towers_config import TowersConfig

if TYPE_CHECKING:  # tables are read with every recipe, and what is wrong there should not wait for torch
    import torch
    from torch import Tensor

IMAGE_SETTINGS = {
    "dim": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
    "norm_eps": "layer_norm_eps",
    "activation": "hidden_act",
    "image_size": "image_size",
    "patch_size": "patch_size",
    "channels": "num_channels",
}
"""Ours <- theirs, of every network that reads patches."""
NO_TOKENS = {"vocab_size": 1, "arrangement": "encoder"}
TEXT_SETTINGS = {
    "vocab_size": "vocab_size",
    "context": "max_position_embeddings",
    **{name: IMAGE_SETTINGS[name] for name in ("dim", "layers", "heads", "hidden_dim", "norm_eps", "activation")},
    "dropout": "attention_dropout",
}


def squares(theirs: Mapping[str, Any]) -> dict[str, int]:
    """Sizes that may be given for both sides. ModelError for what is not square."""
    found = {}
    for name in ("image_size", "patch_size"):
        value = theirs[name]
        sides = set(value) if isinstance(value, list | tuple) else {value}
        if len(sides) != 1 or type(next(iter(sides))) is not int:
            raise ModelError(f"config.json: {name} is {value!r}, and only square images and patches are supported")
        found[name] = sides.pop()
    return found


def convolved(name: str) -> Shaped:
    """The matrix of the patches, which files hold as a convolution."""
    return Shaped(
        name,
        lambda config: (config.dim, config.channels, config.patch_size, config.patch_size),
        lambda config: (config.dim, config.channels * config.patch_size**2),
    )


def within(name: str, rows: Callable[[Any], tuple[int, ...]], axes: int) -> Shaped:
    """A tensor between `axes` leading axes of length 1."""
    return Shaped(name, lambda config: (1,) * axes + rows(config), rows)


def tower_blocks(stack: str) -> dict[str, Source]:
    """The blocks of CLIP's and SigLIP's towers, whose names are the same in both."""
    layer = f"{stack}.encoder.layers.{{i}}"
    names: dict[str, Source] = {}
    for kind in ("weight", "bias"):
        names |= {
            f"blocks.{{i}}.attention_norm.{kind}": f"{layer}.layer_norm1.{kind}",
            f"blocks.{{i}}.attention.qkv.{kind}": Rows(
                tuple(f"{layer}.self_attn.{part}_proj.{kind}" for part in ("q", "k", "v"))
            ),
            f"blocks.{{i}}.attention.output.{kind}": f"{layer}.self_attn.out_proj.{kind}",
            f"blocks.{{i}}.feed_forward_norm.{kind}": f"{layer}.layer_norm2.{kind}",
            f"blocks.{{i}}.feed_forward.up.{kind}": f"{layer}.mlp.fc1.{kind}",
            f"blocks.{{i}}.feed_forward.down.{kind}": f"{layer}.mlp.fc2.{kind}",
        }
    return names


IMAGE, TEXT = "image.", "text."
"""What our names of the towers' tensors begin with."""


@dataclass(frozen=True, kw_only=True)
class TowersFamily(Family):
    """An architecture with a tower for images and one for texts, each a family of its own in config.json and file."""

    image: Family
    text: Family
    beside: Mapping[str, Named] = field(default_factory=dict)
    """Our tensors beside the towers <- theirs."""
    towers: Mapping[str, Any] = field(default_factory=dict)
    """Ours, of TowersConfig, that this architecture always has so."""
    joined_from: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
    """Ours, of TowersConfig, from config.json and its part on the texts."""
    joined_to: Callable[[TowersConfig], tuple[dict[str, Any], dict[str, Any]]]
    """The way back."""

    def config_from(self, theirs: Mapping[str, Any]) -> TowersConfig:  # type: ignore[override]
        """Our config from a config.json."""
        parts = {name: self._part(theirs, f"{name}_config") for name in ("vision", "text")}
        image, text = self.image.config_from(parts["vision"]), self.text.config_from(parts["text"])
        try:
            joined = self.joined_from(theirs, {**self.text.defaults, **parts["text"]})
            return TowersConfig(family=self.name, image=cast(ImageConfig, image), text=text, **self.towers, **joined)
        except ConfigError as error:
            raise ModelError(f"config.json of a {self.name} model: {error}") from None

    def _part(self, theirs: Mapping[str, Any], key: str) -> dict[str, Any]:
        """One tower's settings; old files repeat some under another key, which then counts."""
        part, again = theirs.get(key) or {}, theirs.get(f"{key}_dict") or {}
        if not isinstance(part, Mapping) or not isinstance(again, Mapping):
            raise ModelError(f"config.json of a {self.name} model: {key} is no table; fetch it again")
        return {**part, **again}

    def config_to(self, config: TowersConfig) -> dict[str, Any]:  # type: ignore[override]
        """config.json for our config; ModelError where this architecture cannot express it."""
        for name, value in self.towers.items():
            if getattr(config, name) != value:
                raise ModelError(f"a {self.name} model cannot have {name} = {getattr(config, name)!r}")
        beside, of_text = self.joined_to(config)
        vision = self.image.config_to(cast(ImageConfig, config.image))
        text = self.text.config_to(config.text) | of_text
        for part in (vision, text):
            del part["architectures"]
        return {
            "architectures": [self.architecture],
            "model_type": self.name,
            **beside,
            "vision_config": vision,
            "text_config": text,
        }

    def tensors_from(  # type: ignore[override]
        self,
        theirs: Mapping[str, Tensor],
        config: TowersConfig,
        dtype: torch.dtype | None = None,
        later: Callable[[str], bool] = lambda name: False,
    ) -> dict[str, Tensor]:
        """Our tensors from a file's. ModelError naming the first that is missing or left over."""
        ours: dict[str, Tensor] = {}
        rest = dict(theirs)
        for name, source in self._beside(config):
            place = source.name if isinstance(source, Shaped) else str(source)
            if place not in rest:
                raise ModelError(
                    f"the tensor {place} is missing from the weights; the file is incomplete, or its config.json "
                    "belongs to another model"
                )
            tensor = rest.pop(place)
            tensor = reshaped(source, tensor, config) if isinstance(source, Shaped) else tensor
            ours[name] = tensor.to(dtype) if dtype else tensor
        of_text = {name: tensor for name, tensor in rest.items() if name.startswith("text_model.")}
        of_images = {name: tensor for name, tensor in rest.items() if name not in of_text}
        for begin, family, part, tensors in (
            (IMAGE, self.image, cast(ImageConfig, config.image), of_images),
            (TEXT, self.text, config.text, of_text),
        ):
            ours |= {begin + name: one for name, one in family.tensors_from(tensors, part, dtype).items()}
        return ours

    def _beside(self, config: TowersConfig) -> list[tuple[str, Named]]:
        without: tuple[str, ...] = ("bias",) if not config.bias else ()
        without += () if config.project_images else ("image_projection.weight",)
        without += () if config.projection_bias else ("text_projection.bias",)
        return [(name, source) for name, source in self.beside.items() if name not in without]

    def tensors_to(self, ours: Mapping[str, Tensor], config: TowersConfig) -> dict[str, Tensor]:  # type: ignore[override]
        """The tensors of a file from ours."""
        theirs: dict[str, Tensor] = {}
        for name, source in self._beside(config):
            if isinstance(source, Shaped):
                theirs[source.name] = ours[name].reshape(source.theirs(config))
            else:
                theirs[str(source)] = ours[name]
        parts = cast(ImageConfig, config.image), config.text
        for begin, family, part in zip((IMAGE, TEXT), (self.image, self.text), parts, strict=True):
            own = {name.removeprefix(begin): tensor for name, tensor in ours.items() if name.startswith(begin)}
            theirs |= family.tensors_to(own, part)
        return theirs


def text_family(name: str, arrangement: str, defaults: Mapping[str, Any]) -> Family:
    """A tower for texts."""
    stack = "text_model"
    tensors: dict[str, Source] = {
        "embedding.weight": f"{stack}.embeddings.token_embedding.weight",
        "position.weight": f"{stack}.embeddings.position_embedding.weight",
        **tower_blocks(stack),
        **{f"norm.{kind}": f"{stack}.final_layer_norm.{kind}" for kind in ("weight", "bias")},
    }
    return Family(
        name=name,
        architecture="",
        settings=TEXT_SETTINGS,
        tensors=tensors,
        fixed=BLOCKS | {"arrangement": arrangement},
        defaults=defaults,
        ignored=("embeddings.position_ids",),
    )


def image_family(
    name: str, fixed: Mapping[str, Any], tensors: Mapping[str, Source], defaults: Mapping[str, Any], **more: Any
) -> Family:
    """A tower for images."""
    return Family(
        name=name,
        architecture="",
        config=ImageConfig,
        settings=IMAGE_SETTINGS | {"dropout": "attention_dropout"},
        tensors=tensors,
        fixed={**BLOCKS, **NO_TOKENS, **fixed},
        defaults=defaults,
        more_from=lambda theirs, layers: dict(squares(theirs)),
        more_to=lambda config: {},
        told=("context",),
        ignored=("embeddings.position_ids",),
        **more,
    )
