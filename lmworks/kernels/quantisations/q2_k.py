"""GGUF's Q2_K: two bits; 16 weights have a scale and a minimum of 4 bits, 256 the factors of these."""

from __future__ import annotations

from lmworks.kernels.quantisation import Quantisation

Q2_K = Quantisation(planes=(2,), form="q2_k", of_files=True, run=8, parts=2)
