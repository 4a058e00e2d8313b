"""SentencePiece's BPE as entries of a GGUF file: its pieces, their scores, and whether a space is put in front.

A tokenizer.json lists pairs in the order in which they are joined; llama.cpp joins the two neighbours that make the
piece of the best score, whichever pair they are. So a piece's score is minus the place of the first pair that makes it,
and llama.cpp's rule, written out here, must give the tokenizer's ids on texts that are chosen to tell the two apart.
Where the scores are known, as from another GGUF file, they are written as they are.

llama.cpp takes control tokens' names for what grows from characters, too, in every file of this kind; this one
difference is not counted, as no score keeps it from happening.
Source: llm_tokenizer_spm and tokenizer_st_partition of llama-vocab.cpp.
"""

from __future__ import annotations

import heapq
import itertools
import random
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.files.gguf_facts import (
    BYTE,
    CONTROL,
    LONGEST_TOKEN,
    NORMAL,
    NOT_STRIPPING,
    STRIPPING_NAME,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    strips_after,
)
from lmworks.tokens.tokenizer import Tokenizer

SPACE = "▁"
HARD = (
    "",
    " ",
    "a",
    " a",
    "  two  spaces   three    four ",
    "\n",
    "\n\n\n\tx\r\n  y\n",
    "0123456789 3.14 1,000,000 ½ ٣٤٥",
    "日本語、漢字。中文 한국어 ไทย",
    "👩‍👩‍👧‍👦 🇩🇪 e\u0301 \u0000 \ufeff \U000e0001",
    "▁ already▁▁written ▁",
    "def f(x):\n    return {'a': x ** 2}  # <b>&amp;</b>",
    *(letter * length for letter in " \n-=a" for length in (2, 3, 5, 8, 17, 33)),
)
"""Texts that rules for white space, digits and bytes differ on."""
MOST_DOUBTS = 200_000
"""Texts on which the order of pairs and that of scores may differ; a vocabulary with more is not looked through."""
MIXED, LONGEST_MIXED, MOST_NAMED = 500, 64, 500
"""Texts of pieces that are drawn, the characters of the longest piece in them, and added tokens that are looked for:
time grows with all three, however large a file is."""
_BYTE = re.compile("<0x[0-9A-F]{2}>")
_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_PREPEND = {"type": "Prepend", "prepend": SPACE}


def is_pieces(state: dict[str, Any]) -> bool:
    """Is it BPE that writes unknown characters as bytes, as SentencePiece's is?"""
    return state["model"]["type"] == "BPE" and bool(state["model"].get("byte_fallback"))


def piece_entries(tokenizer: Tokenizer, state: dict[str, Any], tokens: list[str], kinds: list[int]) -> dict[str, Any]:
    """The entries of the pieces, their types and scores; ModelError where llama.cpp would give other ids."""
    model = state["model"]
    if model.get("ignore_merges") or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise refused(tokenizer, "takes whole words first, or marks where words begin or end")
    missing = next((byte for byte in range(256) if f"<0x{byte:02X}>" not in model["vocab"]), None)
    if missing is not None:
        raise refused(tokenizer, f"has no token <0x{missing:02X}>, which a character that is unknown may need")
    in_front = _puts_space_in_front(tokenizer, state)
    kinds = [_kind(tokenizer, number, *one) for number, one in enumerate(zip(tokens, kinds, strict=True))]
    merges = [tuple(one.split(" ") if isinstance(one, str) else one) for one in model["merges"]]
    scores = list(tokenizer.vocabulary.scores or _by_rank(tokens, merges))[: len(tokens)]
    scores += [min(scores)] * (len(tokens) - len(scores))
    _must_agree(tokenizer, Joined(tokens, kinds, scores, in_front, _strips(tokenizer)), merges)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.add_space_prefix": in_front,
    }


def file_name(tokenizer: Tokenizer, entries: Mapping[str, Any], name: str) -> str:
    """`general.name` for a file of these entries: by it alone llama.cpp knows Phi-3, whose special tokens take white
    space after them away."""
    strips = entries["tokenizer.ggml.model"] == "llama" and bool(_strips(tokenizer))
    if strips == bool(STRIPPING_NAME.search(name)):
        return name
    return f"{name} (phi-3)" if strips else STRIPPING_NAME.sub("phi 3", name)


class Joined:
    """llama.cpp's ids of a text: special and user-defined tokens whole, the longest first; between them the neighbours
    that make the piece of the best score are joined, leftmost first; what is then no token becomes bytes."""

    def __init__(
        self, tokens: list[str], kinds: list[int], scores: list[float], in_front: bool, strips: frozenset[int]
    ) -> None:
        self._ids = {token: number for number, token in enumerate(tokens)}
        self.scores = {
            token: score
            for token, kind, score in zip(tokens, kinds, scores, strict=True)
            if kind not in (CONTROL, UNKNOWN)
        }
        whole = {token for token, kind in zip(tokens, kinds, strict=True) if kind in (CONTROL, UNKNOWN, USER_DEFINED)}
        self.whole = sorted(whole, key=len, reverse=True)
        self.found = [token for token in self.whole if token in self.scores and SPACE not in token]
        self.own = [token for token, kind in zip(tokens, kinds, strict=True) if kind in (NORMAL, USER_DEFINED)]
        self._in_front, self._strips = in_front, {tokens[number] for number in strips}

    def ids(self, text: str) -> list[int]:
        """The ids of a text in which the names of special tokens mean them."""
        parts: list[str | int] = [text] if text else []
        for token in self.whole:
            if token in text:
                parts = list(self._cut(parts, token))
        after, found = True, list[int]()
        for part in parts:
            if isinstance(part, int):
                found.append(part)
            else:
                found += self.pieces(((" " if self._in_front and after else "") + part).replace(" ", SPACE))
            after = isinstance(part, int)
        return found

    def _cut(self, parts: list[str | int], token: str) -> Iterator[str | int]:
        for part in parts:
            if isinstance(part, int):
                yield part
                continue
            start = 0
            while (place := part.find(token, start)) >= 0:
                if place > start:
                    yield part[start:place]
                yield self._ids[token]
                start = place + len(token)
                if token in self._strips:
                    start = len(part) - len(part[start:].lstrip())
            if start < len(part):
                yield part[start:]

    def pieces(self, text: str) -> list[int]:
        """The ids of a text without such tokens, its spaces replaced."""
        parts: list[str] = list(text)
        before, after = list(range(-1, len(parts) - 1)), [*range(1, len(parts)), -1]
        queue: list[tuple[float, int, int, int]] = []

        def offer(left: int, right: int) -> None:
            if left >= 0 and right >= 0 and (score := self.scores.get(parts[left] + parts[right])) is not None:
                heapq.heappush(queue, (-score, left, right, len(parts[left]) + len(parts[right])))

        for place in range(1, len(parts)):
            offer(place - 1, place)
        while queue:
            _, left, right, size = heapq.heappop(queue)
            if not parts[left] or not parts[right] or len(parts[left]) + len(parts[right]) != size:
                continue  # one of them was joined with another meanwhile
            parts[left], parts[right] = parts[left] + parts[right], ""
            after[left] = after[right]
            if after[right] >= 0:
                before[after[right]] = left
            offer(before[left], left)
            offer(left, after[left])
        return [number for part in parts for number in self._numbers(part)]

    def _numbers(self, part: str) -> list[int]:
        return [self._ids[part]] if part in self._ids else [self._ids[f"<0x{byte:02X}>"] for byte in part.encode()]


def _kind(tokenizer: Tokenizer, number: int, token: str, kind: int) -> int:
    if number == tokenizer.unknown:
        return UNKNOWN
    if number in tokenizer.vocabulary.unused:
        return UNUSED
    return BYTE if kind == NORMAL and _BYTE.fullmatch(token) else kind


def _puts_space_in_front(tokenizer: Tokenizer, state: dict[str, Any]) -> bool:
    """`add_space_prefix`: whether every text, and what follows a special token, gets a further space in front."""
    steps, splits = _flat(state["normalizer"], "normalizers"), _flat(state["pre_tokenizer"], "pretokenizers")
    if _REPLACE in steps and all(split.get("pattern") == {"String": " "} for split in splits):
        splits = []  # Gemma's: at spaces, of which none are left
    marks = splits[0] if len(splits) == 1 and splits[0]["type"] == "Metaspace" and not steps else None
    if marks is not None and marks["replacement"] == SPACE and not marks["split"]:
        if marks["prepend_scheme"] == "never":
            return False
        raise refused(
            tokenizer,
            "puts no further space before a text that begins with one (Metaspace), as llama.cpp would",
        )
    if splits or steps not in ([_REPLACE], [_PREPEND, _REPLACE], [_REPLACE, _PREPEND]):
        raise refused(tokenizer, "prepares or splits a text by a rule of its own")
    return _PREPEND in steps


def _flat(step: dict[str, Any] | None, plural: str) -> list[dict[str, Any]]:
    if step is None:
        return []
    return [inner for one in step[plural] for inner in _flat(one, plural)] if plural in step else [step]


def _by_rank(tokens: list[str], merges: list[tuple[str, ...]]) -> list[float]:
    """Minus the place of the first pair that makes a piece; what no pair makes comes last."""
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(merges):
        ranks.setdefault("".join(pair), rank)
    return [-float(ranks.get(token, len(merges))) for token in tokens]


def _strips(tokenizer: Tokenizer) -> frozenset[int]:
    """The special tokens after which white space is taken away, where they are those that llama.cpp takes for Phi-3's;
    it opens no file of that name that lacks one of four others."""
    added = tokenizer.vocabulary.backend.get_added_tokens_decoder()
    if not all(tokenizer.vocabulary.backend.token_to_id(text) is not None for text in ("</s>", *NOT_STRIPPING)):
        return frozenset()
    marked = frozenset(number for number, token in added.items() if token.rstrip)
    expected = frozenset(number for number, token in added.items() if strips_after(token.content))
    return expected if marked == expected else frozenset()


def _must_agree(tokenizer: Tokenizer, theirs: Joined, merges: list[tuple[str, ...]]) -> None:
    """ModelError naming the first text whose ids differ."""
    model = tokenizer.vocabulary.backend.model
    doubts = list(itertools.islice(_doubts(merges), MOST_DOUBTS + 1))
    if len(doubts) > MOST_DOUBTS:
        raise refused(tokenizer, "joins pairs in an order that is none of their pieces")
    for piece in itertools.chain(theirs.own, doubts):  # without a space in front, which could join what comes first
        if len(piece) > LONGEST_TOKEN or theirs.pieces(piece) == [one.id for one in model.tokenize(piece)]:
            continue
        if not any(token in piece for token in theirs.found):  # which would be cut out of such a text before
            raise _differs(tokenizer, piece)
    draw = random.Random(0)
    short = [one for one in theirs.own if len(one) <= LONGEST_MIXED]
    mixed = ["".join(draw.choices(short, k=6)).replace(SPACE, " ") for _ in range(MIXED)] if short else []
    added = tokenizer.vocabulary.backend.get_added_tokens_decoder().values()
    # A special token that is looked for after the space was put in front is not found within a text at all, by an
    # oversight of such files: what they mean is written.
    named = [one.content for one in added if not (one.special and one.normalized)]
    named = draw.sample(named, min(len(named), MOST_NAMED))
    for text in (*HARD, *mixed, *(f"a{token}\n b{token}{token} c {token}" for token in named)):
        if theirs.ids(text) != tokenizer.encode(text, special=False, markup=True):
            raise _differs(tokenizer, text)


def _doubts(merges: list[tuple[str, ...]]) -> Iterator[str]:
    """Texts in which a pair is overtaken: one that makes a piece already made by an earlier pair counts as early as
    that by scores, and of two that overlap and make one piece the left one comes first."""
    first: dict[str, int] = {}
    going_on, going_back = defaultdict[str, list[tuple[int, str]]](list), defaultdict[str, list[tuple[int, str]]](list)
    for rank, (left, right) in enumerate(merges):
        first.setdefault(left + right, rank)
        going_on[left].append((rank, right))
        going_back[right].append((rank, left))
    for rank, (left, right) in enumerate(merges):
        piece = left + right
        if len(piece) > LONGEST_TOKEN:  # which no text is joined to
            continue
        if (earliest := first[piece]) < rank:
            yield from (piece + more for more in _between(going_on[right], earliest, rank))
            yield from (more + piece for more in _between(going_back[left], earliest, rank))
        if left != right and piece.startswith(right):
            yield left + piece


def _between(pairs: list[tuple[int, str]], low: int, high: int) -> list[str]:
    return [text for _, text in pairs[bisect_left(pairs, (low, "")) : bisect_left(pairs, (high, ""))]]


def _differs(tokenizer: Tokenizer, text: str) -> ModelError:
    shown = text if len(text) <= 60 else f"{text[:60]}..."
    return ModelError(
        f"llama.cpp, which joins pieces by their scores, would give other ids of {shown!r} than the tokenizer of "
        f"{tokenizer.name}; use the model directory"
    )


def refused(tokenizer: Tokenizer, how: str) -> ModelError:
    """The error for a tokenizer that llama.cpp has nothing like."""
    return ModelError(
        f"the tokenizer of {tokenizer.name} {how}, and llama.cpp could not give the same ids; use the model directory"
    )
