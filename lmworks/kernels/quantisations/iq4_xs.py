"""GGUF's IQ4_XS: 16 values of a table; 32 weights have a scale of 6 bits, 256 its factor."""

from __future__ import annotations

from lmworks.kernels.quantisation import Quantisation
from lmworks.models.files.code_tables import IQ4

IQ4_XS = Quantisation(planes=(4,), form="iq4_xs", of_files=True, run=8, centre=128, table=IQ4)
