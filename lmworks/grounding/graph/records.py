"""Records as facts: the rows of a CSV table or the objects of a JSON file, by a mapping, as RDF quads.

Things are named `urn:lmworks:GRAPH:KIND:KEY`, properties `urn:lmworks:GRAPH:property:NAME`; names and other names stand
as rdfs:label and skos:altLabel, kinds as rdf:type, so that any RDF store can be asked the same.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.extras import require
from lmworks.grounding.graph.mapping import NAMES, PropertyMapping, RecordMapping, values_at
from lmworks.grounding.graph.terms import ALSO, KIND, LABEL
from lmworks.text.formats.csv_table import rows_with_titles
from lmworks.text.plain import read_text, storable

WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")
DECIMAL = re.compile(r"-?(0|[1-9]\d{0,17})\.\d{1,17}")
TRUTH = {"true": True, "yes": True, "false": False, "no": False}


def read_records(path: Path, mapping: RecordMapping) -> list[Mapping[str, Any]]:
    """The records of a .csv or .json file; DataError where there are none."""
    if path.suffix.lower() == ".csv":
        rows: list[Mapping[str, Any]] = list(rows_with_titles(path))
        if not rows:
            raise DataError(f"{path} holds no list of records: a row of names, and below it the records")
        return rows
    try:
        held = _storable(json.loads(read_text(path)))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}); mend it, or give a .csv file or RDF") from None
    for step in mapping.records.split(".") if mapping.records else ():
        held = held.get(step) if isinstance(held, Mapping) else None
    if isinstance(held, Mapping) and mapping.records is None:
        lists = [one for one in held.values() if isinstance(one, list)]
        held = lists[0] if len(lists) == 1 else list(held.values())
    found = [one for one in held if isinstance(one, Mapping)] if isinstance(held, list) else []
    if not any(found):
        where = f" at {mapping.records}" if mapping.records else ""
        raise DataError(f"{path} holds no list of records{where}; name it in the mapping: records = ...")
    return found


def _storable(held: Any) -> Any:
    """What JSON holds, with its names and texts as stores keep them."""
    if isinstance(held, dict):
        return {storable(name): _storable(value) for name, value in held.items()}
    if isinstance(held, list):
        return [_storable(one) for one in held]
    return storable(held) if isinstance(held, str) else held


class Facts:
    """The quads of records, with what was counted on the way."""

    def __init__(
        self, records: Sequence[Mapping[str, Any]], mapping: RecordMapping, name: str, graph: str, cells: bool
    ) -> None:
        self.ox = require("pyoxigraph", "graph")
        self.records, self.name, self.cells = records, name, cells
        self.graph = self.ox.NamedNode(graph)
        self.mapping = _completed(mapping, records, name)
        self.thing = str(self.mapping.thing)
        self.skipped = 0
        """Records without a name."""
        self.dangling = 0
        """Values that should refer to a record and do not."""
        self.keys = {key: self._thing(self.thing, key) for key in map(self._key, records) if key is not None}
        named = ((self._name(one), self._key(one)) for one in records)
        self.by_name = {label: self.keys[key] for label, key in named if key is not None and label is not None}

    def quads(self) -> Iterator[Any]:
        """All facts; each thing, property and kind is described once."""
        described: set[Any] = set()
        yield from self._described(described, self._kind(self.thing), self.thing, self.thing)
        for name, one in self.mapping.properties.items():
            yield self._quad(self._property(name), LABEL, self.ox.Literal(name))
            yield from (self._quad(self._property(name), ALSO, self.ox.Literal(word)) for word in one.words)
        for record in self.records:
            key, label = self._key(record), self._name(record)
            if key is None or label is None:
                self.skipped += 1
                continue
            subject = self.keys[key]
            yield self._quad(subject, LABEL, self.ox.Literal(label))
            yield self._quad(subject, KIND, self._kind(self.thing))
            others = dict.fromkeys(str(value) for path in self.mapping.aliases for value in values_at(record, path))
            yield from (self._quad(subject, ALSO, self.ox.Literal(one)) for one in others if one != label)
            for name, one in self.mapping.properties.items():
                for value in _split(values_at(record, one.field or name), one.separator):
                    yield from self._fact(subject, name, one, value, described)

    def _fact(self, subject: Any, name: str, one: PropertyMapping, value: Any, described: set[Any]) -> Iterator[Any]:
        if one.refers:
            found = self.keys.get(str(value)) or self.by_name.get(str(value))
            self.dangling += found is None
            if found is not None:
                yield self._quad(subject, self._property(name).value, found)
        elif one.thing is not None:
            thing = self._thing(one.thing, str(value))
            yield from self._described(described, self._kind(one.thing), one.thing, one.thing)
            if thing not in described:
                described.add(thing)
                yield self._quad(thing, LABEL, self.ox.Literal(str(value)))
                yield self._quad(thing, KIND, self._kind(one.thing))
            yield self._quad(subject, self._property(name).value, thing)
        else:
            yield self._quad(subject, self._property(name).value, self._literal(value))

    def _described(self, described: set[Any], node: Any, label: str, kind: str) -> Iterator[Any]:
        """What a kind is called, the first time that it occurs."""
        if node not in described:
            described.add(node)
            yield self._quad(node, LABEL, self.ox.Literal(label))
            yield from (self._quad(node, ALSO, self.ox.Literal(word)) for word in self.mapping.words.get(kind, ()))

    def _literal(self, value: Any) -> Any:
        if self.cells and isinstance(value, str):  # JSON says itself what is a number
            if value.casefold() in TRUTH:
                return self.ox.Literal(TRUTH[value.casefold()])
            if WHOLE.fullmatch(value):
                return self.ox.Literal(int(value))
            if DECIMAL.fullmatch(value):
                return self.ox.Literal(float(value))
        return self.ox.Literal(value)

    def _quad(self, subject: Any, predicate: str, value: Any) -> Any:
        return self.ox.Quad(subject, self.ox.NamedNode(predicate), value, self.graph)

    def _key(self, record: Mapping[str, Any]) -> str | None:
        return _first(record, self.mapping.key or str(self.mapping.name))

    def _name(self, record: Mapping[str, Any]) -> str | None:
        return _first(record, str(self.mapping.name))

    def _thing(self, kind: str, key: str) -> Any:
        return self.ox.NamedNode(f"urn:lmworks:{_safe(self.name)}:{_safe(kind)}:{_safe(key)}")

    def _kind(self, kind: str) -> Any:
        return self.ox.NamedNode(f"urn:lmworks:{_safe(self.name)}:kind:{_safe(kind)}")

    def _property(self, name: str) -> Any:
        return self.ox.NamedNode(f"urn:lmworks:{_safe(self.name)}:property:{_safe(name)}")


def _completed(mapping: RecordMapping, records: Sequence[Mapping[str, Any]], name: str) -> RecordMapping:
    """The mapping with what it leaves to the file; ConfigError for a field that no record has."""
    fields = list(dict.fromkeys(itertools.chain.from_iterable(records)))
    by_case = {one.casefold(): one for one in reversed(fields)}
    called = mapping.name or next((by_case[one] for one in NAMES if one in by_case), fields[0])
    given = [("name", called), ("key", mapping.key)]
    given += [(f"properties.{one}", told.field or one) for one, told in mapping.properties.items()]
    for where, path in given:
        if path is not None and not any(True for record in records for _ in values_at(record, path)):
            raise ConfigError(f"{where}: no record has a field {path}; there are {', '.join(fields[:20])}")
    properties = mapping.properties
    if not properties:
        names = {_first(record, called) for record in records}
        others = [one for one in fields if one not in (called, mapping.key)]
        properties = {one: PropertyMapping(field=one, refers=_all_in(records, one, names)) for one in others}
    return mapping.but(name=called, thing=mapping.thing or name.replace("_", " "), properties=properties)


def _all_in(records: Sequence[Mapping[str, Any]], field: str, names: set[str | None]) -> bool:
    """Whether the field holds names of records and nothing else."""
    values = [str(value) for record in records for value in values_at(record, field)]
    return bool(values) and all(value in names for value in values)


def _first(record: Mapping[str, Any], path: str) -> str | None:
    return next((str(value) for value in values_at(record, path)), None)


def _split(values: Iterator[Any], separator: str | None) -> Iterator[Any]:
    """Each value once, cells with several of them cut."""
    parts = (
        part.strip() if isinstance(part, str) else part
        for value in values
        for part in (value.split(separator) if separator and isinstance(value, str) else [value])
    )
    yield from (one for one in dict.fromkeys(parts) if one != "")


def _safe(text: str) -> str:
    return quote(text, safe="")
