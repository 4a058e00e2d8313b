"""Two processes (gloo) that do the same, started with torchrun's environment from a server that has all imports."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from lmworks.basics.errors import LmworksError
from lmworks.training.processes import joined
from lmworks.training.ranks import Ranks

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(
    [
        *("pytest", "lmworks.jobs.train", "lmworks.training.distributed", "training.runs"),
        *("torch._dynamo", "torch.distributed.checkpoint"),  # what a first step imports
    ]
)


def together(work: Callable[..., Any], *arguments: Any, size: int = 2) -> list[Any]:
    """What `work(ranks, *arguments)` gave on each rank: a value, an LmworksError, or None where the process died."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    started = []
    for rank in range(size):
        ours, theirs = _server.Pipe(duplex=False)
        process = _server.Process(target=_rank, args=(rank, size, port, theirs, work, arguments))
        process.start()
        theirs.close()
        started.append((process, ours))
    results = []
    try:
        for _, ours in started:
            assert ours.poll(300), "a rank hangs"
            try:
                results.append(pickle.loads(ours.recv_bytes()))
            except EOFError:
                results.append(None)
    finally:
        for process, _ in started:
            process.join(10)
            process.kill()
    for result in results:
        assert not isinstance(result, str) or not result.startswith("Traceback"), result
    return results


def _rank(rank: int, size: int, port: int, answer: Connection, work: Callable[..., Any], arguments: Any) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    try:
        with joined() as ranks:
            done = work(ranks, *arguments)
        answer.send_bytes(pickle.dumps(done))
    except LmworksError as error:
        answer.send_bytes(pickle.dumps(error))
    except BaseException:
        answer.send_bytes(pickle.dumps(traceback.format_exc()))


__all__ = ["Ranks", "together"]
