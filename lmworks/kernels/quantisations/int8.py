"""Eight bits with a scale for 32 weights, rounded as GGUF's Q8_0: 1.13 bytes a weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmworks.kernels.quantisation import Quantisation

if TYPE_CHECKING:
    from lmworks.models.files.quantise import Groups, Weight


def rounded(weight: Weight) -> Groups:
    """As ggml rounds to Q8_0."""
    from lmworks.models.files.gguf_kinds import Kind
    from lmworks.models.files.quantise import ggml

    return ggml(weight, Kind.Q8_0)


INT8 = Quantisation(planes=(8,), rounded=rounded)
