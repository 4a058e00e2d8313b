"""Definitions: what a question asks the meaning of, and where a passage says it.

    wanted = Wanted.of("What is a tape?", "english", index.document)
    if wanted.term: found = [wanted.definition(one) for one in index.search("What is a tape?", 24)]

A line of a glossary (`- **tape**: ...`), the row of a table that begins with the term, and a sentence that begins "A
tape is a ..." or "Tape means ..." define it; so does what stands right below it as a heading. English questions alone
are known.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from lmworks.grounding.evidence import LONGEST, Definition, units
from lmworks.grounding.passage import Passage
from lmworks.grounding.terms import terms

MOST_WORDS = 4
"""Words of a term."""
_QUESTION = re.compile(
    r"(?:(?:and|so|but|please)\b,?\s*)*"
    r"(?:what(?:\s+(?:is|are|was|were)|['’]s)(?:\s+(?:meant\s+by|the\s+meaning\s+of|the\s+definition\s+of))?"
    r"|what\s+(?:does|do)(?=.*\b(?:mean|stand\s+for|refer\s+to)\b)|define|explain)\s+"
    r"(?P<term>.+?)(?:\s+(?:mean|stand\s+for|refer\s+to))?\s*[?.!]*\s*",
    re.IGNORECASE | re.DOTALL,
)
_RELATES = re.compile(
    r"\b(?:of|in|on|at|for|from|to|by|with|about|between|than|that|which|who|when|if|is|are|was|were|does|do|did|has|"
    r"have|called|named|used|made|my|your|our|its|their|his|her|this|these|those|it)\b",
    re.IGNORECASE,
)
"""What asks for a thing's part or property, or for more than a word's meaning."""
_ARTICLE = re.compile(r"(?:an?|the)\s+", re.IGNORECASE)
_ENTRY = re.compile(r"[\s>*+•–-]*(?:\d+[.)]\s+)?(?P<head>[^\n:|]{1,80}?)\s*(?::|\s[–—-]|\n:)\**\s+\S+\s+\S+\s+\S")
_ROW = re.compile(r"\s*\|(?P<head>[^|\n]{1,80})\|[^|\n]*\w")
_SENTENCE = re.compile(
    r"(?P<head>[^\n:;,.!?]{1,80}?)\s*(?:\([^)\n]{1,80}\)\s*)?,?\s+"
    r"(?:(?:is|are|was|were)\s+(?:an?|the|one|any|some|what|how|where|when|each|every|another)|"
    r"means|mean|stands?\s+for|refers?\s+to|denotes?)\s"
)
_MARKS = re.compile(r"[*_`\"'“”‘’]+")


@dataclass(frozen=True)
class Wanted:
    """A term whose meaning is asked, and what finds it."""

    term: frozenset[str]
    """Its stems; none where a question asks for something else."""
    language: str
    document: Callable[[str], str | None]
    """The whole text of a passage's document, by its file."""

    @classmethod
    def of(cls, question: str, language: str, document: Callable[[str], str | None]) -> Self:
        """What a question wants."""
        asked = _QUESTION.fullmatch(question.strip())
        term = _bare(asked["term"].strip()) if asked and language in ("english", "none") else ""
        relates = len(term.split()) > MOST_WORDS or _RELATES.search(term)
        return cls(frozenset() if relates else frozenset(terms(term, language)), language, document)

    def definition(self, passage: Passage) -> Definition | None:
        """Where a passage defines the term: the first sentence or line that does, else what its heading stands over."""
        if not self.term:
            return None
        for start, end in units(passage.text):
            if any(self._is_it(head) for head in _heads(passage.text[start:end])):
                return Definition(start, end, explicit=True)
        return self._below(passage)

    def _below(self, passage: Passage) -> Definition | None:
        """The first paragraph below the term as a heading or title; of a long one, the first sentence."""
        if not self._is_it(passage.heading.rpartition(" > ")[2] or passage.document):
            return None
        above = (self.document(passage.file) or "")[: passage.start].split("\n")
        spans = units(passage.text)
        if not spans or not self._is_it(next((line for line in reversed(above) if terms(line)), "")):
            return None
        start, end = spans[0]
        paragraph = passage.text.split("\n\n", 1)[0].rstrip()
        return Definition(start, max(end, len(paragraph) if len(paragraph) <= LONGEST else 0), explicit=False)

    def _is_it(self, words: str) -> bool:
        return frozenset(terms(_bare(words), self.language)) == self.term


def _heads(unit: str) -> list[str]:
    """What a sentence or line may define."""
    entry, said = _ENTRY.match(unit) or _ROW.match(unit), _SENTENCE.match(unit)
    closed = entry is not None and unit[: entry.end("head")].count("**") % 2 == 0
    heads = entry["head"].split(",") if entry and closed else []
    return [*heads, said["head"]] if said else heads


def _bare(words: str) -> str:
    """Words without marks and the article before them."""
    return _ARTICLE.sub("", _MARKS.sub("", words).strip(), count=1)
