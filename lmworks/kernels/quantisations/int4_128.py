"""GPTQ's and AWQ's four bits: 128 weights share a scale, and a whole number that stands for 0."""

from __future__ import annotations

from lmworks.kernels.quantisation import Quantisation

INT4_128 = Quantisation(planes=(4,), form="int4_128", of_files=True, run=4)
