"""/v1/search and /v1/passages: the server's documents, as far as they are indexed, and no file beside them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from lmworks.grounding.filters import Filter
from lmworks.grounding.index import Index
from lmworks.grounding.passage import Kind
from lmworks.grounding.places import Place
from lmworks.grounding.rerank import at_hand
from lmworks.grounding.telling import ReadOnce, placed
from lmworks.serving.api.attending import attended
from lmworks.serving.api.requests import StrictModel, Text
from lmworks.serving.errors import Refused
from lmworks.serving.models import ServedModels
from lmworks.serving.record import RECORD
from lmworks.serving.service import Service

FOUND = 10
"""Passages of a search unless the request says how many."""
AROUND = 600
"""Characters around a passage unless the request says how many."""


Name = Annotated[str, Field(max_length=1000)] | None
Pattern = Annotated[str, Field(min_length=1, max_length=200)]
Value = Annotated[str, Field(max_length=1000)]


class Where(StrictModel):
    """Which documents are searched: those that fulfil all that is given."""

    paths: Annotated[list[Pattern], Field(max_length=100, fail_fast=True)] | None = None
    """Files like one of these; `*` stands for any characters, and a name that ends with a slash for a folder."""

    since: Annotated[str, Field(max_length=40)] | None = None
    """Files that were changed on this date or later: 2026-01-31, or 2026-01-31T12:00, by the server's clock."""

    until: Annotated[str, Field(max_length=40)] | None = None
    """Files that were changed on this date or earlier."""

    metadata: Annotated[dict[str, Value], Field(max_length=64)] | None = None
    """Documents that have these values."""

    @property
    def filter(self) -> Filter:
        """As an index takes it. ConfigError for what is no date."""
        return Filter(**self.model_dump(exclude_none=True))


class SearchRequest(StrictModel):
    """A request to /v1/search."""

    query: Annotated[Text, Field(min_length=1)]
    """Words or a question."""

    k: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """How many passages, at most; 10 unless given."""

    by: Literal["hybrid", "keywords", "vectors"] | None = None
    """hybrid unless given."""

    rerank: bool | None = None
    """Whether a cross-encoder orders the first passages; unless given, as the index's own test says."""

    where: Where | None = None
    """All documents unless given."""

    kind: Kind | None = None
    """Passages alone, or images alone; both unless given, where the documents are indexed with images."""

    model: Name = None
    """The model whose documents are searched."""


class FoundPassage(BaseModel):
    """A chunk that a search found."""

    object: Literal["passage"] = "passage"
    chunk: int
    """Its number, for /v1/passages; another after its file has changed."""
    score: float
    text: str
    document: str
    heading: str
    file: str
    start: int
    end: int
    place: str
    """Its line or page, or its characters: line 12."""
    at: Place
    """The same for programs."""
    hash: str
    """SHA-256 of the file, as it was when it was indexed."""


class FoundImage(BaseModel):
    """An image that a search found."""

    object: Literal["image"] = "image"
    score: float
    """Not to be compared with those of passages."""
    file: str
    caption: str
    hash: str
    """SHA-256 of the file, as it was when it was indexed."""


class SearchAnswer(BaseModel):
    """The answer of /v1/search."""

    object: Literal["list"] = "list"
    data: list[FoundPassage]
    """Best first."""
    images: list[FoundImage]
    """Of documents that are indexed with images: the nearest first, as many as passages at most."""


class WholePassage(FoundPassage):
    """The answer of /v1/passages: a chunk with what stands around it in its document."""

    before: str
    after: str


def routes(models: ServedModels) -> APIRouter:
    """The endpoints, for a server's models."""
    router = APIRouter()

    @router.post("/v1/search", summary="Passages of the documents")
    async def search(asked: SearchRequest, http: Request) -> SearchAnswer:
        service = await models.lend(http, asked.model)
        index, most = index_of(service), service.limits.passages
        k = asked.k or min(FOUND, most)
        if k > most:
            raise Refused(400, f"k is {k:,}; at most {most} passages are found at once", param="k")
        if asked.rerank and not at_hand():
            said = "the cross-encoder is not on this machine; its owner can fetch it: lmworks models fetch reranker"
            raise Refused(400, said, param="rerank")
        query = question_of(service, asked.query, "query")
        where = None if asked.where is None else asked.where.filter
        if (record := http.scope.get(RECORD)) is not None and record.keeps_text:
            record.text = query

        def found() -> SearchAnswer:
            every = index.search(query, k, asked.by or "hybrid", asked.rerank, where, asked.kind)
            texts = ReadOnce(index)
            told = [(one.kind, placed(one, texts)) for one in every]
            passages = [FoundPassage(**one) for kind, one in told if kind == "passage"]
            return SearchAnswer(data=passages, images=[FoundImage(**one) for kind, one in told if kind == "image"])

        return await attended(http, service, found)

    @router.get("/v1/passages/{chunk}", summary="A passage, and what stands around it")
    async def passage(
        chunk: Annotated[int, Path(ge=0, lt=2**63)],
        http: Request,
        around: Annotated[int | None, Query(ge=0, le=2**31, description="Characters before and after it.")] = None,
        model: Annotated[str | None, Query(max_length=1000, description="The model whose documents they are.")] = None,
    ) -> WholePassage:
        service = await models.lend(http, model)
        index, most = index_of(service), service.limits.surrounding
        if around is not None and around > most:
            raise Refused(400, f"around is {around:,}; at most {most:,} characters are shown", param="around")
        shown = min(AROUND, most) if around is None else around

        def found() -> WholePassage | None:
            around = index.around(chunk, shown)
            return around and WholePassage(**placed(around[0], index), before=around[1], after=around[2])

        whole = await attended(http, service, found)
        if whole is None:
            raise Refused(404, f"there is no passage {chunk} (any more); search again", param="chunk")
        return whole

    return router


def index_of(service: Service) -> Index:
    """The documents; Refused where there are none."""
    if service.index is None:
        raise Refused(400, "this server has no documents; start it with --index DIR", code="no_index")
    return service.index


def question_of(service: Service, text: str, field: str) -> str:
    """A question that can be searched for."""
    if not text.strip():
        raise Refused(400, f"{field} is blank; give some words or a question", param=field)
    if len(text) > service.limits.question:
        most = f"a question to the documents has at most {service.limits.question:,}"
        raise Refused(400, f"{field} has {len(text):,} characters; {most}", param=field)
    return text
