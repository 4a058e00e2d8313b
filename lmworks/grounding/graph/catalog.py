"""Catalog: what a graph can be asked: names of its things, values, properties and kinds, and which leads to which.

Made by SPARQL from the graph itself, so that it is the same for a store and for an endpoint; kept in `catalog.sqlite`,
with the vectors of names in `names.i8`. Questions are read against it and can only mean what is in it.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmworks.grounding.graph.terms import ALSO, KIND, NAMES, TEXT, UNASKED, Term, local_name
from lmworks.grounding.matrix import Matrix
from lmworks.grounding.terms import terms

Select = Callable[[str], Iterable[Sequence[Term | None]]]
"""All rows of a query."""
Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""A vector for each text [texts, dim]."""

LONGEST_NAME = 80
"""Characters; a longer text is no name."""
MOST_WORDS = 10
"""Words of a name that is looked for in questions."""
MOST_VECTORS = 5000
"""Names of things that get a vector; more of them are found by their words alone."""

SCHEMA = """
CREATE TABLE names (
    id INTEGER PRIMARY KEY, words TEXT NOT NULL, text TEXT NOT NULL, node TEXT NOT NULL, role TEXT NOT NULL,
    property TEXT NOT NULL, main INTEGER NOT NULL);
CREATE TABLE labels (node TEXT PRIMARY KEY, label TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE kinds (node TEXT NOT NULL, kind TEXT NOT NULL, PRIMARY KEY (node, kind)) WITHOUT ROWID;
CREATE TABLE edges (subject TEXT NOT NULL, property TEXT NOT NULL, object TEXT NOT NULL, datatype TEXT NOT NULL,
    count INTEGER NOT NULL, different INTEGER NOT NULL);
CREATE TABLE vectors (row INTEGER PRIMARY KEY, name INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Name:
    """What something is called."""

    text: str
    node: str
    """As in SPARQL: `<iri>` or a literal."""
    role: str
    """thing, value, property or kind."""
    property: str
    """Of a value: the property that it is a value of."""
    main: bool
    """Whether it is the name that is shown, and no other one."""


@dataclass(frozen=True)
class Edge:
    """Things of the kind `subject` have `property`, whose values are of the kind `object` or plain values."""

    subject: str
    property: str
    object: str
    datatype: str
    """Of plain values; empty for things."""
    count: int
    """How many facts there are of it."""
    different: int
    """How many different values they have."""


def words_of(text: str) -> list[str]:
    """The words of a name or question as they are compared: lower case, no accents, no 's."""
    plain = unicodedata.normalize("NFKD", text.replace("’", "'"))
    plain = "".join(one for one in plain if not unicodedata.combining(one))
    return re.findall(r"[^\W_]+", re.sub(r"'s\b", "", plain.casefold()))


def stems_of(words: Iterable[str]) -> tuple[str, ...]:
    """The words cut to English stems."""
    return tuple(stem for word in words for stem in terms(word, "english"))


def framed(words: str, kind: str) -> str:
    """Words as the name of a property: in a sentence, vectors tell apart better what is meant."""
    return f"the {words} of a {kind or 'thing'}"


class Catalog:
    """A catalog that exists."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._connection = sqlite3.connect(
            f"file:{folder / 'catalog.sqlite'}?mode=ro", uri=True, check_same_thread=False
        )

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @cached_property
    def edges(self) -> list[Edge]:
        """What leads to what."""
        return [Edge(*row) for row in self._connection.execute("SELECT * FROM edges ORDER BY count DESC")]

    @cached_property
    def named_by_stems(self) -> dict[tuple[str, ...], list[Name]]:
        """Properties and kinds by the stems of their names."""
        found: dict[tuple[str, ...], list[Name]] = {}
        for name in self._names("role IN ('property', 'kind')"):
            found.setdefault(stems_of(words_of(name.text)), []).append(name)
        return found

    @cached_property
    def _vectors(self) -> list[Name]:
        return self._names("1 = 1", "JOIN vectors ON vectors.name = names.id", "ORDER BY row")

    def _names(self, where: str, join: str = "", order: str = "", given: Sequence[str] = ()) -> list[Name]:
        rows = self._connection.execute(
            f"SELECT text, node, role, property, main FROM names {join} WHERE {where} {order}", given
        )
        return [Name(text, node, role, prop, bool(main)) for text, node, role, prop, main in rows]

    def named(self, phrases: Sequence[str]) -> dict[str, list[Name]]:
        """Things and values by what they are called, in words joined by spaces."""
        found: dict[str, list[Name]] = {}
        for start in range(0, len(phrases), 500):
            some = phrases[start : start + 500]
            marks = ", ".join("?" * len(some))
            for one in self._names(f"role IN ('thing', 'value') AND words IN ({marks})", given=some):
                found.setdefault(" ".join(words_of(one.text)), []).append(one)
        return found

    def similar(self, phrase: str) -> list[Name]:
        """Things whose name differs from a phrase by one letter that is not the first."""
        letters = len(phrase)
        rows = self._names(
            "role = 'thing' AND length(words) BETWEEN ? AND ? AND substr(words, 1, 1) = ?",
            given=(letters - 1, letters + 1, phrase[:1]),  # type: ignore[arg-type]
        )
        return [one for one in rows if one_letter_apart(phrase, " ".join(words_of(one.text)))]

    def nearest(self, vector: NDArray[np.float32], role: str) -> list[tuple[float, Name]]:
        """Names of a role by the cosine of their vectors with this one, best first."""
        if not self._vectors:
            return []
        scores = Matrix(self.folder / "names.i8", len(vector)).scores(vector)[: len(self._vectors)]
        best = sorted(zip(scores.tolist(), self._vectors, strict=True), key=lambda one: -one[0])
        return [one for one in best if one[1].role == role]

    def label(self, node: str) -> str:
        """What a node is called; a value is itself."""
        row = self._connection.execute("SELECT label FROM labels WHERE node = ?", (node,)).fetchone()
        return str(row[0]) if row else local_name(node.strip("<>")) if node.startswith("<") else node

    def kinds(self, node: str) -> list[str]:
        """The kinds of a thing; "" where it has none."""
        rows = self._connection.execute("SELECT kind FROM kinds WHERE node = ?", (node,))
        return [kind for (kind,) in rows] or [""]


def one_letter_apart(one: str, other: str) -> bool:
    """Whether one letter added, left out or changed, or two neighbours in each other's place, makes one the other."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    short, long = sorted((one, other), key=len)
    at = next((at for at, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(short) < len(long):
        return short[at:] == long[at + 1 :]
    return short[at + 1 :] == long[at + 1 :] or (
        short[at : at + 2] == long[at : at + 2][::-1] and short[at + 2 :] == long[at + 2 :]
    )


def write_catalog(folder: Path, select: Select, embed: Embed | None) -> None:
    """Make the catalog of a graph in a folder, replacing one that is there."""
    (folder / "catalog.sqlite").unlink(missing_ok=True)
    (folder / "names.i8").unlink(missing_ok=True)
    connection = sqlite3.connect(folder / "catalog.sqlite")
    connection.executescript(SCHEMA)
    with connection:
        connection.executemany("INSERT INTO edges VALUES (?, ?, ?, ?, ?, ?)", _edges(select))
        connection.executemany(
            "INSERT OR IGNORE INTO kinds VALUES (?, ?)",
            ((str(node), str(kind)) for node, kind in select(f"SELECT ?s ?k WHERE {{ ?s <{KIND}> ?k }}")),
        )
        properties = {one for (one,) in connection.execute("SELECT DISTINCT property FROM edges")}
        kinds = {one for (one,) in connection.execute("SELECT DISTINCT kind FROM kinds")}
        labels: dict[str, str] = {}
        for name in _names(select, properties, kinds, labels):
            words = words_of(name.text)
            if words and len(words) <= MOST_WORDS:
                connection.execute(
                    "INSERT INTO names (words, text, node, role, property, main) VALUES (?, ?, ?, ?, ?, ?)",
                    (" ".join(words), name.text, name.node, name.role, name.property, name.main),
                )
        connection.executemany("INSERT INTO labels VALUES (?, ?)", labels.items())
        connection.execute("CREATE INDEX names_by_words ON names (words)")
        if embed is not None:
            _write_vectors(connection, folder, embed)
    connection.close()


def _edges(select: Select) -> Iterator[tuple[str, str, str, str, int, int]]:
    unasked = ", ".join(f"<{one}>" for one in sorted(UNASKED))
    for is_plain in (False, True):
        value = "BIND(DATATYPE(?o) AS ?b)" if is_plain else f"OPTIONAL {{ ?o <{KIND}> ?b }}"
        rows = select(
            f"SELECT ?a ?p ?b (COUNT(*) AS ?n) (COUNT(DISTINCT ?o) AS ?m) WHERE {{ ?s ?p ?o "
            f"FILTER({'' if is_plain else '!'}isLiteral(?o)) "
            f"FILTER(?p NOT IN ({unasked})) OPTIONAL {{ ?s <{KIND}> ?a }} {value} }} GROUP BY ?a ?p ?b"
        )
        for subject, prop, end, count, different in rows:
            if prop is None or count is None or different is None:
                continue
            other = "" if end is None else end.value if is_plain else str(end)
            yield (
                "" if subject is None else str(subject),
                str(prop),
                "" if is_plain else other,
                ((other or "literal") if is_plain else ""),
                int(count.value),
                int(different.value),
            )


def _names(select: Select, properties: set[str], kinds: set[str], labels: dict[str, str]) -> Iterator[Name]:
    """Every name in a graph; the one that is shown of each node goes into `labels`."""

    def role(node: str) -> str:
        return "property" if node in properties else "kind" if node in kinds else "thing"

    for prop in (*NAMES, ALSO):
        for node, name in select(f"SELECT DISTINCT ?s ?name WHERE {{ ?s <{prop}> ?name FILTER(isLiteral(?name)) }}"):
            if node is None or node.kind == "bnode" or name is None or len(name.value) > LONGEST_NAME:
                continue
            at = str(node)
            first = prop != ALSO and at not in labels and name.language.partition("-")[0] in ("", "en")
            if first:
                labels[at] = name.value
            yield Name(name.value, at, role(at), "", first)
    for unlabelled in sorted((properties | kinds) - labels.keys()):
        labels[unlabelled] = local_name(unlabelled.strip("<>"))
        yield Name(labels[unlabelled], unlabelled, role(unlabelled), "", True)
    unnamed = (
        f"SELECT DISTINCT ?s WHERE {{ {{ ?s ?p ?o FILTER(?p != <{TEXT}>) }} UNION {{ ?o ?p ?s }} FILTER(isIRI(?s)) }}"
    )
    for (node,) in select(unnamed):
        at = str(node)
        if node is not None and at not in labels and at not in properties and node.value not in UNASKED:
            labels[at] = local_name(node.value)
            yield Name(labels[at], at, "thing", "", True)
    values = (
        f"SELECT DISTINCT ?o ?p WHERE {{ ?s ?p ?o FILTER(isLiteral(?o) && STRLEN(STR(?o)) <= {LONGEST_NAME} "
        f"&& ?p NOT IN ({', '.join(f'<{one}>' for one in sorted(UNASKED))})) }}"
    )
    for value, of in select(values):
        if value is not None and not value.datatype.endswith("#boolean"):
            yield Name(value.value, str(value), "value", str(of), True)


def _write_vectors(connection: sqlite3.Connection, folder: Path, embed: Embed) -> None:
    """Vectors of what properties are called, in a frame, and of the first names of things."""
    kind_of = dict(connection.execute("SELECT property, subject FROM edges ORDER BY count"))
    label = dict(connection.execute("SELECT node, label FROM labels"))
    chosen = connection.execute("SELECT id, text, node, role FROM names WHERE role = 'property'").fetchall()
    chosen += connection.execute(
        "SELECT id, text, node, role FROM names WHERE role = 'thing' AND main LIMIT ?", (MOST_VECTORS,)
    ).fetchall()
    texts = [
        framed(text, label.get(kind_of.get(node, ""), "")) if role == "property" else text
        for _, text, node, role in chosen
    ]
    vectors = embed(texts)
    Matrix(folder / "names.i8", vectors.shape[1]).write(dict(enumerate(vectors)))
    connection.executemany("INSERT INTO vectors VALUES (?, ?)", [(at, one[0]) for at, one in enumerate(chosen)])
