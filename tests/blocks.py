"""Random blocks of GGUF's kinds: any bits, but scales that are finite numbers of a usual size."""

from __future__ import annotations

import gguf
import numpy as np

Kind = gguf.GGMLQuantizationType
HALVES = {Kind.Q2_K: (80, 82), Kind.Q3_K: (108,), Kind.Q6_K: (208,), Kind.Q8_0: (0,), Kind.IQ4_NL: (0,)} | {
    Kind.IQ4_XS: (0,),
    Kind.MXFP4: (),
    **dict.fromkeys((Kind.Q4_0, Kind.Q5_0), (0,)),
    **dict.fromkeys((Kind.Q4_1, Kind.Q5_1, Kind.Q4_K, Kind.Q5_K), (0, 2)),
}
"""Where a block has float16 numbers."""


def random_blocks(kind: Kind, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """A matrix of this kind, uint8 [rows, bytes]."""
    random = np.random.default_rng(seed)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = random.integers(0, 256, (rows, columns // block * size), np.uint8)
    blocks = data.reshape(-1, size)
    for place in HALVES[kind]:
        numbers = random.standard_normal((len(blocks), 1)) / 64
        blocks[:, place : place + 2] = numbers.astype(np.float16).view(np.uint8)
    if kind == Kind.MXFP4:
        blocks[:, 0] = random.integers(118, 126, len(blocks))
    return data
