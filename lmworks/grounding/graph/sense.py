"""What a question asks as a whole, where some of its words are in no name of the graph.

"Ireland is surrounded by which countries?" names no property by its words; as a sentence, with what it names replaced
by its kind, it is nearer to "the neighbour of a country" than to any other property. A reading may then take a step
that no word mentions, if the property of that step is what the sentence is nearest to, by a margin.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from lmworks.grounding.graph.catalog import Catalog, Name
from lmworks.grounding.graph.meaning import Meaning
from lmworks.grounding.graph.paths import UNMENTIONED, Hop, kinds_of
from lmworks.grounding.graph.question import CHECKING, RELATING, EmbedOne, GraphQuestion, Mention, nearest_properties

LEAST = 0.5
"""Cosine with a property's name, in a frame, below which a sentence does not mean it."""
CLEAR = 0.76
"""It means it if the cosine and what it is above that of each other property are this together, ..."""
NEAR, MARGIN = 0.6, 0.1
"""... or if the cosine is above NEAR, and by MARGIN above those of the properties that another reading could take."""
WORD_NEAR, WORD_MARGIN = 0.68, 0.05
"""... or if words that are in no name are this near the property's name, and nearer than to others by the margin."""
CERTAIN, WORD_CERTAIN = 0.9, 0.95
"""What the sentence's, or the word's, cosine and margin must be together for a noun that is asked for."""
PASSED_OVER = 0.25
"""What it costs that a reading has no step for words that are in no name."""


class Sense:
    """How near each property is to a question as a whole."""

    def __init__(self, question: GraphQuestion, catalog: Catalog, embed: EmbedOne) -> None:
        self.question, self.catalog, self.embed = question, catalog, embed
        self.near: set[str] = set()
        """Properties that words which are in no name are near to."""
        self.scores: dict[str, float] = {}
        for score, name in catalog.nearest(embed(self._masked(catalog)), "property"):
            self.scores.setdefault(name.node, score)

    def _masked(self, catalog: Catalog) -> str:
        """The question with what it names replaced by its kind."""
        words = [one.text for one in self.question.words]
        for one in sorted(self.question.nodes, key=lambda one: -one.start):
            kind = kinds_of(one.names[0], catalog)[0].removeprefix("=")
            words[one.start : one.end] = ["the", catalog.label(kind) if kind else "thing"]
        return " ".join(words)

    def settle(self) -> None:
        """Take the nouns that are asked for as the property that they and the whole sentence are nearest to, or as
        unknown."""
        named = {name.node for one in self.question.properties for name in one.names}
        rest = sorted((score for prop, score in self.scores.items() if prop not in named), reverse=True)
        best, second = [*rest, 0.0, 0.0][:2]
        for start, end in self.question.asked:
            (own, name), margin = self._nearest(start, end)
            same = name.node not in named and self.scores[name.node] == best
            if same and (2 * best - second >= CERTAIN or own + margin >= WORD_CERTAIN):
                self.question.properties.append(Mention(start, end, (name,), 1 - best))
            else:
                self.question.unknown.append(self.question.text_of(start, end))

    def _nearest(self, start: int, end: int) -> tuple[tuple[float, Name], float]:
        """The property that some words are nearest to, and by how much they are nearer to it than to the next one."""
        found = nearest_properties(" ".join(self.question.plain[start:end]), self.catalog, self.embed)
        return found[0], found[0][0] - (found[1][0] if len(found) > 1 else 0.0)

    def chosen(self, meanings: Sequence[Meaning]) -> list[Meaning]:
        """Those that the sentence may have, cheapest first."""
        if self._asks_how():
            return []
        for start, end in self.question.open:
            (own, name), margin = self._nearest(start, end)
            if own >= WORD_NEAR and (margin >= WORD_MARGIN or self._relates(start, end)):
                self.near.add(name.node)
        uses = [(one, _used(one)) for one in meanings if one.form in ("list", "count")]
        found = []
        for one, used in uses:
            others = {prop for _, other in uses if other.total() <= used.total() for prop in other}
            cost = self._cost(one, used, others)
            found += [replace(one, cost=cost)] if cost is not None else []
        return sorted(found, key=lambda one: one.cost)

    def _asks_how(self) -> bool:
        """Whether it asks for a way to do something, which is no fact: how do I get a visa."""
        pairs = itertools.pairwise(self.question.plain)
        return any(one == "how" and other in CHECKING for one, other in pairs)

    def _cost(self, meaning: Meaning, used: Counter[str], possible: set[str]) -> float | None:
        """What a reading costs with the steps that are guessed; None where the sentence does not mean one of them."""
        named = Counter(prop for one in self.question.properties for prop in {name.node for name in one.names})
        guessed = used - named
        if guessed.total() < sum(self._relates(*one) for one in self.question.open):
            return None
        over = PASSED_OVER * max(0, len(self.question.open) - guessed.total())
        if not guessed:
            return meaning.cost + over
        if all(self._means(prop, used, possible) for prop in guessed):
            return meaning.cost + over - sum(UNMENTIONED - (1 - self.scores.get(prop, 0.0)) / 2 for prop in guessed)
        return None

    def _relates(self, start: int, end: int) -> bool:
        """Whether words stand for a step of their own, as around does."""
        return not RELATING.isdisjoint(self.question.plain[start:end])

    def _means(self, prop: str, used: Counter[str], possible: set[str]) -> bool:
        """Whether the sentence, or one of its words, means a property that no word names."""
        score = self.scores.get(prop, 0.0)
        above = score - self._best(self.scores.keys() - used.keys())
        above_possible = score - self._best(possible - used.keys())
        clear = score >= LEAST and score + above >= CLEAR
        return clear or prop in self.near or (score >= NEAR and above_possible >= MARGIN)

    def _best(self, properties: Iterable[str]) -> float:
        return max((self.scores.get(one, 0.0) for one in properties), default=0.0)


def _used(meaning: Meaning) -> Counter[str]:
    """The properties that need a word."""
    return Counter(prop for path in meaning.paths for prop in _taken(path.hops))


def _taken(hops: Sequence[Hop]) -> list[str]:
    """The properties of steps; one that goes back along the step before needs no word of its own."""
    return [
        one.property for at, one in enumerate(hops) if at == 0 or hops[at - 1] != Hop(one.property, not one.forward)
    ]
