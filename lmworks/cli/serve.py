"""lmworks serve: a model on a page and over OpenAI's API."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.cli.documents import FromIndex, NoIndex, check_index, index_for
from lmworks.cli.option_groups import Options
from lmworks.cli.options import Base, Compress, adapters_of
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from socket import socket

    from lmworks.serving.log import Log
    from lmworks.serving.models import ServedModels
    from lmworks.serving.opening import Opening
    from lmworks.serving.settings import ServerLimits


@dataclass(frozen=True, kw_only=True)
class OfferOptions(Options):
    """What is served beside the models."""

    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR",
            help="An adapter beside the model that it was trained on; requests choose it by its name, or let the text "
            "choose by the name auto. May be repeated. A directory alone is put on the model for all requests.",
        ),
    ] = None
    name: Annotated[str | None, typer.Option(help="What clients call it; the reference unless given.")] = None
    embedder: Annotated[str | None, typer.Option(help="One more model, for /v1/embeddings, such as minilm.")] = None
    idle: Annotated[
        float, typer.Option(help="Of several models: seconds after which one that nobody uses is put away.", min=0)
    ] = 300
    memory: Annotated[
        float | None,
        typer.Option(help="Of several models: GB for all of them; 0.8 of what is free unless given.", min=0.01),
    ] = None
    index: FromIndex = None
    no_index: NoIndex = False
    mcp: Annotated[
        bool,
        typer.Option("--mcp", help="Offer the documents as tools at /mcp, too (Model Context Protocol; lmworks mcp)."),
    ] = False


@dataclass(frozen=True, kw_only=True)
class AddressOptions(Options):
    """Where it listens, and to whom."""

    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(help="The port; 0 for a free one.", min=0, max=65535)] = 8000
    api_key: Annotated[
        list[str] | None, typer.Option(help="A key that clients must send; may be repeated. Or set LMWORKS_API_KEY.")
    ] = None
    without_key: Annotated[bool, typer.Option("--without-key", help="Listen beyond this machine without a key.")] = (
        False
    )

    @property
    def keys(self) -> list[str]:
        """Those of the options, and those of the environment."""
        return [*(self.api_key or ()), *os.environ.get("LMWORKS_API_KEY", "").split()]


@dataclass(frozen=True, kw_only=True)
class LimitOptions(Options):
    """How much is answered at once, and for how long."""

    seats: Annotated[int, typer.Option(help="Requests that are answered side by side.")] = 16
    queue: Annotated[int, typer.Option(help="Requests that may wait; more are told to come again.")] = 100
    seconds: Annotated[float, typer.Option(help="The longest that a request may take.")] = 600
    grace: Annotated[float, typer.Option(help="Seconds that running requests have at the end.")] = 30

    def limits(self) -> ServerLimits:
        """As the server takes them."""
        from lmworks.serving.settings import ServerLimits

        return ServerLimits(seats=self.seats, queue=self.queue, seconds=self.seconds, grace_seconds=self.grace)


@verb("Use it", place=3)
def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="An alias (smollm2), a directory, a .gguf file or hf:org/name. Of several, each is loaded when a "
            "request first names it.",
        ),
    ],
    *,
    offer: OfferOptions,
    address: AddressOptions,
    limits: LimitOptions,
    cors: Annotated[list[str] | None, typer.Option(help="An origin whose pages may ask; may be repeated.")] = None,
    lookup: Annotated[
        bool,
        typer.Option("--lookup", help="Guess that text is quoted from the prompt: same answers, faster where it is."),
    ] = False,
    lab_runs: Annotated[
        bool,
        typer.Option(
            "--lab-runs", help="Let those who reach it from other machines run the lab's claims at /lab again, too."
        ),
    ] = False,
    log_text: Annotated[bool, typer.Option("--log-text", help="Write what is asked into the log, too.")] = False,
    compress: Compress = None,
    base: Base = None,
) -> None:
    """Serve one or several models to programs and people. OpenAI's API is at http://HOST:PORT/v1, a page at
    http://HOST:PORT, the lab's claims at /lab, counts for Prometheus at /metrics."""
    must_be_installed(offer.mcp)
    from lmworks.serving.run import listening, must_be_safe

    must_be_safe(address.host, address.keys, address.without_key)
    check_index(offer.index, offer.no_index)
    bounds = limits.limits()
    listener = listening(address.host, address.port)

    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError

    progress.at_once(f"loading {models[0]}" if len(models) == 1 else "starting the server")
    from lmworks.generation.guessing import Lookup
    from lmworks.serving.log import Log
    from lmworks.serving.opening import Opening

    on_model, adapters = adapters_of(offer.adapter or ())
    opening = Opening(
        compress=compress,
        embedder=offer.embedder,
        index_of=lambda source: index_for(source, offer.index, offer.no_index),
        lookup=Lookup() if lookup else None,
        keys=address.keys,
        limits=bounds,
        log=Log(text=log_text),
        adapters=adapters,
    )
    with progress.shown():
        served = _opened(models, opening, offer, on_model, base)
    if offer.mcp and not served.documents:
        have_none = "it has none" if len(models) == 1 else "none of them has any"
        raise ConfigError(f"--mcp offers the documents of {' or '.join(models)}, and {have_none}; give --index DIR")
    progress.end_line()
    _run(served, listener, address, opening.log, cors or (), lab_runs, offer.mcp)


def _opened(
    models: list[str], opening: Opening, offer: OfferOptions, adapter: str | None, base: str | None
) -> ServedModels:
    """One model, loaded; several, each loaded when it is first asked for."""
    from lmworks.serving.opening import one, several

    if len(models) == 1:
        return one(models[0], opening, name=offer.name, adapter=adapter, base=base)
    must_be_unset({"--adapter without a name": adapter, "--name": offer.name, "--base": base})
    memory = None if offer.memory is None else 1e9 * offer.memory
    return several(models, opening, memory=memory, idle=offer.idle)


def _run(
    served: ServedModels,
    listener: socket,
    address: AddressOptions,
    log: Log,
    cors: Sequence[str],
    lab_runs: bool,
    mcp: bool,
) -> None:
    """The API, the page and the claims, until the server is stopped."""
    from lmworks.serving.app import create_app
    from lmworks.serving.lab import pages as lab
    from lmworks.serving.lab.runs import ClaimRuns
    from lmworks.serving.page import mount
    from lmworks.serving.run import names_of, on_loopback, serve

    host, keys = address.host, len(address.keys)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listener.getsockname()[1]}"
    log.event("serving", model=served.title, address=f"{url}/v1", keys=keys, index=", ".join(served.documents) or None)
    print(f"lmworks: open {url} to talk with it, {url}/lab for the claims; Ctrl-C ends", flush=True)  # the log is JSON
    if served.documents:
        print(
            f"lmworks: chats are answered from the documents in {' and '.join(served.documents)}; by the model itself "
            'where a request has "grounding": {"way": "off"}, or tools',
            flush=True,
        )
    app = create_app(served, hosts=names_of(host, keys), origins=cors, log=log, mcp=mcp)
    alone = on_loopback(host)
    runs = ClaimRuns(texts=alone, stopping=lambda: served.stopping) if alone or lab_runs else None
    pages = lab.mount(app, runs)
    # So that nobody waits for it. No daemon: an interpreter that ends while one is in compiled code may be aborted.
    threading.Thread(target=pages.file, args=("index.html",)).start()
    mount(app)
    try:
        serve(app, served, listener, log)
    finally:
        if runs is not None:
            runs.close()


def must_be_unset(given: dict[str, str | None]) -> None:
    """ConfigError for options that speak of one model."""
    from lmworks.basics.errors import ConfigError

    for option, value in given.items():
        if value is not None:
            raise ConfigError(f"{option} is about one model, and several are to be served; leave it out")


def must_be_installed(mcp: bool = False) -> None:
    """One sentence where a package of the extras is missing, before anything is read."""
    from lmworks.basics.extras import require

    if mcp:
        require("mcp.server.lowlevel", "mcp")
    for package in ("fastapi", "uvicorn", "prometheus_client", "httpx"):
        require(package, "serve")
