"""GGUF's Q5_0 and Q5_1: five bits with a scale and a minimum for 32 weights, 0.75 bytes a weight."""

from __future__ import annotations

from lmworks.kernels.quantisation import Quantisation

INT5 = Quantisation(planes=(4, 1), form="int5", of_files=True)
