"""Checks of the tokenizer: pitfalls 6 and 8, and that a text comes back as it went in."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lmworks.basics.amounts import counted
from lmworks.basics.errors import ModelError
from lmworks.checks.probes import FUZZ, writable
from lmworks.checks.result import Difference, NotApplicableError, Outcome, check, ids_apart
from lmworks.tokens.tokenizer import Tokenizer

FACTS = (
    "special",
    "prefix",
    "suffix",
    "stop_ids",
    "document_start",
    "document_end",
    "vocab_size",
    "chat_template",
    "bos",
    "eos",
    "pad",
    "unknown",
)


STATE = ("model", "normalizer", "pre_tokenizer", "decoder")
"""What of a tokenizer.json decides about ids and text; pre_tokenizer is the split pattern."""


class HasTokenizer(Protocol):
    """A model, or a tokenizer alone."""

    @property
    def tokenizer(self) -> Tokenizer:
        """What is checked."""

    def write_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's files into an existing folder."""


@dataclass(frozen=True)
class Alone:
    """A tokenizer without a model."""

    tokenizer: Tokenizer

    def write_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's files into an existing folder."""
        self.tokenizer.save(folder)


@check("tokens' bytes add up", 6, of=("model", "tokenizer"))
def bytes_add_up(model: HasTokenizer) -> Outcome:
    """The bytes of all tokens against those of the text."""
    tokenizer = model.tokenizer
    _needs_bytes(tokenizer)
    texts = _complete(tokenizer)
    worst, where = 0, ""
    for text in texts:
        parts = tokenizer.bytes_of(tokenizer.encode(text, special=False))
        apart = abs(sum(map(len, parts)) - len(text.encode()))
        if apart > worst:
            worst, where = apart, repr(text[:40])
    return Outcome(
        f"{len(texts)} texts in many scripts",
        [Difference("the tokens' bytes and the text's", worst, 0, "bytes", where)],
        _left_out(tokenizer, texts),
    )


@check("text comes back as it went in", 10, of=("model", "tokenizer"))
def comes_back(model: HasTokenizer) -> Outcome:
    """decode(encode(text)) against the text."""
    tokenizer = model.tokenizer
    _needs_bytes(tokenizer)
    texts = _complete(tokenizer)
    changed = [
        (text, back) for text in texts if (back := tokenizer.decode(tokenizer.encode(text, special=False))) != text
    ]
    where = f"{changed[0][0][:40]!r}, which becomes {changed[0][1][:40]!r}" if changed else ""
    return Outcome(
        f"decode(encode(text)) of {len(texts)} texts in many scripts",
        [Difference("the text and what comes back", len(changed), 0, "texts", where)],
        _left_out(tokenizer, texts),
    )


@check("tokenizer survives saving", 8, of=("model", "tokenizer"))
def saved_tokenizer(model: HasTokenizer) -> Outcome:
    """The tokenizer, saved and loaded again."""
    tokenizer = model.tokenizer
    with tempfile.TemporaryDirectory() as folder:
        model.write_tokenizer(Path(folder))
        again = Tokenizer.load(folder)
    specials = "a" + "b".join(tokenizer.special.values()) + "c"
    differences = [
        ids_apart(
            f"ids before and after saving ({text[:20]!r})",
            again.encode(text, markup=markup),
            tokenizer.encode(text, markup=markup),
        )
        for text in (*FUZZ, specials)
        for markup in (False, True)
    ]
    changed = [fact for fact in FACTS if getattr(again, fact) != getattr(tokenizer, fact)]
    before, after = (json.loads(one.vocabulary.backend.to_str()) for one in (tokenizer, again))
    parts = [part for part in STATE if before[part] != after[part]]
    return Outcome(
        f"ids of {len(FUZZ) + 1} texts, {len(FACTS)} settings, vocabulary and split pattern before and after saving",
        [
            *differences,
            Difference("its settings before and after saving", len(changed), 0, "settings", ", ".join(changed)),
            Difference("its parts before and after saving", len(parts), 0, "parts", ", ".join(parts)),
        ],
    )


@check("special tokens are never text", 8, of=("model", "tokenizer"))
def special_tokens(model: HasTokenizer) -> Outcome:
    """Each special token's text as a template's own, and as plain characters."""
    tokenizer = model.tokenizer
    if not tokenizer.special:
        raise NotApplicableError("the tokenizer has no special token")
    meant = [
        text
        for number, text in tokenizer.special.items()
        if number not in tokenizer.encode(text, special=False, markup=True)
    ]
    written = [
        text
        for number, text in tokenizer.special.items()
        if number != tokenizer.unknown and number in tokenizer.encode(text, special=False)
    ]
    shown = [text for number, text in tokenizer.special.items() if tokenizer.decode([number])]
    roles = {role: getattr(tokenizer, role) for role in ("bos", "eos", "pad", "unknown", "document_end")}
    plain = [role for role, number in roles.items() if number is not None and number not in tokenizer.special]
    named = (f"{role} {tokenizer.special.get(number)}" for role, number in roles.items() if number is not None)
    return Outcome(
        f"{len(tokenizer.special)} special tokens",
        [
            Difference("a template's special tokens and their ids", len(meant), 0, "tokens", ", ".join(meant[:3])),
            Difference("special tokens and plain text", len(written), 0, "tokens", ", ".join(written[:3])),
            Difference("special tokens and what an answer shows", len(shown), 0, "tokens", ", ".join(shown[:3])),
            Difference("the tokens with a role and special ones", len(plain), 0, "roles", ", ".join(plain)),
        ],
        ", ".join(named),
    )


@check("many scripts are known", of="tokenizer")
def unknown_rate(model: HasTokenizer) -> Outcome:
    """What the vocabulary loses of the fuzz texts: nothing, if it promises bytes for what it has no token for."""
    tokenizer = model.tokenizer
    ids = [number for text in FUZZ for number in tokenizer.encode(text, special=False)]
    unknown = 0 if tokenizer.unknown is None else ids.count(tokenizer.unknown) / max(len(ids), 1)
    kind = json.loads(tokenizer.vocabulary.backend.to_str())["model"]
    promises = bool(kind.get("byte_fallback")) or (kind["type"] == "BPE" and kind.get("unk_token") is None)
    written = "".join(FUZZ).encode()
    lost = sum(byte in tokenizer.missing_bytes for byte in written) / len(written) if promises else 0.0
    differences = [
        Difference("the texts and known tokens", unknown, 0 if promises else 1, "unknown tokens"),
        Difference("the texts and what bytes can write", lost, 0, "of the bytes"),
    ]
    return Outcome(
        f"{counted(len(ids), 'token')} of {len(FUZZ)} texts in many scripts",
        differences if promises else differences[:1],
        "" if promises else f"what it does not know becomes unknown: {100 * unknown:.0f} % of these tokens",
    )


def _needs_bytes(tokenizer: Tokenizer) -> None:
    """A tokenizer that throws white space and letter case away has no exact bytes and gives no text back."""
    try:
        tokenizer.bytes_of(tokenizer.encode("a", special=False))
    except ModelError:
        raise NotApplicableError("neither byte-level nor SentencePiece: a text does not come back exactly") from None


def _complete(tokenizer: Tokenizer) -> list[str]:
    """The texts that the vocabulary can write: no byte of them is missing, no token is the unknown one."""
    missing, unknown = tokenizer.missing_bytes, tokenizer.unknown
    return [
        text
        for text in writable(tokenizer)
        if missing.isdisjoint(text.encode())
        and (unknown is None or unknown not in tokenizer.encode(text, special=False))
    ]


def _left_out(tokenizer: Tokenizer, texts: list[str]) -> str:
    """Which texts were not compared, and why."""
    notes = []
    if rewritten := len(FUZZ) - len(writable(tokenizer)):
        notes.append(f"{rewritten} texts left out, because the tokenizer normalizes them")
    if lost := len(writable(tokenizer)) - len(texts):
        notes.append(f"{lost} left out, because the vocabulary cannot write them")
    if missing := sorted(tokenizer.missing_bytes):
        listed = " ".join(f"{byte:02X}" for byte in missing[:8])
        notes.append(f"no token for {len(missing)} bytes ({listed}{' ...' if len(missing) > 8 else ''})")
    return "; ".join(notes)
