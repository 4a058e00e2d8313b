"""GGUF's Q5_K: as Q4_K, in five bits."""

from __future__ import annotations

from lmworks.kernels.quantisation import Quantisation

Q5_K = Quantisation(planes=(4, 1), form="q5_k", of_files=True, run=8)
