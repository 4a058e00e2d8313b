"""What a question can mean: a few forms whose slots are filled with what its words name, as the graph allows.

What one path leads to, or several paths together, is listed, counted, compared, or checked. Each word of the question
must have its part in a meaning, and the cheapest meanings come first.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lmworks.grounding.graph.catalog import Catalog, Name, stems_of
from lmworks.grounding.graph.direction import relation_of
from lmworks.grounding.graph.paths import OTHER_NAME, TRUE, GraphPath, Walker, Ways, kinds_of
from lmworks.grounding.graph.question import (
    ASKING,
    CHECKING,
    LEAST,
    LESS,
    MORE,
    MOST,
    SILENT,
    GraphQuestion,
    Mention,
)
from lmworks.grounding.graph.terms import DATES, NUMBERS, XSD

Form = Literal["list", "count", "most", "least", "check", "compare"]
MOST_MENTIONS = 6
"""Things and values that a question names, at most; a meaning has room for three."""
ALTERNATIVES = {1: 40, 2: 12, 3: 6}
"""Paths of each thing that are combined, by how many things there are."""


@dataclass(frozen=True)
class Meaning:
    """A form with its slots filled."""

    form: Form
    paths: tuple[GraphPath, ...]
    kind: str = ""
    """Without a path: the kind of which all are meant."""
    order: str = ""
    """The property that is compared."""
    order_counts: bool = False
    """Whether its values are counted, and not compared."""
    cost: float = 0.0
    without_anchor: bool = False
    """Whether what the question starts from is no answer: other countries with the same currency."""
    anchors: tuple[Name, ...] = ()
    """What is compared; for a check: where the path must end."""


@dataclass(frozen=True)
class Order:
    """A property by which things are compared, and what is left of the question then."""

    property: str
    counts: bool
    """Whether its values are counted, and not compared."""
    rest: Sequence[Mention]
    explained: frozenset[int]
    cost: float


class Meanings:
    """Forms the meanings of one question."""

    def __init__(self, question: GraphQuestion, catalog: Catalog) -> None:
        self.question, self.catalog, self.ways = question, catalog, Ways(catalog)
        self.passed_over = {at for start, end in question.open for at in range(start, end)}
        self.focus = self._focus()

    def all(self) -> list[Meaning]:
        """Every meaning that explains each word, cheapest first."""
        nodes = self._anchors()
        if not self.question.words or len(nodes) > MOST_MENTIONS:
            return []
        return sorted(self._formed(nodes), key=lambda one: one.cost)

    def _formed(self, nodes: Sequence[Mention]) -> Iterator[Meaning]:
        plain = self.question.plain
        if self.question.direction(MORE | LESS) is not None and (plain[0] in CHECKING or "or" in plain):
            yield from self._comparisons(nodes)
        elif plain[0] in CHECKING and len(nodes) > 1:
            yield from self._checks(nodes)
        elif self.question.direction(MOST | LEAST) is not None:
            yield from self._extremes(nodes)
        else:
            yield from self._lists(nodes, self.question.properties, frozenset())

    def _anchors(self) -> list[Mention]:
        """What a path can begin with: things, values, and properties that are true or not."""
        flags = [
            replace(one, names=tuple(Name(name.text, TRUE, "value", name.node, True) for name in one.names))
            for one in self.question.properties
            if all(self._holds(name.node, (f"{XSD}boolean",)) for name in one.names)
        ]
        return [*self.question.nodes, *flags]

    def _holds(self, prop: str, datatypes: Collection[str]) -> bool:
        """Whether a property has values of these datatypes."""
        return any(edge.datatype in datatypes for edge in self.ways.of_property.get(prop, ()))

    # ---- lists and counts

    def _lists(
        self, nodes: Sequence[Mention], properties: Sequence[Mention], explained: frozenset[int]
    ) -> Iterator[Meaning]:
        walker = Walker(self.question, self.catalog, self.ways, asks=self.focus is not None or bool(self.question.open))
        made = {one: sorted(walker.paths(one, properties), key=lambda path: path.cost) for one in nodes}
        for some in _choices(nodes):
            for paths in itertools.product(*(made[one][: ALTERNATIVES[len(some)]] for one in some)):
                cost = self._cost(paths, explained.union(*(path.explained for path in paths)))
                if cost is not None:
                    apart = walker.together and paths[0].turns_back
                    yield Meaning(self._form(paths[0]), paths, cost=cost, without_anchor=apart)

    def _form(self, path: GraphPath) -> Form:
        """How many inhabitants is a value; how many languages is a count."""
        plain, last = self.question.plain, path.hops[-1]
        pairs = list(itertools.pairwise(plain))
        counts = ("how", "many") in pairs or ("number", "of") in pairs or "count" in plain[:2]
        return "count" if counts and not (last.forward and self._holds(last.property, NUMBERS)) else "list"

    def _cost(self, paths: Sequence[GraphPath], explained: frozenset[int]) -> float | None:
        """What paths cost together; None where a word has no part in them, or they do not lead to what is asked."""
        if len({path.end for path in paths}) > 1 or not self._is_asked(paths[0]):
            return None
        told = explained.union(*(self._explained_kinds(path) for path in paths))
        named = [*self.question.kinds, *self.question.properties]
        if self._left(told) or any(not one.places & (told | self.passed_over) for one in named):
            return None
        return sum(path.cost for path in paths)

    def _explained_kinds(self, path: GraphPath) -> frozenset[int]:
        """Places of kinds that a path passes; a plural is none that it starts from: the countries around Chad."""
        passed, started = {path.end}, set(kinds_of(path.anchor, self.catalog))
        for at, hop in enumerate(path.hops):
            edges = self.ways.of_property[hop.property]
            near, far = ({edge.subject for edge in edges}, {edge.object for edge in edges})[:: 1 if hop.forward else -1]
            passed |= far if at == 0 else near | far
            started |= near if at == 0 else set()
        one = {at for kind in started for at in self._places(kind) if not self.question.plain[at].endswith("s")}
        return frozenset(one.union(*(self._places(kind) for kind in passed)))

    def _places(self, kind: str) -> frozenset[int]:
        """Where a kind is mentioned."""
        return _places_of(one for one in self.question.kinds if one.names_node(kind))

    def _left(self, explained: Collection[int]) -> list[int]:
        """Places of words that say something and have no part in a meaning; one that compares says something."""
        return [
            at
            for at, word in enumerate(self.question.words)
            if at not in explained and at not in self.passed_over and word.plain not in SILENT
        ]

    # ---- what is asked for

    def _focus(self) -> Mention | None:
        """The kind or property that follows the word that asks."""
        certain = [one for one in self.question.properties if not one.places <= self.passed_over]
        named = sorted([*self.question.kinds, *certain], key=lambda one: (one.start, -one.end))
        asks = next((place for place, word in enumerate(self.question.plain) if word in ASKING), None)
        if asks is None:
            return None
        focus = next((one for one in named if one.start >= asks), None)
        while focus and focus.start != asks + 1 and self.question.words[focus.end - 1].owns:  # the neighbours' capitals
            focus = next((one for one in named if one.start == focus.end), None)
        return focus

    def _is_asked(self, path: GraphPath) -> bool:
        """Whether a path leads to what is asked for."""
        if self.focus is None:
            return True
        named = [*self.question.kinds, *self.question.properties]
        nodes = {name.node for one in named if one.start == self.focus.start for name in one.names}
        last = path.hops[-1]
        either = relation_of(last.property) or self.ways.within_kind(last.property)
        return path.end in nodes or (last.property in nodes and bool(last.forward or either))

    # ---- the most, the least; two compared; a check

    def _orders(self, directions: frozenset[str]) -> Iterator[Order]:
        """What may be compared: what the word itself says (larger), or a property that is mentioned (higher salary)."""
        place, properties = self.question.direction(directions) or 0, self.question.properties
        here = frozenset([place])
        compared = [prop for prop in self.ways.of_property if self._holds(prop, NUMBERS | DATES)]
        stems = [stems_of([one]) for one in _adjectives(self.question.plain[place])]
        own = [name for one in stems for name in self.catalog.named_by_stems.get(one, ()) if name.node in compared]
        yield from (Order(name.node, False, properties, here, 0.0) for name in own)
        for one in properties:
            rest = [other for other in properties if other is not one]
            away = one.start - place - 1 if one.start > place else 2 + place - one.end
            for name in one.names:
                yield Order(name.node, name.node not in compared, rest, here | one.places, 0.1 * away)
        bare = self.question.plain[place] in ("most", "least", "fewest", "more")
        if not own and len(compared) == 1 and not bare and all(one.start != place + 1 for one in properties):
            yield Order(compared[0], False, properties, here, 0.8)

    def _subjects(self, prop: str) -> set[str]:
        """The kinds that have a property."""
        return {edge.subject for edge in self.ways.of_property[prop]}

    def _extremes(self, nodes: Sequence[Mention]) -> Iterator[Meaning]:
        form: Form = "least" if self.question.direction(MOST) is None else "most"
        kinds = {name.node for one in self.question.kinds for name in one.names}
        for order in self._orders(MOST | LEAST):
            subjects = self._subjects(order.property)
            for one in self._lists(nodes, order.rest, order.explained):
                if one.paths[0].end in subjects:
                    cost = one.cost + order.cost
                    yield replace(one, form=form, order=order.property, order_counts=order.counts, cost=cost)
            if not nodes and not order.rest:
                yield from (
                    Meaning(form, (), kind, order.property, order.counts, order.cost)
                    for kind in sorted(kinds & subjects)
                    if not self._left(order.explained | self._places(kind))
                )

    def _comparisons(self, nodes: Sequence[Mention]) -> Iterator[Meaning]:
        if len(nodes) != 2:
            return
        than = frozenset(at for at, word in enumerate(self.question.plain) if word == "than")
        known = than | _places_of((*nodes, *self.question.kinds))
        for order in self._orders(MORE | LESS):
            if order.counts or self._left(order.explained | known):
                continue
            for pair in itertools.product(*(one.names for one in nodes)):
                if all(self._subjects(order.property).intersection(kinds_of(one, self.catalog)) for one in pair):
                    cost = order.cost + OTHER_NAME * sum(not name.main for name in pair)
                    yield Meaning("compare", (), order=order.property, cost=cost, anchors=pair)

    def _checks(self, nodes: Sequence[Mention]) -> Iterator[Meaning]:
        if len(nodes) != 2:
            return
        self.focus = None
        walker = Walker(self.question, self.catalog, self.ways, asks=True)
        for start, end in itertools.permutations(nodes):
            for path, name in itertools.product(walker.paths(start, self.question.properties), end.names):
                cost = self._cost([path], path.explained | end.places)
                if cost is None or name.node == path.anchor.node or path.end not in kinds_of(name, self.catalog):
                    continue
                more = OTHER_NAME * (not name.main) + 0.1 * (not path.hops[0].forward)
                yield Meaning("check", (path,), cost=cost + more, anchors=(name,))


def _choices(nodes: Sequence[Mention]) -> Iterator[list[Mention]]:
    """Every choice of one to three mentions that do not overlap, most first."""
    for count in range(min(3, len(nodes)), 0, -1):
        for some in itertools.combinations(nodes, count):
            if not any(one.overlaps(other) for one, other in itertools.combinations(some, 2)):
                yield list(some)


def _places_of(mentions: Iterable[Mention]) -> frozenset[int]:
    """Where the words of mentions stand."""
    return frozenset(itertools.chain.from_iterable(one.places for one in mentions))


def _adjectives(word: str) -> list[str]:
    """What a comparison may be of: large for largest, big for bigger, small for smallest."""
    bare = word.removesuffix("est").removesuffix("er")
    return [bare, f"{bare}e", bare[:-1]] if bare != word else []
