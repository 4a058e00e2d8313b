"""EfficientNet-Lite0's published weights as our network names them.

They are published as a pickle, which could run code when it is read. So nothing but that one file is read, told by its
SHA-256, and by PyTorch's reader of weights alone.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lmworks.basics.errors import ModelError
from lmworks.basics.files import sha256

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
NAMES = {
    "_conv_stem": "stem.convolution",
    "_bn0": "stem.norm",
    "_conv_head": "head.convolution",
    "_bn1": "head.norm",
    "_fc": "classifier",
}
"""Theirs -> ours, outside the blocks."""
PARTS = {
    "_expand_conv": (0, "convolution"),
    "_bn0": (0, "norm"),
    "_depthwise_conv": (1, "convolution"),
    "_bn1": (1, "norm"),
    "_project_conv": (2, "convolution"),
    "_bn2": (2, "norm"),
}
"""Theirs -> the number and the kind of ours, in a block; one that does not go out to more channels lacks the first."""
STEPS = "num_batches_tracked"


def read_efficientnet(path: Path) -> dict[str, Tensor]:
    """All weights by our names, in float32. ModelError for any other file."""
    if sha256(path) != SHA256:
        raise ModelError(
            f"{path} is not the published file of EfficientNet-Lite0 (wrong SHA-256), and other pickles are not read: "
            "they can run code; convert it to safetensors first"
        )
    theirs: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    wide = {name.split(".")[1] for name in theirs if "._expand_conv." in name}
    return {_ours(name, wide): tensor for name, tensor in theirs.items() if not name.endswith(STEPS)}


def _ours(name: str, wide: set[str]) -> str:
    first, rest = name.split(".", 1)
    if first != "_blocks":
        return f"{NAMES[first]}.{rest}"
    number, part, kind = rest.split(".")
    place, module = PARTS[part]
    return f"blocks.{number}.parts.{place if number in wide else place - 1}.{module}.{kind}"
