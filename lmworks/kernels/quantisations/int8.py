"""Eight bits with a scale for 32 weights, rounded as GGUF's Q8_0: 1.13 bytes a weight."""

from __future__ import annotations

from functools import partial

from lmworks.kernels.quantisation import Quantisation
from lmworks.models.files.quantise import Kind, ggml

INT8 = Quantisation(planes=(8,), rounded=partial(ggml, kind=Kind.Q8_0))
