"""Serve until a signal comes: requests that run then are finished within a grace period, or told that they are not."""

from __future__ import annotations

import asyncio
import socket

import uvicorn
from fastapi import FastAPI

from lmworks.basics.errors import LmworksError
from lmworks.serving.service import Service

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. LmworksError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(2048)
    except OSError as error:
        made.close()
        raise LmworksError(
            f"{host}:{port} cannot be listened on ({error.strerror or error}); give another --port or --host"
        ) from None
    return made


class Server(uvicorn.Server):
    """Uvicorn's, with an end that tells those who wait."""

    def __init__(self, app: FastAPI, service: Service) -> None:
        grace = service.limits.grace_seconds
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=int(grace) + 10,
            )
        )
        self.service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing new, let what runs go on for the grace period, then cancel it, so that each is told."""
        self.service.stopping = True
        ending = asyncio.create_task(self._end())
        await super().shutdown(sockets)
        ending.cancel()

    async def _end(self) -> None:
        await asyncio.sleep(self.service.limits.grace_seconds)
        await asyncio.to_thread(self.service.close)


def serve(app: FastAPI, service: Service, listener: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C, then close the service."""
    try:
        Server(app, service).run([listener])
    finally:
        service.close()
