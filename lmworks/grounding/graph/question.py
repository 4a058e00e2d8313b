"""A question as the graph sees it: which of its words name things, values, properties and kinds of the graph.

Names are found by their words (longest first), then by one wrong letter, then by vectors; a word that none of them
explains, and that is not one of the few that say nothing of their own, cannot be answered from the graph.
"""

from __future__ import annotations

import difflib
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
    """a about actually all also am an and any anybody anyone are as at be because been being
    belong belongs both by call called can could currently did do does each either else every everybody everyone exactly
    exist exists find for found from get give given go had has have having he her here hers him his how i identify if in
    into is it its just kind know known lie lies like list locate located many may me mention might much must my myself
    name named names of on one ones onto or other our out part people per please same say see shall share
    shares she should show situated so some somebody someone sort state such tell that the their them then there these
    they thing things this those to type under upon us use used uses using usually via want was
    we were what whats when where whether which who whoever whom whose will with within would you your yours number
    count total"""
)
"""Words that say nothing that a graph would have to know."""
ASKING = _set("what which whats how name list give tell show find identify mention")
LIMITING = _set(
    """no not never none neither nor nobody nothing without except only but before after until since during ago why
    formerly former once first second third last next upcoming previous previously past future old older ancient new
    newest earlier later historic historical original originally temporary proposed fewer than"""
)
"""Words that change what is asked: left unexplained, they are never passed over."""
RELATING = _set(
    """around near nearby beyond across between inside outside behind above below beneath against along alongside among
    amid beside besides opposite off past over through throughout"""
)
"""Words that relate two things: one that nothing explains is a step, and is not passed over either."""
CHECKING = _set("is are was were does do did has have can")
MOST = _set("most largest biggest highest greatest longest oldest latest maximum max tallest heaviest")
LEAST = _set("least smallest lowest fewest shortest youngest earliest minimum min lightest tiniest")
MORE = _set("more larger bigger higher greater longer older later taller heavier")
LESS = _set("less smaller lower fewer shorter younger earlier lighter")
DIRECTIONS = MOST | LEAST | MORE | LESS

ENDINGS = _set("s es ed d ing e y ies ied er ers r rs or ors ling led") | {""}
"""In which forms of a word differ."""
LIKE = 0.78
"""Cosine above which a word means a property (both in a frame), and ..."""
APART = 0.06
"""... by how much it must exceed the next property's."""
LIKE_THING = 0.75
"""Cosine above which a word means a thing, ..."""
ALIKE = 0.6
"""... if they share as many letters: Catalonia is near Spain, and not Spain."""


@dataclass(frozen=True)
class Word:
    """A word of a question."""

    text: str
    plain: str
    """As names are compared: lower case, no accents."""
    stem: str
    owns: bool = False
    """Whether it ends in 's."""


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
class GraphQuestion:
    """The words, and what they may name."""

    text: str
    words: list[Word]
    nodes: list[Mention] = field(default_factory=list)
    """Things and values."""
    properties: list[Mention] = field(default_factory=list)
    kinds: list[Mention] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """Words that nothing explains."""
    open: list[tuple[int, int]] = field(default_factory=list)
    """Words that nothing explains, and that the rest of the question may do without."""
    asked: list[tuple[int, int]] = field(default_factory=list)
    """Nouns that are asked for, and that are in no name."""
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


def read_question(text: str, catalog: Catalog, embed: EmbedOne | None) -> GraphQuestion:
    """The question with every mention that the graph allows."""
    words = _words(text)
    question = GraphQuestion(text, words)
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
    for one in re.finditer(r"([^\W_]+)(['’]s\b|(?<=s)['’](?!\w))?", text):
        plain = " ".join(words_of(one[1]))
        if plain:
            found.append(Word(one[1], plain, " ".join(stems_of([plain])), bool(one[2])))
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
            names = [one for one in names if _is_inflected(words[start:end], one)]
            names = [one for one in names if _is_same(words[start:end], one)] or names
            for role in ("property", "kind"):
                fitting = tuple(one for one in names if one.role == role)
                if fitting:
                    found.append(Mention(start, end, fitting))
    return found


def _is_same(words: Sequence[Word], name: Name) -> bool:
    """Whether words are a name itself or its plural."""
    return all(one.plain == own or one.plain.endswith("s") for one, own in zip(words, words_of(name.text), strict=True))


def _is_inflected(words: Sequence[Word], name: Name) -> bool:
    """Whether words are a name's in another form and no relatives of it: who manages is the manager, while what is
    national is no nationality; and a kind has no form but its plural."""
    if name.role == "kind":
        return _is_same(words, name)
    ends = [end for one, own in zip(words, words_of(name.text), strict=True) for end in _ends(one, own)]
    return all(end in ENDINGS for end in ends)


def _ends(word: Word, own: str) -> list[str]:
    """What two words of one stem, unless they are equal, have after the letters that they share."""
    shared = next(
        (at for at, (a, b) in enumerate(zip(word.plain, own, strict=False)) if a != b), min(len(word.plain), len(own))
    )
    return [word.plain[shared:], own[shared:]]


def _longest(mentions: Sequence[Mention]) -> list[Mention]:
    return [one for one in mentions if not any(other.holds(one) for other in mentions)]


def says_nothing(word: str) -> bool:
    """Whether a word needs no name: it says nothing of its own, or compares, which a meaning must then do."""
    return word in SILENT or word in DIRECTIONS or word == "than"


def _unexplained(question: GraphQuestion) -> list[tuple[int, int]]:
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


def _resolve(question: GraphQuestion, start: int, end: int, catalog: Catalog, embed: EmbedOne | None) -> None:
    """Explain a run of words by a name with one letter less wrong, or by vectors; else it is unknown."""
    phrase = " ".join(one.plain for one in question.words[start:end])
    if not LIMITING.isdisjoint(one.plain for one in question.words[start:end]):
        question.unknown.append(question.text_of(start, end))  # near "next to" in meaning, next is another word
        return
    alike = catalog.similar(phrase) if len(phrase) > 4 else []
    if len({one.node for one in alike}) == 1:
        question.nodes.append(Mention(start, end, tuple(alike[:1]), 0.5))
        return
    question.close += [catalog.label(one.node) for one in alike]
    if embed is not None:
        properties = nearest_properties(phrase, catalog, embed)
        if properties and _clear(properties, LIKE):
            question.properties.append(Mention(start, end, (properties[0][1],), 0.3))
            if not _is_asked_for(question, start, end):
                question.open.append((start, end))
            return
        things = _best_of_each(catalog.nearest(embed(question.text_of(start, end)), "thing"))
        if things and _clear(things, LIKE_THING) and letters_alike(phrase, things[0][1].text) >= ALIKE:
            question.nodes.append(Mention(start, end, (things[0][1],), 0.5))
            return
        # The United States are near a president, and not what was meant.
        near = [one for score, one in things[:2] if score > LIKE_THING - 0.2]
        question.close += [catalog.label(one.node) for one in near if letters_alike(phrase, one.text) >= ALIKE]
    if _limits(question, start, end):
        question.unknown.append(question.text_of(start, end))
    elif _is_asked_for(question, start, end):
        question.asked.append((start, end))
    else:
        question.open.append((start, end))


def _limits(question: GraphQuestion, start: int, end: int) -> bool:
    """Whether a run holds a name or a number."""
    some = question.words[start:end]
    return any(
        any(letter.isdigit() for letter in one.text) or (at > 0 and one.text[0].isupper())
        for at, one in enumerate(some, start)
    )


def _is_asked_for(question: GraphQuestion, start: int, end: int) -> bool:
    """Whether a run is the noun that is asked for: the climate of, which climate, Spain's climate."""
    plain, before = question.plain, question.plain[start - 1] if start else ""
    if before in ("what", "which", "whose", "many", "much", "how") or (start and question.words[start - 1].owns):
        return True
    asks = next((at for at, word in enumerate(plain) if word in ASKING), None)
    named = {one.start for one in (*question.properties, *question.kinds)}
    if asks is not None and asks + 1 in named:
        return False
    after = plain[end] if end < len(plain) else ""
    determined = before in ("", "the", "a", "an", "any", "their", "its")
    return (determined and after in ("of", "for", "in", "")) or any(one.start == end for one in question.kinds)


def nearest_properties(phrase: str, catalog: Catalog, embed: EmbedOne) -> list[tuple[float, Name]]:
    """The properties that words are nearest to as a property's name, best first."""
    return _best_of_each(catalog.nearest(embed(framed(phrase, main_kind(catalog))), "property"))


def letters_alike(one: str, other: str) -> float:
    """The share of letters that two names have in common, in order."""
    return difflib.SequenceMatcher(None, " ".join(words_of(one)), " ".join(words_of(other))).ratio()


def _best_of_each(found: Sequence[tuple[float, Name]]) -> list[tuple[float, Name]]:
    """The best score of each node."""
    best: dict[str, tuple[float, Name]] = {}
    for score, name in found:
        best.setdefault(name.node, (score, name))
    return list(best.values())


def _clear(found: Sequence[tuple[float, Name]], least: float) -> bool:
    return found[0][0] >= least and (len(found) < 2 or found[0][0] - found[1][0] >= APART)


def main_kind(catalog: Catalog) -> str:
    """What most facts are about."""
    return next((catalog.label(one.subject) for one in catalog.edges if one.subject), "")
