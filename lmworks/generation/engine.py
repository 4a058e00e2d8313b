"""An engine: a thread that answers many requests at once, each of which may come, go and be cancelled at any time.

    engine = Engine(model, seats=16, queue=100)
    ticket = engine.submit("Once upon a time", Sample(temperature=0.8, seed=7), max_new_tokens=64)
    for piece in ticket:                    # or: async for piece in ticket
        print(piece.text, end="")           # piece.tokens: id, and with logprobs=5 log-probability and alternatives
    ticket.answer()                         # the whole: an Answer with text, tokens, logprobs, finish, seed
    ticket.cancel()                         # no more work for it from the next step on
    engine.close(finish=True)               # answer what is there and stop; finish=False cancels it

`submit` may be called from any thread, asyncio's too: it tokenizes, checks and returns at once. It raises QueueFull when
`queue` requests wait already (its `seconds` say when to ask again), EngineClosed after `close`, and ConfigError or DataError,
one sentence, for whatever is wrong with the request.

Requests wait in the order in which they came, until there are seats: one for each row that they need (a beam search has a
row for each beam). Prompts are read in parts of at most `chunk` tokens, short ones before long ones that came at the same time
(`batch.py`), and between two tokens of the running requests at most PARTS such parts, or four times as many short ones: a long
prompt does not hold up short ones, nor streams for long.
On the compiled path, texts that begin alike (a system prompt, a conversation that goes on) are read once: their pages, 64 tokens
each, are kept in up to `prefix_bytes`, those that nobody wanted for the longest time leaving first.

What a request writes does not depend on its neighbours: to the bit on the compiled path; in PyTorch as far as the last
bits of a product do not (see `batch.py`). It runs whatever network the model has, on a CPU or on CUDA.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from lmworks.basics.errors import ConfigError, EngineClosed, QueueFull
from lmworks.generation.batch import Batch
from lmworks.generation.constraints import Constraint
from lmworks.generation.decoding import Window
from lmworks.generation.guessing import Draft, Lookup
from lmworks.generation.request import Asked, Request
from lmworks.generation.strategies import Strategy
from lmworks.generation.ticket import Piece, Ticket
from lmworks.kernels.engine import CompiledNetwork
from lmworks.language_model import LanguageModel, Prompt

__all__ = ["CHUNK", "Engine", "EngineState", "Piece", "Ticket"]

CHUNK, PARTS = 128, 4
"""Prompt tokens of one step, for which who comes meanwhile waits, 40 to 70 ms on two cores (SmolLM2); and so many such steps of reading
between two tokens, or four times as many short ones. An answer that ends between the parts of a prompt brings its client's next prompt
behind that one: with one part between two tokens the 95th of 100 first tokens of eight clients took 1.2 times as long (docs/log.md)."""
SECONDS_TO_WEIGH = 0.1
"""Between two counts of the cache's bytes while nobody leaves."""
PREFIX_BYTES = 2**28
"""Keys and values that are kept of the beginnings of texts: of SmolLM2-135M 11,000 tokens."""


@dataclass
class EngineState:
    """Counts for /metrics; those that only grow count from the engine's beginning."""

    waiting: int = 0
    """Requests in the queue."""
    running: int = 0
    """Requests that have seats."""
    prompt_tokens: int = 0
    """Read, those that lay in the cache already included."""
    reused_tokens: int = 0
    """Of them, those that lay in the cache already."""
    written_tokens: int = 0
    finished: int = 0
    """Requests that came to their end."""
    cancelled: int = 0
    failed: int = 0
    refused: int = 0
    """Requests that the queue had no place for."""
    steps: int = 0
    """Each gives the running requests a token or more, or reads a part of a prompt."""
    cache_bytes: int = 0
    """Keys and values of all running requests, and of prefixes that are kept."""


class Engine:
    """Answers requests side by side."""

    def __init__(
        self,
        model: LanguageModel,
        seats: int = 16,
        queue: int = 100,
        chunk: int = CHUNK,
        prefix_bytes: int = PREFIX_BYTES,
    ) -> None:
        for name, value in (("seats", seats), ("queue", queue), ("chunk", chunk)):
            if value < 1:
                raise ConfigError(f"{name} is {value}; give at least 1")
        model.must_write()
        self.model, self.seats, self.queue = model, seats, queue
        self._prefix_bytes = prefix_bytes
        self._batch = Batch(model.network, chunk, prefix_bytes, PARTS * chunk)
        self._waiting: deque[Ticket] = deque()
        self._active: dict[int, Ticket] = {}
        """By the identity of the request."""
        self._state, self._weighs_at = EngineState(), 0.0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="lmworks-engine", daemon=True)
        self._thread.start()

    def submit(
        self,
        prompt: Prompt,
        strategy: Strategy | None = None,
        *,
        max_new_tokens: int = 256,
        stop: Sequence[str] = (),
        logprobs: int | None = None,
        prompt_logprobs: bool = False,
        constraint: Constraint | None = None,
        guess: Lookup | Draft | None = None,
        window: Window = "stop",
    ) -> Ticket:
        """Ask for an answer. Arguments as in `LanguageModel.generate`; besides, `logprobs` for the log-probability of each
        token that is written and of so many likeliest ones in its place (0 for its own alone), and `prompt_logprobs` for those
        of the prompt's own tokens with as many alternatives (then max_new_tokens may be 0, and it is read anew)."""
        asked = Asked(logprobs or 0, prompt_logprobs, logprobs is not None)
        if asked.top < 0:
            raise ConfigError(f"logprobs is {logprobs}; give 0 or more")
        return self.run(
            self.model.request(
                prompt, strategy, max_new_tokens, stop, asked=asked, constraint=constraint, guess=guess, window=window
            )
        )

    def run(self, request: Request) -> Ticket:
        """Queue a request that was made by `model.request`."""
        if request.most_rows > self.seats:
            raise ConfigError(f"the request needs {request.most_rows} rows and the engine has {self.seats} seats")
        ticket = Ticket(request, self._hurry)
        with self._changed:
            self._must_have_room(1)
            self._waiting.append(ticket)
            self._changed.notify_all()
        self._hurry()
        return ticket

    def _hurry(self) -> None:
        self._batch.hurry()

    def must_have_room(self, requests: int = 1) -> None:
        """QueueFull or EngineClosed where so many requests would be refused now: before one works to make them."""
        with self._changed:
            self._must_have_room(requests)

    @property
    def state(self) -> EngineState:
        """A copy of the counts as they are now."""
        with self._changed:
            now = EngineState(**vars(self._state))
            now.waiting, now.running = len(self._waiting), len(self._active)
        return now

    @property
    def most_cache_bytes(self) -> int:
        """Keys and values of full seats, and of the prefixes that may be kept."""
        network = self.model.network
        config, compiled = network.config, isinstance(network.engine, CompiledNetwork)
        number = 2 if compiled else network.dtype.itemsize
        token = 2 * config.layers * config.kv_heads * config.head_dim * number
        return self.seats * config.context * token + self._prefix_bytes * compiled

    def close(self, finish: bool = True, timeout: float | None = None) -> bool:
        """Take no more requests; finish those that are there, or cancel them. Returns whether all is done within `timeout`
        seconds; a second call with finish=False cancels what a first one waits for."""
        with self._changed:
            self._closing = True
            if not finish:
                for ticket in [*self._waiting, *self._active.values()]:
                    ticket.cancel()
            self._changed.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(finish=kind is None)

    def _must_have_room(self, requests: int) -> None:
        if self._closing:
            raise EngineClosed("the engine is closed and takes no more requests; start another one")
        if len(self._waiting) + requests > self.queue:
            self._state.refused += requests
            raise QueueFull(f"{len(self._waiting):,} requests wait already; ask again later", self._patience())

    # The engine's thread

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._active or self._closing)
                self._remove_cancelled()
                self._admit()
                if not self._active:
                    if self._closing and not self._waiting:
                        return
                    continue
            self._step()

    def _step(self) -> None:
        try:
            shown = self._batch.step()
        except Exception as error:  # the network itself failed: nobody's rows are what they should be
            with self._changed:
                failed, self._active = list(self._active.values()), {}
                old = self._batch
                self._batch = Batch(self.model.network, old.chunk, self._prefix_bytes, old.between)
                self._state.failed += len(failed)
                self._state.written_tokens += sum(ticket.untold for ticket in failed)
            for ticket in failed:
                ticket.fail(error)
            return
        told = []
        with self._changed:
            self._state.steps += 1
            there = len(self._active)
            for request, text in shown:
                told.append((self._active[id(request)], text))
                self._count(told[-1][0])
            if len(self._active) < there or time.monotonic() >= self._weighs_at:
                self._weigh()
        for ticket, text in told:
            ticket.tell(text)

    def _count(self, ticket: Ticket) -> None:
        """Counts that go on with a request, and its leaving."""
        request, state = ticket.request, self._state
        if not ticket.read:
            ticket.read = True
            state.prompt_tokens += request.size
            state.reused_tokens += request.reused
        state.written_tokens += ticket.untold
        if request.finish is None and request.error is None:
            return
        del self._active[id(request)]
        state.failed += request.error is not None
        state.finished += request.error is None and not ticket.cancelled

    def _remove_cancelled(self) -> None:
        gone = [ticket for ticket in (*self._waiting, *self._active.values()) if ticket.cancelled]
        for ticket in gone:
            if self._active.pop(id(ticket.request), None) is None:
                self._waiting.remove(ticket)
                ticket.request.cancel()
            else:
                self._batch.drop(ticket.request)
            self._state.cancelled += 1
            self._state.written_tokens += ticket.untold
            ticket.tell("")
        if gone:
            self._weigh()

    def _weigh(self) -> None:
        """Count the cache's bytes: not at each step, as 16 texts of 1,000 tokens are 256 pages and take 0.2 ms."""
        self._state.cache_bytes, self._weighs_at = self._batch.bytes, time.monotonic() + SECONDS_TO_WEIGH

    def _admit(self) -> None:
        """Give seats to those who wait, in their order; short prompts that come together are read together."""
        taken = sum(ticket.request.most_rows for ticket in self._active.values())
        group: list[Request] = []
        while self._waiting and taken + self._waiting[0].request.most_rows <= self.seats:
            ticket = self._waiting.popleft()
            request = ticket.request
            self._active[id(request)] = ticket
            taken += request.most_rows
            longest = max([request.size, *(one.size for one in group)])
            if group and longest * (len(group) + 1) > self._batch.chunk:
                self._batch.add(group)
                group = []
            group.append(request)
        self._batch.add(group)

    def _patience(self) -> float:
        """Seconds until a place in the queue will probably be free: as long as the last that left took, shared by the seats."""
        oldest = min((ticket.created for ticket in self._active.values()), default=time.monotonic())
        return max(1.0, round((time.monotonic() - oldest) / max(len(self._active), 1), 1))
