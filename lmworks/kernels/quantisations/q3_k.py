"""GGUF's Q3_K: three bits; 16 weights have a scale of 6 bits, 256 its factor."""

from __future__ import annotations

from lmworks.kernels.quantisation import Quantisation

Q3_K = Quantisation(planes=(2, 1), form="q3_k", of_files=True, run=8, parts=2, centre=4)
