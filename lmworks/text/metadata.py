"""What a text says of itself beside its words: the front matter of a Markdown file, the other fields of a record.

    ---
    author: Ann
    tags: [rent, berlin]
    ---

Only plain lines count, `key: value` and lists of such values; YAML's nesting is left out, and no YAML is run. A key has
one or several values, all of them text.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lmworks.text.plain import storable

Metadata = Mapping[str, tuple[str, ...]]
"""Values by key, in their order."""

MOST_LINES = 100
"""Lines of front matter; where it does not end by then, it is none."""
MOST_KEYS, LONGEST = 50, 200
"""Keys of a document, and characters of a key or value; what is longer is text and no metadata."""
_LINE = re.compile(r"([\w][\w .-]*?)\s*:(?:\s+(.*?))?\s*")
_ITEM = re.compile(r"\s*-\s+(.*?)\s*")


def of_front_matter(text: str) -> Metadata:
    """What the lines between `---` and `---` at the beginning of a text say; empty without such lines."""
    return _kept(_pairs(text[: front_matter_end(text)].split("\n")[1:-1]))


def front_matter_end(text: str) -> int:
    """Where the line ends that closes a text's front matter; 0 without any."""
    if not text.startswith("---\n"):
        return 0
    end = 4
    for line in text[4 : 4 + MOST_LINES * LONGEST].split("\n")[:MOST_LINES]:
        end += len(line)
        if line.rstrip() in ("---", "..."):
            return end
        end += 1
    return 0


def of_record(record: Mapping[str, Any], used: Iterable[str]) -> Metadata:
    """The fields of a record beside those that were `used` for its text: texts, numbers, yes and no, and lists of
    these."""
    left = {name: value for name, value in record.items() if name not in set(used)}
    return _kept(
        (name, text)
        for name, value in left.items()
        for one in (value if isinstance(value, list) else [value])
        if (text := _text(one)) is not None
    )


def _pairs(lines: list[str]) -> Iterator[tuple[str, str]]:
    key = None
    for line in lines:
        if key and (item := _ITEM.fullmatch(line)):
            yield key, _unquoted(item[1])
        elif found := _LINE.fullmatch(line):
            key, value = found[1], found[2] or ""
            listed = value[1:-1].split(",") if value[:1] == "[" and value[-1:] == "]" else [value]
            yield from ((key, _unquoted(one.strip())) for one in listed)
        elif line.strip():
            key = None  # nested, or no pair


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _text(value: Any) -> str | None:
    """A value as the text that people filter by; None for what has parts, and for nothing."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


def _kept(pairs: Iterable[tuple[str, str]]) -> Metadata:
    """Values by key, without what is empty, too long, or one key too many."""
    found: dict[str, list[str]] = {}
    for pair in itertools.islice(pairs, 100 * MOST_KEYS):
        key, value = map(storable, pair)
        fits = 0 < len(value) <= LONGEST and 0 < len(key) <= LONGEST
        if fits and (key in found or len(found) < MOST_KEYS):
            found.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in found.items()}
