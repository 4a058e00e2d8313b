"""ResNet (He et al. 2015), with or without a classifier of images."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.families.encoder_classes import HeadClass, heads_from
from lmworks.models.families.tables import Family
from lmworks.models.vision.resnet_config import ResNetConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CLASSES = (HeadClass("ResNetModel"), HeadClass("ResNetForImageClassification", labels=True))
SETTINGS = {
    "channels": "num_channels",
    "stem": "embedding_size",
    "widths": "hidden_sizes",
    "depths": "depths",
    "block": "layer_type",
    "activation": "hidden_act",
    "halve_first": "downsample_in_first_stage",
    "halve_early": "downsample_in_bottleneck",
}
PREFIX, STEPS = "resnet.", "num_batches_tracked"
"""What begins the names of the body, where there is a classifier; and what counts steps of training, for nobody."""
NAMES = (
    (r"^embedder\.embedder\.", "stem."),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.", r"stages.\1.\2.parts."),
    (r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.", r"stages.\1.\2.shortcut."),
    (r"\.normalization\.", ".norm."),
    (r"^classifier\.1\.", "classifier."),
)
"""Theirs -> ours, one after another."""
BACK = (
    (r"^stem\.", "embedder.embedder."),
    (r"^stages\.(\d+)\.(\d+)\.parts\.", r"encoder.stages.\1.layers.\2.layer."),
    (r"^stages\.(\d+)\.(\d+)\.shortcut\.", r"encoder.stages.\1.layers.\2.shortcut."),
    (r"\.norm\.", ".normalization."),
    (r"^classifier\.", "classifier.1."),
)


def _renamed(name: str, table: tuple[tuple[str, str], ...]) -> str:
    for theirs, ours in table:
        name = re.sub(theirs, ours, name)
    return name


class _ResNet(Family):
    """Convolutions are no blocks of the one network: stages and their depths name the tensors."""

    def config_from(self, theirs: Mapping[str, Any]) -> ResNetConfig:  # type: ignore[override]
        """Our config from a config.json."""
        ours = {our_key: theirs[key] for our_key, key in SETTINGS.items() if theirs.get(key) is not None}
        try:
            return ResNetConfig(labels=heads_from(CLASSES, theirs)["labels"], **ours)
        except (ConfigError, TypeError, ValueError, AttributeError, LookupError) as error:
            raise ModelError(f"config.json of a resnet model: {error}") from None

    def config_to(self, config: ResNetConfig) -> dict[str, Any]:  # type: ignore[override]
        """config.json for our config."""
        theirs: dict[str, Any] = {
            "architectures": [CLASSES[bool(config.labels)].name],
            "model_type": self.name,
            **{key: getattr(config, our_key) for our_key, key in SETTINGS.items()},
        }
        if config.labels:
            theirs["id2label"] = {str(number): label for number, label in enumerate(config.labels)}
            theirs["label2id"] = {label: number for number, label in enumerate(config.labels)}
        return theirs

    def tensors_from(  # type: ignore[override]
        self,
        theirs: Mapping[str, Tensor],
        config: ResNetConfig,
        dtype: torch.dtype | None = None,
        later: Callable[[str], bool] = lambda name: False,
    ) -> dict[str, Tensor]:
        """Our tensors from a file's; which there must be, the network knows."""
        return {
            _renamed(name.removeprefix(PREFIX), NAMES): tensor.to(dtype) if dtype else tensor
            for name, tensor in theirs.items()
            if not name.endswith(STEPS)
        }

    def tensors_to(self, ours: Mapping[str, Tensor], config: ResNetConfig) -> dict[str, Tensor]:  # type: ignore[override]
        """The tensors of a file from ours."""
        prefix = PREFIX if config.labels else ""
        theirs: dict[str, Tensor] = {}
        for name, tensor in ours.items():
            begin = "" if name.startswith("classifier.") else prefix
            theirs[begin + _renamed(name, BACK)] = tensor.contiguous()
            if name.endswith("running_var"):
                steps = _renamed(name.replace("running_var", STEPS), BACK)
                theirs[begin + steps] = tensor.new_zeros(()).long()
        return theirs


RESNET = _ResNet(
    name="resnet",
    architecture="ResNetModel",
    examples=("microsoft/resnet-18", "microsoft/resnet-50"),
    settings={},
    tensors={},
)
