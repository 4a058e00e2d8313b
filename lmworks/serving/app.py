"""create_app: a service as a web application (OpenAI's API); `/` is left free for the page.

app = create_app(Service(lm.load("smollm2"), name="smollm2"))
uvicorn.run(app)                        # lmworks serve does more: `run.py`
"""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from lmworks import __version__
from lmworks.serving import chat, completions
from lmworks.serving.errors import ErrorAnswer, tell_errors
from lmworks.serving.service import Service

ERRORS = {
    "4XX": {"model": ErrorAnswer, "description": "What is wrong with the request"},
    "5XX": {"model": ErrorAnswer, "description": "What is wrong with the server"},
}


def create_app(service: Service) -> FastAPI:
    """The application of one service. Closing the service is its maker's."""
    app = FastAPI(
        title="lmworks",
        version=__version__,
        description=f"{service.name} over OpenAI's API.",
        responses=ERRORS,  # type: ignore[arg-type]
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    tell_errors(app)
    app.include_router(completions.routes(service))
    app.include_router(chat.routes(service))

    @app.get("/health", summary="Whether requests are taken")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "stopping" if service.stopping else "ok"}, 503 if service.stopping else 200)

    @app.get("/v1/models", summary="The models that can be named")
    async def models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": [_model(service, name) for name in service.names]})

    return app


def _model(service: Service, name: str) -> dict[str, object]:
    served = service.embedder if name != service.name and service.embedder is not None else service.model
    return {
        "id": name,
        "object": "model",
        "created": service.started,
        "owned_by": "lmworks",
        "max_model_len": served.config.context,
    }
