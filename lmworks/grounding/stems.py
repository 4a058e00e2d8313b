"""Snowball's stemmers, whose tables of endings are looked up in half of the time.

    stem = stemmer("english").stemWord
    stem("houses")                          # hous

Most of a stemmer's time in Python goes into the search for the longest ending that a word has, which snowballstemmer
does by halves, character by character. Here endings are kept by the character that stands at the border, longest first:
most words have none that ends so. Where PyStemmer is installed, snowballstemmer is that, compiled, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lmworks.basics.extras import require


class _Ending(NamedTuple):
    text: str
    length: int
    result: int
    """What the stemmer's next step goes by."""
    fits: Callable[[Any], bool] | None
    """Whether it counts here, None for always."""


class _Endings(NamedTuple):
    """A table of endings, or of beginnings; the longest first."""

    table: Sequence[Any]
    """As the stemmer has it; held, so that its `id` stays its own."""
    by_border: dict[str, tuple[_Ending, ...]]
    others: tuple[_Ending, ...]
    """Of a word at whose border stands another character: the empty one, if there is one."""


class _Fast:
    """The two searches, for any of snowballstemmer's classes."""

    current: str
    cursor: int
    limit: int
    limit_backward: int

    def find_among(self, table: Sequence[Any]) -> int:
        """The result of the longest entry that stands after the cursor, which goes to its end; 0 for none."""
        held = _forward.get(id(table)) or _kept(_forward, table, 0)
        start, text, limit = self.cursor, self.current, self.limit
        for one in held.by_border.get(text[start], held.others) if start < limit else held.others:
            if text.startswith(one.text, start, limit):
                self.cursor = start + one.length
                if one.fits is None:
                    return one.result
                if one.fits(self):
                    self.cursor = start + one.length
                    return one.result
        return 0

    def find_among_b(self, table: Sequence[Any]) -> int:
        """The same of what stands before the cursor, which goes to its beginning."""
        held = _backward.get(id(table)) or _kept(_backward, table, -1)
        end, text, first = self.cursor, self.current, self.limit_backward
        for one in held.by_border.get(text[end - 1], held.others) if end > first else held.others:
            if text.endswith(one.text, first, end):
                self.cursor = end - one.length
                if one.fits is None:
                    return one.result
                if one.fits(self):
                    self.cursor = end - one.length
                    return one.result
        return 0


_forward: dict[int, _Endings] = {}
_backward: dict[int, _Endings] = {}


def _kept(tables: dict[int, _Endings], table: Sequence[Any], border: int) -> _Endings:
    longest_first = sorted(table, key=lambda one: -len(one.s))
    endings = [_Ending(one.s, len(one.s), one.result, one.method) for one in longest_first]
    characters = {one.text[border] for one in endings if one.text}
    by_border = {
        character: tuple(one for one in endings if not one.text or one.text[border] == character)
        for character in characters
    }
    made = _Endings(table, by_border, tuple(one for one in endings if not one.text))
    tables[id(table)] = made
    return made


def stemmer(language: str) -> Any:
    """What stems words of a language, as `snowballstemmer.stemmer` does; KeyError for one that it does not know."""
    plain = require("snowballstemmer", "ground").stemmer(language)
    kind = type(plain)
    if not hasattr(kind, "find_among_b"):  # PyStemmer's
        return plain
    return type(kind.__name__, (_Fast, kind), {})()
