"""A real server on a free port of the loopback, in a thread of this process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import tiny

from lmworks.language_model import LanguageModel
from lmworks.serving.app import create_app
from lmworks.serving.models import ServedModels
from lmworks.serving.run import Server, listening
from lmworks.serving.service import Service

SHAPE = {"dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "context": 512}
ENDLESS = {"max_tokens": 400, "min_tokens": 400, "temperature": 0}
"""Goes on until it is stopped."""


class Live:
    """A server that runs, and clients of it."""

    server: Server

    def __init__(self, service: Service | ServedModels, address: str) -> None:
        self.address = address
        if isinstance(service, Service):
            self.service = service
        self.http = httpx.Client(base_url=address, timeout=120)
        self.openai = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=120)

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.http.post(path, json=body)

    def error(self, path: str, **body: Any) -> dict[str, Any]:
        """What the server says of a bad request."""
        response = self.post(path, **body)
        assert response.status_code == 400, response.text
        return response.json()["error"]


def small(**settings: object) -> LanguageModel:
    """A random model that reads bytes."""
    return tiny.language_model(seed=4, **(SHAPE | settings))


@contextmanager
def running(service: Service | ServedModels, closing: bool = True, **options: Any) -> Iterator[Live]:
    """Serve while the block runs; unless `closing`, the clients are still there when the server is told to stop."""
    listener = listening("127.0.0.1", 0)
    models = ServedModels.of(service) if isinstance(service, Service) else service
    server = Server(create_app(models, **options), models)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    live = Live(service, f"http://127.0.0.1:{listener.getsockname()[1]}")
    live.server = server
    try:
        yield live
    finally:
        if closing:
            live.http.close()
            live.openai.close()
        server.should_exit = True
        thread.join(60)
        service.close()


async def post(address: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and body of one request on a connection of its own: a thousand at once are little work for it."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    sent = json.dumps(body).encode()
    lines = (f"POST {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json", "Connection: close")
    head = "".join(f"{line}\r\n" for line in (*lines, f"Content-Length: {len(sent)}"))
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + b"\r\n" + sent)
    first, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    status, *headers = first.decode().split("\r\n")
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in headers), json.loads(rest)
