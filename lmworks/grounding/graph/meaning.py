"""What a question can mean: a few forms whose slots are filled with what its words name, as the graph allows.

A path leads from a named thing or value along up to three properties, forwards or back, to what is asked for; several
paths may lead to the same things. Then they are listed, counted, compared, or checked. Only paths that the graph's
kinds allow are formed; each word of the question must have its part in one, and the cheapest ones come first.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lmworks.grounding.graph.catalog import Catalog, Edge, Name
from lmworks.grounding.graph.question import (
    ASKING,
    CHECKING,
    LEAST,
    LESS,
    MORE,
    MOST,
    Mention,
    Question,
    says_nothing,
)
from lmworks.grounding.graph.terms import DATES, NUMBERS, XSD

HOPS = 3
TRUE = f'"true"^^<{XSD}boolean>'
Form = Literal["list", "count", "most", "least", "check", "compare"]
TOGETHER = ("same", "other", "share", "shares", "else", "also")
"""Words that ask for what has the same value as something."""
ALTERNATIVES = 40
"""Paths of one thing that are combined with those of another."""


@dataclass(frozen=True)
class Hop:
    """One step along a property, forwards or back."""

    property: str
    forward: bool


@dataclass(frozen=True)
class Path:
    """Steps from a node to what is asked for."""

    anchor: Name
    hops: tuple[Hop, ...]
    end: str
    """The kind of what it leads to; for plain values `=` and the property."""
    cost: float
    explained: frozenset[int]
    """Places of the words that have a part in it."""


@dataclass(frozen=True)
class Step:
    """What one hop more costs, and which words it explains."""

    cost: float
    explained: frozenset[int] = frozenset()
    used: frozenset[int] = frozenset()
    """The mentions among the nearest ones."""


@dataclass(frozen=True)
class Meaning:
    """A form with its slots filled."""

    form: Form
    paths: tuple[Path, ...]
    kind: str = ""
    """What is asked for, where the question names it."""
    order: str = ""
    """The property that is compared."""
    order_counts: bool = False
    """Whether its values are counted, and not compared."""
    cost: float = 0.0
    without_anchor: bool = False
    """Whether what the question starts from is no answer: other countries with the same currency."""
    anchors: tuple[Name, ...] = ()
    """What is compared, or for a check: where the path must end."""


class Reader:
    """Forms the meanings of one question."""

    def __init__(self, question: Question, catalog: Catalog) -> None:
        self.question, self.catalog = question, catalog
        self.focus = self._focus()
        self.forward: dict[str, list[Edge]] = {}
        self.back: dict[str, list[Edge]] = {}
        for edge in catalog.edges:
            self.forward.setdefault(edge.subject, []).append(edge)
            self.back.setdefault(_end(edge), []).append(edge)

    def meanings(self) -> list[Meaning]:
        """Every meaning that explains each word, cheapest first."""
        found = list(self._all())
        return sorted(found, key=lambda one: one.cost)

    def _all(self) -> Iterator[Meaning]:
        plain = self.question.plain
        nodes = self._anchors()
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
        truths = {one.property for one in self.catalog.edges if one.datatype == f"{XSD}boolean"}
        flags = [
            replace(one, names=tuple(Name(name.text, TRUE, "value", name.node, True) for name in one.names))
            for one in self.question.properties
            if all(name.node in truths for name in one.names)
        ]
        return [*self.question.nodes, *flags]

    # ---- lists and counts

    def _lists(
        self, nodes: Sequence[Mention], properties: Sequence[Mention], explained: frozenset[int]
    ) -> Iterator[Meaning]:
        form: Form = "count" if self._counts() else "list"
        for some in _choices(nodes):
            if not some:
                continue
            ways = [sorted(self._paths(one, properties), key=lambda path: path.cost)[:ALTERNATIVES] for one in some]
            for paths in itertools.product(*ways):
                if len({path.end for path in paths}) > 1:
                    continue
                told = explained.union(*(path.explained for path in paths))
                cost = self._cost(paths, told)
                if cost is None:
                    continue
                yield Meaning(
                    self._counted(form, paths[0]),
                    paths,
                    cost=cost,
                    without_anchor=self.question.any(TOGETHER) and _turns_back(paths[0]),
                )

    def _counts(self) -> bool:
        plain = self.question.plain
        pairs = list(itertools.pairwise(plain))
        return ("how", "many") in pairs or ("number", "of") in pairs or "count" in plain[:2]

    def _counted(self, form: Form, path: Path) -> Form:
        """How many inhabitants is a value; how many languages is a count."""
        last = path.hops[-1]
        numeric = any(
            edge.property == last.property and edge.datatype in NUMBERS for edge in self.catalog.edges if last.forward
        )
        return "list" if form == "count" and numeric else form

    def _cost(self, paths: Sequence[Path], explained: frozenset[int]) -> float | None:
        """What the paths cost together; None where a word has no part in them, or they lead to something else."""
        if not self._is_asked(paths[0]):
            return None
        kinds = {place for one in self.question.kinds for place in range(one.start, one.end)}
        named = {place for kind in self._kinds_passed(paths) for place in self._places(kind)}
        for place, word in enumerate(self.question.words):
            silent = says_nothing(word.plain) and place not in kinds and not self._is_named(place)
            if not (silent or place in explained or place in named):
                return None
        return sum(path.cost for path in paths)

    def _is_named(self, place: int) -> bool:
        """Whether a word that says nothing has a part in a name here."""
        return any(one.start <= place < one.end and one.end - one.start == 1 for one in self.question.properties)

    def _kinds_passed(self, paths: Sequence[Path]) -> set[str]:
        found: set[str] = set()
        for path in paths:
            found |= {path.end, *self.catalog.kinds(path.anchor.node)}
            for hop in path.hops:
                for edge in self.catalog.edges:
                    if edge.property == hop.property:
                        found |= {edge.subject, edge.object}
        return found

    # ---- what is asked for

    def _focus(self) -> Mention | None:
        """The kind or property that follows the word that asks."""
        plain = self.question.plain
        named = sorted([*self.question.kinds, *self.question.properties], key=lambda one: (one.start, -one.end))
        for place, word in enumerate(plain):
            if word in ASKING:
                return next((one for one in named if one.start >= place), None)
        return None

    def _is_asked(self, path: Path) -> bool:
        """Whether a path leads to what is asked for."""
        if self.focus is None:
            return True
        same = [one for one in (*self.question.kinds, *self.question.properties) if one.start == self.focus.start]
        nodes = {name.node for one in same for name in one.names}
        last = path.hops[-1]
        return path.end in nodes or (last.property in nodes and (last.forward or self._is_symmetric(last.property)))

    def _is_symmetric(self, prop: str) -> bool:
        """Whether a property leads from a kind to the same kind."""
        return any(edge.property == prop and edge.subject == edge.object != "" for edge in self.catalog.edges)

    # ---- paths

    def _paths(self, anchor: Mention, properties: Sequence[Mention]) -> Iterator[Path]:
        """Every path from what a mention names, with the properties that are mentioned and few others."""
        others = [one for one in properties if not _overlap(one, anchor)]
        near = sorted(others, key=lambda one: min(abs(one.start - anchor.end), abs(anchor.start - one.end)))
        for name in anchor.names:
            begins = [f"={name.property}"] if name.role == "value" else self.catalog.kinds(name.node)
            cost = anchor.cost + (0.0 if name.main else 0.2)
            base = Path(name, (), "", cost, frozenset(range(anchor.start, anchor.end)))
            for begin in dict.fromkeys(begins):
                yield from self._walk(replace(base, end=begin), near, frozenset())

    def _walk(self, path: Path, near: Sequence[Mention], used: frozenset[int]) -> Iterator[Path]:
        if path.hops:
            yield self._absorbing(path, near, used)
        if len(path.hops) == HOPS:
            return
        steps = [(Hop(edge.property, True), _end(edge)) for edge in self.forward.get(path.end, ())]
        steps += [(Hop(edge.property, False), edge.subject) for edge in self.back.get(path.end, ())]
        if not path.hops and path.anchor.role == "value":
            steps = [one for one in steps if one[0].property == path.anchor.property]
        for hop, end in dict.fromkeys(steps):
            if not hop.forward and self._is_symmetric(hop.property):
                continue  # the same as forwards
            step = self._step(path, hop, near, used)
            if step is None or path.cost + step.cost > MOST_COST:
                continue
            further = Path(path.anchor, (*path.hops, hop), end, path.cost + step.cost, path.explained | step.explained)
            yield from self._walk(further, near, used | step.used)

    def _step(self, path: Path, hop: Hop, near: Sequence[Mention], used: frozenset[int]) -> Step | None:
        """What a step costs and explains: least where a word that is not used yet names its property."""
        if path.anchor.node == TRUE and not path.hops:
            return Step(0.0)
        back = bool(path.hops) and path.hops[-1] == Hop(hop.property, not hop.forward)
        turn = 0.6 if back and not self.question.any(TOGETHER) else 0.0
        place = next((at for at, one in enumerate(near) if at not in used and _names(one, hop.property)), None)
        if place is None:
            if not back and self.focus is None:
                return None  # nothing says what is asked for
            return Step(turn if back else 1.0)
        crossed = 0.3 * any(other > place for other in used)  # a nearer word for a later step
        words = frozenset(range(near[place].start, near[place].end))
        return Step(turn + near[place].cost + crossed, words, frozenset([place]))

    def _absorbing(self, path: Path, near: Sequence[Mention], used: frozenset[int]) -> Path:
        """The path, with other words for its properties explained: the currency that people pay with."""
        more = [
            one for at, one in enumerate(near) if at not in used and any(_names(one, hop.property) for hop in path.hops)
        ]
        cost = sum(
            0.7 if any(_names(one, hop.property) and self._is_symmetric(hop.property) for hop in path.hops) else 0.1
            for one in more
        )
        told = frozenset(place for one in more for place in range(one.start, one.end))
        return replace(path, cost=path.cost + cost, explained=path.explained | told)

    # ---- the most, the least; two compared; a check

    def _orders(self, directions: frozenset[str]) -> Iterator[tuple[str, bool, list[Mention], frozenset[int], float]]:
        """The property that is compared, whether its values are counted, what is left of the mentioned properties."""
        place = self.question.direction(directions) or 0
        here = frozenset([place])
        compared = {one.property for one in self.catalog.edges if one.datatype in NUMBERS | DATES}
        adjective = _adjective(self.question.plain[place])
        own = self.catalog.named_by_stems.get((adjective,), [])
        for name in own:
            if name.role == "property" and name.node in compared:
                yield name.node, False, list(self.question.properties), here, 0.0
        for one in self.question.properties:
            rest = [other for other in self.question.properties if other is not one]
            told = here | frozenset(range(one.start, one.end))
            away = one.start - place - 1 if one.start > place else 2 + place - one.end
            for name in one.names:
                yield name.node, name.node not in compared, rest, told, 0.1 * away
        if not own and len(compared) == 1 and self.question.plain[place] not in ("most", "least", "fewest", "more"):
            yield next(iter(compared)), False, list(self.question.properties), here, 0.8

    def _extremes(self, nodes: Sequence[Mention]) -> Iterator[Meaning]:
        form: Form = "least" if self.question.direction(MOST) is None else "most"
        for order, counts, rest, told, cost in self._orders(MOST | LEAST):
            subjects = {edge.subject for edge in self.catalog.edges if edge.property == order}
            for one in self._lists(nodes, rest, told):
                if one.paths[0].end in subjects:
                    yield replace(one, form=form, order=order, order_counts=counts, cost=one.cost + cost)
            kinds = {name.node for one in self.question.kinds for name in one.names}
            if not nodes and not rest:
                yield from (
                    Meaning(form, (), kind, order, counts, cost)
                    for kind in sorted(kinds & subjects)
                    if not self._left(told | self._places(kind))
                )

    def _places(self, kind: str) -> set[int]:
        """Where a kind is mentioned."""
        mentions = [one for one in self.question.kinds if any(name.node == kind for name in one.names)]
        return {place for one in mentions for place in range(one.start, one.end)}

    def _left(self, explained: Collection[int]) -> list[int]:
        """Places of words that say something and have no part in a meaning."""
        return [
            at for at, word in enumerate(self.question.words) if at not in explained and not says_nothing(word.plain)
        ]

    def _comparisons(self, nodes: Sequence[Mention]) -> Iterator[Meaning]:
        if len(nodes) != 2:
            return
        explained = {place for one in nodes for place in range(one.start, one.end)}
        for order, counts, _, told, cost in self._orders(MORE | LESS):
            subjects = {edge.subject for edge in self.catalog.edges if edge.property == order}
            kinds = {place for one in self.question.kinds for place in range(one.start, one.end)}
            if counts or self._left(told | explained | kinds):
                continue
            for pair in itertools.product(*(one.names for one in nodes)):
                if all(subjects.intersection(self.catalog.kinds(name.node)) for name in pair):
                    more = 0.2 * sum(not name.main for name in pair) + cost
                    yield Meaning("compare", (), order=order, cost=more, anchors=pair)

    def _checks(self, nodes: Sequence[Mention]) -> Iterator[Meaning]:
        if len(nodes) != 2:
            return
        self.focus = None
        for start, end in itertools.permutations(nodes):
            for path in self._paths(start, self.question.properties):
                for name in end.names:
                    if name.node == path.anchor.node:
                        continue
                    ends = [f"={name.property}"] if name.role == "value" else self.catalog.kinds(name.node)
                    told = path.explained | frozenset(range(end.start, end.end))
                    cost = self._cost([path], told)
                    if cost is not None and path.end in ends:
                        extra = 0.2 * (not name.main) + 0.1 * (not path.hops[0].forward)
                        yield Meaning("check", (path,), cost=cost + extra, anchors=(name,))


MOST_COST = 2.4
"""Of a path; dearer ones mean something else."""


def _end(edge: Edge) -> str:
    return f"={edge.property}" if edge.datatype else edge.object


def _names(mention: Mention, prop: str) -> bool:
    return any(name.node == prop for name in mention.names)


def _overlap(one: Mention, other: Mention) -> bool:
    return one.start < other.end and other.start < one.end


def _turns_back(path: Path) -> bool:
    """Whether it goes along a property and back: to things that have the same value."""
    return any(
        one.property == other.property and one.forward and not other.forward
        for one, other in itertools.pairwise(path.hops)
    )


def _choices(nodes: Sequence[Mention]) -> Iterator[list[Mention]]:
    """Every choice of up to three mentions that do not overlap, most first."""
    for count in range(min(3, len(nodes)), -1, -1):
        for some in itertools.combinations(nodes, count):
            if not any(_overlap(one, other) for one, other in itertools.combinations(some, 2)):
                yield list(some)


def _adjective(word: str) -> str:
    """The stem of the adjective of a comparison: large for largest, big for bigger."""
    from lmworks.grounding.graph.catalog import stems_of

    bare = word.removesuffix("est").removesuffix("er")
    if len(bare) > 2 and bare[-1] == bare[-2]:
        bare = bare[:-1]
    stems = stems_of([bare if bare in ("big", "small", "old", "long", "high", "low") else f"{bare}e"])
    return stems[0] if stems else bare
