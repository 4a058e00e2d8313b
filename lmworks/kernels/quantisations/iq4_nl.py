"""GGUF's IQ4_NL: 16 values of a table, and a scale for 32 weights."""

from __future__ import annotations

from lmworks.kernels.quantisation import Quantisation
from lmworks.models.files.code_tables import IQ4

IQ4_NL = Quantisation(planes=(4,), form="iq4_nl", of_files=True, centre=128, table=IQ4)
