"""Where a text can be cut without changing a token of it, and what that is good for.

Most tokenizers never join what stands on the two sides of a space: the text after a word and before the space that
follows it is cut in any case, and what comes later depends on what follows alone. Cut there, a text of 100 MB is
encoded in bounded memory (`segments`), and a word that comes again is looked up and not encoded again
(`BulkEncoder`): natural text repeats 90 % of its words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from tokenizers import models

from lmworks.tokens.tokenizer import Tokenizer

ONE_SPACE = r"\s"
"""A pre-tokenizer's pattern that isolates each space, tab and line end."""

SEGMENT = 2**20
"""Characters of a long text that are encoded at once."""

LONGEST_KNOWN = 48
"""Characters of the longest chunk that is remembered."""
MOST_KNOWN = 1_000_000
"""Chunks that are remembered; about 200 MB."""

# A chunk ends where no space (of any kind) is followed by one of `ends`; Python's \s holds every space of Unicode.
_CHUNK = r"\s*\S+(?:[^\S{ends}]\s*\S*)*|\s+"

# GPT-2's own pattern on ASCII, where its classes are ranges: tokens come again more often than chunks. What touches
# another character is left to the last two lines, which go on to the next certain cut.
_BEFORE_ASCII = r"(?![^\x00-\x7f])"
_GPT2 = "|".join(
    (
        r"'(?:[stmd]|re|ve|ll)",
        r" ?[A-Za-z]++" + _BEFORE_ASCII,
        r" ?[0-9]++" + _BEFORE_ASCII,
        r" ?[\x00-\x08\x0e-\x1f!-/:-@\[-`{-\x7f]++" + _BEFORE_ASCII,
        r"(?![\t-\r ]++[^\x00-\x7f])(?:[\t-\r ]+(?![^\t-\r ])|[\t-\r])",
        _CHUNK.format(ends=" \n"),
    )
)

# BERT's own cuts on ASCII: words, and each mark by itself. White space, which leaves no token, is in none.
_BEFORE_PRINTED = r"(?![^\t\n\r -~])"
_BERT = "|".join(
    (
        r"[A-Za-z0-9]++" + _BEFORE_PRINTED,
        r"[!-/:-@\[-`{-~]" + _BEFORE_PRINTED,
        r"[^ \t\n\r]\S*(?:[^\S \n]\s*\S*)*",
    )
)


class BulkEncoder:
    """Encodes many texts fast: the same ids as `Tokenizer.encode_batch(texts, special=False)`, as bytes.

    Where the tokenizer allows no cuts (`boundaries` is empty), texts go to it as they are.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        dtype: np.dtype[Any],
        known: dict[str, bytes] | None = None,
        most_known: int = MOST_KNOWN,
    ) -> None:
        """`known` is what another encoder of the same kind has learnt."""
        self._tokenizer, self._dtype, self._most_known = tokenizer, dtype, most_known
        self.boundaries = boundaries(tokenizer)
        self.known = known or {}
        """The ids of the chunks that it has met."""
        self._chunks = chunker(tokenizer)

    def encode(self, texts: Sequence[str]) -> list[bytes]:
        """The ids of each text, in the encoder's dtype. DataError for half of a surrogate pair."""
        if not self.boundaries:
            return [np.array(ids, self._dtype).tobytes() for ids in self._tokenizer.encode_batch(texts, special=False)]
        chunks = [self._chunks(text) for text in texts]
        known = self.known
        new = list(set().union(*chunks).difference(known))
        known.update(zip(new, self._encode(new), strict=True))
        ids = [b"".join(map(known.__getitem__, parts)) for parts in chunks]
        for chunk in new:
            if len(chunk) > LONGEST_KNOWN:
                del known[chunk]
        if len(known) > self._most_known:
            known.clear()
        return ids

    def _encode(self, chunks: Sequence[str]) -> list[bytes]:
        ids, sizes = self._tokenizer.encode_words(chunks)
        together = ids.astype(self._dtype).tobytes()
        ends = np.cumsum(sizes * self._dtype.itemsize).tolist()
        return [together[start:end] for start, end in pairwise([0, *ends])]


def segments(text: str, ends: str = " \n", longest: int = SEGMENT) -> Iterator[str]:
    """The text in parts of about `longest` characters, cut as chunks are; in one where it cannot be cut."""
    if len(text) <= longest or not ends:
        yield text
        return
    boundary = re.compile(rf"(?<=\S)[{ends}]")
    start = 0
    while start < len(text):
        cut = boundary.search(text, start + longest)
        end = cut.start() if cut else len(text)
        yield text[start:end]
        start = end


def chunker(tokenizer: Tokenizer) -> Callable[[str], list[str]]:
    """What splits a text into small parts that can be encoded by themselves."""
    if is_cut_as_bert(tokenizer):
        return re.compile(_BERT).findall
    if _cuts(tokenizer) == ["ByteLevel"]:
        return re.compile(_GPT2).findall
    return re.compile(_CHUNK.format(ends=boundaries(tokenizer))).findall


def is_cut_as_bert(tokenizer: Tokenizer) -> bool:
    """Whether words are cut from words, and marks from everything, before anything else is done with an ASCII text."""
    return _cuts(tokenizer) == ["BertPreTokenizer"] and bool(boundaries(tokenizer))


def _cuts(tokenizer: Tokenizer) -> list[str]:
    return _parts(tokenizer.vocabulary.backend.pre_tokenizer, "pretokenizers")


def boundaries(tokenizer: Tokenizer) -> str:
    """The characters before which a text can be cut, if no space stands before them: " ", " \\n" or none.

    None wherever that is not certain: pre-tokenizers, normalizers and added tokens that are not known here.
    """
    backend = tokenizer.vocabulary.backend
    if any(not token.special for token in backend.get_added_tokens_decoder().values()):
        return ""  # one may hold a space
    if _parts(backend.normalizer, "normalizers") not in ([], ["BertNormalizer"]):
        return ""
    if isinstance(backend.model, models.BPE) and backend.model.dropout:
        return ""
    names = _cuts(tokenizer)
    if names in ([], ["ByteLevel whole"]) and isinstance(backend.model, models.BPE):
        return "" if json.loads(backend.to_str())["model"]["merges"] else _EVERYWHERE
    if not set(names) <= {*_CUTS, *_HARMLESS}:
        return ""
    return max((_CUTS.get(name, "") for name in names), key=len, default="")


_EVERYWHERE = " \n"
_CUTS = {
    "ByteLevel": _EVERYWHERE,  # GPT-2's pattern: a token holds at most one space, in front, or nothing but spaces
    "BertPreTokenizer": _EVERYWHERE,
    "Whitespace": _EVERYWHERE,
    "WhitespaceSplit": _EVERYWHERE,
    "Metaspace": " ",
}
"""Pre-tokenizers that always cut before a space that follows something else, and before which characters."""

_HARMLESS = ("Digits", "Punctuation", "Split")
"""Those that look at one character at a time."""


def _parts(stage: Any, plural: str) -> list[str]:
    """The kinds that a normalizer or pre-tokenizer is made of; settings that matter here change the name."""
    if stage is None:
        return []
    state = json.loads(stage.__getstate__())
    names = []
    for part in state.get(plural, [state]):
        name = part["type"]
        if name == "ByteLevel" and part["add_prefix_space"]:
            name = "ByteLevel with a space in front"
        elif name == "ByteLevel" and not part["use_regex"]:
            name = "ByteLevel whole"
        elif name == "Metaspace" and (part["prepend_scheme"] != "never" or not part["split"]):
            name = "Metaspace with a space in front"
        elif name == "Split" and (part["pattern"], part["behavior"], part["invert"]) != (
            {"Regex": ONE_SPACE},
            "Isolated",
            False,
        ):
            name = "Split by a pattern"
        names.append(name)
    return names
