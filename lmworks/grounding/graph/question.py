"""A question as the graph sees it: which of its words name things, values, properties and kinds of the graph.

Names are found by their words (longest first), then by one wrong letter, then by vectors; a word that none of them
explains, and that is not one of the few that say nothing of their own, cannot be answered from the graph.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lmworks.grounding.graph.catalog import MOST_WORDS, Catalog, Name, framed, stems_of, words_of

EmbedOne = Callable[[str], NDArray[np.float32]]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


SILENT = _set(
    """a about all also an and any are as at be been belong belongs both by call called can could did do
    does each else every exist exists find for found from get give given go had has have having i
    identify in into is it its kind know known lie lies like list locate located me mention my name
    named names of off on one ones or other out part people please same say see share shares show
    situated so some sort state such tell that the their them there these they thing things this those
    to type us use used uses using want was we were what whats when where which who whom whose will with
    within would you your how many much number count total"""
)
"""Words that say nothing that a graph would have to know."""
ASKING = _set("what which whats how name list give tell show find identify mention")
CHECKING = _set("is are was were does do did has have can")
MOST = _set("most largest biggest highest greatest longest oldest latest maximum max tallest heaviest")
LEAST = _set("least smallest lowest fewest shortest youngest earliest minimum min lightest tiniest")
MORE = _set("more larger bigger higher greater longer older later taller heavier")
LESS = _set("less smaller lower fewer shorter younger earlier lighter")
DIRECTIONS = MOST | LEAST | MORE | LESS

LIKE = 0.68
"""Cosine above which a word means a property (both in a frame), and ..."""
APART = 0.06
"""... by how much it must exceed the next property's."""
LIKE_THING = 0.75
"""Cosine above which a word means a thing."""


@dataclass(frozen=True)
class Word:
    """A word of a question."""

    text: str
    plain: str
    """As names are compared: lower case, no accents."""
    stem: str


@dataclass(frozen=True)
class Mention:
    """Words from `start` to `end` that name something."""

    start: int
    end: int
    names: tuple[Name, ...]
    cost: float = 0.0
    """How far they are from the name: 0 for the name itself."""

    @property
    def places(self) -> frozenset[int]:
        """Where its words stand."""
        return frozenset(range(self.start, self.end))

    def names_node(self, node: str) -> bool:
        """Whether it names that node."""
        return any(name.node == node for name in self.names)

    def overlaps(self, other: Mention) -> bool:
        """Whether they share a word."""
        return self.start < other.end and other.start < self.end

    def cuts(self, other: Mention) -> bool:
        """Whether it has as many words as the other one or more, and they share some but not all."""
        longer = self.end - self.start >= other.end - other.start
        return longer and self.overlaps(other) and not self.start <= other.start < other.end <= self.end

    def holds(self, other: Mention) -> bool:
        """Whether the other one is a part of this one, and not all of it."""
        return self.start <= other.start and other.end <= self.end and (other.end - other.start) < self.end - self.start


@dataclass
class Question:
    """The words, and what they may name."""

    text: str
    words: list[Word]
    nodes: list[Mention] = field(default_factory=list)
    """Things and values."""
    properties: list[Mention] = field(default_factory=list)
    kinds: list[Mention] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """Words that nothing explains."""
    close: list[str] = field(default_factory=list)
    """What unknown words may have meant."""

    @property
    def plain(self) -> list[str]:
        """The words as they are compared."""
        return [one.plain for one in self.words]

    def text_of(self, start: int, end: int) -> str:
        """Some of its words."""
        return " ".join(one.text for one in self.words[start:end])

    def direction(self, words: Iterable[str]) -> int | None:
        """Where one of these words stands that is no part of a longer name: top-level domain."""
        longer = [one for one in (*self.nodes, *self.properties) if one.end - one.start > 1]
        inside = {place for one in longer for place in range(one.start, one.end)}
        return next((at for at, word in enumerate(self.plain) if word in words and at not in inside), None)

    def any(self, words: Iterable[str]) -> bool:
        """Whether one of these words is in it."""
        return not set(words).isdisjoint(self.plain)


def read_question(text: str, catalog: Catalog, embed: EmbedOne | None) -> Question:
    """The question with every mention that the graph allows."""
    words = _words(text)
    question = Question(text, words)
    question.nodes = [_likeliest(one, catalog) for one in _longest(_named(words, catalog))]
    by_stems = [one for one in _by_stems(words, catalog) if not any(node.cuts(one) for node in question.nodes)]
    question.properties = _longest([one for one in by_stems if one.names[0].role == "property"])
    question.kinds = _longest([one for one in by_stems if one.names[0].role == "kind"])
    for start, end in _unexplained(question):
        _resolve(question, start, end, catalog, embed)
    # A name inside a longer one is no name of its own: Guinea in Papua New Guinea, region in subregion.
    others = [*question.nodes, *question.properties]
    question.nodes = [one for one in question.nodes if not any(other.holds(one) for other in others)]
    question.properties = [one for one in question.properties if not any(other.holds(one) for other in others)]
    question.kinds = [one for one in question.kinds if not any(other.holds(one) for other in question.nodes)]
    return question


def _words(text: str) -> list[Word]:
    found = []
    for one in re.findall(r"[^\W_]+", re.sub(r"['’]s\b", "", text)):
        plain = " ".join(words_of(one))
        if plain:
            found.append(Word(one, plain, " ".join(stems_of([plain]))))
    return found


def _named(words: Sequence[Word], catalog: Catalog) -> list[Mention]:
    """Things and values by their names, and by these in the plural."""
    phrases: dict[str, list[tuple[int, int, float]]] = {}
    for start in range(len(words)):
        for end in range(start + 1, min(start + MOST_WORDS, len(words)) + 1):
            phrase = " ".join(one.plain for one in words[start:end])
            phrases.setdefault(phrase, []).append((start, end, 0.0))
            if phrase.endswith("s") and len(phrase) > 4:
                phrases.setdefault(phrase[:-1], []).append((start, end, 0.1))
    found = []
    for phrase, names in catalog.named(list(phrases)).items():
        for start, end, cost in phrases[phrase]:
            fitting = tuple(one for one in names if _is_written(one.text, words[start:end]))
            if fitting:
                found.append(Mention(start, end, fitting, cost))
    return found


def _likeliest(mention: Mention, catalog: Catalog) -> Mention:
    """Without the things for which it is another name, where it is the first name of a thing of the same kind."""
    taken = {kind for one in mention.names if one.main for kind in catalog.kinds(one.node)}
    kept = [one for one in mention.names if one.main or taken.isdisjoint(catalog.kinds(one.node))]
    return replace(mention, names=tuple(kept))


def _is_written(name: str, words: Sequence[Word]) -> bool:
    """Whether short words and abbreviations are written as in the name: India's IN is not the word in."""
    if len(name) > 3 or len(words) > 1:
        return True
    return words[0].text == name or (words[0].plain not in SILENT and not name.isupper())


def _by_stems(words: Sequence[Word], catalog: Catalog) -> list[Mention]:
    """Properties and kinds, each by the stems of its name."""
    found = []
    for start in range(len(words)):
        for end in range(start + 1, min(start + MOST_WORDS, len(words)) + 1):
            names = catalog.named_by_stems.get(tuple(one.stem for one in words[start:end]), ())
            for role in ("property", "kind"):
                fitting = tuple(one for one in names if one.role == role)
                if fitting:
                    found.append(Mention(start, end, fitting))
    return found


def _longest(mentions: Sequence[Mention]) -> list[Mention]:
    return [one for one in mentions if not any(other.holds(one) for other in mentions)]


def says_nothing(word: str) -> bool:
    """Whether a word needs no explanation."""
    return word in SILENT or word in DIRECTIONS or word == "than"


def _unexplained(question: Question) -> list[tuple[int, int]]:
    """Runs of words that nothing explains yet."""
    explained = {
        at for one in (*question.nodes, *question.properties, *question.kinds) for at in range(one.start, one.end)
    }
    open_ = [at for at, one in enumerate(question.words) if at not in explained and not says_nothing(one.plain)]
    runs: list[tuple[int, int]] = []
    for at in open_:
        if runs and runs[-1][1] == at:
            runs[-1] = (runs[-1][0], at + 1)
        else:
            runs.append((at, at + 1))
    return runs


def _resolve(question: Question, start: int, end: int, catalog: Catalog, embed: EmbedOne | None) -> None:
    """Explain a run of words by a name with one letter less wrong, or by vectors; else it is unknown."""
    phrase = " ".join(one.plain for one in question.words[start:end])
    alike = catalog.similar(phrase) if len(phrase) > 4 else []
    if len({one.node for one in alike}) == 1:
        question.nodes.append(Mention(start, end, tuple(alike[:1]), 0.5))
        return
    question.close += [catalog.label(one.node) for one in alike]
    if embed is not None:
        kind = next((one.names[0].text for one in question.kinds), "") or _main_kind(catalog)
        properties = _best_of_each(catalog.nearest(embed(framed(phrase, kind)), "property"))
        if properties and _clear(properties, LIKE):
            question.properties.append(Mention(start, end, (properties[0][1],), 0.3))
            return
        things = _best_of_each(catalog.nearest(embed(question.text_of(start, end)), "thing"))
        if things and _clear(things, LIKE_THING):
            question.nodes.append(Mention(start, end, (things[0][1],), 0.5))
            return
        question.close += [catalog.label(one.node) for score, one in things[:2] if score > LIKE_THING - 0.2]
    question.unknown.append(question.text_of(start, end))


def _best_of_each(found: Sequence[tuple[float, Name]]) -> list[tuple[float, Name]]:
    """The best score of each node."""
    best: dict[str, tuple[float, Name]] = {}
    for score, name in found:
        best.setdefault(name.node, (score, name))
    return list(best.values())


def _clear(found: Sequence[tuple[float, Name]], least: float) -> bool:
    return found[0][0] >= least and (len(found) < 2 or found[0][0] - found[1][0] >= APART)


def _main_kind(catalog: Catalog) -> str:
    """What most facts are about."""
    return next((catalog.label(one.subject) for one in catalog.edges if one.subject), "")
