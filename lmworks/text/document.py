"""A document: one text with its source, its turns where it is a conversation, its pixels where it is a caption."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import DataError
from lmworks.text.metadata import Metadata

if TYPE_CHECKING:  # texts are read without numpy
    from numpy import ndarray

    from lmworks.basics.arrays import UInt8


UNLEARNT = "0"
"""The `weight` of an answer that is read and not learnt, as OpenAI's chat records have it."""


def is_learnt(turn: Mapping[str, Any]) -> bool:
    """Whether a turn is one of the assistant that is to be learnt."""
    return turn["role"] == "assistant" and str(turn.get("weight")) != UNLEARNT


@dataclass(frozen=True)
class Document:
    """One text. Two documents are duplicates when their texts are equal (and their pixels, of images), wherever they
    come from.

    Raises DataError if a text cannot be written as UTF-8 (half of a surrogate pair, as JSON may escape it).
    """

    text: str
    """The whole text; for a conversation its contents, joined by an empty line. Lines end in \\n."""

    source: str
    """Where it comes from, for people: `manual/setup.md`, `chats.jsonl#12`, `wikitext2#Die Another Day`."""

    messages: tuple[dict[str, str], ...] | None = None
    """The turns of a conversation, each with `role` and `content`, and `weight` UNLEARNT where an answer is read alone;
    None for plain text."""

    rejected: tuple[dict[str, str], ...] | None = None
    """Of a preference pair the same conversation, but for its last turn: the answer that is liked less than the one at
    the end of `messages`."""

    metadata: Metadata = field(default_factory=dict, hash=False)
    """What it says of itself: author, date, tags; for filters of a search."""

    column: str | None = field(default=None, compare=False, kw_only=True)
    """Of a row of a table whose text is one of its cells, that column's title."""

    image: UInt8[ndarray, "height width 3"] | None = field(default=None, compare=False, repr=False)
    """Of an image its pixels, red, green and blue; the text is its caption, empty where it has none."""

    def __post_init__(self) -> None:
        try:
            self.text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(
                f"{self.source}: character {error.start} is half of a surrogate pair "
                "(\\ud83d without its second half, say); write the text as UTF-8"
            ) from None

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the UTF-8 text, in hexadecimal; of an image, of its pixels too."""
        hashed = hashlib.sha256(self.text.encode("utf-8"))
        if self.image is not None:
            hashed.update(f"\0{self.image.shape}".encode() + self.image.tobytes())
        return hashed.hexdigest()

    @property
    def is_answered(self) -> bool:
        """Whether an assistant's turn answers one before it and is to be learnt; True for what is no conversation."""
        if self.messages is None:
            return True
        return any(map(is_learnt, self.messages[1:])) and self.messages[0]["role"] != "assistant"

    @property
    def pair(self) -> tuple[str, str]:
        """A question and its answer (source and target, text and label); DataError for any other document."""
        turns = [] if self.messages is None else [turn["role"] for turn in self.messages]
        if self.messages is None or turns != ["user", "assistant"]:
            raise DataError(
                f"{self.source} has no answer or label; give records with `prompt` and `response` (a source and its "
                "target, a text and its label), or a set of pairs of the data registry"
            )
        return self.messages[0]["content"], self.messages[1]["content"]

    @classmethod
    def preference(
        cls,
        chosen: Iterable[dict[str, str]],
        rejected: Iterable[dict[str, str]],
        source: str,
        metadata: Metadata | None = None,
    ) -> Document:
        """A document of two conversations that differ in their last turn, the one with the better answer first."""
        better, worse = tuple(chosen), tuple(rejected)
        text = "\n\n".join(turn["content"] for turn in (*better, *worse[-1:]))
        return cls(text, source, better, worse, metadata or {})

    @classmethod
    def conversation(
        cls, messages: Iterable[dict[str, str]], source: str, metadata: Metadata | None = None
    ) -> Document:
        """A document of turns, each with a `role` and a `content`."""
        turns = tuple(messages)
        return cls("\n\n".join(turn["content"] for turn in turns), source, turns, metadata=metadata or {})
