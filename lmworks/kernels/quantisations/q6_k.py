"""GGUF's Q6_K: six bits; 16 weights have a scale of 8 bits, 256 its factor."""

from __future__ import annotations

from lmworks.kernels.quantisation import Quantisation

Q6_K = Quantisation(planes=(4, 2), form="q6_k", of_files=True, run=8, parts=2, centre=32)
