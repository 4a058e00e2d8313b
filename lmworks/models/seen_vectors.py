"""Vectors of images that a language model was shown, or of prompts that were trained for it, under ids past its
vocabulary; without PyTorch, as the compiled path reads them too."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable

import numpy as np

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError

MOST_BYTES = 2**28
"""Of the vectors that are held; the image that was not wanted for the longest time goes first."""


class SeenVectors:
    """Holds the same number of vectors for each image. An image that is shown again gets the ids that it had."""

    def __init__(self, vocabulary: int, length: int, most_bytes: int = MOST_BYTES) -> None:
        """`vocabulary` is the first id that no token has, `length` the vectors of an image."""
        self.vocabulary, self.length, self.most_bytes = vocabulary, length, most_bytes
        self._held: OrderedDict[int, Float[np.ndarray, "length width"]] = OrderedDict()
        """By the image's number; the least wanted first."""
        self._numbers: dict[bytes, int] = {}
        self._digests: dict[int, bytes] = {}
        self._made = self._bytes = 0
        self._lock = threading.Lock()

    def remember(self, images: Float[np.ndarray, "images length width"]) -> list[list[int]]:
        """The ids of each image's vectors, in their order."""
        return [self._ids(self._number(np.ascontiguousarray(one, np.float32))) for one in images]

    def _ids(self, number: int) -> list[int]:
        first = self.vocabulary + number * self.length
        return list(range(first, first + self.length))

    def _number(self, vectors: Float[np.ndarray, "length width"]) -> int:
        digest = hashlib.sha256(vectors.tobytes()).digest()
        with self._lock:
            number = self._numbers.get(digest)
            if number is None:
                number, self._made = self._made, self._made + 1
                self._held[number] = vectors.copy()
                self._numbers[digest], self._digests[number] = number, digest
                self._bytes += vectors.nbytes
            self._held.move_to_end(number)
            while self._bytes > self.most_bytes and len(self._held) > 1:
                gone, forgotten = self._held.popitem(last=False)
                del self._numbers[self._digests.pop(gone)]
                self._bytes -= forgotten.nbytes
            return number

    def at(self, token: int) -> Float[np.ndarray, " width"]:
        """The vector of one id. ConfigError for an id that none has."""
        number, place = divmod(token - self.vocabulary, self.length)
        with self._lock:
            found = self._held.get(number)
            if found is None:
                raise ConfigError(
                    f"the token {token:,} is past the vocabulary ({self.vocabulary:,}) and belongs to no image or "
                    "prompt that is held; show the image again, or encode the text with this model's tokenizer"
                )
            self._held.move_to_end(number)
            return found[place]

    def rows(self, tokens: Iterable[int]) -> Float[np.ndarray, "tokens width"]:
        """The vectors of ids, as they were given."""
        return np.stack([self.at(token) for token in tokens])
