"""Index: the chunks of a folder of documents, found by keywords and by vectors, kept in one folder.

    index = build("notes/", out="indexes/notes")
    for passage in index.search("when is rent due?", k=3): print(passage.file, passage.text)
    index.update()                                    # what was added, changed or deleted since
    index = build([Document("The rent is due.", "rent")], out="indexes/mine")

After an update it scores and ranks exactly as an index that is built anew from the same files.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmworks.basics import progress
from lmworks.basics.amounts import counted
from lmworks.basics.arguments import checked, kind_of
from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError, DataError, did_you_mean
from lmworks.grounding import postings
from lmworks.grounding.answer import GroundedAnswer, Way
from lmworks.grounding.changes import Changes, FoundChanges, State, changes_of, changes_of_documents, to_read_again
from lmworks.grounding.filters import Filter
from lmworks.grounding.image_changes import holds_texts, is_of_images, take_over_images
from lmworks.grounding.images import IndexedImages, asked_of_images, image_model, nearest_images, reads_images
from lmworks.grounding.indexing import Indexer, languages_in
from lmworks.grounding.kept import Kept
from lmworks.grounding.passage import Kind, Passage, best_first
from lmworks.grounding.postgresql_storage import SCHEMES, PostgresqlStorage
from lmworks.grounding.postings import Counts
from lmworks.grounding.rerank import DEPTH, at_hand, reranked, reranker
from lmworks.grounding.scores import best as best_places
from lmworks.grounding.scores import mixed
from lmworks.grounding.sqlite_storage import SqliteStorage
from lmworks.grounding.storage import Snapshot, Storage, make_again
from lmworks.grounding.terms import check_language, compounds_with, query_terms, words_of_compounds
from lmworks.models.files.model_folder import INDEX_FOLDER
from lmworks.text.document import Document
from lmworks.text.sources import Skipped

if TYPE_CHECKING:
    from lmworks.grounding.own_questions import Judged, OwnQuestion
    from lmworks.language_model import LanguageModel

VERSION, WITH_IMAGES = 7, 8
"""Of an index of texts alone, and of one with images, which an older lmworks would pass over."""
By = Literal["hybrid", "keywords", "vectors"]
GIVEN = "a list of Documents"
"""The reference of an index of no file."""
LOOKED = "looked"
"""The setting that says when the files were looked at last, in nanoseconds since 1970."""
READ_AS, READERS = "read_as", "2"
"""The setting that says how files were read and cut, and its value now: another one whenever a reader of `text/formats`
or `chunks` makes other text of the same file. An index of before reads all files again at its next update."""


class IndexSettings(Config):
    """How documents are cut and found; fixed when an index is made."""

    embedder: str = "minilm"
    """The model whose vectors stand for chunks and questions. One that reads images is taken for `images`, and texts
    are left to minilm."""

    images: str | None = None
    """The model whose vectors stand for images, a CLIP; None for texts alone."""

    longest: int = 160
    """Tokens of a chunk, in the embedder's tokens."""

    query_prompt: str | None = None
    """What is put before a question; None for what the embedder's folder says."""

    passage_prompt: str | None = None
    """What is put before a chunk; None likewise."""

    language: str = "auto"
    """Whose stems words are cut to; "auto" tells each document's from its text, "none" leaves words as they are."""

    weight: float = 0.5
    """The share of the vectors in a hybrid score; the rest is the keywords'."""


class Parts(NamedTuple):
    """Scores of chunks."""

    chunks: NDArray[np.int64]
    """Their numbers."""
    keywords: NDArray[np.float64]
    vectors: NDArray[np.float64]


def _vocabulary(reading: Snapshot) -> str:
    """The terms of an index, a line feed before and after each."""
    return "\n".join(("", *reading.terms(), ""))


class Index:
    """An index that exists. Reading never blocks and never sees half of an update."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        if not storage.exists():
            where = str(storage.place)
            if Path(where, "vectors.json").is_file():
                raise DataError(f"{where} holds vectors, of images say, and no passages; ask lmworks search {where}")
            documents = Path(where).is_dir() and not Path(where, "vectors.i8").exists()  # else one that was damaged
            make = where if documents else f"FOLDER --out {where}"
            raise DataError(f"{where} holds no index; {_near(where)}make one: lmworks index {make}")
        with storage.reading() as reading:
            held = reading.settings()
            if int(held.get("version", 0)) not in (VERSION, WITH_IMAGES):
                raise DataError(
                    f"{storage.place} was made by another lmworks (version {held.get('version')}); "
                    + make_again(storage.place, held.get("reference", "FOLDER"))
                )
            self.settings = IndexSettings(**json.loads(held["settings"]))
            self.reference = held["reference"]
            """The folder, file or named text that was indexed."""
            self.made_with = held["made_with"]
            """The identity of the embedder's files when it was made (`loading.identity`)."""
            self.prompts: dict[str, str] | None = json.loads(held.get("prompts", "null"))
            """What stands before a question ("query") and a chunk ("passage"), as it was when the index was made; None
            in one that is older, with none before a chunk."""
            self.images: IndexedImages | None = None
            """Its images, None in an index of texts alone."""
            if self.settings.images is not None:
                of_images = self.settings.images, held["images_made_with"], self.reference
                self.images = IndexedImages(storage, *of_images)
        self._counted, self._vocabulary = Kept(postings.counts_of), Kept(_vocabulary)
        self.changes = Changes([], [], [])
        """What the last update took over; after it is made, all files."""

    def __repr__(self) -> str:
        """Where it lies and how much it holds."""
        languages = ", ".join(f"{name} {count:,}" for name, count in self.languages.items())
        images = "" if self.images is None else f"; {counted(len(self.images), 'image')}"
        return f"<Index {self.place}: {len(self):,} chunks: {languages}{images}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled or copied it is opened again at its place, so that the processes of a pool may have one each."""
        return open_index, (self.place,)

    @property
    def place(self) -> str:
        """Where it lies, as people call it."""
        return self.storage.place

    @property
    def languages(self) -> dict[str, int]:
        """How many chunks there are of each language, most first; "none" for those whose stems nobody here knows."""
        with self.storage.reading() as reading:
            return dict(languages_in(reading).most_common())

    @property
    def counts(self) -> str:
        """How many chunks it has, and of which languages, in words; the empty string where there are none."""
        told = ", ".join(
            f"{'language not known' if name == 'none' else name} {count:,}" for name, count in self.languages.items()
        )
        return f"{counted(len(self), 'chunk')}: {told}" if told else ""

    @property
    def language(self) -> str:
        """The language of most of its chunks."""
        return next(iter(self.languages), "none")

    @cached_property
    def embedder(self) -> LanguageModel:
        """The model of its vectors, loaded when it is first needed; DataError if it is not what made them."""
        from lmworks.loading import identity, load

        if identity(self.settings.embedder) != self.made_with:
            raise DataError(
                f"{self.place} was made with other files of {self.settings.embedder} than there are now (their SHA-256 "
                "differs), so that its vectors would not fit a question's; search it by keywords, or "
                + make_again(self.place, self.reference)
            )
        embedder = load(self.settings.embedder)
        old = {"query": embedder.pooling.prompt("query"), "passage": ""}
        return _prompted(embedder, self.prompts or old)

    def __len__(self) -> int:
        """How many chunks there are."""
        with self.storage.reading() as reading:
            return self._counted(reading).chunks

    @checked
    def search(
        self,
        query: str,
        k: int = 10,
        by: By = "hybrid",
        rerank: bool | None = None,
        where: Filter | None = None,
        kind: Kind | None = None,
    ) -> list[Passage]:
        """The k best chunks for a query, best first; by keywords, only those that hold one. Of an index with images,
        after them the k nearest images, the nearest first, but by keywords, which images have none of; with a `kind`,
        passages alone or images alone. Scores of the two cannot be compared (`images.py`).

        With `rerank` a cross-encoder puts the first of them into its own order (`rerank.py`); None for what the index's
        own test chose, of hybrid searches and where the cross-encoder is on this machine. `where` says which documents
        are searched; scores stay what they are among all of them, but for those of the cross-encoder.

        ConfigError for a k below 1, a way that does not exist, an empty query, or images where there are none;
        ModelError where a cross-encoder that is asked for cannot be had.
        """
        if not query.strip():
            raise ConfigError("the query is empty; give some words or a question")
        if k < 1:
            raise ConfigError(f"k is {k}; ask for at least 1 passage")
        # Before the reading: an embedder takes seconds to load, and who updates the index waits for readers to end.
        seen = asked_of_images(self.images, self.place, query, kind, by == "keywords")
        if kind == "image" or (self.images is not None and not self.languages):  # no chunk: no model of texts is needed
            with self.storage.reading() as reading:
                return nearest_images(self.images, reading, seen, k, where)
        vector = None if by == "keywords" else self.query_vector(query)
        with self.storage.reading() as reading:
            images = nearest_images(self.images, reading, seen, k, where)
            if rerank is None:
                rerank = by == "hybrid" and bool(_tested(reading).get("rerank")) and at_hand()
            wanted = max(k, DEPTH) if rerank else k
            counts = self._counted(reading)
            if not counts.chunks:
                return images
            scores = self._scores(reading, query, vector, by, counts)
            if where is None:
                places = best_places(scores, wanted)
            else:
                numbers = np.array(sorted(reading.numbers_of(where.among(reading.described()))), np.int64)
                meant = numbers if isinstance(counts.there, slice) else np.searchsorted(counts.there, numbers)
                places = meant[best_places(scores[meant], wanted)]
            if by == "keywords":
                places = places[scores[places] > 0]
            numbers = places if isinstance(counts.there, slice) else counts.there[places]
            best = dict(zip(numbers.tolist(), scores[places].tolist(), strict=True))
            found = best_first(replace(one, score=best[one.chunk]) for one in reading.passages(list(best)))[:wanted]
        return [*(reranked(query, found, reranker())[:k] if rerank and found else found), *images]

    def compounds(self, reading: Snapshot, query: str) -> dict[str, list[str]]:
        """Of each word of a query that the index does not hold, the compounds that it does, which are searched for it:
        Grundmiete for Miete."""
        words = words_of_compounds(query, languages_in(reading))
        missing = [one for one in words if not postings.holding(reading, one)]
        return {one: compounds_with(one, self._vocabulary(reading)) for one in missing}

    def _scores(
        self, reading: Snapshot, query: str, vector: NDArray[np.float32] | None, by: By, counts: Counts
    ) -> NDArray[np.float64]:
        """A score for each chunk that is there; by keywords alone, the query needs no vector."""
        keywords = vectors = np.zeros(0)
        if by != "vectors":
            asked = query_terms(query, languages_in(reading))
            keywords = postings.scores(reading, asked, counts, self.compounds(reading, query))[counts.there]
        if vector is not None:
            vectors = reading.products(vector)[counts.there]
        if by == "hybrid":
            return mixed(keywords, vectors, float(_tested(reading).get("weight", self.settings.weight)))
        return keywords if by == "keywords" else vectors

    def query_vector(self, query: str) -> NDArray[np.float32]:
        """A query as its embedder has it, [dim]."""
        embedder = self.embedder
        with progress.hidden():
            vector: NDArray[np.float32] = embedder.vectors([query], prompt="query", cut=True)[0]
        return vector

    def parts(self, query: str) -> Parts:
        """The two scores of every chunk for a query, which a hybrid search mixes; for tests of an index."""
        vector = self.query_vector(query)
        with self.storage.reading() as reading:
            counts = self._counted(reading)
            keywords = self._scores(reading, query, None, "keywords", counts)
            vectors = self._scores(reading, query, vector, "vectors", counts)
            return Parts(np.arange(len(counts.norms))[counts.there], keywords, vectors)

    @property
    def weight(self) -> float:
        """The share of the vectors in a hybrid score: as the index's own test chose it, else as it was made with."""
        return float(self.tested.get("weight", self.settings.weight))

    @checked
    def ask(
        self, question: str, model: str | LanguageModel | None = None, way: Way = "extract", **choices: Any
    ) -> GroundedAnswer:
        """What the documents say to a question, with verbatim citations, or a refusal; `choices` as `asking.ask`'s."""
        from lmworks.grounding.asking import ask

        return ask(self, question, way, model, **choices)

    def judge(self, questions: str | Path | Sequence[OwnQuestion], **choices: Any) -> Judged:
        """Ask one's own questions (a .csv or .jsonl file of question, answer, file), and count what is right, wrong
        and refused; `choices` as `own_questions.judge`'s and `ask`'s."""
        from lmworks.grounding.own_questions import judge

        return judge(self, questions, **choices)

    @checked
    def passage(self, chunk: int) -> Passage | None:
        """A chunk by its number, with a score of 0; None where there is none of it (any more)."""
        with self.storage.reading() as reading:
            return next(iter(reading.passages([chunk])), None)

    @checked
    def around(self, chunk: int, characters: int) -> tuple[Passage, str, str] | None:
        """A chunk by its number, and what stands before and after it in its document, at most this many characters
        each; None where there is none of it (any more). Numbers of chunks are all that leads to a text."""
        found = self.passage(chunk)
        text = self.document(found.file) if found is not None else None
        if found is None or text is None or text[found.start : found.end] != found.text:  # the file changed in between
            return None
        return found, text[max(found.start - characters, 0) : found.start], text[found.end : found.end + characters]

    @checked
    def document(self, file: str) -> str | None:
        """The whole text of a document by its source (`Passage.file`); None where the index has no such document."""
        with self.storage.reading() as reading:
            return reading.document(file)

    @property
    def sources(self) -> list[str]:
        """What its documents are called (`Passage.file`), in order."""
        with self.storage.reading() as reading:
            return sorted(one.source for one in reading.described())

    @property
    def digest(self) -> str:
        """SHA-256 of the files and of how they are read and cut: the same after an update as of a new index."""
        with self.storage.reading() as reading:
            files = sorted((file, hashed) for file, (_, _, hashed) in reading.files().items() if hashed)
            pictures = sorted((file, one[2]) for file, one in reading.image_files().items()) if self.images else []
            read_as = reading.settings().get(READ_AS)
        facts = [self.settings.embedder, self.settings.longest, self.settings.language, files]
        facts += [self.prompts] if self.prompts and any(self.prompts.values()) else []
        facts += [self.images.made_with, pictures] if self.images else []
        facts += [read_as] if read_as else []
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @property
    def tested(self) -> dict[str, Any]:
        """What the index's own test found: figures, and the settings that it chose; empty before there was one."""
        with self.storage.reading() as reading:
            return _tested(reading)

    def keep_test(self, figures: Mapping[str, Any]) -> None:
        """Store what a test of the index found; it is `tested` from now on."""
        with self.storage.writing() as writing:
            writing.set("tested", json.dumps(dict(figures)))

    @checked
    def update(self, documents: Iterable[Document] | None = None) -> Changes:
        """Bring in what was added, changed or deleted since; returns what that was. Nothing is lost where it fails.

        `documents` are all that there are now, of an index that was made of Documents; ConfigError where they are
        missing, or given to an index of files.
        """
        if (documents is None) is (self.reference == GIVEN):
            what = "all of them again" if documents is None else "none; it reads its files itself"
            raise ConfigError(f"{self.place} is an index of {self.reference}; give update {what}")
        reference = self.reference if documents is None else tuple(documents)
        with self.storage.writing() as writing:
            held, known, now = writing.settings(), writing.files(), time.time_ns()
            looked = int(held.get(LOOKED, 0))
            if held.get(READ_AS) != READERS:
                known = to_read_again(known)
            found = _changes(reference, known, looked, self.images is not None)
            Indexer(lambda: self.embedder, self.settings.longest, self.settings.language).take_over(found, writing)
            changes, images = found.changes, self.images
            if images is not None:
                changes = changes.and_of(take_over_images(self.reference, writing, lambda: images.embedder, looked))
            writing.set(LOOKED, str(now))
            if not any(one.unseen for one in changes.skipped):
                writing.set(READ_AS, READERS)
        self.changes = changes
        return changes


def _prompted(embedder: LanguageModel, prompts: dict[str, str]) -> LanguageModel:
    """The embedder, with these prompts put before queries and passages, and nothing before other texts."""
    embedder.pooling = embedder.pooling.but(prompts=prompts, default_prompt=None)
    return embedder


def _tested(reading: Snapshot) -> dict[str, Any]:
    return dict(json.loads(reading.settings().get("tested", "{}")))


def _near(place: str) -> str:
    """Which index beside a folder without one may have been meant."""
    try:
        beside = [str(one) for one in Path(place).parent.iterdir() if SqliteStorage(one).exists()]
    except OSError:  # no folder, or one that may not be read
        return ""
    return did_you_mean(place, beside)


def storage_of(place: str | Path) -> Storage:
    """A folder, or a schema of a PostgreSQL database by its address: `postgresql://me@host/library#notes`."""
    address = str(place).startswith(SCHEMES)
    return PostgresqlStorage(str(place)) if address else SqliteStorage(Path(place))


@checked
def open_index(place: str | Path) -> Index:
    """An index that exists, in a folder, in the model's directory that it was built with, or at a PostgreSQL address;
    DataError where there is none."""
    storage = storage_of(place)
    if isinstance(storage, SqliteStorage) and not storage.exists():
        beside = SqliteStorage(Path(place) / INDEX_FOLDER)
        storage = beside if beside.exists() else storage
    return Index(storage)


@checked
def build(reference: str | Path | Iterable[Document], out: str | Path, settings: IndexSettings | None = None) -> Index:
    """Index a folder, a file, a named text or some Documents into the folder or PostgreSQL address `out`.

    DataError if there is nothing to read or two Documents have one source, ConfigError for an index that is there
    already, a language without stems or chunks that are longer than the embedder reads.
    """
    storage = storage_of(out)
    given = located(reference) if isinstance(reference, str | Path) else tuple(reference)
    if isinstance(given, str) and not Path(given).exists():
        _changes(given, {})  # what is no text is said before a model is fetched
    chosen = _with_images(settings or IndexSettings())
    if storage.exists():
        raise ConfigError(f"{storage.place} holds an index already; update it, or give another --out")
    if chosen.language != "auto":
        check_language(chosen.language)
    if chosen.images is not None and not isinstance(given, str):
        raise ConfigError(f"Documents are texts alone; leave out {chosen.images}, or give a folder of images")
    if not isinstance(given, str):
        _changes(given, {})
    from lmworks.loading import identity, load  # not before: what is wrong with the paths is said without torch

    embedder = load(chosen.embedder)
    if chosen.longest > embedder.longest:
        raise ConfigError(
            f"chunks of {chosen.longest} tokens are longer than {chosen.embedder} reads: at most {embedder.longest}"
        )
    if embedder.config.arrangement != "encoder" and embedder.pooling == type(embedder.pooling)():
        progress.note(
            f"{chosen.embedder} writes text, and nothing says that it was trained to compare texts: its vectors find "
            "little; minilm and bge-small are made for it"
        )
    said = {"query": chosen.query_prompt, "passage": chosen.passage_prompt}
    prompts = {role: embedder.pooling.prompt(role) if text is None else text for role, text in said.items()}
    _prompted(embedder, prompts)
    eyes = None if chosen.images is None else image_model(chosen.images)
    held: dict[str, Any] = {
        "version": VERSION if eyes is None else WITH_IMAGES,
        "settings": json.dumps(chosen.model_dump(mode="json", exclude_none=True)),
        "reference": given if isinstance(given, str) else GIVEN,
        "made_with": identity(chosen.embedder),
        "dim": embedder.vector_dim,
        READ_AS: READERS,
        "prompts": json.dumps(prompts),
    }
    held |= {} if chosen.images is None else {"images_made_with": identity(chosen.images)}
    with storage.making({name: str(value) for name, value in held.items()}) as writing:
        begun, now = {*writing.files(), *filter(is_of_images, writing.image_files())}, time.time_ns()  # by one stopped
        found = _changes(given, writing.files(), 0, eyes is not None)
        Indexer(lambda: embedder, chosen.longest, chosen.language).take_over(found, writing, keep=True)
        changes = found.changes
        if eyes is not None:
            changes = changes.and_of(take_over_images(str(given), writing, lambda: eyes, 0, keep=True))
        writing.set(LOOKED, str(now))
        if not languages_in(writing) and not writing.images():
            what = "text" if eyes is None else "text and no image"
            raise DataError(f"{held['reference']} holds no {what} to index{_named(changes.skipped)}")
        added = {*begun, *changes.added} - {*changes.deleted}
        changes = replace(changes, added=sorted(added), changed=[], deleted=[])
    index = Index(storage)
    index.__dict__["embedder"] = embedder
    if index.images is not None:
        index.images.__dict__["embedder"] = eyes
    index.changes = changes
    return index


def _with_images(settings: IndexSettings) -> IndexSettings:
    """Settings whose embedder reads texts: a model of images that stands in its place becomes that of images."""
    if not reads_images(settings.embedder):
        return settings
    if settings.images is not None:
        raise ConfigError(f"{settings.embedder} reads images; give an embedder of texts beside {settings.images}")
    return settings.but(embedder=IndexSettings().embedder, images=settings.embedder)


def _changes(
    reference: str | Sequence[Document], known: Mapping[str, State], looked: int | None = None, images: bool = False
) -> FoundChanges:
    """What differs from what is known of texts, files of `images` left out; DataError where two Documents have one
    source, by which they are told apart."""
    if isinstance(reference, str) and images:
        if not holds_texts(reference):
            return FoundChanges(Changes([], [], []), iter(()), 0)
        return changes_of(reference, known, looked, is_of_images)
    if isinstance(reference, str):
        return changes_of(reference, known, looked)
    for other in (one for one in reference if not isinstance(one, Document)):
        raise DataError(f"{kind_of(other)} is no document; give Document(text, source) of lmworks.text.document")
    sources = Counter(one.source for one in reference)
    if sources and max(sources.values()) > 1:
        [(source, count)] = sources.most_common(1)
        raise DataError(f"{count} documents have the source {source!r}; give each its own, by which it is updated")
    return changes_of_documents(reference, known)


def _named(skipped: Sequence[Skipped]) -> str:
    return f"; skipped: {skipped[0].path}: {skipped[0].reason}" if skipped else ""


def located(reference: str | Path) -> str:
    """A folder or file by its whole path, so that it is found from any other folder; a named text by its name."""
    path = Path(reference)
    return str(path.resolve()) if path.exists() else str(reference)
