"""A graph from text: entities of each sentence, and the relations between two of them that stand close together.

    done = extract("notes/", "graphs/notes")            # then lmworks graph ask graphs/notes "..."

The facts of a sentence stand in a named graph of its own, whose name says where it is (RFC 5147):
`file:a.txt#char=7,52`. An entity is known by what it is called, in any letters.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.extras import require
from lmworks.grounding.graph.direction import RELATIONS
from lmworks.grounding.graph.entities import PHRASE, Entity, entities_of
from lmworks.grounding.graph.relations import RelationHead
from lmworks.grounding.graph.semeval import OTHER
from lmworks.grounding.graph.store import GraphSource, GraphState, Making, changed, embedder_of, state_before
from lmworks.grounding.graph.terms import ALSO, KIND, LABEL, TEXT
from lmworks.grounding.index import located
from lmworks.text.document import Document
from lmworks.text.sentences import sentence_spans
from lmworks.text.sources import read

LONGEST = 1000
"""Characters of a sentence that is read; longer ones are tables or lists."""
NEAR = 150
"""The most characters between two entities whose relation is extracted."""
SURE = 0.8
"""Probability above which a relation becomes a fact."""
AT_ONCE = 256
"""Sentences that are read together."""


@dataclass(frozen=True)
class Coverage:
    """What an extraction read and found."""

    documents: int = 0
    unchanged: int = 0
    """Documents that were read before and are as they were."""
    sentences: int = 0
    too_long: int = 0
    """Sentences that were left out."""
    with_entity: int = 0
    """Sentences with at least one entity."""
    with_fact: int = 0
    """Sentences with at least one relation."""
    entities: int = 0
    """Mentions of names and noun phrases."""
    pairs: int = 0
    """Pairs of entities whose relation was asked for."""
    facts: int = 0
    """Relations that became facts."""


@dataclass(frozen=True)
class Sentence:
    """A sentence, and where it is."""

    source: str
    start: int
    end: int
    text: str

    @property
    def graph(self) -> str:
        """The name of the graph that holds its facts."""
        return f"file:{quote(self.source)}#char={self.start},{self.end}"


def extract(reference: str | Path, out: str | Path, sure: float = SURE) -> Coverage:
    """Read the documents of a folder into the graph in `out`; those that changed are read again, deleted ones go. All
    are read again where `sure` is another than before.

    DataError where no entity is found at all, ConfigError for a graph whose facts are at an endpoint, or of another
    folder's text.
    """
    out, place = Path(out), located(reference)
    before = state_before(out, GraphState(embedder=embedder_of(out, "")))
    if before.reference not in ("", place):
        raise ConfigError(f"{out} is a graph of the text of {before.reference}; give another --out for {reference}")
    reading = read(reference)
    sources = dict(before.sources)
    own = out.resolve()  # a store's log is text; it may lie in the folder that is read
    there = {one.source: one for one in reading.documents if not Path(place, one.source).is_relative_to(own)}
    as_sure = sure == (SURE if before.sure is None else before.sure)
    fresh = [one for name, one in there.items() if not as_sure or name not in sources or sources[name].hash != one.hash]
    gone = [name for name, one in sources.items() if one.text and name not in there]
    counted = Coverage(len(there), len(there) - len(fresh))
    if not fresh and not gone:
        return counted
    with changed(out) as making:
        old = [*gone, *(one.source for one in fresh if one.source in sources)]
        making.remove(old)
        for name in old:
            del sources[name]
        counted = _read_all(making, fresh, counted, sure, sources, _name_of(out))
        if not counted.entities and len(fresh) == len(there):
            raise DataError(f"{reference} holds no entity that is found: {counted.sentences:,} sentences were read")
        making.finish(replace(before, sources=sources, extraction=asdict(counted), reference=place, sure=sure))
    return counted


def _name_of(out: Path) -> str:
    return quote(out.name, safe="")


def _read_all(
    making: Making,
    documents: Sequence[Document],
    counted: Coverage,
    sure: float,
    sources: dict[str, GraphSource],
    name: str,
) -> Coverage:
    """Add the facts of documents, some sentences at a time."""
    spans = [(document, span) for document in documents for span in sentence_spans(document.text)]
    sentences = [
        Sentence(one.source, start, end, one.text[start:end]) for one, (start, end) in spans if end - start <= LONGEST
    ]
    writer, totals = Writer(name), Counter[str](sentences=len(sentences), too_long=len(spans) - len(sentences))
    facts: Counter[str] = Counter()
    head = RelationHead.load()
    with progress.task("reading", len(sentences), "sentences") as advance:
        for start in range(0, len(sentences), AT_ONCE):
            some = sentences[start : start + AT_ONCE]
            for sentence, quads in _facts(some, head, writer, totals, sure):
                making.store.extend(quads)
                facts[sentence.source] += len(quads)
            advance(len(some))
    making.store.extend(writer.described())
    for one in documents:
        sources[one.source] = GraphSource(one.source, one.hash, facts[one.source], text=True)
    return replace(counted, **totals)


def _facts(
    sentences: Sequence[Sentence], head: RelationHead, writer: Writer, totals: Counter[str], sure: float
) -> Iterator[tuple[Sentence, list[Any]]]:
    """The quads of each sentence that has entities."""
    found = list(entities_of([one.text for one in sentences]))
    pairs = [
        (at, one, other)
        for at, entities in enumerate(found)
        for one, other in itertools.pairwise(entities)
        if other.start - one.end <= NEAR
    ]
    told = head.relations([(sentences[at].text, one.head, other.head) for at, one, other in pairs])
    related: dict[int, list[tuple[Entity, str, Entity]]] = {}
    for (at, one, other), (relation, chance) in zip(pairs, told, strict=True):
        kind, _, order = relation.partition("(")
        if kind != OTHER and chance >= sure:
            first, second = (one, other) if order.startswith("e1") else (other, one)
            related.setdefault(at, []).append((first, kind, second))
    totals.update(pairs=len(pairs))
    for at, (sentence, entities) in enumerate(zip(sentences, found, strict=True)):
        facts = related.get(at, [])
        kept = [one for one in entities if one.kind != PHRASE or any(one in (fact[0], fact[2]) for fact in facts)]
        totals.update(entities=len(entities), facts=len(facts), with_entity=bool(entities), with_fact=bool(facts))
        if kept:
            yield sentence, writer.quads(sentence, kept, facts)


class Writer:
    """Entities and facts as quads."""

    def __init__(self, name: str) -> None:
        self.ox = require("pyoxigraph", "graph")
        self.base = f"urn:lmworks:{name}"
        self.kinds: set[str] = set()
        self.relations: set[str] = set()

    def quads(
        self, sentence: Sentence, entities: Sequence[Entity], facts: Sequence[tuple[Entity, str, Entity]]
    ) -> list[Any]:
        """What a sentence says, in the graph of its name, and the sentence itself."""
        graph = self.ox.NamedNode(sentence.graph)
        found = [self.ox.Quad(graph, self.ox.NamedNode(TEXT), self.ox.Literal(sentence.text), graph)]
        for one in entities:
            self.kinds.add(one.kind)
            label = " ".join(one.text.split())
            found.append(self.ox.Quad(self._node(one), self.ox.NamedNode(LABEL), self.ox.Literal(label), graph))
            found.append(self.ox.Quad(self._node(one), self.ox.NamedNode(KIND), self._kind(one.kind), graph))
        for first, relation, second in facts:
            self.relations.add(relation)
            found.append(self.ox.Quad(self._node(first), self._property(relation), self._node(second), graph))
        return found

    def described(self) -> list[Any]:
        """What kinds and relations are called."""
        found = [self._named(self._kind(kind), LABEL, kind) for kind in sorted(self.kinds)]
        for relation in sorted(self.relations):
            label, words = RELATIONS[relation]
            found.append(self._named(self._property(relation), LABEL, label))
            found += [self._named(self._property(relation), ALSO, word) for word in words]
        return found

    def _named(self, node: Any, prop: str, text: str) -> Any:
        return self.ox.Quad(node, self.ox.NamedNode(prop), self.ox.Literal(text))

    def _node(self, entity: Entity) -> Any:
        return self.ox.NamedNode(f"{self.base}:entity:{quote(' '.join(entity.text.casefold().split()), safe='')}")

    def _kind(self, kind: str) -> Any:
        return self.ox.NamedNode(f"{self.base}:kind:{kind}")

    def _property(self, relation: str) -> Any:
        return self.ox.NamedNode(f"{self.base}:property:{relation}")
