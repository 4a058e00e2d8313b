"""ConvolutionSettings: layers that mix a token with the few before it, by weights that do not depend on the text."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from lmworks.basics.config import Config


class ConvolutionSettings(Config):
    """Short convolutions in place of some layers' attention (LFM2; Liquid AI 2025,
    https://arxiv.org/abs/2511.23404)."""

    explain_as: ClassVar[str] = "convolution"

    layers: tuple[int, ...] = Field(min_length=1)
    """The layers that have one; the others attend."""

    width: int = Field(default=3, gt=1, le=64)
    """Tokens that each token sees, itself included."""

    bias: bool = False
    """Biases on the convolution and on the projections before and after it."""
