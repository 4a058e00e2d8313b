"""numba, in the processes that compile kernels (run/compiling.py).

In any other process the functions of the kernels stay as they are written, nobody calls them, and numba is not
imported: that takes longer than to load what it has made.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from lmworks.kernels.emit.instructions import tell_numba

COMPILES = "LMWORKS_COMPILES"
"""This environment variable is set in a process that compiles."""
compiling = bool(os.environ.get(COMPILES))

float32: Any = np.float32
"""In compiled code, a number as float32."""
carray: Any = None
"""In compiled code, numbers at an address as an array."""

if compiling:
    tell_numba()
    import numba

    float32, carray = numba.float32, numba.carray
