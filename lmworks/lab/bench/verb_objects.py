"""Verbs and their objects in the Brown Corpus, found by its parts of speech, which people assigned by hand.

    for clause in verb_objects(read("brown-tagged").documents):
        clause.words[clause.verb], clause.words[clause.object]      # "chased", "mouse"

Taken are a verb and the noun phrase right after it (determiners, adjectives, nouns), whose last noun is the object.
Whatever could be something else is left out: copulas, noun phrases of time or manner, two objects, a phrase that is the
subject of another verb, passives. docs/log.md says how often a parser agrees.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lmworks.text.document import Document

VERBS = frozenset({"vb", "vbd", "vbz"})
"""Without -ing, which is more often an adjective or a preposition in this place (a training program)."""
BEFORE_NOUN = frozenset(
    {"at", "dt", "dti", "dts", "pp$", "np$", "nn$", "nns$", "ap", "cd", "od", "abn", "jj", "jjr", "jjt"}
)
DETERMINERS = frozenset({"at", "dt", "dti", "dts", "pp$", "cd", "ppo", "abn", "ap"})
NOUNS = frozenset({"nn", "nns"})
FINITE = re.compile(r"(vbd|vbz|vb|md|be|hv|do)")
"""Tags of a verb whose subject the phrase could be."""
NO_OBJECT = re.compile(
    r"(becom|became|remain|seem|appear|prove|feel|felt|look|sound|go|went|c[ao]m|turn|stay|last|weigh|cost|sa[iy])"
)
ADVERBIAL = re.compile(
    r"(time|day|week|month|year|hour|minute|second|moment|morning|evening|night|noon"
    r"|way|mile|feet|foot|yard|home|deal|bit|lot)"
)
LONGEST, SHORTEST = 30, 6
"""Words of a sentence."""


@dataclass(frozen=True)
class Clause:
    """A sentence, a verb in it and the verb's object."""

    words: tuple[str, ...]
    """Each with the space before it, where there is one: joined they are the sentence."""
    verb: int
    """The verb's place among the words."""
    object: int
    """The place of the object's noun."""
    source: str

    @property
    def distance(self) -> int:
        """Words from the object back to the verb."""
        return self.object - self.verb


def verb_objects(documents: Iterable[Document]) -> Iterator[Clause]:
    """At most one clause of each sentence, the first, in the order of the text."""
    for document in documents:
        for line in document.text.splitlines():
            items = line.split()
            # Brown doubles what ends a clause: "; ;".
            items = [item for at, item in enumerate(items) if not at or item != items[at - 1]]
            tagged = [(word, tag) for word, _, tag in (item.rpartition("/") for item in items)]
            if SHORTEST <= len(tagged) <= LONGEST:
                words, tags = [word for word, _ in tagged], [_plain(tag) for _, tag in tagged]
                places = ((at, _object(words, tags, at)) for at, tag in enumerate(tags) if tag in VERBS)
                found = next(((verb, noun) for verb, noun in places if noun is not None), None)
                if found is not None:
                    yield Clause(tuple(_spaced(words)), *found, document.source)


def _plain(tag: str) -> str:
    """A tag without the marks of a title, a headline, a foreign or a cited word."""
    return tag.removeprefix("fw-").split("-")[0] or tag


def _object(words: list[str], tags: list[str], verb: int) -> int | None:
    """The place of the object's noun right after a verb; None where there is none, or where it may be something
    else."""
    at = verb + 1
    while at < len(tags) and tags[at] in BEFORE_NOUN:
        at += 1
    first_noun = at
    while at < len(tags) and tags[at] in NOUNS:
        at += 1
    if at == first_noun or at == len(tags):
        return None
    noun, following = words[at - 1].lower(), tags[at]
    goes_on = FINITE.match(following) or following in DETERMINERS or following in ("np", "cc", "pps", "ppss")
    other = NO_OBJECT.match(words[verb].lower()) or ADVERBIAL.match(noun)
    return None if goes_on or other else at - 1


def printed(line: str) -> str:
    """A line of Brown, words apart, with the spaces that a printed page has."""
    return "".join(_spaced(line.split()))


def _spaced(words: list[str]) -> Iterator[str]:
    """Words as they are printed, with their spaces; Brown writes quotation marks as `` and ''."""
    glued = True
    for word in words:
        closes = re.fullmatch(r"[.,;:?!)]|''", word) is not None
        printed = '"' if word in ("``", "''") else word
        yield printed if glued or closes else f" {printed}"
        glued = word in ("(", "``")
