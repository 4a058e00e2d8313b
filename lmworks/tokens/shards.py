"""A corpus as token ids on disk, memory-mapped: larger than memory, read where it is needed.

    shards = write_shards(documents, tokenizer, "corpora/mine")
    shards = Shards("corpora/mine", tokenizer)
    shards.document(0)     # its ids: document start, text, document end
    shards.read(500, 756)  # any part of the whole stream

A folder holds `shards.json` (format, dtype, which tokenizer, counts, hashes of the files), `00000.bin` and so on (the
ids, little-endian uint16 or uint32, documents one after another) and `documents.bin` (for each document where it ends
in the whole stream and the UTF-8 bytes of its text, little-endian uint64). It appears under its name when it is whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from lmworks.basics import progress
from lmworks.basics.arrays import UInt, UInt64
from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.files import directory_written_whole, names_in, restore_directory, sha256_once, write_json
from lmworks.text.document import Document
from lmworks.tokens.chunks import boundaries, segments
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.workers import Batch, cores, encoded

META, INDEX = "shards.json", "documents.bin"
FORMAT = 3
SHARD_TOKENS = 2**28
"""Tokens after which a new file begins, at the next document."""

_AT_ONCE = 2**20  # characters that are encoded together
_MOST_META = 2**24  # bytes of shards.json
_INDEX_ENTRY = np.dtype("<u8")


class ShardsInfo(Config):
    """What `shards.json` says."""

    format: int
    """The version of this layout."""

    dtype: Literal["uint16", "uint32"]
    """How an id is stored."""

    tokenizer: str
    """`tokenizer_hash` of the tokenizer that made the ids."""

    vocab_size: int
    """Its largest id + 1."""

    documents: int
    """Documents in the shards."""

    empty: int
    """Documents that were left out because nothing in them could be predicted."""

    tokens: int
    """Ids in all shards."""

    bytes: int
    """UTF-8 bytes of the documents' texts: what bits per byte are counted by."""

    shards: tuple[int, ...]
    """Ids in each file, in order."""

    sha256: dict[str, str]
    """The SHA-256 of each file by its name, taken while it was written."""


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    """SHA-256 of whatever decides about the ids of a text: equal for a tokenizer that was saved and loaded."""
    backend = tokenizer.vocabulary.backend
    stages = [backend.model, backend.normalizer, backend.pre_tokenizer]
    states = [b"" if stage is None else stage.__getstate__() for stage in stages]
    deciding = [*(hashlib.sha256(state).hexdigest() for state in states), sorted(tokenizer.special.items())]
    text = json.dumps([*deciding, tokenizer.document_start, tokenizer.document_end])
    return hashlib.sha256(text.encode()).hexdigest()


class Shards:
    """A packed corpus, open for reading; nothing of it is held in memory but where its documents end.

    DataError where files are missing, cut off or damaged, or made with another tokenizer than the one given. Each file
    is read once for its SHA-256 (a process remembers it), unless `verify` is False.
    """

    def __init__(
        self,
        folder: str | Path,
        tokenizer: Tokenizer | None = None,
        name: str | None = None,
        *,
        verify: bool = True,
    ) -> None:
        self.folder = Path(folder)
        self.name = name or str(folder)
        """What its text is called where there is too little of it; the folder unless given."""
        restore_directory(self.folder)
        self.info = _read_info(self.folder)
        if tokenizer is not None and tokenizer_hash(tokenizer) != self.info.tokenizer:
            raise DataError(
                f"{self.folder} was packed with another tokenizer than {tokenizer.name}; give that one, or pack the "
                "text again"
            )
        dtype = np.dtype(self.info.dtype).newbyteorder("<")
        self._parts = [
            _mapped(self.folder / file_name(number), dtype, size) for number, size in enumerate(self.info.shards)
        ]
        self._starts = np.cumsum([0, *self.info.shards[:-1]])
        index = _mapped(self.folder / INDEX, _INDEX_ENTRY, 2 * self.info.documents).reshape(-1, 2)
        self.ends: UInt64[np.ndarray, " documents"] = np.ascontiguousarray(index[:, 0])
        """Where each document ends in the whole stream."""
        self.text_bytes: UInt64[np.ndarray, " documents"] = index[:, 1]
        """UTF-8 bytes of each document's text."""
        if (self.ends[1:] <= self.ends[:-1]).any() or int(self.ends[-1]) != self.tokens:
            raise DataError(f"{self.folder / INDEX} is damaged (documents do not follow one another); pack them again")
        if verify:
            self._must_be_unchanged()

    @property
    def tokens(self) -> int:
        """Ids in the whole stream."""
        return self.info.tokens

    def __len__(self) -> int:
        return self.info.documents

    @property
    def files(self) -> list[str]:
        """The names of the files whose SHA-256 `shards.json` holds."""
        return [*map(file_name, range(len(self.info.shards))), INDEX]

    def _must_be_unchanged(self) -> None:
        """DataError for a file that is not the one that was packed."""
        with progress.task("checking shards", len(self.files), "files") as advance:
            for name in self.files:
                if sha256_once(self.folder / name) != self.info.sha256.get(name):
                    raise DataError(
                        f"{self.folder / name} is not the file that was packed (its SHA-256 is another than {META} "
                        "says); copy it again, or pack the text again"
                    )
                advance(1)

    def read(self, start: int, stop: int) -> UInt[np.ndarray, " tokens"]:
        """The ids from `start` up to `stop` of the whole stream; a view of the file where one file holds them."""
        if not 0 <= start <= stop <= self.tokens:
            raise DataError(f"{self.folder} has no tokens {start:,} to {stop:,}; it has {self.tokens:,}")
        first = int(np.searchsorted(self._starts, start, "right")) - 1
        pieces: list[np.ndarray] = []
        for part, begin in zip(self._parts[first:], self._starts[first:].tolist(), strict=True):
            if begin >= stop and pieces:
                break
            pieces.append(part[max(start - begin, 0) : stop - begin])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def digest(self, samples: int = 64, size: int = 2**14) -> str:
        """The first digits of a SHA-256 over what `shards.json` says, where documents end, and `samples` stretches of
        tokens, evenly spaced: another text is noticed at once, however large the corpus is."""
        found = hashlib.sha256(self.info.model_dump_json().encode())
        found.update(self.ends.tobytes())
        for start in np.linspace(0, max(self.tokens - size, 0), samples, dtype=np.int64).tolist():
            found.update(self.read(start, min(start + size, self.tokens)).tobytes())
        return found.hexdigest()[:12]

    def document(self, number: int) -> UInt[np.ndarray, " tokens"]:
        """The ids of one document, from document start to document end."""
        if not 0 <= number < len(self):
            raise DataError(f"{self.folder} has no document {number:,}; it has {len(self):,}")
        return self.read(int(self.ends[number - 1]) if number else 0, int(self.ends[number]))


def write_shards(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    folder: str | Path,
    *,
    shard_tokens: int = SHARD_TOKENS,
    processes: int | None = None,
) -> Shards:
    """Pack documents, read once and never held together, into a folder of shards; an earlier one is replaced.

    A long text is encoded by this many processes, None for one on each core; the shards are the same to the byte.
    Documents in which nothing could be predicted are left out and counted. DataError for a conversation (shards hold
    plain text), for a folder that holds something else, and where no document is left; then nothing is written.
    """
    folder = Path(folder)
    _refuse_foreign(folder)
    if shard_tokens < 1:
        raise ConfigError(f"shard_tokens is {shard_tokens}; it must be at least 1")
    name: Literal["uint16", "uint32"] = "uint16" if tokenizer.vocab_size <= 2**16 else "uint32"
    dtype = np.dtype(name).newbyteorder("<")
    with directory_written_whole(folder) as temporary:
        batches = _batches(documents, boundaries(tokenizer))
        with (
            _Writer(temporary, tokenizer, dtype, shard_tokens) as writer,
            closing(encoded(batches, tokenizer, dtype, processes or cores())) as done,
            progress.task("packing", unit="characters") as advance,
        ):
            for ids, (ends, size) in done:
                for part, document in zip(ids, ends, strict=True):
                    writer.add(part, document)
                advance(size)
        if not writer.documents:
            raise DataError(f"there is nothing to pack into {folder}: no document holds text; give some that do")
        info = ShardsInfo(
            format=FORMAT,
            dtype=name,
            tokenizer=tokenizer_hash(tokenizer),
            vocab_size=tokenizer.vocab_size,
            documents=writer.documents,
            empty=writer.empty,
            tokens=sum(writer.shards),
            bytes=writer.bytes,
            shards=tuple(writer.shards),
            sha256=writer.hashes(),
        )
        write_json(temporary / META, info.model_dump())
    return Shards(folder)


def _batches(documents: Iterable[Document], ends: str) -> Iterator[Batch[tuple[list[Document | None], int]]]:
    """Texts of about _AT_ONCE characters, with the documents that they are: a long one's comes with its last part, None
    with the others; and the number of characters."""
    texts: list[str] = []
    whose: list[Document | None] = []
    size = 0
    for text, document in _parts(documents, ends):
        texts.append(text)
        whose.append(document)
        size += len(text) + 1
        if size > _AT_ONCE:
            yield texts, (whose, size)
            texts, whose, size = [], [], 0
    if texts:
        yield texts, (whose, size)


def _parts(documents: Iterable[Document], ends: str) -> Iterator[tuple[str, Document | None]]:
    for document in documents:
        if document.messages is not None:
            raise DataError(
                f"{document.source} is a conversation, and shards hold plain text; train on it by its turns instead"
            )
        *first, last = segments(document.text, ends)
        yield from ((text, None) for text in first)
        yield last, document


class _Writer:
    """Writes the ids of documents as they come, and the index."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, dtype: np.dtype[Any], shard_tokens: int) -> None:
        self._folder, self._most, self._size = folder, shard_tokens, dtype.itemsize
        around = ([] if one is None else [one] for one in (tokenizer.document_start, tokenizer.document_end))
        self._start, self._end = (np.array(ids, dtype).tobytes() for ids in around)
        self._stack = ExitStack()
        self._hashes: dict[str, Any] = {}
        self._index = self._open(INDEX)
        self._file: _Hashed | None = None
        self._whole: list[bytes] = []
        self.shards: list[int] = []
        self.documents = self.empty = self.bytes = self._tokens = 0

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def add(self, ids: bytes, document: Document | None) -> None:
        """A part of a document's ids; `document` with its last part."""
        self._whole.append(ids)
        if document is None:
            return
        ids = b"".join((self._start, *self._whole, self._end))
        has_text = any(self._whole)
        self._whole = []
        if not has_text or len(ids) < 2 * self._size:
            self.empty += 1
            return
        self._write(ids)
        size = len(document.text.encode())
        self._index.write(np.array([self._tokens, size], _INDEX_ENTRY).tobytes())
        self.documents += 1
        self.bytes += size

    def _write(self, ids: bytes) -> None:
        if self._file is None or self.shards[-1] >= self._most:
            if self._file is not None:
                self._file.close()
            self._file = self._open(file_name(len(self.shards)))
            self.shards.append(0)
        self._file.write(ids)
        self.shards[-1] += len(ids) // self._size
        self._tokens += len(ids) // self._size

    def hashes(self) -> dict[str, str]:
        """The SHA-256 of what was written to each file."""
        return {name: found.hexdigest() for name, found in sorted(self._hashes.items())}

    def _open(self, name: str) -> _Hashed:
        self._hashes[name] = hashlib.sha256()
        file = self._stack.enter_context((self._folder / name).open("wb", buffering=2**20))
        return _Hashed(file, self._hashes[name])


class _Hashed:
    """A file whose bytes are hashed as they are written."""

    def __init__(self, file: IO[bytes], found: Any) -> None:
        self._file, self._found = file, found
        self.close = file.close

    def write(self, data: bytes) -> None:
        """To the file, and into the hash."""
        self._file.write(data)
        self._found.update(data)


def file_name(number: int) -> str:
    """What the file of that number is called."""
    return f"{number:05}.bin"


def _read_info(folder: Path) -> ShardsInfo:
    path = folder / META
    try:
        if path.stat().st_size > _MOST_META:
            raise DataError(f"{path} has over {_MOST_META:,} bytes, which no such file has; pack the text again")
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise DataError(f"{path} holds no JSON object; pack the text again")
        if values.get("format") != FORMAT:
            raise DataError(
                f"{path} says format {values.get('format')!r}, and this lmworks reads {FORMAT}; pack the text "
                "again, or "
                "take the lmworks that packed it"
            )
        info = ShardsInfo(**values)
    except FileNotFoundError:
        raise DataError(f"{folder} holds no {META}; give a folder that write_shards made") from None
    except (OSError, ValueError, RecursionError) as error:  # ConfigError is a ValueError
        raise DataError(f"{path} cannot be used ({error}); pack the text again") from None
    if info.documents < 1 or min(info.shards, default=0) < 1 or sum(info.shards) != info.tokens:
        raise DataError(f"{path} contradicts itself (its counts do not add up); pack the text again")
    return info


def _mapped(path: Path, dtype: np.dtype[Any], size: int) -> np.ndarray:
    """A file's numbers, read-only and mapped; DataError unless there are `size` of them."""
    try:
        found = path.stat().st_size
        if found != size * dtype.itemsize:
            raise DataError(
                f"{path} has {found:,} bytes and should have {size * dtype.itemsize:,} (cut off while copying?); "
                "copy it "
                "again, or pack the text again"
            )
        return np.memmap(path, dtype, "r").view(np.ndarray)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); copy it again, or pack again") from None


def _refuse_foreign(folder: Path) -> None:
    """A folder with anything but shards is somebody's work and is not replaced."""
    names = [folder.name] if folder.is_file() else names_in(folder)
    foreign = [one for one in names if one not in (META, INDEX) and not (one.endswith(".bin") and one[:-4].isdigit())]
    if foreign:
        raise DataError(f"{folder} holds something else than shards ({foreign[0]}); give another folder")
