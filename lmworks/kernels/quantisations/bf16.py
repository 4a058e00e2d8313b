"""Sixteen bits: bfloat16 numbers as they are, which what a file holds in them loses nothing by."""

from __future__ import annotations

from lmworks.kernels.quantisation import Quantisation

BF16 = Quantisation(form="bf16", floats="bfloat16")
