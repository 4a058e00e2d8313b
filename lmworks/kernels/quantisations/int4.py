"""Four bits with a scale and a minimum for 32 weights, rounded as GGUF's Q4_1: 0.63 bytes a weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmworks.kernels.quantisation import Quantisation

if TYPE_CHECKING:
    from lmworks.models.files.quantise import Groups, Weight


def rounded(weight: Weight) -> Groups:
    """As ggml rounds to Q4_1."""
    from lmworks.models.files.gguf_kinds import Kind
    from lmworks.models.files.quantise import ggml

    return ggml(weight, Kind.Q4_1)


INT4 = Quantisation(planes=(4,), rounded=rounded)
