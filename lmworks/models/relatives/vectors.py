"""Word vectors: read a public file of them, ask for neighbours, and start a network's embedding from them.

vectors = read_vectors("glove.6B.100d.txt")
vectors.nearest("king", 5)
initialise_embedding(network, tokenizer, vectors, frozen=False).found
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from lmworks.basics.arrays import Float32
from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.files import written_whole
from lmworks.models.files.directory import write_safetensors
from lmworks.models.network import Network
from lmworks.tokens.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class Vectors:
    """Words, and a row of the matrix for each. Raises DataError unless every word is there once and all is finite."""

    words: tuple[str, ...]
    matrix: Float32[np.ndarray, "words dim"]

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or 0 in self.matrix.shape or len(self.words) != len(self.matrix):
            raise DataError(f"{len(self.words):,} words do not go with a matrix of the shape {self.matrix.shape}")
        if len(self.rows) != len(self.words):
            twice = next(word for row, word in enumerate(self.words) if self.rows[word] != row)
            raise DataError(f"the word {twice!r} has more than one vector; take all but one out of the file")
        if not np.isfinite(self.matrix).all():
            word = self.words[int(np.flatnonzero(~np.isfinite(self.matrix).all(axis=1))[0])]
            raise DataError(f"the vector of {word!r} holds a number that is not finite; fetch the file again")

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of each word."""
        return {word: row for row, word in enumerate(self.words)}

    @property
    def dim(self) -> int:
        """Numbers of a vector."""
        return self.matrix.shape[1]

    def __contains__(self, word: str) -> bool:
        return word in self.rows

    def __getitem__(self, word: str) -> Float32[np.ndarray, " dim"]:
        if word not in self.rows:
            raise DataError(
                f"there is no vector for {word!r}; ask for one of the {len(self.words):,} words that have one"
            )
        return self.matrix[self.rows[word]]

    def nearest(self, word: str, count: int = 10) -> list[tuple[str, float]]:
        """The words whose vectors have the largest cosine with the word's own, and that cosine."""
        return self._closest(self[word], {word}, count)

    def analogy(self, a: str, b: str, c: str, count: int = 1) -> list[tuple[str, float]]:
        """What is to `c` as `b` is to `a`: closest to b - a + c, each of length 1 (Mikolov et al. 2013)."""
        rows = [self[word] / max(float(np.linalg.norm(self[word])), 1e-12) for word in (a, b, c)]
        return self._closest(rows[1] - rows[0] + rows[2], {a, b, c}, count)

    @cached_property
    def _lengths(self) -> Float32[np.ndarray, " words"]:
        return np.maximum(np.linalg.norm(self.matrix, axis=1), 1e-12)

    def _closest(self, vector: Float32[np.ndarray, " dim"], but: set[str], count: int) -> list[tuple[str, float]]:
        cosines = self.matrix @ vector / (self._lengths * max(float(np.linalg.norm(vector)), 1e-12))
        cosines[[self.rows[word] for word in but]] = -np.inf
        count = min(count, len(self.words) - len(but))
        best = np.argsort(-cosines, kind="stable")[: max(count, 0)]
        return [(self.words[row], float(cosines[row])) for row in best]

    def of_tokens(self, tokenizer: Tokenizer) -> Vectors:
        """Only the words that a tokenizer has as one token. DataError where there are none."""
        rows = sorted({row for _, row in _tokens_that_are_words(tokenizer, self)})
        if not rows:
            raise DataError(_none_found(tokenizer, tokenizer.vocab_size, self))
        return Vectors(tuple(self.words[row] for row in rows), self.matrix[rows])

    def save(self, path: str | Path) -> None:
        """Write one safetensors file: `vectors`, and `words` as the bytes of a JSON list."""
        words = np.frombuffer(json.dumps(self.words).encode(), np.uint8)
        with written_whole(Path(path)) as temporary:
            write_safetensors(
                temporary, {"vectors": torch.from_numpy(self.matrix), "words": torch.from_numpy(words.copy())}
            )


@dataclass(frozen=True)
class FilledRows:
    """How many rows of an embedding were filled, of how many."""

    found: int
    rows: int


@torch.no_grad()
def initialise_embedding(network: Network, tokenizer: Tokenizer, vectors: Vectors, frozen: bool) -> FilledRows:
    """Put a word's vector into each row of the embedding whose token is that word, as it is or in lower case.

    The vectors are shifted and scaled so that the filled rows have the mean and the deviation of the embedding as it
    was; other rows stay. `frozen` keeps training from changing the embedding, all of its rows. Raises ConfigError
    where the widths differ or the head shares the frozen weight, DataError where no token is a word.
    """
    weight = network.embedding.weight
    if vectors.dim != weight.shape[1]:
        raise ConfigError(
            f"the vectors have {vectors.dim} numbers and the network is {weight.shape[1]} wide; "
            f"give it dim = {vectors.dim}, or take other vectors"
        )
    if frozen and network.head is None:
        raise ConfigError("the head is tied to the embedding, and frozen with it could not learn; set tied = false")
    sources = {token: row for token, row in _tokens_that_are_words(tokenizer, vectors) if token < len(weight)}
    if not sources:
        raise DataError(_none_found(tokenizer, len(weight), vectors))
    rows = torch.from_numpy(vectors.matrix[list(sources.values())])
    centre, deviation = weight.float().mean(), weight.float().std()
    rows = (rows - rows.mean()) / rows.std().clamp(min=1e-12) * deviation + centre
    weight[torch.tensor(list(sources))] = rows.to(weight.device, weight.dtype)
    weight.requires_grad_(not frozen)
    return FilledRows(len(sources), len(weight))


@torch.no_grad()
def embedding_vectors(network: Network, tokenizer: Tokenizer) -> Vectors:
    """The rows of a network's embedding as the vectors of the words that its tokens write, in lower case.

    Where several tokens write one word ("The", " the"), the first of them counts: in a trained vocabulary it is the
    most frequent. DataError where no token writes a word.
    """
    rows: dict[str, int] = {}
    for token in range(min(tokenizer.vocab_size, len(network.embedding.weight))):
        if word := tokenizer.decode([token]).strip().lower():
            rows.setdefault(word, token)
    if not rows:
        raise DataError(f"no token of {tokenizer.name} writes a word; take another tokenizer")
    return Vectors(tuple(rows), network.embedding.weight[list(rows.values())].float().cpu().numpy())


def _none_found(tokenizer: Tokenizer, tokens: int, vectors: Vectors) -> str:
    return (
        f"none of the {tokens:,} tokens of {tokenizer.name} is one of the {len(vectors.words):,} words; "
        "take vectors of the tokenizer's language, and a tokenizer that knows whole words"
    )


def _tokens_that_are_words(tokenizer: Tokenizer, vectors: Vectors) -> Iterator[tuple[int, int]]:
    """(token, row of its word); white space around the token's text does not count."""
    for token in range(tokenizer.vocab_size):
        text = tokenizer.decode([token]).strip()
        row = vectors.rows.get(text, vectors.rows.get(text.lower()))
        if text and row is not None:
            yield token, row
