"""Four bits with a scale and a minimum for 32 weights, rounded as GGUF's Q4_1: 0.63 bytes a weight."""

from __future__ import annotations

from functools import partial

from lmworks.kernels.quantisation import Quantisation
from lmworks.models.files.quantise import Kind, ggml

INT4 = Quantisation(planes=(4,), rounded=partial(ggml, kind=Kind.Q4_1))
