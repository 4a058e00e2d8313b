"""Work in the thread beside the engine for one request: no longer than it may take, and not for a client that left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from fastapi import Request

from lmworks.basics.errors import DataError
from lmworks.serving.errors import Refused, late
from lmworks.serving.service import Service

Result = TypeVar("Result")


async def attended(http: Request, service: Service, work: Callable[[], Result]) -> Result:
    """What `work` returns. Refused where it takes too long or its client leaves (what has not begun then never does),
    and where the documents that it looks at cannot be read (any more), which is no client's mistake."""
    running = asyncio.ensure_future(service.worker.run(work))

    async def watch() -> None:
        while (await http.receive())["type"] != "http.disconnect":
            pass
        running.cancel()

    watcher = asyncio.create_task(watch())
    try:
        return await asyncio.wait_for(asyncio.shield(running), service.limits.seconds)
    except TimeoutError:
        raise late(service.limits.seconds, "ask for less at once") from None
    except DataError as error:
        raise Refused(503, str(error), code="documents_unreadable") from error
    except asyncio.CancelledError:
        if running.cancelled():
            raise Refused(499, "the client went away") from None
        raise
    finally:
        watcher.cancel()
        running.cancel()
