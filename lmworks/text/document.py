"""A document: one text with its source, its turns where it is a conversation, its pixels where it is a caption."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import DataError
from lmworks.text.metadata import Metadata

if TYPE_CHECKING:  # texts are read without numpy
    from numpy import ndarray

    from lmworks.basics.arrays import UInt8


Turn = dict[str, Any]
"""One turn of a conversation: its `role` and `content`; of an answer also `weight`, UNLEARNT where it is read alone,
and `tool_calls`, a list of {"type": "function", "function": {"name": ..., "arguments": {...}}}."""

UNLEARNT = "0"
"""The `weight` of an answer that is read and not learnt, as OpenAI's chat records have it."""


def is_learnt(turn: Mapping[str, Any]) -> bool:
    """Whether a turn is one of the assistant that is to be learnt."""
    return turn["role"] == "assistant" and str(turn.get("weight")) != UNLEARNT


def said(turn: Mapping[str, Any]) -> str:
    """What a turn says: its words, then each of its calls as JSON."""
    calls = [json.dumps(one["function"], ensure_ascii=False) for one in turn.get("tool_calls", ())]
    return "\n".join([*([turn["content"]] if turn["content"] else []), *calls])


def rewritten(turn: Turn, change: Callable[[str], str]) -> Turn:
    """The turn with its words, and the texts among its calls' arguments, changed."""
    changed = turn | {"content": change(turn["content"])}
    if "tool_calls" in turn:
        functions = [one["function"] for one in turn["tool_calls"]]
        changed["tool_calls"] = [
            {"type": "function", "function": one | {"arguments": _texts_changed(one["arguments"], change)}}
            for one in functions
        ]
    return changed


def _texts_changed(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_texts_changed(one, change) for one in value]
    return {key: _texts_changed(one, change) for key, one in value.items()} if isinstance(value, dict) else value


@dataclass(frozen=True)
class Document:
    """One text. Two documents are duplicates when their texts are equal (and their pixels, of images), wherever they
    come from.

    Raises DataError if a text cannot be written as UTF-8 (half of a surrogate pair, as JSON may escape it).
    """

    text: str
    """The whole text; for a conversation what its turns say, joined by an empty line. Lines end in \\n."""

    source: str
    """Where it comes from, for people: `manual/setup.md`, `chats.jsonl#12`, `wikitext2#Die Another Day`."""

    messages: tuple[Turn, ...] | None = None
    """The turns of a conversation; None for plain text."""

    rejected: tuple[Turn, ...] | None = None
    """Of a preference pair the same conversation, but for its last turn: the answer that is liked less than the one at
    the end of `messages`."""

    metadata: Metadata = field(default_factory=dict, hash=False)
    """What it says of itself: author, date, tags; for filters of a search."""

    tools: tuple[dict[str, Any], ...] = field(default=(), hash=False, kw_only=True)
    """Of a conversation the functions that its answers may call, as OpenAI's API has them."""

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
        """SHA-256 of the UTF-8 text, in hexadecimal; of an image, of its pixels too, and of a conversation with tools,
        of those."""
        hashed = hashlib.sha256(self.text.encode("utf-8"))
        if self.tools:
            hashed.update(f"\0{json.dumps(self.tools)}".encode())
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
    def calls(self) -> int:
        """How many tools its answers call."""
        return sum(len(turn.get("tool_calls", ())) for turn in self.messages or ())

    @property
    def record(self) -> dict[str, Any]:
        """The record of a .jsonl file that is read as this document, without its source and metadata."""
        if self.messages is None:
            return {"text": self.text}
        if self.rejected is None:
            turns = {"messages": list(self.messages)}
        else:
            turns = {"chosen": list(self.messages), "rejected": list(self.rejected)}
        return turns | ({"tools": list(self.tools)} if self.tools else {})

    @property
    def pair(self) -> tuple[str, str]:
        """A question and its answer (source and target, text and label); DataError for any other document."""
        turns = [] if self.messages is None else [turn["role"] for turn in self.messages]
        if self.messages is None or turns != ["user", "assistant"]:
            raise DataError(
                f"{self.source} has no answer or label; give records with `prompt` and `response` (a source and its "
                "target, a text and its label), or a set of pairs of the data registry"
            )
        return said(self.messages[0]), said(self.messages[1])

    @classmethod
    def preference(
        cls,
        chosen: Iterable[Turn],
        rejected: Iterable[Turn],
        source: str,
        metadata: Metadata | None = None,
        tools: Iterable[dict[str, Any]] = (),
    ) -> Document:
        """A document of two conversations that differ in their last turn, the one with the better answer first."""
        better, worse = tuple(chosen), tuple(rejected)
        text = "\n\n".join(map(said, (*better, *worse[-1:])))
        return cls(text, source, better, worse, metadata or {}, tools=tuple(tools))

    @classmethod
    def conversation(
        cls,
        messages: Iterable[Turn],
        source: str,
        metadata: Metadata | None = None,
        tools: Iterable[dict[str, Any]] = (),
    ) -> Document:
        """A document of turns, whose answers may call the tools."""
        turns = tuple(messages)
        return cls("\n\n".join(map(said, turns)), source, turns, metadata=metadata or {}, tools=tuple(tools))
