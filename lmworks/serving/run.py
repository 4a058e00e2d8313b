"""Serve until a signal comes: requests that run then are finished within a grace period, or told that they are not."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator

import uvicorn
from fastapi import FastAPI

from lmworks.basics.errors import ConfigError, LmworksError
from lmworks.serving.connections import Connection, ConnectionGate, room
from lmworks.serving.guard import Keys
from lmworks.serving.log import Log
from lmworks.serving.models import ServedModels
from lmworks.serving.settings import WEEK

LOOK = 0.05
"""Seconds between two looks whether requests still run, at the end."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def must_be_safe(host: str, keys: Collection[str], without_key: bool) -> None:
    """ConfigError for an address that others reach without a key, unless that is asked for, and for an unusable key."""
    Keys(keys)
    if not host.strip():
        raise ConfigError("the host is empty; give an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all")
    if not on_loopback(host) and not keys and not without_key:
        raise ConfigError(
            f"{host} can be reached from other machines, and whoever reaches it could use the model; give --api-key, "
            "or --without-key where something else keeps strangers away"
        )


def names_of(host: str, keys: int) -> set[str] | None:
    """The names that a server without keys answers to (see `guard.py`); None for any."""
    return {*LOOPBACK, "[::1]", host} if on_loopback(host) and not keys else None


def on_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host in LOOPBACK


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. LmworksError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":
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

    def __init__(self, app: FastAPI, models: ServedModels, log: Log | None = None) -> None:
        self.models, self.log = models, log or Log(None)
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                timeout_keep_alive=WEEK,  # connections have time limits of their own
                server_header=False,
                ws="none",
                # Clients that are told at the end of the grace period have some seconds to hear it.
                timeout_graceful_shutdown=int(models.limits.grace_seconds) + 10,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and accept as many connections as there is room for."""
        await super().startup(sockets=[])  # uvicorn's own way of accepting knows no bound

        def protocol() -> Connection:
            made = Connection(self.config, self.server_state, self.lifespan.state)
            made.limits = self.models.limits
            return made

        gate = ConnectionGate(self.server_state, protocol, room(self.models.limits.connections))
        self._accepting = [asyncio.create_task(gate.accept(one)) for one in sockets or ()]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse what is new with 503, let running requests go on for the grace period, then cancel them with an
        answer. Connections are accepted until then, so that `/health` can say that the server stops."""
        states = [one.engine.state for one in self.models.loaded if one.writes]
        running = sum(one.running + one.waiting for one in states)
        self.log.event("stopping", running=running, grace_seconds=self.models.limits.grace_seconds)
        self.models.stop()
        ending = asyncio.create_task(self._end())
        until = asyncio.get_running_loop().time() + self.models.limits.grace_seconds
        while self.server_state.tasks and not self.force_exit and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(LOOK)
        for accepting in self._accepting:
            accepting.cancel()
        await super().shutdown(sockets)
        ending.cancel()
        self.log.event("stopped")

    async def _end(self) -> None:
        await asyncio.sleep(self.models.limits.grace_seconds)
        await asyncio.to_thread(self.models.close)


def serve(app: FastAPI, models: ServedModels, listener: socket.socket, log: Log | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C, then close the models."""
    try:
        Server(app, models, log).run([listener])
    finally:
        models.close()


@contextlib.contextmanager
def served(server: str) -> Iterator[str]:
    """The address of a server: the one that is named, or a process that serves a model as long as the block runs."""
    if "://" in server:
        yield server
        return
    command = [sys.executable, "-m", "lmworks", "serve", server, "--port", "0", "--queue", "10000"]
    # What it prints is for people who start a server: that its page may be opened, and how it ends.
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("{") and (facts := json.loads(line))["event"] == "serving":
                break
        else:
            raise LmworksError(said[-1].removeprefix("lmworks: ").strip() if said else f"{server} could not be served")
        # Its log has to be read, or the pipe fills up and the server waits.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield facts["address"].removesuffix("/v1")
    finally:
        process.terminate()
        process.wait()
