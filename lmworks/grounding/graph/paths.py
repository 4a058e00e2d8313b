"""Paths: from a thing or value that a question names, along up to three properties, to what it may ask for.

Only steps that the graph's kinds allow are made. A step along a property that the question mentions costs nothing, one
that nothing mentions costs much; words nearer to the thing belong to earlier steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lmworks.grounding.graph.catalog import Catalog, Edge, Name
from lmworks.grounding.graph.direction import leads_forward, relation_of
from lmworks.grounding.graph.question import GraphQuestion, Mention
from lmworks.grounding.graph.terms import XSD

HOPS = 3
TRUE = f'"true"^^<{XSD}boolean>'
TOGETHER = ("same", "other", "share", "shares", "else", "also")
"""Words that ask for what has the same value as something."""
MOST_COST = 2.4
"""Of a path; dearer ones mean something else."""
UNMENTIONED = 1.0
"""What a step costs that no word mentions, ..."""
TURN = 0.6
"""... one back along the property of the step before, ..."""
CROSSED = 0.3
"""... one whose word stands nearer than that of an earlier step, ..."""
AGAIN = 0.1
"""... another word for a step, ..."""
AGAIN_WITHIN = 0.7
"""... and one that could have been a step of its own: the neighbours that border it."""
OTHER_NAME = 0.2
"""What it costs that a thing is called by another than its first name."""
SHARED = 0.9
"""Below this many different values a fact, things have values in common."""
MOST_UNMENTIONED = 50
"""Properties of a kind that are followed without a word for them: the most frequent ones."""


@dataclass(frozen=True)
class Hop:
    """One step along a property, forwards or back."""

    property: str
    forward: bool


@dataclass(frozen=True)
class GraphPath:
    """Steps from a node to what is asked for."""

    anchor: Name
    hops: tuple[Hop, ...]
    end: str
    """The kind of what it leads to; for plain values `=` and the property."""
    cost: float
    explained: frozenset[int]
    """Places of the words that have a part in it."""

    @property
    def turns_back(self) -> bool:
        """Whether it goes along a property and back: to things that have the same value."""
        pairs = zip(self.hops, self.hops[1:], strict=False)
        return any(one.forward and other == Hop(one.property, False) for one, other in pairs)


@dataclass(frozen=True)
class Step:
    """What one hop more costs, and which words it explains."""

    cost: float
    explained: frozenset[int] = frozenset()
    used: frozenset[int] = frozenset()
    """The mentions among the nearest ones."""


class Ways:
    """What leads from a kind to another in a graph."""

    def __init__(self, catalog: Catalog) -> None:
        self.of_property: dict[str, list[Edge]] = {}
        self._steps: dict[str, list[tuple[Hop, str]]] = {}
        for edge in catalog.edges:  # the most frequent ones first
            self.of_property.setdefault(edge.property, []).append(edge)
        for edge in catalog.edges:
            self._steps.setdefault(edge.subject, []).append((Hop(edge.property, True), end_of(edge)))
            if self.goes_back(edge.property):
                self._steps.setdefault(end_of(edge), []).append((Hop(edge.property, False), edge.subject))

    def steps(self, kind: str) -> list[tuple[Hop, str]]:
        """The steps from a kind, with the kinds that they lead to."""
        return list(dict.fromkeys(self._steps.get(kind, ())))

    def within_kind(self, prop: str) -> bool:
        """Whether a property leads from things of a kind to things of the same kind."""
        return any(edge.subject == edge.object != "" for edge in self.of_property.get(prop, ()))

    def goes_back(self, prop: str) -> bool:
        """Whether following a property backwards is a step of its own. Between things of one kind it is the same step
        as forwards, except for relations found in text, where the form of the question gives the direction."""
        return bool(relation_of(prop)) or not self.within_kind(prop)

    def is_shared(self, prop: str) -> bool:
        """Whether things have values of a property in common, so that a way back leads to other things."""
        edges = self.of_property.get(prop, ())
        return sum(edge.different for edge in edges) < SHARED * sum(edge.count for edge in edges)


class Walker:
    """Makes the paths of one question."""

    def __init__(self, question: GraphQuestion, catalog: Catalog, ways: Ways, asks: bool) -> None:
        self.question, self.catalog, self.ways = question, catalog, ways
        self.asks = asks
        """Whether a word says what is asked for; else every step needs one."""
        self.together = question.any(TOGETHER)

    def paths(self, anchor: Mention, properties: Sequence[Mention]) -> Iterator[GraphPath]:
        """Every path from what a mention names, with the properties that are mentioned and few others."""
        others = [one for one in properties if not one.overlaps(anchor)]
        near = sorted(others, key=lambda one: min(abs(one.start - anchor.end), abs(anchor.start - one.end)))
        for name in anchor.names:
            cost = anchor.cost + (0.0 if name.main else OTHER_NAME)
            for kind in dict.fromkeys(kinds_of(name, self.catalog)):
                yield from self._walk(GraphPath(name, (), kind, cost, anchor.places), near, frozenset(), anchor)

    def _walk(
        self, path: GraphPath, near: Sequence[Mention], used: frozenset[int], anchor: Mention
    ) -> Iterator[GraphPath]:
        if path.hops:
            yield self._absorbing(path, near, used)
        if len(path.hops) == HOPS:
            return
        unmentioned = 0
        for hop, end in self.ways.steps(path.end):
            if not path.hops and path.anchor.role == "value" and hop.property != path.anchor.property:
                continue
            step = self._step(path, hop, near, used, anchor)
            unmentioned += step is not None and not step.used
            if step is None or path.cost + step.cost > MOST_COST or (not step.used and unmentioned > MOST_UNMENTIONED):
                continue
            further = GraphPath(
                path.anchor, (*path.hops, hop), end, path.cost + step.cost, path.explained | step.explained
            )
            yield from self._walk(further, near, used | step.used, anchor)

    def _step(
        self, path: GraphPath, hop: Hop, near: Sequence[Mention], used: frozenset[int], anchor: Mention
    ) -> Step | None:
        """What a step costs and explains: least where a word that is not used yet names its property."""
        if path.anchor.node == TRUE and not path.hops:
            return Step(0.0)
        back = bool(path.hops) and path.hops[-1] == Hop(hop.property, not hop.forward)
        if back and not self.ways.is_shared(hop.property):
            return None
        turn = TURN if back and not self.together else 0.0
        relation, naming = (
            relation_of(hop.property),
            [at for at, one in enumerate(near) if one.names_node(hop.property)],
        )
        if relation:  # without a word, or with one whose form says nothing, either way would be a guess
            naming = [at for at in naming if leads_forward(self.question, near[at], anchor, relation) is hop.forward]
        place = next((at for at in naming if at not in used), None)
        if place is None and relation:
            return None
        if place is None:
            return Step(turn if back else UNMENTIONED) if back or self.asks else None
        crossed = CROSSED * any(other > place for other in used)
        return Step(turn + near[place].cost + crossed, near[place].places, frozenset([place]))

    def _absorbing(self, path: GraphPath, near: Sequence[Mention], used: frozenset[int]) -> GraphPath:
        """The path, with other words for its properties explained: the currency that people pay with. The same word
        again asks for a further step: the manager of Ann's manager."""
        cost, told = path.cost, path.explained
        said = {self._words(near[at]) for at in used}
        for at, one in enumerate(near):
            again = [hop for hop in path.hops if one.names_node(hop.property) and not relation_of(hop.property)]
            if at not in used and again and self._words(one) not in said:
                cost += AGAIN_WITHIN if any(self.ways.within_kind(hop.property) for hop in again) else AGAIN
                told |= one.places
        return replace(path, cost=cost, explained=told)

    def _words(self, mention: Mention) -> tuple[str, ...]:
        return tuple(self.question.plain[mention.start : mention.end])


def kinds_of(name: Name, catalog: Catalog) -> list[str]:
    """The kinds of what a name stands for; `=` and the property of a plain value."""
    return [f"={name.property}"] if name.role == "value" else catalog.kinds(name.node)


def end_of(edge: Edge) -> str:
    """The kind that an edge leads to; `=` and the property for plain values."""
    return f"={edge.property}" if edge.datatype else edge.object
