"""Sixteen bits of a file: float16 numbers as they are."""

from __future__ import annotations

from lmworks.kernels.quantisation import Quantisation

F16 = Quantisation(form="f16", floats="float16", of_files=True)
