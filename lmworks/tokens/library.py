"""The `tokenizers` library runs rules of somebody else's file: what keeps them from doing harm.

A regular expression may need more steps than its engine takes, which the library answers with a Rust panic, and a
normaliser may write pages for a letter.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, decoders, normalizers

from lmworks.basics.errors import LmworksError, ModelError

MOST_GROWTH = 64
"""Characters that a normaliser may make of one; SentencePiece's own tables make up to 18."""
_ALWAYS = 4096
"""Characters that it may make of any text, however short."""
_MARK = "\U0010ffff"  # no character


@contextlib.contextmanager
def in_words(said: Callable[[BaseException], LmworksError]) -> Iterator[None]:
    """What the library raises as an error of ours: the bare Exception, or a Rust panic, which is none."""
    try:
        yield
    except LmworksError:
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise said(error) from error
        raise


class Growth:
    """How long a normaliser makes a text: counted before each of its steps runs, where its file allows too much."""

    def __init__(self, normalizer: normalizers.Normalizer | None) -> None:
        steps = [] if normalizer is None else list(_steps(normalizer, json.loads(normalizer.__getstate__())))
        self._steps = steps if math.prod(_most(step.facts) for step in steps) > MOST_GROWTH else []

    def check(self, texts: Iterable[str], name: str) -> None:
        """Raise ModelError for a text that would grow beyond bounds. Free for any tokenizer in ordinary use."""
        for text in texts if self._steps else ():
            limit = max(MOST_GROWTH * len(text), _ALWAYS)
            grown = text
            for step in self._steps:
                if step.longest(grown) > limit:
                    raise ModelError(
                        f"the tokenizer of {name} makes more than {limit:,} characters of a text of {len(text):,} "
                        f"(its normalizer's {step.facts['type']}); no tokenizer needs that, so use another model"
                    )
                grown = step.run.normalize_str(grown)


def check_decoder(decoder: decoders.Decoder | None, name: str) -> None:
    """Raise ModelError for a decoder that could write pages for a token."""
    most = 1 if decoder is None else math.prod(map(_most, _flat(json.loads(decoder.__getstate__()), "decoders")))
    if most > MOST_GROWTH:
        raise ModelError(
            f"the tokenizer of {name} is refused: its decoder makes up to {most:,.0f} characters of one; no tokenizer "
            "needs that, so use another model"
        )


@dataclass(frozen=True)
class _Step:
    """One step of a normaliser, and what its JSON says."""

    run: normalizers.Normalizer
    facts: dict[str, Any]

    def longest(self, text: str) -> float:
        """Characters that it makes of this text, at most."""
        if self.facts["type"] == "Replace":
            return len(text) + self._matches(text) * len(self.facts["content"])
        if self.facts["type"] == "Prepend":
            return len(text) + len(self.facts["prepend"])
        return len(text) * _most(self.facts)

    def _matches(self, text: str) -> int:
        """How often a Replace finds its pattern, by its own engine: each match is replaced by one character."""
        pattern = self.facts["pattern"]
        marked: Any = pattern["String"] if "String" in pattern else Regex(pattern["Regex"])
        return normalizers.Replace(marked, _MARK).normalize_str(text).count(_MARK)


def _steps(normalizer: Any, facts: dict[str, Any]) -> Iterator[_Step]:
    if facts["type"] == "Sequence":
        for place, inner in enumerate(facts["normalizers"]):
            yield from _steps(normalizer[place], inner)
    else:
        yield _Step(normalizer, facts)


def _flat(facts: dict[str, Any], plural: str) -> Iterator[dict[str, Any]]:
    """The steps of a stage's JSON, sequences opened up."""
    for inner in facts.get(plural, ()):
        yield from _flat(inner, plural)
    if plural not in facts:
        yield facts


def _most(facts: dict[str, Any]) -> float:
    """Characters that a step makes of one, at most; Unicode's own forms count as 1, for they do it but once."""
    match facts:
        case {"type": "Prepend", "prepend": text}:
            return 1 + len(text)
        case {"type": "Replace", "pattern": pattern, "content": content}:
            content = unicodedata.normalize("NFKD", content)
            plain = pattern.get("String")
            return max(1, len(content) / len(plain)) if plain else 1 + len(content)  # between any two, if empty
        case {"type": "Precompiled", "precompiled_charsmap": table}:
            return _longest_entry(table)
        case _:
            return 1


def _longest_entry(table: str) -> int:
    """Characters of the longest text in SentencePiece's table: the size of an index, the index, texts ended by 0."""
    held = base64.b64decode(table)
    texts = held[4 + int.from_bytes(held[:4], "little") :]
    return max((len(text.decode("utf-8", "replace")) for text in texts.split(b"\0")), default=1)
