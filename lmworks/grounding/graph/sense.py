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

from lmworks.grounding.graph.catalog import Catalog, framed
from lmworks.grounding.graph.meaning import Meaning
from lmworks.grounding.graph.paths import UNMENTIONED, Hop, kinds_of
from lmworks.grounding.graph.question import CHECKING, RELATING, EmbedOne, Mention, Question, main_kind

LEAST = 0.5
"""Cosine with a property's name, in a frame, below which a sentence does not mean it."""
CLEAR = 0.76
"""It means it if the cosine and what it is above that of each other property are this together, ..."""
NEAR, MARGIN = 0.6, 0.1
"""... or if the cosine is above this, and by so much above that of properties which another reading could take."""
CERTAIN = 0.9
"""What they must be together where the noun that is asked for is in no name."""
PASSED_OVER = 0.25
"""What it costs that a reading has no step for words that are in no name."""


class Sense:
    """How near each property is to a question as a whole."""

    def __init__(self, question: Question, catalog: Catalog, embed: EmbedOne) -> None:
        self.question, self.catalog, self.embed = question, catalog, embed
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
        best, second = [*sorted(self.scores.values(), reverse=True), 0.0, 0.0][:2]
        for start, end in self.question.asked:
            words = framed(" ".join(self.question.plain[start:end]), main_kind(self.catalog))
            name = self.catalog.nearest(self.embed(words), "property")[0][1]
            if self.scores[name.node] == best and best + (best - second) >= CERTAIN:
                self.question.properties.append(Mention(start, end, (name,), 1 - best))
            else:
                self.question.unknown.append(self.question.text_of(start, end))

    def chosen(self, meanings: Sequence[Meaning]) -> list[Meaning]:
        """Those that the sentence may have, cheapest first."""
        if self._asks_how():
            return []
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
        if guessed.total() < sum(
            not RELATING.isdisjoint(self.question.plain[start:end]) for start, end in self.question.open
        ):
            return None
        over = PASSED_OVER * max(0, len(self.question.open) - guessed.total())
        if not guessed:
            return meaning.cost + over
        least = min(self.scores.get(prop, 0.0) for prop in guessed)
        above = least - self._best(self.scores.keys() - used.keys())
        above_possible = least - self._best(possible - used.keys())
        if least >= LEAST and (least + above >= CLEAR or (least >= NEAR and above_possible >= MARGIN)):
            return meaning.cost + over - sum(UNMENTIONED - (1 - self.scores[prop]) / 2 for prop in guessed)
        return None

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
