"""Checks of the tokenizer: pitfalls 6 and 8, and that a text comes back as it went in."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lmworks.basics.errors import ModelError
from lmworks.checks.probes import FUZZ, writable
from lmworks.checks.result import Difference, NotApplicableError, Outcome, check, ids_apart
from lmworks.generation.language_model import LanguageModel
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


@check("tokens' bytes add up", 6)
def bytes_add_up(model: LanguageModel) -> Outcome:
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


@check("text comes back as it went in", 10)
def comes_back(model: LanguageModel) -> Outcome:
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


@check("tokenizer survives saving", 8)
def saved_tokenizer(model: LanguageModel) -> Outcome:
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
    facts = Difference("its settings before and after saving", len(changed), 0, "settings", ", ".join(changed))
    return Outcome(
        f"ids of {len(FUZZ) + 1} texts and {len(FACTS)} settings before and after saving", [*differences, facts]
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
