"""lmworks serve: a model over OpenAI's API."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from lmworks.cli.options import Model


def serve(
    model: Model,
    adapter: Annotated[str | None, typer.Option(help="An adapter's directory, put on the model.")] = None,
    name: Annotated[str | None, typer.Option(help="What clients call it; the reference unless given.")] = None,
    embedder: Annotated[str | None, typer.Option(help="A second model for /v1/embeddings, such as minilm.")] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 for a free one.", min=0, max=65535)] = 8000,
    api_key: Annotated[
        list[str] | None, typer.Option(help="A key that clients must send; may be repeated. Or set LMWORKS_API_KEY.")
    ] = None,
) -> None:
    """Serve a model to programs (OpenAI's API)."""
    from lmworks.basics import progress
    from lmworks.loading import load
    from lmworks.serving.app import create_app
    from lmworks.serving.run import listening, serve
    from lmworks.serving.service import Service

    keys = api_key or [key for key in os.environ.get("LMWORKS_API_KEY", "").split() if key]
    listener = listening(host, port)
    with progress.shown():
        served = load(model) if adapter is None else load(adapter, base=model)
        vectors = None if embedder is None else load(embedder)
    service = Service(served, name=name, embedder=vectors, keys=keys)
    typer.echo(f"{service.name} is served at http://{host}:{listener.getsockname()[1]}/v1; Ctrl-C ends", err=True)
    serve(create_app(service), service, listener)
