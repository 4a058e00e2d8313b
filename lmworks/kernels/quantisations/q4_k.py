"""GGUF's Q4_K: four bits; 32 weights have a scale and a minimum of 6 bits, 256 the factors of these."""

from __future__ import annotations

from lmworks.kernels.quantisation import Quantisation

Q4_K = Quantisation(planes=(4,), form="q4_k", of_files=True, run=8)
