"""The fewest tokens that a text can have, by its bytes: a text that cannot fit is refused before it is tokenized.

A token holds a limited number of bytes of each kind ("a": 8, letters: 24, ...), so a text with n of them has at least
n / 8 tokens. Only bytes that no tokenizer leaves out count: those with a token of their own, white space excepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from lmworks.basics.arrays import Float, Int64

_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SPACE = b" \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0"


class TokenBound:
    """The most bytes of each kind that one token holds."""

    def __init__(self, pieces: Sequence[bytes], own: Iterable[int]) -> None:
        """`pieces` are the bytes of every token, `own` the bytes that have a token of their own."""
        counted = np.zeros(256, bool)
        counted[list(own)] = True
        counted[list(_SPACE)] = False
        letters, all_ = np.zeros(256, bool), np.ones(256, bool)
        letters[list(_LETTERS)] = True
        self._kinds: Float[np.ndarray, "kinds 256"] = np.array([*np.eye(256, dtype=bool), letters, all_]) & counted
        joined = np.frombuffer(b"".join(pieces), np.uint8)
        token = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
        pairs, times = np.unique(token * 256 + joined, return_counts=True)
        most: Int64[np.ndarray, " 258"] = np.zeros(258, np.int64)
        np.maximum.at(most, pairs % 256, times)
        for kind in (256, 257):
            most[kind] = np.bincount(token, self._kinds[kind][joined], minlength=1).max()
        self._most = np.maximum(most, 1)

    def of(self, text: bytes) -> int:
        """Tokens of a text, at least."""
        seen = np.bincount(np.frombuffer(text, np.uint8), minlength=256)
        return int(np.ceil(self._kinds @ seen / self._most).max())
