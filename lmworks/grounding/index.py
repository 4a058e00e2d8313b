"""Index: the chunks of a folder of documents, found by keywords and by vectors, kept in one folder.

    index = build("notes/", out="indexes/notes")
    for passage in index.search("when is rent due?", k=3): print(passage.file, passage.text)
    index.update()                                    # what was added, changed or deleted since

After an update it scores and ranks exactly as an index that is built anew from the same files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError, DataError
from lmworks.grounding import postings
from lmworks.grounding.answer import Answer, Way
from lmworks.grounding.asking import ask
from lmworks.grounding.changes import Changes, changes_of
from lmworks.grounding.indexing import Indexer
from lmworks.grounding.passage import Passage
from lmworks.grounding.sqlite_storage import SqliteStorage
from lmworks.grounding.storage import Reading, Storage
from lmworks.grounding.terms import check_language, language_of, terms
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.text.document import Document

VERSION = 1
By = Literal["hybrid", "keywords", "vectors"]
SAMPLE = 200_000
"""Characters by which the language is told."""


class IndexSettings(Config):
    """How documents are cut and found; fixed when an index is made."""

    embedder: str = "minilm"
    """The model whose vectors stand for chunks and questions."""

    longest: int = 160
    """Tokens of a chunk, in the embedder's tokens."""

    language: str = "auto"
    """Whose stems words are cut to; "auto" tells it from the text when the index is made, "none" leaves words as they
    are."""

    weight: float = 0.5
    """The share of the vectors in a hybrid score; the rest is the keywords'."""


class Index:
    """An index that exists. Reading never blocks and never sees half of an update."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        if not storage.exists():
            raise DataError(f"{storage.place} holds no index; make one: lmworks index FOLDER --out {storage.place}")
        with storage.reading() as reading:
            held = reading.settings()
        if int(held.get("version", 0)) != VERSION:
            raise DataError(
                f"{storage.place} was made by another lmworks (version {held.get('version')}); index it again"
            )
        self.settings = IndexSettings(**json.loads(held["settings"]))
        self.reference: str = held["reference"]
        """The folder, file or named text that was indexed."""
        self.language: str = held["language"]
        self.dim = int(held["dim"])
        """Of its vectors."""
        self.changes = Changes([], [], [])
        """What the last update took over; after it is made, all files."""

    @property
    def place(self) -> str:
        """Where it lies, as people call it."""
        return self.storage.place

    @cached_property
    def embedder(self) -> LanguageModel:
        """The model of its vectors, loaded when it is first needed; DataError if it makes vectors of another size."""
        return self._loaded()

    @cached_property
    def query_embedder(self) -> LanguageModel:
        """The same for queries, in PyTorch: one short text takes 10 ms there, and compiled kernels seconds to load."""
        return self._loaded(compress="none")

    def _loaded(self, **how: Any) -> LanguageModel:
        model = load(self.settings.embedder, **how)
        if model.config.dim != self.dim:
            raise DataError(
                f"{self.place} was made with an embedder of {self.dim} dimensions, and "
                f"{self.settings.embedder} has {model.config.dim}; index it again"
            )
        return model

    def __len__(self) -> int:
        """How many chunks there are."""
        with self.storage.reading() as reading:
            return int(np.count_nonzero(postings.lengths_of(reading)))

    def search(self, query: str, k: int = 10, by: By = "hybrid") -> list[Passage]:
        """The k best chunks for a query, best first; by keywords, only those that hold one.

        ConfigError for a k below 1, a way that there is not, or an empty query.
        """
        if not query.strip():
            raise ConfigError("the query is empty; give some words or a question")
        if k < 1:
            raise ConfigError(f"k is {k}; ask for at least 1 passage")
        if by not in ("hybrid", "keywords", "vectors"):
            raise ConfigError(f"{by!r} is no way to search; there are hybrid, keywords and vectors")
        with self.storage.reading() as reading:
            lengths = postings.lengths_of(reading)
            there = np.flatnonzero(lengths)
            if not len(there):
                return []
            scores = self._scores(reading, query, by, lengths, there)
            best = {int(there[at]): float(scores[at]) for at in _best(scores, k) if by != "keywords" or scores[at] > 0}
            found = [replace(one, score=best[one.chunk]) for one in reading.passages(list(best))]
        # Equal scores in the order of the documents, not of numbers that depend on what was indexed before.
        return sorted(found, key=lambda one: (-one.score, one.file, one.start))[:k]

    def _scores(
        self,
        reading: Reading,
        query: str,
        by: By,
        lengths: NDArray[np.uint32],
        there: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """A score for each chunk that is there."""
        keywords = vectors = np.zeros(len(there))
        if by != "vectors":
            words = terms(query, self.language)
            found = postings.scores(reading, words, lengths, len(there), float(lengths[there].mean()))
            keywords = np.zeros(len(lengths))
            keywords[found.chunks] = found.scores
            keywords = keywords[there]
        if by != "keywords":
            vector = self.query_embedder.embed([query], cut=True)[0].numpy()
            vectors = reading.products(vector)[there]
        if by == "hybrid":
            weight = self.settings.weight
            return weight * _spread(vectors) + (1 - weight) * _spread(keywords)
        return keywords if by == "keywords" else vectors

    def ask(
        self, question: str, model: str | LanguageModel | None = None, way: Way = "extract", **choices: Any
    ) -> Answer:
        """What the documents say to a question, with verbatim citations, or a refusal; `choices` as `asking.ask`'s."""
        return ask(self, question, way, model, **choices)

    def passage(self, chunk: int) -> Passage | None:
        """A chunk by its number, with a score of 0; None where there is none of it (any more)."""
        with self.storage.reading() as reading:
            return next(iter(reading.passages([chunk])), None)

    def document(self, file: str) -> str | None:
        """The whole text of a document by its source (`Passage.file`); None where the index has no such document."""
        with self.storage.reading() as reading:
            return reading.document(file)

    @property
    def tested(self) -> dict[str, Any]:
        """What the index's own test found: figures, and the settings that it chose; empty before there was one."""
        with self.storage.reading() as reading:
            return dict(json.loads(reading.settings().get("tested", "{}")))

    def keep_test(self, figures: Mapping[str, Any]) -> None:
        """Store what a test of the index found; it is `tested` from now on."""
        with self.storage.writing() as writing:
            writing.set("tested", json.dumps(dict(figures)))

    def update(self) -> Changes:
        """Bring in what was added, changed or deleted since; returns what that was. Nothing is lost where it fails."""
        with self.storage.writing() as writing:
            found = changes_of(self.reference, writing.files())
            Indexer(lambda: self.embedder, self.settings.longest, self.language).take_over(found, writing)
        self.changes = found.changes
        return found.changes


def open_index(folder: str | Path) -> Index:
    """An index that exists; DataError where the folder holds none."""
    return Index(SqliteStorage(Path(folder)))


def build(reference: str | Path, out: str | Path, settings: IndexSettings | None = None) -> Index:
    """Index a folder, a file or a named text into the folder `out`.

    DataError if there is nothing to read, ConfigError for an index that is there already, a language without stems or
    chunks that are longer than the embedder reads.
    """
    chosen, storage = settings or IndexSettings(), SqliteStorage(Path(out))
    reference = located(reference)
    if storage.exists():
        raise ConfigError(f"{storage.place} holds an index already; update it, or give another --out")
    found = changes_of(reference, {})
    if not found.documents:
        raise DataError(f"{reference} holds no text to index")
    language = chosen.language
    if language == "auto":
        language = language_of(_sample([document for document, _ in found.documents]))
    check_language(language)
    embedder = load(chosen.embedder)
    if chosen.longest > embedder.longest:
        raise ConfigError(
            f"chunks of {chosen.longest} tokens are longer than {chosen.embedder} reads: at most {embedder.longest}"
        )
    held: dict[str, Any] = {
        "version": VERSION,
        "settings": json.dumps(chosen.model_dump(mode="json")),
        "reference": reference,
        "language": language,
        "dim": embedder.config.dim,
    }
    with storage.making() as writing:
        for name, value in held.items():
            writing.set(name, str(value))
        Indexer(lambda: embedder, chosen.longest, language).take_over(found, writing)
    index = Index(storage)
    index.__dict__["embedder"] = embedder
    index.changes = found.changes
    return index


def located(reference: str | Path) -> str:
    """A folder or file by its whole path, so that it is found from any other folder; a named text by its name."""
    path = Path(reference)
    return str(path.resolve()) if path.exists() else str(reference)


def _sample(documents: Sequence[Document]) -> str:
    """Some text of many documents."""
    each = max(SAMPLE // max(len(documents), 1), 200)
    return "\n".join(document.text[:each] for document in documents)[:SAMPLE]


def _spread(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores moved to 0 ... 1."""
    low, high = float(scores.min()), float(scores.max())
    return (scores - low) / (high - low) if high > low else np.full(len(scores), float(high > 0))


def _best(scores: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Places of the k highest scores and of all that equal the last of them."""
    if len(scores) <= k:
        return np.arange(len(scores))
    least = np.partition(scores, -k)[-k]
    return np.flatnonzero(scores >= least)
