"""Outliers: the few inputs of a matrix that are so large that the others of their group, rounded to 8 bits of the
largest, would lose most of theirs. They are multiplied in float32 instead (after LLM.int8(), Dettmers et al. 2022,
arXiv:2208.07339).

In a transformer they are the same inputs for nearly all tokens, whatever the text, so 64 random tokens show them. In
SmolLM2, up to 8 of 576 or 1,536 inputs take away two thirds of the KL divergence that values in 8 bits cost
(docs/log.md).

Table of a matrix, int64, read by the step that rounds its inputs:
    where the inputs are kept in floats too, in bytes from the token's values; 0 for nowhere, less than 0 where they are
    in floats alone (operations/quantise.py)
    for each group of 32      where its outliers are listed in the table (bytes), and how many
    for each outlier          4 x its place in the group, where its value goes, in bytes from the token's scales
Another table is read by the matrix (operations/matrix.py):
    their number
    for each outlier          for each plane of its codes: where a block's vector begins (bytes), and the place in it
                              (bits); then where its run of groups begins (bytes), and the number of its scale in it
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lmworks.kernels.frame import GROUP

if TYPE_CHECKING:
    from lmworks.kernels.quantisation import Quantisation

MOST = 8
"""Of one matrix: they take 3 % of a long prompt's time in SmolLM2; a step waits for weights."""


GROUPS_AT = 8
"""Where the groups begin in the table for values."""


def table_for_values(places: Sequence[int], groups: int, in_floats: bool = False) -> np.ndarray:
    """What the step that rounds the inputs reads; `in_floats` keeps them in floats too."""
    begins, listed = np.searchsorted(places, GROUP * np.arange(groups + 1)), GROUPS_AT + 16 * groups
    heads = [(listed + 16 * begin, end - begin) for begin, end in itertools.pairwise(begins)]
    tails = [(4 * (place % GROUP), 4 * (groups + number)) for number, place in enumerate(places)]
    floats_at = GROUP * groups if in_floats else 0
    return np.array([floats_at, *itertools.chain(*heads, *tails)], np.int64)


def table_for_weights(places: Sequence[int], quantisation: Quantisation) -> np.ndarray:
    """What the matrix reads: where an outlier's weights are in a block of rows. Floats have none by themselves."""
    rows: list[tuple[int, ...]] = []
    if quantisation.floats:
        return np.array([0], np.int64)
    for place in places:
        run, number = quantisation.place_of(place // GROUP)
        row: list[int] = []
        for plane in quantisation.places:
            vector, shift = plane.place(place % GROUP // 4)
            row += [run + number * quantisation.codes_bytes + 64 * vector, 8 * (place % 4) + shift]
        half = place % GROUP // 16 if quantisation.parts == 2 else 0
        rows.append((*row, run, number * quantisation.parts + half))
    return np.array([len(rows), *itertools.chain(*rows)], np.int64)
