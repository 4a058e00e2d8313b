"""The models of a server: each is loaded when a request first names it, and put away when nobody has used it for a
while, or when another model needs its memory.

    models = ServedModels.of(Service(lm.load("smollm2")))        # one that is loaded and stays
    models = ServedModels([ServedModel({"a": 8192}, make_a, 10**9), ...], memory=4 * 10**9, idle=300)
    async with models.using("a") as service: ...                 # loaded, and not put away before the block ends

All of it happens on the server's event loop, except for loading and closing, which have threads. Models are loaded one
at a time, in the order of the requests. A model that has to make room for another finishes what it has begun; whoever
asks for it meanwhile waits until it is loaded again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import math
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

from fastapi import Request

from lmworks.basics.amounts import listed
from lmworks.basics.errors import ConfigError, LmworksError
from lmworks.basics.memory import available_bytes, is_out_of_memory
from lmworks.serving.errors import Refused, late, stopping
from lmworks.serving.log import Log
from lmworks.serving.record import RECORD
from lmworks.serving.service import AUTO, Service
from lmworks.serving.settings import ServerLimits

LACKS_MEMORY = "there is no memory for it; ask again when other programs are closed, or ask for a smaller model"


class ServedModel:
    """One model, loaded or not; `names` say how many tokens it reads under each of its names."""

    def __init__(
        self,
        names: Mapping[str, int],
        make: Callable[[], Service],
        needs: int = 0,
        embeds: bool = False,
        adapters: Collection[str] = (),
        documents: str | None = None,
    ) -> None:
        """`make` loads it, which takes as many bytes as it `needs`; one that `embeds` gets the requests for vectors
        that name no model."""
        self.names, self.make, self.needs, self.embeds = dict(names), make, needs, embeds
        self.adapters = tuple(adapters)
        """Those of its names that are adapters beside it."""
        self.documents = documents
        """Where the index lies that it answers from, its own or the server's; None for none."""
        self.service: Service | None = None
        """What answers, while it is loaded."""
        self.users = self.waiting = self.last_used = 0
        self.leaving = False
        self.loading: asyncio.Task[None] | None = None
        self.unused = asyncio.Event()
        self.timer: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """What it is called first of all."""
        return next(iter(self.names))

    @property
    def loaded(self) -> bool:
        """Whether a request is answered without loading it first."""
        return self.service is not None and not self.leaving


class ServedModels:
    """All of a server's models, the memory that they share, and what holds for each of them."""

    def __init__(
        self,
        models: Sequence[ServedModel],
        *,
        memory: float = math.inf,
        idle: float = math.inf,
        keys: Collection[str] = (),
        limits: ServerLimits | None = None,
        log: Log | None = None,
    ) -> None:
        """`memory` in bytes; `idle` in seconds. ConfigError for two models of one name, and for no such bound."""
        for what, bound in (("memory", memory), ("idle", idle)):
            if not bound >= 0:  # nan too, which is below nothing: no memory would be lacking, and no model put away
                raise ConfigError(f"{what} is {bound}; it should be 0 or more")
        self.all, self.memory, self.idle = list(models), memory, idle
        self.names = {name: longest for one in self.all for name, longest in one.names.items()}
        """Every name that clients can give, and how many tokens are read under it."""
        if len(self.names) < sum(len(one.names) for one in self.all):
            given = [name for one in self.all for name in one.names]
            twice = next(name for name in given if given.count(name) > 1)
            raise ConfigError(f"two models are called {twice}; leave one of them out, or give it another path")
        self.keys, self.limits, self.log = tuple(keys), limits or ServerLimits(), log or Log(None)
        self.started = int(time.time())
        """Seconds since 1970."""
        self.stopping = False
        """Whether the server was asked to stop; it takes no more requests then."""
        self._turn, self._clock = asyncio.Lock(), itertools.count(1)

    @classmethod
    def of(cls, service: Service) -> ServedModels:
        """A model that is loaded, and never put away."""
        names = {service.name: service.model.longest}
        names |= {name: service.model.longest_with(name) for name in service.adapters}
        if service.router is not None:
            names[AUTO] = min(names.values())
        if service.name in service.adapters or service.embedder_name in service.adapters:
            raise ConfigError("a model and an adapter have the same name; give the adapter another")
        if service.embedder is not None and service.embedder_name != service.name:
            names[service.embedder_name] = service.embedder.longest
        documents = None if service.index is None else service.index.place
        served = ServedModel(names, lambda: service, adapters=service.adapters, documents=documents)
        served.service = service
        return cls([served], keys=service.keys, limits=service.limits)

    @property
    def title(self) -> str:
        """All of them in a line: of a model and what embeds beside it, the model."""
        return ", ".join(one.name for one in self.all)

    @property
    def documents(self) -> list[str]:
        """Where the indexes lie that answers come from, each once."""
        return list(dict.fromkeys(one.documents for one in self.all if one.documents is not None))

    @property
    def loaded(self) -> list[Service]:
        """What answers now."""
        return [one.service for one in self.all if one.service is not None]

    def named(self, name: str | None, embeds: bool = False) -> ServedModel:
        """The model of a name; without a name the first, or the one that `embeds`. Refused where there is none."""
        if name is None:
            return next((one for one in self.all if embeds and one.embeds), self.all[0])
        found = next((one for one in self.all if name in one.names), None)
        if found is None:
            raise unknown_model(self.names, name)
        return found

    async def lend(self, http: Request, name: str | None, *, embeds: bool = False) -> Service:
        """What answers for a name, as long as the request lasts: the guard gives it back. Refused as by `using`."""
        served, record = self.named(name, embeds), http.scope[RECORD]
        service = await self._take(served)
        record.model, record.give_back = served.name, lambda: self._give_back(served)
        return service

    @contextlib.asynccontextmanager
    async def using(self, name: str | None) -> AsyncIterator[Service]:
        """What answers for a name while the block runs. Refused for a name that is not known, and where the model
        cannot be loaded."""
        served = self.named(name)
        service = await self._take(served)
        try:
            yield service
        finally:
            self._give_back(served)

    def stop(self) -> None:
        """Take no more requests."""
        self.stopping = True
        for one in self.loaded:
            one.stopping = True

    def close(self) -> None:
        """Stop what runs and what waits."""
        self.stop()
        for one in self.loaded:
            one.close()

    async def _take(self, served: ServedModel) -> Service:
        served.waiting += 1
        try:
            while not served.loaded:
                if self.stopping:
                    raise stopping()
                served.loading = served.loading or asyncio.create_task(self._load(served))
                # Others may wait for it, too: it goes on when this one's time is over.
                await asyncio.wait_for(asyncio.shield(served.loading), self.limits.seconds)
            assert served.service is not None
            served.users += 1
            served.unused.clear()
        except TimeoutError:
            raise late(self.limits.seconds, "its model waits for memory or for the disk; ask again later") from None
        finally:
            served.waiting -= 1
            self._rest(served)
        return served.service

    def _give_back(self, served: ServedModel) -> None:
        served.users -= 1
        served.last_used = next(self._clock)
        if not served.users:
            served.unused.set()
        self._rest(served)

    def _rest(self, served: ServedModel) -> None:
        """Put it away in a while unless somebody comes; no more of that where somebody is there."""
        if served.timer is not None:
            served.timer.cancel()
            served.timer = None
        if _idle(served) and self.idle < math.inf:
            loop = asyncio.get_running_loop()
            served.timer = loop.call_later(self.idle, lambda: loop.create_task(self._put_away_idle(served)))

    async def _put_away_idle(self, served: ServedModel) -> None:
        async with self._turn:
            if _idle(served):
                await self._put_away(served, "idle")

    async def _load(self, served: ServedModel) -> None:
        """Load a model when its turn has come and there is room. Refused where it cannot be had."""
        try:
            async with self._turn:
                if served.service is not None:
                    return
                await self._make_room(served)
                started = time.monotonic()
                service = await asyncio.to_thread(served.make)
                served.service, service.stopping = service, self.stopping
                self.log.event("loaded", model=served.name, seconds=round(time.monotonic() - started, 3))
        except (LmworksError, MemoryError, OSError, RuntimeError) as error:
            why = error if isinstance(error, LmworksError) else LACKS_MEMORY if is_out_of_memory(error) else None
            if why is None:
                raise
            said = f"{served.name} cannot be loaded: {why}"
            raise Refused(503, said, code="model_not_loaded", headers={"Retry-After": "60"}) from error
        finally:
            served.loading = None
            self._rest(served)  # those who asked for it may all have gone

    async def _make_room(self, served: ServedModel) -> None:
        """Put others away, those first that nobody uses, and of these the one that was used longest ago."""
        while self._lacks(served.needs) and (others := [one for one in self.all if one.service is not None]):
            other = min(others, key=lambda one: (one.users > 0, one.last_used))
            other.leaving = True
            try:
                if other.users:
                    await other.unused.wait()
                await self._put_away(other, f"makes room for {served.name}")
            finally:
                other.leaving = False

    def _lacks(self, needed: int) -> bool:
        """Whether memory for one more is missing: of what the models may take, or of what the machine has."""
        held, free = sum(one.needs for one in self.all if one.service is not None), available_bytes()
        return held + needed > self.memory or (free is not None and needed > free)

    async def _put_away(self, served: ServedModel, why: str) -> None:
        """Let go of a model that nobody uses."""
        assert served.service is not None and not served.users
        closing, served.service = served.service, None
        await asyncio.to_thread(closing.close, True)
        del closing
        await asyncio.to_thread(gc.collect)  # what holds itself holds the weights, too
        self.log.event("put away", model=served.name, why=why)


def unknown_model(names: Collection[str], name: str | None) -> Refused:
    """What is said of a model that does not exist."""
    return Refused(404, f"there is no model {name!r}; there is {listed(names)}", param="model", code="model_not_found")


def _idle(served: ServedModel) -> bool:
    return served.service is not None and not served.users and not served.waiting and not served.leaving
