"""From text to token ids and back, exactly as the model's own files say.

    tokenizer = Tokenizer.load("models/smollm2")
    ids = tokenizer.encode("How do lists work?")
    assert tokenizer.decode(ids) == "How do lists work?"

Text is data: the characters "<|im_end|>" in a document or a message become ordinary tokens, never the
special token, so nobody can close a turn from inside a message. Only what a chat template wrote itself is
parsed for special tokens (`markup=True`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain, count, takewhile
from pathlib import Path
from typing import TypeVar

import numpy as np
import tokenizers

from lmworks.basics.arguments import kind_of
from lmworks.basics.arrays import Int64
from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.tokens.bounds import TokenBound
from lmworks.tokens.chat.template import PLAIN, ChatTemplate
from lmworks.tokens.folder import read_folder, write_folder
from lmworks.tokens.library import Growth, check_decoder, in_words
from lmworks.tokens.vocabulary import END_OF_DOCUMENT, END_OF_TURN, Vocabulary

_T = TypeVar("_T")

_REMEMBERED = 1_000
"""Words whose tokens the library remembers, each thread anew; its own 10,000 are 5 MB a thread and no faster on English
text."""
_LONG = 10_000
"""Characters of a text that takes milliseconds."""
_A_GROUP = 64
"""Words that the library is given as one: few enough that there is a group for each core."""


class Tokenizer:
    """A model's tokenizer: encode, decode, exact bytes of each token, and the ids that have a role."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.name = vocabulary.name
        self.bos, self.eos = vocabulary.bos, vocabulary.eos
        self.pad, self.unknown = vocabulary.pad, vocabulary.unknown
        self.chat_template, self.max_length = vocabulary.chat_template, vocabulary.max_length
        self._markup = vocabulary.backend
        self._markup.no_truncation()  # a tokenizer.json may cut every text at 128 tokens, unasked
        self._markup.no_padding()
        added = self._markup.get_added_tokens_decoder()
        self.special = {number: token.content for number, token in added.items() if token.special}
        """The special tokens' texts by id."""
        self._added = {number: token.content for number, token in added.items()}
        self._data = _without_special_tokens(self._markup)
        for backend in (self._markup, self._data):
            if hasattr(backend.model, "_resize_cache"):  # BPE and unigram
                backend.model._resize_cache(_REMEMBERED)
        self._growth = Growth(self._markup.normalizer)
        check_decoder(self._markup.decoder, self.name)
        self._forbidden = frozenset(self.special) - {self.unknown}
        self.prefix, self.suffix = self._around()
        self._alphabet = _alphabet(self._markup)
        self._bytes: dict[int, bytes] = {}

    @classmethod
    def load(cls, folder: str | Path) -> Tokenizer:
        """The tokenizer of a model directory: tokenizer.json, or GPT-2's vocab.json and merges.txt."""
        return cls(read_folder(Path(folder)))

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json and its companions so that transformers loads them unchanged."""
        is_simple = self.bos is not None and self.prefix in ((), (self.bos,)) and not self.suffix
        mask = None if self.mask is None else self.special[self.mask]
        write_folder(self.vocabulary, Path(folder), mask, bool(self.prefix) if is_simple else None)

    # Text to ids

    def encode(self, text: str, special: bool = True, *, markup: bool = False, continues: bool = False) -> list[int]:
        """The ids of a text. Raises DataError for half of a surrogate pair.

        `special` adds what the model's own configuration adds around a text (BOS, EOS, [CLS] ...); a BOS
        that the text already begins with is not doubled. `markup` says that the text is a template's own,
        so special tokens written in it are meant. `continues` says that text stands before it:
        SentencePiece then puts no space in front.
        """
        if special:
            text = self._without_bos(text)
        backend = self._markup if markup else self._data
        ids = self._continued(backend, _sound(text)) if continues else self._ids(backend, _sound(text))
        if not markup and not self._forbidden.isdisjoint(ids):
            ids = self._encode_cut(text, continues)
        return [*self.prefix, *ids, *self.suffix] if special else ids

    def goes_on_after(self, ids: Sequence[int]) -> bool:
        """Whether a text after these ids `continues` another (`encode`). Not after none; nor after a special token
        where the tokenizer begins anew there and puts a space in front (SentencePiece's pieces with Metaspace,
        "always")."""
        return len(ids) > 0 and not (ids[-1] in self.special and self._begins_anew)

    def must_fit(self, text: str, most: int | None, what: str = "prompt") -> None:
        """ConfigError for a long text that has more than `most` tokens however it is cut (None for no bound): a text
        of megabytes takes seconds to tokenize. A short one takes none, and its exact number can be told."""
        if most is not None and len(text) > _LONG and (least := self.at_least(text)) > most:
            raise ConfigError(f"the {what} has at least {least:,} tokens and the model reads {most:,}; shorten it")

    def at_least(self, text: str) -> int:
        """Tokens that a text has however it is cut, told from its bytes in linear time."""
        text, normalizer = _sound(self._without_bos(text)), self._data.normalizer
        if normalizer is not None:
            text = self._run([text], lambda: normalizer.normalize_str(text))
        return self._bound.of(text.encode())

    @cached_property
    def _bound(self) -> TokenBound:
        if self._alphabet is None or _removes(self._data):
            return TokenBound([], [])
        letters = {byte: letter for letter, byte in self._alphabet.items()} or {byte: chr(byte) for byte in range(128)}
        own = [byte for byte, letter in letters.items() if self._markup.token_to_id(letter) is not None]
        return TokenBound([self._written(number) for number in range(self.vocab_size)], own)

    def encode_batch(self, texts: Sequence[str], special: bool = True) -> list[list[int]]:
        """As `encode` for each text, on all cores."""
        sound = [_sound(self._without_bos(text) if special else text) for text in texts]
        encodings = self._run(sound, lambda: self._data.encode_batch_fast(sound, add_special_tokens=False))
        before, after = (self.prefix, self.suffix) if special else ((), ())
        return [
            [
                *before,
                *(ids if self._forbidden.isdisjoint(ids := encoding.ids) else self._encode_cut(text, False)),
                *after,
            ]
            for text, encoding in zip(sound, encodings, strict=True)
        ]

    def library_ids(self, text: str, special: bool = False) -> list[int]:
        """The ids as transformers reads the text: its special tokens are meant, a BOS in it is doubled."""
        return self._run([text], lambda: self._markup.encode(text, add_special_tokens=special)).ids

    def encode_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """`encode(text, special=False)`, and for each id the characters (start, end) that it stands for.

        Tokens that share a character (bytes of it) have the same span. DataError for a text that can only be encoded in
        parts (see `_encode_cut`).
        """
        encoding = self._run([_sound(text)], lambda: self._data.encode(text, add_special_tokens=False))
        if not self._forbidden.isdisjoint(encoding.ids):
            raise DataError(
                f"the tokenizer of {self.name} turns plain characters into a special token; take the texts of special "
                "tokens out of the text"
            )
        return encoding.ids, encoding.offsets

    def encode_words(self, words: Sequence[str]) -> tuple[Int64[np.ndarray, " ids"], Int64[np.ndarray, " words"]]:
        """`encode_batch(words, special=False)` of many short texts: all ids in a row, and how many each text has.

        The library takes each text by itself either way, but a group of them costs it one call and one result.
        """
        sound = [_sound(word) for word in words]
        groups = [sound[start : start + _A_GROUP] for start in range(0, len(sound), _A_GROUP)]
        encodings = self._run(
            sound, lambda: self._data.encode_batch(groups, is_pretokenized=True, add_special_tokens=False)
        )
        ids = [encoding.ids for encoding in encodings]
        if all(map(self._forbidden.isdisjoint, ids)):
            sizes = [
                np.bincount(np.array(encoding.word_ids, np.int64), minlength=len(group))
                for group, encoding in zip(groups, encodings, strict=True)
            ]
            return _in_a_row(ids), np.concatenate([np.zeros(0, np.int64), *sizes])
        ids = self.encode_batch(sound, special=False)
        return _in_a_row(ids), np.array([len(one) for one in ids], np.int64)

    def _without_bos(self, text: str) -> str:
        if self.bos is not None and self.prefix[:1] == (self.bos,):
            return text.removeprefix(self.special.get(self.bos, ""))
        return text

    def _continued(self, backend: tokenizers.Tokenizer, text: str) -> list[int]:
        """Encode after an anchor and take the anchor's ids away, where a space would be put in front."""
        for anchor in ("\n", "|", "0") if self.adds_space else ():
            before, together = self._ids(backend, anchor), self._ids(backend, anchor + text)
            if before and together[: len(before)] == before:  # a normaliser may leave nothing of a line's end
                return together[len(before) :]
        return self._ids(backend, text)

    def _encode_cut(self, text: str, continues: bool) -> list[int]:
        """Encode in pieces, cut inside every special token's text.

        For a model (Unigram) that would make the special token from its characters even as data.
        """
        inside = "|".join(f"(?<={re.escape(word[:1])})(?={re.escape(word[1:])})" for word in self.special.values())
        ids: list[int] = []
        for piece in re.split(inside, text):
            ids += self._continued(self._data, piece) if ids or continues else self._ids(self._data, piece)
        for number in self._forbidden.intersection(ids):
            raise DataError(
                f"the tokenizer of {self.name} turns plain characters into its special token "
                f"{self.special[number]!r}; take these characters out of the text"
            )
        return ids

    # Ids to text

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """The text of some ids; bytes that are no UTF-8 become U+FFFD, ids beyond the vocabulary nothing."""
        if self._alphabet is None:
            known = [number for number in ids if self._in_range(number)]
            return self._run((), lambda: self._markup.decode(known, skip_special))
        pieces = (
            self._written(number) if number in self.special and not skip_special else piece
            for number, piece in zip(ids, self.bytes_of(ids), strict=True)
        )
        return b"".join(pieces).decode("utf-8", "replace")

    def token_bytes(self, number: int) -> bytes:
        """The exact bytes of a token; none for a special token or an id beyond the vocabulary.

        The bytes of an encoded text's tokens sum up to its UTF-8 bytes, but for the space that SentencePiece
        puts in front of a text, which `bytes_of` takes away, and for `missing_bytes`. ModelError where a
        token has no bytes of its own (WordPiece).
        """
        known = self._bytes.get(number)
        if known is None:
            known = self._bytes[number] = b"" if number in self.special else self._written(number)
        return known

    def bytes_of(self, ids: Sequence[int]) -> list[bytes]:
        """The bytes that each token adds to the text which all of them make together."""
        pieces = [self.token_bytes(number) for number in ids]
        if self.adds_space:
            for place, piece in enumerate(pieces):
                if piece:
                    pieces[place] = piece.removeprefix(b" ")
                    break
        return pieces

    def _written(self, number: int) -> bytes:
        if self._alphabet is None:
            raise ModelError(
                f"the tokens of {self.name} have no exact bytes (it is neither byte-level nor "
                "SentencePiece); count the bytes of the text instead"
            )
        if number in self._added:
            return self._added[number].encode()
        token = self._markup.id_to_token(number) if self._in_range(number) else None
        if token is None:
            return b""
        if self._alphabet:
            written = [self._alphabet.get(letter) for letter in token]
            return token.encode() if None in written else bytes(byte for byte in written if byte is not None)
        if re.fullmatch("<0x[0-9A-F]{2}>", token):
            return bytes([int(token[3:5], 16)])
        return token.replace("▁", " ").encode()

    def _in_range(self, number: int) -> bool:
        if number < 0:
            raise DataError(f"{number} is not a token id; ids begin at 0")
        return number < self.vocab_size

    # Conversations

    @cached_property
    def chat(self) -> ChatTemplate:
        """The model's chat template; a plain dialogue where it has none (`chat.is_plain` says so)."""
        ids = {"bos_token": self.bos, "eos_token": self.eos, "pad_token": self.pad, "unk_token": self.unknown}
        tokens = {name: self._added.get(number, "") for name, number in ids.items() if number is not None}
        first = tokens.get("bos_token", "") if self.prefix else ""
        return ChatTemplate(
            self.chat_template or PLAIN, tokens | {"first_token": first}, self.name, self.special.values()
        )

    # Ids with a role

    @cached_property
    def vocab_size(self) -> int:
        """The largest id + 1."""
        return max(self._markup.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def words(self) -> list[bytes | str]:
        """What each id stands for: its bytes, or the name of a special token. Two models can be compared token by
        token where they agree in it. ModelError as of `token_bytes`."""
        return [self.special.get(number, "") or self.token_bytes(number) for number in range(self.vocab_size)]

    @property
    def document_start(self) -> int | None:
        """What stands before a document: BOS where the tokenizer adds it, else the end-of-document token."""
        if self.prefix:
            return self.prefix[0]
        return _first(self._special_id(*END_OF_DOCUMENT), self.bos, self.eos)

    @property
    def document_end(self) -> int | None:
        """What stands after a document: the end-of-document token where there is one, else EOS."""
        return _first(self._special_id(*END_OF_DOCUMENT), self.eos)

    @property
    def mask(self) -> int | None:
        """The token that stands for a hidden one ([MASK], <mask>); None where there is none."""
        return self._special_id("[MASK]", "<mask>")

    @cached_property
    def sentinels(self) -> tuple[int, ...]:
        """The tokens that stand for spans cut out (<extra_id_0>, <extra_id_1>, ...), in their order."""
        ids = {text: number for number, text in self.special.items()}
        return tuple(ids[text] for text in takewhile(ids.__contains__, map("<extra_id_{}>".format, count())))

    def require_mask(self) -> int:
        """The same; ConfigError where there is none."""
        if self.mask is None:
            raise ConfigError(
                f"the tokenizer of {self.name} has no mask token; train one of kind wordpiece, or with [MASK] or "
                "<mask> "
                "among its special_tokens"
            )
        return self.mask

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The ids that end an answer: EOS, end of turn, end of document, and what the model's files name."""
        ends = {number for number, text in self.special.items() if text in END_OF_TURN + END_OF_DOCUMENT}
        return self.vocabulary.stops | ends | ({self.eos} if self.eos is not None else set())

    @cached_property
    def missing_bytes(self) -> frozenset[int]:
        """Bytes that no token stands for: a text loses them, as with the model's own tokenizer.

        SmolLM2, for one, lacks a few control characters and the first byte of the unassigned planes 4 to 11.
        Empty for tokens that are not byte-level.
        """
        if not self._alphabet:
            return frozenset()
        return frozenset(byte for letter, byte in self._alphabet.items() if self._markup.token_to_id(letter) is None)

    @property
    def keeps_space(self) -> bool:
        """Whether ids say what white space a text has; not so for WordPiece."""
        return self._alphabet is not None

    @cached_property
    def adds_space(self) -> bool:
        """Whether the tokenizer puts a space in front of a text (SentencePiece's dummy prefix)."""
        ids = self._ids(self._data, "a")
        return self._alphabet is not None and b"".join(self.token_bytes(number) for number in ids) == b" a"

    @cached_property
    def _begins_anew(self) -> bool:
        """Whether what follows a special token has a space in front as a text has."""
        number, text = next(iter(self.special.items()), (None, ""))
        return self.adds_space and self._ids(self._markup, f"{text}a") == [number, *self._ids(self._data, "a")]

    def _special_id(self, *texts: str) -> int | None:
        ids = {text: number for number, text in self.special.items()}
        return next((ids[text] for text in texts if text in ids), None)

    def _ids(self, backend: tokenizers.Tokenizer, text: str) -> list[int]:
        if len(text) > _LONG:  # a batch of one lets other threads go on meanwhile
            return self._run([text], lambda: backend.encode_batch_fast([text], add_special_tokens=False))[0].ids
        return self._run([text], lambda: backend.encode(text, add_special_tokens=False)).ids

    def _run(self, texts: Sequence[str], call: Callable[[], _T]) -> _T:
        """What the library makes of these texts; ModelError or DataError where its file's rules get out of hand."""
        with in_words(self._fails):
            self._growth.check(texts, self.name)
            return call()

    def _fails(self, error: BaseException) -> DataError:
        return DataError(
            f"the tokenizer of {self.name} fails on this text ({error}); change the text, or use another model"
        )

    @cached_property
    def between(self) -> tuple[int, ...]:
        """What the backend's own post-processing puts between two texts."""
        inner, outer = self._ids(self._data, "a"), self._run(["a"], lambda: self._data.encode("a", "a")).ids
        middle = outer[len(self.prefix) + len(inner) : len(outer) - len(self.suffix) - len(inner)]
        whole = [*self.prefix, *inner, *middle, *inner, *self.suffix]
        return tuple(middle) if outer == whole else ()

    def _around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What the backend's own post-processing adds before and after a text."""
        inner, outer = self._ids(self._data, "a"), self._run(["a"], lambda: self._data.encode("a")).ids
        for start in range(len(outer) - len(inner) + 1):
            if outer[start : start + len(inner)] == inner:
                return tuple(outer[:start]), tuple(outer[start + len(inner) :])
        raise ModelError(
            f"the tokenizer of {self.name} changes a text's tokens when it adds special tokens; this is not supported"
        )


def _in_a_row(ids: list[list[int]]) -> Int64[np.ndarray, " ids"]:
    return np.fromiter(chain.from_iterable(ids), np.int64)


def _first(*ids: int | None) -> int | None:
    return next((number for number in ids if number is not None), None)


def _sound(text: str) -> str:
    """The text, if it is one that can be written as UTF-8."""
    if not isinstance(text, str):
        raise DataError(f"{kind_of(text)} is no text; give a text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"the text holds half of a surrogate pair ({text[error.start]!r} at character "
            f"{error.start:,}), which is no Unicode character; repair its encoding"
        ) from None
    return text


def _without_special_tokens(markup: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """A second tokenizer on the same model, for which special tokens' texts are plain characters.

    Two objects instead of one that is switched to and fro, so that two threads cannot meet in between.
    """
    data = tokenizers.Tokenizer(markup.model)
    data.normalizer, data.pre_tokenizer = markup.normalizer, markup.pre_tokenizer
    data.post_processor, data.decoder = markup.post_processor, markup.decoder
    data.add_tokens([token for _, token in sorted(markup.get_added_tokens_decoder().items())])
    data.encode_special_tokens = True
    return data


def _removes(backend: tokenizers.Tokenizer) -> bool:
    """Whether a pre-tokenizer leaves out more than white space."""
    if backend.pre_tokenizer is None:
        return False
    state = backend.pre_tokenizer.__getstate__()
    return any(word in state for word in (b'"Removed"', b'"CharDelimiterSplit"'))


def _alphabet(backend: tokenizers.Tokenizer) -> dict[str, int] | None:
    """Byte-level: the byte of each letter. SentencePiece: empty. Neither: None."""
    if backend.decoder is None:
        return None
    state = json.loads(backend.decoder.__getstate__())
    kinds = {part["type"] for part in state.get("decoders", [state])}
    if "ByteLevel" in kinds:
        return _byte_level_alphabet()
    return {} if kinds & {"ByteFallback", "Metaspace"} else None


def _byte_level_alphabet() -> dict[str, int]:
    """GPT-2's letters for bytes: printable Latin-1 stands for itself, the rest from U+0100 on, in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}
