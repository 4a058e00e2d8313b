"""GGUF's MXFP4 (gpt-oss): 16 numbers of 4 bits with a point, and a power of 2 for 32 weights."""

from __future__ import annotations

from lmworks.kernels.quantisation import Quantisation
from lmworks.models.files.code_tables import FP4

MXFP4 = Quantisation(planes=(4,), form="mxfp4", of_files=True, centre=16, table=FP4)
