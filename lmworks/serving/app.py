"""create_app: models as a web application (OpenAI's API); `/` is left free for the page.

app = create_app(ServedModels.of(Service(lm.load("smollm2"), name="smollm2")))
uvicorn.run(app)                        # lmworks serve does more: `run.py`
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.middleware.cors import CORSMiddleware

from lmworks import __version__
from lmworks.serving.api import (
    chat,
    completions,
    documents,
    embeddings,
    images,
    inspection,
    next_token,
    responses,
    tokenizing,
    transcriptions,
)
from lmworks.serving.errors import ErrorAnswer, tell_errors
from lmworks.serving.guard import Guard
from lmworks.serving.log import Log
from lmworks.serving.metrics import Metrics
from lmworks.serving.models import ServedModel, ServedModels

ERRORS = {
    "4XX": {"model": ErrorAnswer, "description": "What is wrong with the request"},
    "5XX": {"model": ErrorAnswer, "description": "What is wrong with the server"},
}


def create_app(
    models: ServedModels,
    *,
    hosts: Collection[str] | None = None,
    origins: Collection[str] = (),
    log: Log | None = None,
    mcp: bool = False,
) -> FastAPI:
    """The application of a server's models. Closing them is their maker's.

    `hosts` are the names that the server answers to (None for any), `origins` the origins of pages elsewhere whose
    scripts may ask (CORS). With `mcp` the documents are tools at /mcp, too (mcp.py).
    """
    app = FastAPI(
        title="lmworks",
        version=__version__,
        description=f"{models.title} over OpenAI's API.",
        responses=ERRORS,  # type: ignore[arg-type]
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )
    log = log or Log(None)
    metrics = Metrics(models)
    app.state.metrics, app.state.log = metrics, log
    tell_errors(app)
    made = app.openapi
    app.openapi = lambda: _described(made())  # type: ignore[method-assign]
    answering = (completions, chat, responses, images, transcriptions, documents, embeddings)
    for room in (*answering, tokenizing, inspection, next_token):
        app.include_router(room.routes(models))
    app.add_middleware(Guard, models=models, metrics=metrics, log=log, hosts=hosts, origins=origins)
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["*"], allow_headers=["*"])

    if mcp:
        from lmworks.serving.mcp import mount

        mount(app, models)

    @app.head("/health", include_in_schema=False)
    @app.get("/health", summary="Whether requests are taken")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "stopping" if models.stopping else "ok"}, 503 if models.stopping else 200)

    @app.get("/v1/models", summary="The models that can be named")
    async def every() -> JSONResponse:
        return JSONResponse({"object": "list", "data": [_model(models, name) for name in models.names]})

    @app.get("/v1/models/{name:path}", summary="One of them")
    async def model(name: str) -> JSONResponse:
        models.named(name)
        return JSONResponse(_model(models, name))

    @app.get("/metrics", summary="Counts for Prometheus", response_class=PlainTextResponse)
    async def counts() -> PlainTextResponse:
        return PlainTextResponse(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return app


def _model(models: ServedModels, name: str) -> dict[str, object]:
    served = models.named(name)
    return {
        "id": name,
        "object": "model",
        "created": models.started,
        "owned_by": "lmworks",
        "max_model_len": models.names[name],
        "parent": served.name if name in served.adapters else None,
        "loaded": served.loaded,
        "about": _about(served, name),
    }


def _about(served: ServedModel, name: str) -> dict[str, Any] | None:
    """What can be done with a model; None where that is not known before it is loaded."""
    service = served.service if served.loaded else None
    if served.embeds or (service is not None and name == service.embedder_name != service.name):
        return {"writes": False}
    return None if service is None else service.about(name if name in served.adapters else None)


def _described(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's description without its own form of errors, which is not sent here."""
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document.get("components", {}).get("schemas", {}).pop(name, None)
    return document
