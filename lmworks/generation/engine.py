"""Engine: a thread that answers many requests at once, each of which may come, go and be cancelled at any time.

    engine = Engine(model, seats=16, queue=100)
    handle = engine.submit("Once upon a time", Sample(temperature=0.8, seed=7), max_new_tokens=64)
    for delta in handle:                    # or: async for delta in handle
        print(delta.text, end="")           # delta.tokens: id, and with logprobs=5 log-probability and alternatives
    handle.answer()                         # the whole: an Answer with text, tokens, logprobs, finish, seed
    handle.cancel()                         # no more work for it from the next step on
    engine.close(finish=True)               # answer what is there and stop; finish=False cancels it

`submit` may be called from any thread, asyncio's too: it tokenizes, checks and returns at once. It raises QueueFull
when `queue` requests wait already (its `seconds` say when to ask again), EngineClosed after `close`, and ConfigError
or DataError, one sentence, for whatever is wrong with the request.

Requests wait in the order in which they came, until there are seats: one for each row that they need (a beam search
has a row for each beam). Prompts are read in parts of at most `chunk` tokens, short ones before long ones that came
at the same time (`scheduler.py`), and between two tokens of the running sequences at most PARTS such parts, or four
times as many short ones: a long prompt does not hold up short ones, nor streams for long. On the compiled path,
texts that begin alike (a system prompt, a conversation that goes on) are read once: their pages, 64 tokens each, are
kept in up to `prefix_bytes`, those that nobody wanted for the longest time leaving first.

What a request writes does not depend on its neighbours: to the bit on the compiled path; in PyTorch as far as the last
bits of a product do not (see `scheduler.py`). It runs whatever runner the model has, on a CPU or on CUDA.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence as List
from dataclasses import dataclass

from lmworks.basics.arguments import checked
from lmworks.basics.errors import ConfigError, EngineClosed, QueueFull
from lmworks.generation.constraints import Constraint
from lmworks.generation.decoding import start
from lmworks.generation.handle import Delta, RequestHandle
from lmworks.generation.model import WritingModel
from lmworks.generation.request import Guess, LogprobOptions, Prompt, Request, Window
from lmworks.generation.scheduler import Scheduler
from lmworks.generation.sequence import Sequence
from lmworks.generation.strategies import Strategy
from lmworks.generation.tool_calls import Tools

__all__ = ["CHUNK", "Delta", "Engine", "EngineState", "RequestHandle"]

CHUNK, PARTS = 128, 4
"""Prompt tokens of one step, for which who comes meanwhile waits, 40 to 70 ms on two cores (SmolLM2); and this many
such steps of reading between two tokens, or four times as many short ones. An answer that ends between the parts of
a prompt brings its client's next prompt after that one: with one part between two tokens the 95th of 100 first
tokens of eight clients took 1.2 times as long (docs/log.md)."""
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

    @checked
    def __init__(
        self,
        model: WritingModel,
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
        self._scheduler = Scheduler(model.runner, chunk, prefix_bytes, PARTS * chunk)
        self._waiting: deque[RequestHandle] = deque()
        self._active: dict[Sequence, RequestHandle] = {}
        self._state, self._weighs_at = EngineState(), 0.0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="lmworks-engine", daemon=True)
        self._thread.start()

    @checked
    def submit(  # noqa: PLR0913 (those of LanguageModel.generate)
        self,
        prompt: Prompt,
        strategy: Strategy | None = None,
        *,
        max_new_tokens: int = 256,
        stop: List[str] = (),
        logprobs: int | None = None,
        prompt_logprobs: bool = False,
        constraint: Constraint | None = None,
        tools: Tools | None = None,
        guess: Guess | None = None,
        window: Window = "stop",
        adapter: str | None = None,
    ) -> RequestHandle:
        """Ask for an answer. Arguments as in `LanguageModel.generate`; besides, `logprobs` for the log-probability
        of each token that is written and of this many most probable ones in its place (0 for its own alone), and
        `prompt_logprobs` for those of the prompt's own tokens with as many alternatives (then max_new_tokens may be
        0, and it is read anew)."""
        options = LogprobOptions(logprobs or 0, prompt_logprobs, logprobs is not None)
        if options.top < 0:
            raise ConfigError(f"logprobs is {logprobs}; give 0 or more")
        said = {"constraint": constraint, "tools": tools, "guess": guess, "window": window, "adapter": adapter}
        return self.run(self.model.request(prompt, strategy, max_new_tokens, stop, logprobs=options, **said))

    def run(self, request: Request) -> RequestHandle:
        """Queue a request that was made by `model.request`."""
        if request.rows > self.seats:
            raise ConfigError(f"the request needs {request.rows} rows and the engine has {self.seats} seats")
        handle = RequestHandle(start(request, self.model.runner), self._interrupt)
        with self._changed:
            self._must_have_room(1)
            self._waiting.append(handle)
            self._changed.notify_all()
        self._interrupt()
        return handle

    def _interrupt(self) -> None:
        self._scheduler.interrupt()

    def must_have_room(self, requests: int = 1) -> None:
        """QueueFull or EngineClosed where this many requests would be refused now: before one works to make them."""
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
        """Keys and values of full seats, with those of a source where there is one, and of the prefixes that may be
        kept."""
        runner, config = self.model.runner, self.model.config
        kept = self._prefix_bytes if runner.new_prefixes(0) is not None else 0
        texts = 2 if config.arrangement == "encoder-decoder" else 1
        return self.seats * texts * config.context * runner.token_bytes + kept

    def close(self, finish: bool = True, timeout: float | None = None) -> bool:
        """Take no more requests; finish those that are there, or cancel them. Returns whether all is done within
        `timeout` seconds; a second call with finish=False cancels what a first one waits for."""
        with self._changed:
            self._closing = True
            if not finish:
                for handle in [*self._waiting, *self._active.values()]:
                    handle.cancel()
            self._changed.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(finish=kind is None)

    def _must_have_room(self, requests: int) -> None:
        if self._closing:
            raise EngineClosed("the engine is closed and takes no more requests; start a new engine")
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
            self._scheduler.runner = self.model.runner
            shown = self._scheduler.step()
        except Exception as error:  # the network itself failed: nobody's rows are what they should be
            with self._changed:
                failed, self._active = list(self._active.values()), {}
                old = self._scheduler
                self._scheduler = Scheduler(self.model.runner, old.chunk, self._prefix_bytes, old.between)
                self._state.failed += len(failed)
                self._state.written_tokens += sum(handle.unpublished for handle in failed)
            for handle in failed:
                handle.fail(error)
            return
        told = []
        with self._changed:
            self._state.steps += 1
            there = len(self._active)
            for sequence, text in shown:
                told.append((self._active[sequence], text))
                self._count(told[-1][0])
            if len(self._active) < there or time.monotonic() >= self._weighs_at:
                self._weigh()
        for handle, text in told:
            handle.publish(text)

    def _count(self, handle: RequestHandle) -> None:
        """Counts that go on with a sequence, and its leaving."""
        sequence, state = handle.sequence, self._state
        if not handle.prompt_counted:
            handle.prompt_counted = True
            lead = sequence.request.lead
            state.prompt_tokens += sequence.size - lead
            state.reused_tokens += max(sequence.reused - lead, 0)
        state.written_tokens += handle.unpublished
        if sequence.finish is None and sequence.error is None:
            return
        del self._active[sequence]
        state.failed += sequence.error is not None
        state.finished += sequence.error is None and not handle.cancelled

    def _remove_cancelled(self) -> None:
        gone = [handle for handle in (*self._waiting, *self._active.values()) if handle.cancelled]
        for handle in gone:
            if self._active.pop(handle.sequence, None) is None:
                self._waiting.remove(handle)
                handle.sequence.cancel()
            else:
                self._scheduler.drop(handle.sequence)
            self._state.cancelled += 1
            self._state.written_tokens += handle.unpublished
            handle.publish("")
        if gone:
            self._weigh()

    def _weigh(self) -> None:
        """Count the cache's bytes: not at each step, as 16 texts of 1,000 tokens are 256 pages and take 0.2 ms."""
        self._state.cache_bytes, self._weighs_at = self._scheduler.bytes, time.monotonic() + SECONDS_TO_WEIGH

    def _admit(self) -> None:
        """Give seats to those who wait, in their order; short prompts that come together are read together."""
        taken = sum(handle.sequence.request.rows for handle in self._active.values())
        group: list[Sequence] = []
        while self._waiting and taken + self._waiting[0].sequence.request.rows <= self.seats:
            handle = self._waiting.popleft()
            sequence = handle.sequence
            self._active[sequence] = handle
            taken += sequence.request.rows
            longest = max(one.size for one in (sequence, *group))
            if group and longest * (len(group) + 1) > self._scheduler.chunk:
                self._scheduler.add(group)
                group = []
            group.append(sequence)
        self._scheduler.add(group)

    def _patience(self) -> float:
        """Seconds until a place in the queue will probably be free: as long as the last that left took, shared by
        the seats."""
        oldest = min((handle.created for handle in self._active.values()), default=time.monotonic())
        return max(1.0, round((time.monotonic() - oldest) / max(len(self._active), 1), 1))
