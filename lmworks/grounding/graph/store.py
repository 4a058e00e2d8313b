"""The folder of a graph: `store/` (pyoxigraph), the catalog, and `graph.json`, which says what it was made from.

    with changed(folder) as store: ...            # the graph as it was, to be changed: all of it or nothing

Nobody writes into a folder that is read: a change makes a new one from the old one's files and takes its place, so
that a kill leaves the old graph or the new one. Each source's facts stand in a named graph of their own.
"""

from __future__ import annotations

import contextlib
import gc
import json
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.extras import require
from lmworks.basics.files import (
    directory_written_whole,
    must_be_elsewhere,
    names_in,
    restore_directory,
    sha256,
    write_json,
)
from lmworks.grounding.graph.catalog import Select, write_catalog
from lmworks.grounding.graph.mapping import RecordMapping
from lmworks.grounding.graph.records import Facts, read_records
from lmworks.grounding.graph.running import Endpoint
from lmworks.grounding.graph.terms import Term
from lmworks.grounding.graph.worker import binding_of
from lmworks.text.plain import UnreadableError, check_size
from lmworks.text.registry import ENTRIES, content

VERSION = 1
EMBEDDER = "minilm"
"""Whose vectors stand for the names of a new graph."""
RDF = {".ttl": "TURTLE", ".nt": "N_TRIPLES", ".rdf": "RDF_XML", ".xml": "RDF_XML", ".owl": "RDF_XML"}
RECORDS = (".csv", ".json")
OWN_FILES = {"graph.json", "catalog.sqlite", "names.i8", "store"}
"""What a graph's folder holds."""
PATIENCE = 30.0
"""Seconds that a query for a catalog may take at an endpoint."""
PAGE, MOST_ROWS = 5000, 500_000
"""Rows that are asked for at once, and in all, of an endpoint."""


@dataclass(frozen=True)
class GraphSource:
    """A file or document that a graph was made from."""

    name: str
    """What its facts cite: of files with one name, as much of each path as tells them apart."""
    hash: str
    """SHA-256 of the file, and of the mapping."""
    triples: int
    text: bool = False
    """Whether its facts were found in text, those of each sentence in a graph of their own."""
    path: str = ""
    """Where the file lay, or the registry's name of it; empty for text, and in graphs that were made before this."""


@dataclass(frozen=True)
class GraphState:
    """What a graph's folder says of itself."""

    sources: dict[str, GraphSource] = field(default_factory=dict)
    embedder: str = EMBEDDER
    """Whose vectors stand for names; empty without any."""
    endpoint: str = ""
    """Where the facts are, if they are not here."""
    extraction: dict[str, Any] = field(default_factory=dict)
    """Figures of the last extraction from text."""
    reference: str = ""
    """The folder, or whatever its text was read from; empty without text, and in graphs that were made before this."""
    sure: float | None = None
    """Probability above which a relation of its text became a fact; None where `reference` is empty."""


@dataclass(frozen=True)
class Loaded:
    """What a load did."""

    changed: bool
    """False where the source was loaded before and is as it was."""
    triples: int
    """Of this source."""
    total: int
    """Of the whole graph."""
    records: int = 0
    skipped: int = 0
    """Records without a name."""
    dangling: int = 0
    """References to records that are not there."""
    replaced: str = ""
    """Another file of the same name whose facts these replace, as it is not there any more, or as the graph was made
    before it was kept where its files lay."""


def read_state(folder: Path) -> GraphState:
    """What a graph's folder says of itself; DataError where it holds no graph."""
    restore_directory(folder)
    try:
        held = json.loads((folder / "graph.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder} holds no graph; make one: lmworks graph load FILE --out {folder}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}/graph.json cannot be read ({error}); make the graph again") from None
    if held.pop("version", None) != VERSION:
        raise DataError(f"{folder} was made by another lmworks; make the graph again")
    held["sources"] = {one["name"]: GraphSource(**one) for one in held["sources"]}
    return GraphState(**held)


def state_before(folder: Path, new: GraphState) -> GraphState:
    """What a graph that facts are brought into says of itself; that of a `new` one where there is none. ConfigError for
    the catalog of an endpoint: what it is asked is asked there, so that facts here would never be seen; and for a
    folder of other files."""
    _refuse_other_files(folder)
    if not (folder / "graph.json").exists():
        return new
    state = read_state(folder)
    if state.endpoint:
        raise ConfigError(f"{folder} is a graph whose facts are at {state.endpoint}; give another --out for those here")
    return state


def load(file: str | Path, out: str | Path, mapping: RecordMapping | None = None, embedder: str | None = "") -> Loaded:
    """Bring the facts of a file into the graph in `out`, in place of those that the same file gave before. Files of
    one name that lie in different folders stand beside each other.

    Turtle, N-Triples and RDF/XML as they are; .csv and .json by a mapping. Names are found by the vectors of an
    `embedder`; of the graph's own unless one is given, which is minilm in a new graph, and by words alone with None.
    DataError for a file that cannot be read, ConfigError for a mapping that names what is not there, and for another
    embedder than that of the graph.
    """
    if str(file) in ENTRIES and not Path(file).exists():
        with tempfile.TemporaryDirectory() as folder:
            held = Path(folder, ENTRIES[str(file)].file)
            held.write_bytes(content(str(file)))
            return _load(held, str(file), Path(out), mapping, embedder)
    return _load(Path(file), str(Path(file).resolve()), Path(out), mapping, embedder)


def _load(file: Path, path: str, out: Path, mapping: RecordMapping | None, embedder: str | None) -> Loaded:
    """Load a file that lies at a path, or has a name of the registry."""
    suffix = file.suffix.lower()
    if not file.is_file():
        raise DataError(f"{file} is not a file; give one of {', '.join((*RDF, *RECORDS))}")
    if suffix not in (*RDF, *RECORDS):
        raise DataError(f"{file} is in no format that is read here; give one of {', '.join((*RDF, *RECORDS))}")
    if mapping is not None and suffix in RDF:
        raise ConfigError(f"{file} is RDF and says itself what is what; leave the mapping out")
    try:
        check_size(file)
        told = mapping or RecordMapping()
        digest = sha256(file) + (f" {told.model_dump_json()}" if suffix in RECORDS else "")
        before = state_before(out, GraphState(embedder=embedder_of(out, embedder)))
        known = _same_file(before.sources.values(), file.name, path)
        if known and known.hash == digest and known.path == path:
            return Loaded(False, known.triples, sum(one.triples for one in before.sources.values()))
        others = [one for one in before.sources.values() if one is not known]
        names = _told_apart([path, *(one.path for one in others)], [file.name, *(one.name for one in others)])
        renamed = {one.name: now for one, now in zip(others, names[1:], strict=True)}
        name, others = names[0], [replace(one, name=renamed[one.name]) for one in others]
        with changed(out) as making:
            graph = f"file:{quote(name)}"
            making.remove([known.name] if known else [])
            making.rename(renamed)
            facts = None
            with progress.task(f"loading {name}"):
                if suffix in RDF:
                    _load_rdf(making.store, file, RDF[suffix], graph)
                else:
                    facts = Facts(read_records(file, told), told, file.stem, graph, suffix == ".csv")
                    making.store.bulk_extend(facts.quads())
            triples = _count(making.store, graph)
            if not triples:
                raise DataError(f"{file} holds no facts")
            sources = {one.name: one for one in (*others, GraphSource(name, digest, triples, path=path))}
            making.finish(replace(before, sources=sources))
    except UnreadableError as reason:
        raise DataError(f"{file}: {reason}") from None
    total = sum(one.triples for one in sources.values())
    counted = (len(facts.records), facts.skipped, facts.dangling) if facts else (0, 0, 0)
    replaced = (known.path or known.name) if known and known.path != path else ""
    return Loaded(True, triples, total, *counted, replaced=replaced)


def embedder_of(folder: Path, told: str | None) -> str:
    """Whose vectors stand for the names of a graph, empty for nobody's: `told` is a name, None for words alone, or
    empty for the graph's own. ConfigError where the graph was made with another one."""
    if not (folder / "graph.json").exists():
        return EMBEDDER if told == "" else told or ""
    made = read_state(folder).embedder
    if told not in ("", made or None):
        raise ConfigError(
            f"{folder} was made with embedder {made or 'none'}, and not {told or 'none'}; give another folder for it, "
            "or no embedder"
        )
    return made


def _same_file(sources: Iterable[GraphSource], name: str, path: str) -> GraphSource | None:
    """The source whose facts a load of a file replaces: the same file; else one of its name that is not where it was,
    or of which an older lmworks did not keep where it was."""
    own = [one for one in sources if not one.text]
    gone = [one for one in own if PurePath(one.name).name == name and not _is_there(one.path)]
    return next((one for one in own if one.path == path), gone[0] if gone else None)


def _is_there(path: str) -> bool:
    return path in ENTRIES or (bool(path) and Path(path).is_file())


def _told_apart(paths: Sequence[str], names: Sequence[str]) -> list[str]:
    """A name for each source: the shortest end of its path that no other one has; its own where it has no path."""
    parts = [PurePath(path).parts if path not in ENTRIES else () for path in paths]
    found = []
    for at, (own, name) in enumerate(zip(parts, names, strict=True)):
        others = {
            other[-count:]
            for place, one in enumerate(parts)
            if place != at
            for other in (one or PurePath(names[place]).parts,)
            for count in range(1, len(other) + 1)
        }
        ends = (own[-count:] for count in range(1, len(own) + 1))
        end = next((one for one in ends if one not in others), own)
        found.append(PurePath(*end).as_posix() if own else name)
    return found


def load_endpoint(address: str, out: str | Path, embedder: str | None = "") -> Loaded:
    """Make the catalog of a SPARQL endpoint in `out`: a graph whose facts stay where they are. The `embedder` is as in
    `load`."""
    endpoint, out = Endpoint(address, seconds=PATIENCE), Path(out)
    if (out / "graph.json").exists() and read_state(out).endpoint != address:
        raise ConfigError(f"{out} is another graph; give another --out for {address}")
    using = embedder_of(out, embedder)

    def select(query: str) -> Iterator[Sequence[Term | None]]:
        for start in range(0, MOST_ROWS, PAGE):
            rows = endpoint.run(f"{query} LIMIT {PAGE} OFFSET {start}", PAGE).rows
            yield from rows
            if len(rows) < PAGE:
                return
        raise DataError(f"{address} holds more than {MOST_ROWS:,} names, too many to ask for; load its files instead")

    (counted,) = endpoint.run("SELECT (COUNT(*) AS ?n) WHERE { ?s ?p ?o }").rows
    triples = int(counted[0].value) if counted[0] else 0
    with changed(out) as making:
        making.finish(GraphState(embedder=using, endpoint=address), select)
    return Loaded(True, triples, triples)


@dataclass
class Making:
    """A graph that is being made."""

    folder: Path
    store: Any

    def remove(self, names: Collection[str]) -> None:
        """Take out the facts of some sources."""
        gone = {f"file:{quote(name)}" for name in names}
        for graph in [one for one in self.store.named_graphs() if one.value.partition("#char=")[0] in gone]:
            self.store.remove_graph(graph)

    def rename(self, names: Mapping[str, str]) -> None:
        """Give the facts of sources other names to be cited by."""
        ox = require("pyoxigraph", "graph")
        for was, now in names.items():
            if was != now:
                old, new = (ox.NamedNode(f"file:{quote(one)}") for one in (was, now))
                held = self.store.quads_for_pattern(None, None, None, old)
                self.store.extend([ox.Quad(one.subject, one.predicate, one.object, new) for one in held])
                self.store.remove_graph(old)

    def finish(self, state: GraphState, select: Select | None = None) -> None:
        """Write the catalog, from what `select` gives if it is not the store, and the state."""
        embed = None
        if state.embedder:
            from lmworks.loading import load as load_model

            model = load_model(state.embedder)
            embed = lambda texts: model.vectors(list(texts), cut=True)  # noqa: E731
        with progress.task("naming"):
            write_catalog(self.folder, select or self._select, embed)
        self.store.flush()
        self.store.optimize()
        held = asdict(state) | {"version": VERSION, "sources": [asdict(one) for one in state.sources.values()]}
        write_json(self.folder / "graph.json", held)

    def _select(self, query: str) -> Iterable[Sequence[Term | None]]:
        for row in self.store.query(query, use_default_graph_as_union=True):
            yield [None if one is None else Term.of(binding_of(one)) for one in row]


@contextlib.contextmanager
def changed(out: Path) -> Iterator[Making]:
    """A copy of the graph in `out`, or an empty one, that takes its place when the block ends without an error.
    ConfigError where the folder holds other files, which would be lost."""
    from filelock import FileLock, Timeout

    ox = require("pyoxigraph", "graph")
    must_be_elsewhere(out)
    _refuse_other_files(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out.parent / f".{out.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DataError(f"another process is changing {out}; wait for it") from None
    try:
        with directory_written_whole(out, alone=True) as making:
            if (out / "store").is_dir():
                shutil.copytree(out / "store", making / "store")
            held = Making(making, ox.Store(str(making / "store")))
            try:
                yield held
            finally:
                held.store = None
                gc.collect()  # lets go of the store's files
    finally:
        lock.release()


def _refuse_other_files(out: Path) -> None:
    """ConfigError for a folder that holds anything but a graph, and would be replaced."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; give an empty folder, or a new one, for the graph")
    names = names_in(out)
    others = [one for one in names if one not in OWN_FILES] or (names if "graph.json" not in names else [])
    if others:
        raise ConfigError(
            f"{out} holds {others[0]}, which is no part of a graph and would be lost; give an empty folder, or a new "
            "one, for the graph"
        )


def _load_rdf(store: Any, file: Path, format_: str, graph: str) -> None:
    ox = require("pyoxigraph", "graph")
    try:
        store.bulk_load(
            path=str(file),
            format=getattr(ox.RdfFormat, format_),
            base_iri=file.resolve().as_uri(),  # so that files of one name in two folders stay apart
            to_graph=ox.NamedNode(graph),
        )
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{file} is not {format_.replace('_', '-').title()}: {error}") from None


def _count(store: Any, graph: str) -> int:
    found = next(iter(store.query(f"SELECT (COUNT(*) AS ?n) WHERE {{ GRAPH <{graph}> {{ ?s ?p ?o }} }}")))
    return int(found[0].value)
