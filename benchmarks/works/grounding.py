"""An index of documents beside its peers: how long a query takes, and how fast documents are indexed.

`python -m benchmarks grounding`; `"grounding, keywords"` and so on for a part. A query has 8 words, drawn as often as
they occur in the texts, and a vector that is given: embedding it is not timed. Its time is the 95th percentile of 100,
for the ten best of keywords and vectors together, nothing reranked. `recall`: the share of the ten nearest vectors, by
products of all in float32, that a search by vectors alone finds; LanceDB has no index over its vectors, which would
find fewer. Texts and vectors are made up, the same for everybody, and indexed once, into the cache folder (a million
chunks: 3 GB and some minutes each). Keywords are those of all of python-reference, parsing included, by processor time.
That one of 1,000 files changed is found and taken over with the embedder in memory (`cold`: with its loading); what
ours finds then must be what an index that is built anew (`anew`, in seconds) finds. Needs lancedb, bm25s and
sentence-transformers.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.work import Facts, Side, Work
from benchmarks.works.embed import paragraphs

DIM, WORDS, TERMS = 384, 80, 200_000
"""Of a vector; of a chunk, in the mean; that there are."""
QUERIES, WARM, BEST = 100, 10, 10
DOCUMENT = 20
"""Chunks of a document."""
PART = 8192
"""Chunks that are made at once."""


class Made(NamedTuple):
    """Some chunks."""

    first: int
    texts: list[str]
    vectors: np.ndarray


def _words(draw: np.random.Generator, count: int) -> list[str]:
    """Words as often as Zipf's law says."""
    weights = np.cumsum(1 / (np.arange(TERMS) + 2.7) ** 1.05)
    return [f"w{one}" for one in np.searchsorted(weights, draw.random(count) * weights[-1]).tolist()]


def _vectors(draw: np.random.Generator, count: int) -> np.ndarray:
    made = draw.standard_normal((count, DIM)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def made(chunks: int) -> Iterator[Made]:
    """All chunks, in parts."""
    for first in range(0, chunks, PART):
        draw, count = np.random.default_rng(first), min(PART, chunks - first)
        ends = np.cumsum(draw.integers(WORDS // 2, WORDS * 3 // 2, count))
        words = _words(draw, int(ends[-1]))
        texts = [" ".join(words[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        yield Made(first, texts, _vectors(draw, count))


def queries() -> list[tuple[str, np.ndarray]]:
    """Words and vectors."""
    draw = np.random.default_rng(1_000_000_007)
    vectors = _vectors(draw, QUERIES + WARM)
    return [(" ".join(_words(draw, 8)), vector) for vector in vectors]


def timed(search: Callable[[str, np.ndarray], list[int]]) -> Facts:
    """The 95th percentile of a query in milliseconds, and the median; the first ones warm up. `processor` is that
    percentile of processor time, all threads together, which a busy machine changes less."""
    taken = []
    for text, vector in queries():
        start = np.array([time.perf_counter(), time.process_time()])
        if len(search(text, vector)) != BEST:
            raise SystemExit(f"a query found fewer than {BEST}")
        taken.append((np.array([time.perf_counter(), time.process_time()]) - start) * 1e3)
    counted = np.array(taken[WARM:])
    value, processor = np.percentile(counted, 95, axis=0).tolist()
    return {"value": value, "median": round(float(np.median(counted[:, 0])), 2), "processor": round(processor, 2)}


def nearest(chunks: int) -> np.ndarray:
    """The numbers of the vectors nearest to each query's [QUERIES + WARM, BEST], by all products in float32."""

    def fill(folder: Path) -> None:
        asked = np.array([vector for _, vector in queries()])
        numbers, scores = np.zeros((len(asked), 0), np.int64), np.zeros((len(asked), 0), np.float32)
        for part in made(chunks):
            here = np.broadcast_to(np.arange(part.first, part.first + len(part.texts)), (len(asked), len(part.texts)))
            numbers, scores = np.hstack([numbers, here]), np.hstack([scores, asked @ part.vectors.T])
            best = np.argpartition(-scores, BEST, axis=1)[:, :BEST]
            numbers, scores = np.take_along_axis(numbers, best, 1), np.take_along_axis(scores, best, 1)
        np.save(folder / "numbers.npy", numbers)

    found: np.ndarray = np.load(_place("nearest", chunks, fill) / "numbers.npy")
    return found


def recalled(chunks: int, search: Callable[[np.ndarray], list[int]]) -> Facts:
    """`recall` of a search by vectors alone, and `recall_n`, the neighbours that were looked for."""
    expected = nearest(chunks)
    hits = [len({*search(vector)} & {*row}) for (_, vector), row in zip(queries(), expected.tolist(), strict=True)]
    return {"recall": sum(hits) / expected.size, "recall_n": expected.size}


def _place(name: str, chunks: int, make: Callable[[Path], None]) -> Path:
    """A folder that is made once."""
    from lmworks.basics.files import cache_folder, directory_written_whole

    place = cache_folder("benchmarks") / f"{name}-{chunks}"
    if not place.exists():
        with directory_written_whole(place) as folder:
            make(folder)
    return place


def search_ours(chunks: int) -> Facts:
    """`Index.search` with both."""
    from lmworks.grounding.index import open_index

    index = open_index(_place("index", chunks, lambda folder: _indexed(folder, chunks)) / "index")

    def search(text: str, vector: np.ndarray) -> list[int]:
        index.__dict__["query_vector"] = lambda _text: vector
        return [one.chunk for one in index.search(text, BEST)]

    def by_vectors(vector: np.ndarray) -> list[int]:
        index.__dict__["query_vector"] = lambda _text: vector
        return [one.chunk for one in index.search("any", BEST, by="vectors")]

    return timed(search) | recalled(chunks, by_vectors)


def _indexed(folder: Path, chunks: int) -> None:
    """Chunks with their vectors as an index holds them."""
    from lmworks.grounding import index, postings
    from lmworks.grounding.chunks import Chunk
    from lmworks.text.document import Document

    held = {
        "version": str(index.VERSION),
        "settings": index.IndexSettings().model_dump_json(),
        "reference": "made up",
        "made_with": "",
        "dim": str(DIM),
        "state": "made",
        "languages": json.dumps({"none": chunks}),
    }
    with index.storage_of(folder / "index").making(held) as writing:
        for part in made(chunks):
            for at in range(0, len(part.texts), DOCUMENT):
                texts, name = part.texts[at : at + DOCUMENT], f"{part.first + at}.txt"
                document = Document(" ".join(texts), name)
                writing.set_files([(name, len(document.text), 0, document.hash)])
                number = writing.add_document(document, name, "none")
                ends = np.cumsum([len(one) + 1 for one in texts]).tolist()
                spans = zip([0, *ends[:-1]], ends, texts, strict=True)
                cut = {
                    part.first + at + place: (number, Chunk(start, end - 1, name, "", text))
                    for place, (start, end, text) in enumerate(spans)
                }
                writing.add_chunks(cut)
            postings.change(writing, {part.first + at: text.split() for at, text in enumerate(part.texts)}, {})
            writing.add_vectors({part.first + at: vector for at, vector in enumerate(part.vectors)})


def search_lancedb(chunks: int) -> Facts:
    """A table with an index of its texts, its hybrid search."""
    import lancedb
    import pyarrow

    def fill(folder: Path) -> None:
        fields = [pyarrow.field("id", pyarrow.int64()), pyarrow.field("text", pyarrow.string())]
        schema = pyarrow.schema([*fields, pyarrow.field("vector", pyarrow.list_(pyarrow.float32(), DIM))])

        def batches() -> Iterator[Any]:
            for part in made(chunks):
                numbers = np.arange(part.first, part.first + len(part.texts))
                flat = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(part.vectors.ravel()), DIM)
                yield pyarrow.RecordBatch.from_arrays(
                    [pyarrow.array(numbers), pyarrow.array(part.texts), flat], schema=schema
                )

        table = lancedb.connect(folder).create_table("chunks", batches(), schema=schema)
        table.create_fts_index("text", language="English", stem=False, remove_stop_words=False)

    table = lancedb.connect(_place("lancedb", chunks, fill)).open_table("chunks")

    def search(text: str, vector: np.ndarray) -> list[int]:
        found = table.search(query_type="hybrid").vector(vector).text(text).limit(BEST).select(["id", "text"])
        return [int(one) for one in found.to_arrow()["id"].to_pylist()]

    def by_vectors(vector: np.ndarray) -> list[int]:
        found = table.search(vector).distance_type("cosine").limit(BEST).select(["id"]).to_arrow()
        return [int(one) for one in found["id"].to_pylist()]

    return timed(search) | recalled(chunks, by_vectors)


def search_bm25s(chunks: int) -> Facts:
    """bm25s, its compiled part with it where numba is there, and a float32 matrix in numpy, fused as ours are."""
    import bm25s

    def fill(folder: Path) -> None:
        retriever = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
        texts = [text for part in made(chunks) for text in part.texts]
        retriever.index(bm25s.tokenize(texts, stopwords=None, show_progress=False), show_progress=False)
        retriever.save(folder)
        np.save(folder / "vectors.npy", np.concatenate([part.vectors for part in made(chunks)]))
        (folder / "texts.json").write_text(json.dumps(texts))

    place = _place("bm25s", chunks, fill)
    retriever, matrix = bm25s.BM25.load(place, mmap=False), np.load(place / "vectors.npy")
    texts = json.loads((place / "texts.json").read_text())

    def spread(scores: np.ndarray) -> np.ndarray:
        return (scores - scores.min()) / (scores.max() - scores.min())

    def search(text: str, vector: np.ndarray) -> list[int]:
        keywords = retriever.get_scores(text.split())
        scores = spread(matrix @ vector) + spread(keywords)
        best = np.argpartition(scores, -BEST)[-BEST:]
        found = best[np.argsort(-scores[best])]
        return [at for at in found.tolist() if texts[at]]

    def by_vectors(vector: np.ndarray) -> list[int]:
        return [int(one) for one in np.argpartition(matrix @ vector, -BEST)[-BEST:]]

    return timed(search) | recalled(chunks, by_vectors)


REFERENCE = "python-reference"


def _characters() -> int:
    from lmworks.text.sources import read

    return sum(len(document.text) for document in read(REFERENCE).documents)


def keywords_ours() -> Facts:
    """A whole index of it, but for the vectors, which are all the same."""
    from lmworks import loading
    from lmworks.grounding import index

    class Same:
        """The embedder's tokenizer, and no vectors."""

        batch_invariant = True

        def __init__(self) -> None:
            self.model = loading.load("minilm", compress="none")

        def vectors(self, texts: list[str], **_how: Any) -> np.ndarray:
            return np.ones((len(texts), DIM), np.float32)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.model, name)

    same, size = Same(), _characters()
    loading.load = lambda *_given, **_how: same  # type: ignore[assignment,return-value]
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "first.txt").write_text("What the first index imports is not timed, as of bm25s.", encoding="utf-8")
        index.build(folder / "first.txt", folder / "first")
        start = time.process_time()
        index.build(REFERENCE, folder / "index")
        return {"value": size / 1e6 / (time.process_time() - start)}
    finally:
        shutil.rmtree(folder)


def keywords_bm25s() -> Facts:
    """The same documents, not cut into chunks; words cut to their stems by the same library; stored."""
    import bm25s
    import snowballstemmer

    from lmworks.text.sources import read

    size, folder = _characters(), Path(tempfile.mkdtemp())
    try:
        start = time.process_time()
        texts = [document.text for document in read(REFERENCE).documents]
        stem = snowballstemmer.stemmer("english").stemWords
        tokens = bm25s.tokenize(texts, stopwords=None, stemmer=stem, show_progress=False)
        retriever = bm25s.BM25()
        retriever.index(tokens, show_progress=False)
        retriever.save(folder)
        return {"value": size / 1e6 / (time.process_time() - start)}
    finally:
        shutil.rmtree(folder)


def _texts_a_second(embed: Callable[[list[str]], object]) -> Facts:
    texts = paragraphs()
    embed(texts)
    start = time.perf_counter()
    embed(texts)
    return {"value": len(texts) / (time.perf_counter() - start)}


def vectors_ours() -> Facts:
    """As an index embeds them: the same vectors to the bit in any company."""
    import lmworks as lm
    from lmworks.grounding.indexing import Indexer

    model = lm.load("minilm")
    return _texts_a_second(Indexer(lambda: model, 160, "english").vectors)


def vectors_peer() -> Facts:
    """sentence-transformers with its own defaults."""
    from benchmarks.works.embed import peer

    return _texts_a_second(peer())


FILES = 1000


def _in_files(folder: Path) -> None:
    """python-reference as so many files."""
    from lmworks.text.sources import read

    text = "\n".join(document.text for document in read(REFERENCE).documents)
    size = len(text) // FILES
    folder.mkdir(parents=True)
    for number in range(FILES):
        (folder / f"{number:04}.txt").write_text(text[number * size :][:size], encoding="utf-8")


def _changed(folder: Path) -> None:
    path = folder / "0500.txt"
    path.write_text(path.read_text(encoding="utf-8") + "\nThe ferry to Heligoland leaves at noon.\n", encoding="utf-8")


def changed_ours() -> Facts:
    """`Index.update`; then the same questions to an index that is built anew."""
    from lmworks.grounding.index import build, open_index

    folder = Path(tempfile.mkdtemp())
    try:
        _in_files(folder / "text")
        index = build(folder / "text", folder / "index")
        _changed(folder / "text")
        start = time.perf_counter()
        index.update()
        taken = time.perf_counter() - start
        _changed(folder / "text")
        start = time.perf_counter()
        index = open_index(folder / "index")
        index.update()
        cold = time.perf_counter() - start
        start = time.perf_counter()
        anew = build(folder / "text", folder / "anew")
        facts = {"value": taken * 1e3, "cold": round(cold, 2), "anew": round(time.perf_counter() - start, 2)}
        for query in ("When does the ferry leave?", "What does a finally clause do?", "dictionary keys"):
            both = [[(one.file, one.start, one.score) for one in each.search(query)] for each in (index, anew)]
            if both[0] != both[1]:
                raise SystemExit(f"{query}: after the update it finds {both[0]}, anew {both[1]}")
        return facts
    finally:
        shutil.rmtree(folder)


def changed_lancedb() -> Facts:
    """A table of the same files, one row each, with sentence-transformers' vectors and an index of its texts."""
    import hashlib

    import lancedb

    from benchmarks.works.embed import peer

    def row(path: Path) -> dict[str, Any]:
        text = path.read_text(encoding="utf-8")
        return {"file": path.name, "hash": hashlib.sha256(text.encode()).hexdigest(), "text": text}

    folder = Path(tempfile.mkdtemp())
    try:
        _in_files(folder / "text")
        embed, paths = peer(), sorted((folder / "text").iterdir())
        rows = [row(path) for path in paths]
        vectors = embed([one["text"] for one in rows]).tolist()
        rows = [one | {"vector": vector} for one, vector in zip(rows, vectors, strict=True)]
        table = lancedb.connect(folder / "table").create_table("chunks", rows)
        table.create_fts_index("text", language="English", stem=True)
        known = {one["file"]: one["hash"] for one in rows}
        _changed(folder / "text")
        start = time.perf_counter()
        for one in map(row, paths):
            if one["hash"] != known[one["file"]]:
                table.delete(f"file = '{one['file']}'")
                table.add([one | {"vector": embed([one["text"]])[0].tolist()}])
        table.optimize()
        return {"value": (time.perf_counter() - start) * 1e3}
    finally:
        shutil.rmtree(folder)


def _search(chunks: int, name: str) -> Work:
    return Work(
        f"grounding, search in {name} chunks",
        (
            Side("lmworks", "int8", lambda: search_ours(chunks)),
            Side("LanceDB", "fp32", lambda: search_lancedb(chunks)),
            Side("bm25s and numpy", "fp32", lambda: search_bm25s(chunks)),
        ),
        unit="ms",
    )


SEARCH_FEW, SEARCH, SEARCH_MORE = _search(20_000, "20k"), _search(100_000, "100k"), _search(1_000_000, "1M")
KEYWORDS = Work(
    "grounding, keywords indexed, processor time",
    (Side("lmworks", "", keywords_ours), Side("bm25s", "", keywords_bm25s)),
    unit="MB/s",
)
VECTORS = Work(
    "grounding, vectors indexed",
    (Side("lmworks", "8 bits", vectors_ours), Side("sentence-transformers", "fp32", vectors_peer)),
    unit="texts/s",
)
CHANGED = Work(
    "grounding, one of 1,000 files changed",
    (Side("lmworks", "8 bits", changed_ours), Side("LanceDB and sentence-transformers", "fp32", changed_lancedb)),
    unit="ms",
)
