"""Graph: facts that answer questions.

    graph = open_graph("graphs/countries")
    answer = graph.ask("Which languages are spoken in the countries that border France?")
    print(answer.text, answer.query, answer.triples)

A question is read against the catalog, so that it can only mean what the graph can hold; its meaning runs as SPARQL,
and an answer cites the facts that it stands on. Without such facts it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from lmworks.basics.arguments import checked
from lmworks.basics.errors import ConfigError, DataError
from lmworks.grounding.graph.catalog import Catalog, Name
from lmworks.grounding.graph.meaning import Meaning, Meanings
from lmworks.grounding.graph.question import LESS, GraphQuestion, read_question
from lmworks.grounding.graph.running import ROWS, Endpoint, Rows, Runs, Worker
from lmworks.grounding.graph.sense import Sense
from lmworks.grounding.graph.sparql import facts_of, query_of
from lmworks.grounding.graph.store import read_state
from lmworks.grounding.graph.terms import NUMBERS, TEXT, Term
from lmworks.grounding.graph.triple import Triple
from lmworks.grounding.passage import Passage, passage_of_facts

REFUSAL = "not in this graph"
LONGEST_QUESTION = 1000
"""Characters."""
MOST_TRIPLES = 100
"""Facts that an answer cites."""
MOST_TRIED = 8
"""Meanings that are tried, cheapest first, until one has an answer."""
MOST_PROPERTIES = 8
"""Properties that are named where a question asks of none."""
MOST_NAMED = 50
"""Things that an answer names; it says how many more there are."""


@dataclass(frozen=True)
class GraphAnswer:
    """An answer from a graph, or a refusal."""

    text: str
    """The answer; `REFUSAL` where it is refused."""
    refused: bool
    answers: Sequence[str] = ()
    """What the answer names, one by one."""
    triples: Sequence[Triple] = ()
    """The facts that it stands on."""
    query: str = ""
    """The SPARQL that was run."""
    read_as: str = ""
    """The question as it was understood."""
    reason: str = ""
    """Why it is refused: a plain sentence."""


class Graph:
    """A graph that exists; `endpoint` answers its queries instead of its own store."""

    def __init__(self, folder: str | Path, endpoint: str | None = None) -> None:
        self.folder = Path(folder)
        self.state = read_state(self.folder)
        self.catalog = Catalog(self.folder)
        address = endpoint or self.state.endpoint
        self.runs: Runs = Endpoint(address) if address else Worker(self.folder / "store")

    @cached_property
    def _embedder(self) -> Any:
        from lmworks.loading import load

        return load(self.state.embedder)

    def _embed(self, text: str) -> NDArray[np.float32]:
        return np.asarray(self._embedder.vectors([text], cut=True)[0])

    def query(self, query: str, rows: int = ROWS) -> Rows:
        """The rows of a SPARQL query; ended after some seconds. ConfigError for an update, DataError for a fault."""
        return self.runs.run(query, rows)

    def ask(self, question: str) -> GraphAnswer:
        """Answer a question in English from the facts, citing them, or refuse and say why."""
        if not question.strip():
            raise ConfigError("the question is empty; ask something")
        if len(question) > LONGEST_QUESTION:
            raise ConfigError(f"the question has {len(question):,} characters; at most {LONGEST_QUESTION:,} are read")
        asked = read_question(question, self.catalog, self._embed if self.state.embedder else None)
        sense = self._sense(asked)
        if asked.unknown:
            return _refused(self._nothing_about(asked))
        meanings = Meanings(asked, self.catalog).all()
        if asked.open:
            meanings = sense.chosen(meanings) if sense else []
            if not meanings:
                asked.unknown = [asked.text_of(*one) for one in asked.open]
                return _refused(self._nothing_about(asked))
        if not meanings:
            return _refused(self._no_meaning(asked))
        for meaning in meanings[:MOST_TRIED]:
            if meaning.cost > meanings[0].cost + 0.5:
                break
            answer = self._answered(meaning, asked)
            if answer is not None:
                return answer
        said = self._said(meanings[0])
        reason = f"the graph {'does not hold' if said.startswith('what ') else 'holds no'} {said}"
        return GraphAnswer(REFUSAL, True, query=query_of(meanings[0]), read_as=said, reason=reason)

    def _sense(self, asked: GraphQuestion) -> Sense | None:
        """What a question with words that are in no name asks as a whole; None where it has none, or nothing tells."""
        if asked.unknown or not (asked.asked or asked.open):
            return None
        if not self.state.embedder or not asked.nodes:
            asked.unknown += [asked.text_of(*one) for one in sorted([*asked.asked, *asked.open])]
            return None
        sense = Sense(asked, self.catalog, self._embed)
        sense.settle()
        return sense

    def facts(self, question: str) -> list[Passage]:
        """What the graph says to a question, as passages beside those of documents; nothing where it refuses.

        The first one is the answer in words; a fact that was found in text follows as its sentence. They stand in the
        graph and not in the index, whose documents may be others of the same names: their triples say where from.
        """
        answer = self.ask(question)
        if answer.refused:
            return []
        name = f"graph {self.folder.name}"
        found = [passage_of_facts(f"The {answer.read_as}: {answer.text}.", name, answer.triples)]
        told: dict[tuple[str, int | None], list[Triple]] = {}
        for one in answer.triples:
            if one.sentence:
                told.setdefault((one.file, one.start), []).append(one)
        return found + [passage_of_facts(some[0].sentence, name, some) for some in told.values()]

    # ---- from a meaning to an answer

    def _answered(self, meaning: Meaning, asked: GraphQuestion) -> GraphAnswer | None:
        """The answer of a meaning; None where the graph has no facts for it."""
        query = query_of(meaning)
        found = self.query(query, rows=1000)
        rows = [dict(zip(found.variables, row, strict=True)) for row in found.rows]
        if not rows:
            return None
        if meaning.form in ("most", "least"):
            measure = "number" if meaning.order_counts else "value"
            rows = [row for row in rows if row.get(measure) and row[measure] == rows[0][measure]]
        triples = self._cited(meaning, rows)
        if meaning.form == "compare":
            return self._compared(meaning, rows, asked, query, triples)
        if meaning.form == "check":
            return GraphAnswer("yes", False, ("yes",), triples, query, self._said(meaning))
        terms = list(dict.fromkeys(term for row in rows if (term := row.get("answer")) is not None))
        names = sorted({self._shown(term) for term in terms})
        if meaning.form == "count":
            return GraphAnswer(f"{len(terms):,}", False, (str(len(terms)),), triples, query, self._said(meaning))
        more = f", and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
        return GraphAnswer(
            ", ".join(names[:MOST_NAMED]) + more, False, tuple(names), triples, query, self._said(meaning)
        )

    def _compared(
        self,
        meaning: Meaning,
        rows: Sequence[dict[str, Term | None]],
        asked: GraphQuestion,
        query: str,
        triples: Sequence[Triple],
    ) -> GraphAnswer | None:
        values = [rows[0].get(f"value{at}") for at in range(2)]
        first, second = (_comparable(one) for one in values)
        if first is None or second is None or type(first) is not type(second):
            return None
        above = first > second  # type: ignore[operator]  # both are numbers, or both texts
        if asked.any(LESS):
            above = not above
        names = [self.catalog.label(one.node) for one in meaning.anchors]
        if asked.plain[0] in ("which", "what", "who"):
            text = "neither" if first == second else names[0] if above else names[1]
        else:
            text = "yes" if above and first != second else "no"
        return GraphAnswer(text, False, (text,), triples, query, self._said(meaning))

    def _cited(self, meaning: Meaning, rows: Sequence[dict[str, Term | None]]) -> list[Triple]:
        """The facts below an answer, each with its source."""
        facts = list(dict.fromkeys(fact for row in rows for fact in facts_of(meaning, row)))[:MOST_TRIPLES]
        return self._with_sources(facts)

    def _with_sources(self, facts: Sequence[tuple[str, str, str]]) -> list[Triple]:
        if not facts:
            return []
        values = " ".join(f"({' '.join(fact)})" for fact in facts)
        asked = (
            f"SELECT ?s ?p ?o ?g ?text WHERE {{ VALUES (?s ?p ?o) {{ {values} }} GRAPH ?g {{ ?s ?p ?o }} "
            f"OPTIONAL {{ ?g <{TEXT}> ?text }} }}"
        )
        try:
            rows = self.query(asked).rows
        except DataError:  # an endpoint without named graphs
            rows = []
        where = {tuple(str(one) for one in row[:3]): row[3:] for row in reversed(rows)}
        return [self._triple(fact, *where.get(fact, (None, None))) for fact in facts]

    def _triple(self, fact: tuple[str, str, str], graph: Term | None, text: Term | None) -> Triple:
        file, start, end = "", None, None
        placed = re.fullmatch(r"file:([^#]*)(?:#char=(\d+),(\d+))?", graph.value) if graph else None
        if placed:
            file = unquote(placed[1])
            start, end = (int(placed[2]), int(placed[3])) if placed[2] else (None, None)
        subject, prop, value = (self._named(one) for one in fact)
        return Triple(subject, prop, value, file, start, end, text.value if text else "", *fact)

    def _named(self, written: str) -> str:
        """What a node is called; a value is shown as it is."""
        if written.startswith("<"):
            return self.catalog.label(written)
        return re.sub(r'^"(.*)"(?:@[\w-]+|\^\^<[^>]*>)?$', r"\1", written, flags=re.DOTALL)

    def _shown(self, term: Term) -> str:
        return self.catalog.label(str(term)) if term.kind == "uri" else term.value

    # ---- what is said of a question

    def _said(self, meaning: Meaning) -> str:
        """A meaning in words."""
        parts = []
        for path in meaning.paths:
            said = self._named(path.anchor.node)
            for hop in path.hops:
                label = self.catalog.label(hop.property)
                said = f"{label} of {said}" if hop.forward else f"what has the {label} {said}"
            parts.append(said)
        whole = " and ".join(parts) or self.catalog.label(meaning.kind)
        if meaning.form == "compare":
            both = " and ".join(self._named(one.node) for one in meaning.anchors)
            return f"{self.catalog.label(meaning.order)} of {both}"
        if meaning.form == "check":
            return f"{self._named(meaning.anchors[0].node)} as {whole}"
        if meaning.order:
            return f"{whole} with the {meaning.form} {self.catalog.label(meaning.order)}"
        return f"number of {whole}" if meaning.form == "count" else whole

    def _nothing_about(self, asked: GraphQuestion) -> str:
        close = list(dict.fromkeys(asked.close))[:3]
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        return f"the graph knows nothing of {' and '.join(map(repr, asked.unknown))}{hint}"

    def _no_meaning(self, asked: GraphQuestion) -> str:
        if not asked.nodes:
            return "the question names nothing that is in the graph"
        found = [one.names[0] for one in asked.nodes[:3]]
        named = " and ".join(dict.fromkeys(map(self._as_it_is_known, found)))
        properties = list(dict.fromkeys(self.catalog.label(one.property) for one in self.catalog.edges))
        more = ", ..." if len(properties) > MOST_PROPERTIES else ""
        first, role = found[0].text, self.catalog.label(found[0].property)
        how = f'; ask "whose {role} is {first}?"' if found[0].role == "value" and len(found) == 1 else ""
        return (
            f"the graph knows {named}, but not what the question asks of it{how}; its properties are "
            f"{', '.join(properties[:MOST_PROPERTIES])}{more}"
        )

    def _as_it_is_known(self, name: Name) -> str:
        """A thing's name; a value's with the property that it is a value of."""
        if name.role != "value":
            return self.catalog.label(name.node)
        return f"{self.catalog.label(name.node)} as a value of {self.catalog.label(name.property)}"


@checked
def open_graph(folder: str | Path, endpoint: str | None = None) -> Graph:
    """A graph that exists; DataError where the folder holds none."""
    return Graph(folder, endpoint)


def _comparable(term: Term | None) -> float | str | None:
    """What is compared of a value; None for what is called a number and is none."""
    return None if term is None else term.number if term.datatype in NUMBERS else term.value


def _refused(reason: str) -> GraphAnswer:
    return GraphAnswer(REFUSAL, True, reason=reason)
