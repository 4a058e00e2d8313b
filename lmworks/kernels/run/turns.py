"""What queries and keys are rotated by: cosines and sines of each position, as PyTorch computes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmworks.basics.arrays import Float
from lmworks.models.config import ModelConfig
from lmworks.models.positions.encoding import encoding_of

KEPT = 4096
"""Positions whose turns are kept with packed weights (a MB where heads have 64 dimensions): PyTorch is loaded for
longer texts alone."""

Turns = Float[np.ndarray, "positions half"]


def turned(config: ModelConfig, positions: Sequence[int]) -> tuple[Turns, Turns]:
    """Cosines and sines at these positions of one text, and after them in each row those of layers with a window, where
    they are others."""
    import torch

    encoding, at = encoding_of(config), torch.tensor(positions)[None]
    ways = (way(config, at, torch.float32) for way in (encoding.rotation, encoding.window_rotation))
    cos, sin = (torch.cat([one[0, 0] for one in each], dim=1) for each in zip(*filter(None, ways), strict=True))
    return cos.contiguous().numpy(), sin.contiguous().numpy()


def alike_to(config: ModelConfig) -> int:
    """Texts up to this length are turned alike, also where longer ones are turned by their length."""
    scaling = config.rope_scaling
    return config.context if scaling is None else scaling.original_context or config.context


def kept_turns(config: ModelConfig) -> dict[str, Turns]:
    """Those of the first positions; nothing where nothing is rotated."""
    if not config.rotates:
        return {}
    cosines, sines = turned(config, range(min(alike_to(config), KEPT)))
    return {"cosines": cosines, "sines": sines}
