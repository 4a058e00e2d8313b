"""Checks of a packed corpus, alone and beside the tokenizer that made it: pitfalls 6, 8 and 9."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmworks.basics.amounts import counted
from lmworks.basics.errors import ModelError
from lmworks.basics.files import sha256
from lmworks.checks.result import Difference, NotApplicableError, Outcome, check, ids_apart
from lmworks.tokens.shards import Shards, tokenizer_hash
from lmworks.tokens.tokenizer import Tokenizer

AT_ONCE = 2**24
"""Ids that are looked at together."""
READ = 50
"""Documents that are read back."""


@dataclass(frozen=True)
class TokenizedShards:
    """Shards and a tokenizer that should have made them."""

    shards: Shards
    tokenizer: Tokenizer


@check("files are those that were packed", of="shards")
def unchanged(shards: Shards) -> Outcome:
    """Every byte of the files, by the hashes in shards.json."""
    hashes = shards.info.sha256
    names = shards.files
    return Outcome(
        f"the SHA-256 of {counted(len(names), 'file')}",
        [
            Difference(
                "a file and the one that was packed", sha256(shards.folder / name) != hashes.get(name), 0, "files", name
            )
            for name in names
        ],
    )


@check("ids are in the vocabulary", of="shards")
def in_vocabulary(shards: Shards) -> Outcome:
    """Every id of the stream, and the counts of shards.json."""
    info = shards.info
    beyond = sum(
        int(np.count_nonzero(shards.read(start, min(start + AT_ONCE, shards.tokens)) >= info.vocab_size))
        for start in range(0, shards.tokens, AT_ONCE)
    )
    return Outcome(
        f"{counted(shards.tokens, 'id')} of {counted(len(shards), 'document')} in {len(info.shards)} files",
        [Difference(f"the ids and a vocabulary of {info.vocab_size:,}", beyond, 0, "ids")],
        f"left out as empty: {info.empty:,}" if info.empty else "",
    )


@check("bits per byte count bytes", 6, of="shards")
def bytes_counted(shards: Shards) -> Outcome:
    """The bytes of each document against those of the whole."""
    added = int(shards.text_bytes.sum())
    empty = int(np.count_nonzero(shards.text_bytes == 0))
    return Outcome(
        f"{counted(shards.info.bytes, 'byte')} of text, {shards.info.bytes / shards.tokens:.2f} a token",
        [
            Difference("the documents' bytes and those of the whole", abs(added - shards.info.bytes), 0, "bytes"),
            Difference("the documents and those with text", empty, 0, "documents"),
        ],
    )


@check("no document is packed twice", 9, of="shards")
def packed_once(shards: Shards) -> Outcome:
    """The ids of each document, by their hash."""
    seen = Counter(hashlib.sha256(shards.document(number).tobytes()).digest() for number in range(len(shards)))
    twice = len(shards) - len(seen)
    return Outcome(
        f"{counted(len(shards), 'document')} by the hash of their ids",
        [Difference("the documents and different ones", twice, 0, "documents")],
    )


@check("shards are this tokenizer's", 8, of="shards of a tokenizer")
def same_tokenizer(packed: TokenizedShards) -> Outcome:
    """The hash that the shards hold, and documents decoded and encoded again."""
    shards, tokenizer = packed.shards, packed.tokenizer
    differences = [
        Difference(
            "the tokenizer and the one in shards.json",
            tokenizer_hash(tokenizer) != shards.info.tokenizer,
            0,
            "tokenizers",
            f"their hashes; {tokenizer.name} did not pack these shards",
        )
    ]
    around = [[] if one is None else [one] for one in (tokenizer.document_start, tokenizer.document_end)]
    compared = 0
    for number in _some(shards):
        stored = shards.document(number).tolist()
        text = tokenizer.decode(stored)
        apart = abs(len(text.encode()) - int(shards.text_bytes[number]))
        if apart and _writes_everything(tokenizer, stored):
            where = f"document {number:,}"
            differences.append(Difference("the bytes of the ids and those that were packed", apart, 0, "bytes", where))
        if apart:
            continue  # this vocabulary loses something of the text: there is nothing to compare with
        compared += 1
        again = [*around[0], *tokenizer.encode(text, special=False), *around[1]]
        differences.append(ids_apart(f"the ids of document {number:,} and those of its text", stored, again))
    return Outcome(
        f"the tokenizer's hash, and {compared:,} of {counted(len(shards), 'document')} decoded and encoded again",
        differences,
    )


@check("the text's bytes are its tokens'", 6, of="shards of a tokenizer")
def bytes_of_tokens(packed: TokenizedShards) -> Outcome:
    """The bytes that bits per byte are counted by, against those of the tokens."""
    shards, tokenizer = packed.shards, packed.tokenizer
    known = tokenizer.special.keys() - {tokenizer.unknown} | {tokenizer.document_start, tokenizer.document_end}
    worst, where, read = 0, "", 0
    for number in _some(shards):
        ids = shards.document(number).tolist()
        if tokenizer.unknown in ids and tokenizer.unknown not in known:
            continue  # what the vocabulary does not know has no bytes
        try:
            size = sum(map(len, tokenizer.bytes_of(ids)))
        except ModelError as error:
            raise NotApplicableError(str(error)) from None
        read += 1
        apart = abs(size - int(shards.text_bytes[number]))
        if apart > worst:
            worst, where = apart, f"document {number:,}"
    if not read:
        raise NotApplicableError("every document has an unknown token, which has no bytes")
    return Outcome(
        f"{read:,} of {counted(len(shards), 'document')}",
        [Difference("the tokens' bytes and the text's", worst, 0, "bytes", where)],
    )


def _some(shards: Shards) -> list[int]:
    """Documents from everywhere in the stream."""
    return sorted({round(place) for place in np.linspace(0, len(shards) - 1, READ).tolist()})


def _writes_everything(tokenizer: Tokenizer, ids: Sequence[int]) -> bool:
    """Does this vocabulary lose nothing of a text: byte-level, no byte missing, no unknown token among these ids?"""
    backend = tokenizer.vocabulary.backend
    byte_level = backend.normalizer is None and "ByteLevel" in str(backend.decoder)
    return byte_level and not tokenizer.missing_bytes and (tokenizer.unknown is None or tokenizer.unknown not in ids)
