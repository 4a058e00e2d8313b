"""Requests that are decoded together: they join and leave between steps, and long prompts are read in parts beside them.

    batch = Batch(network)
    batch.add([request, other])
    while batch.busy:
        for request, text in batch.step():
            ...

A step gives every running request one token (more where it guessed some, or where the compiled path writes ahead: `SECONDS_AHEAD`), or
reads a part of a waiting prompt: at most `chunk` tokens a part, and at most `between` of prompts between two tokens of those that run. The
prompt that is due first is read first, and it is due when as many tokens were read since it came as it has itself: a short one
does not wait for a long one that came before, nor a long one for more than its own length in short ones that come later. Rows of all requests share each pass through the network; what a
request draws and keeps is its own.
On the compiled path, whose sums have one order, an answer is the same to the bit whatever stands beside it; in PyTorch
the last bits of the logits depend on the number of rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmworks.basics.threads import one_thread
from lmworks.generation.one_row import WITH_GUESSER, OneRow
from lmworks.generation.request import Read, Request, Token, top_of
from lmworks.kernels.engine import MOST_WRITTEN, CompiledNetwork
from lmworks.kernels.next_token import Choice
from lmworks.kernels.pages import PAGE, PagedCache, bytes_of
from lmworks.kernels.prefixes import Prefixes
from lmworks.models.cache import Cache
from lmworks.models.network import Network, evaluating

PREFILL = 512
"""Prompt tokens read at once: enough to fill the processor, few enough to bound memory."""
SECONDS_AHEAD, MOST_AHEAD = 0.04, 8
"""The compiled path writes tokens for so long before anybody sees them, or until there are so many: as long as a film shows a picture.
Whoever comes, or leaves, ends it with the token that is being written (`Batch.hurry`)."""
Shown = list[tuple[Request, str]]
"""Requests that went on, each with its new text."""


@dataclass(eq=False)
class Group:
    """Prompts that are read side by side, in a cache of their own."""

    requests: list[Request]
    due: int
    """It is read before those of larger numbers: tokens that had been read when it came, and its own."""
    cache: Cache | None = None
    tokens: Int[Tensor, "batch seq"] = field(default_factory=lambda: torch.empty(0, 0))
    """What is still to be read, padded on the left; unless nothing was begun yet."""
    mask: Bool[Tensor, "batch seq"] | None = None

    def part(self, chunk: int) -> int:
        """Tokens of its next part."""
        rows = len(self.requests)
        left = self.tokens.shape[1] if self.cache is not None else max(len(one.opening) for one in self.requests)
        return rows * min(left, max(1, chunk // rows))

    def drop(self, request: Request) -> None:
        """One of them leaves."""
        kept = [at for at, one in enumerate(self.requests) if one is not request]
        self.requests = [self.requests[at] for at in kept]
        if self.cache is not None:
            rows = torch.tensor(kept, dtype=torch.long, device=self.tokens.device)
            self.cache.keep(rows)
            self.tokens, self.mask = self.tokens[rows], None if self.mask is None else self.mask[rows]


class Batch:
    """The requests of one network."""

    def __init__(
        self, network: Network, chunk: int = PREFILL, prefix_bytes: int = 0, between: int | None = None
    ) -> None:
        """At most `chunk` tokens of prompts are read in a step, and at most `between` (None: as many) between two tokens of those that run.
        `prefix_bytes` may be kept of the beginnings of texts, for others that begin alike (on the compiled path)."""
        self.network, self.chunk, self.between = network, chunk, chunk if between is None else between
        self._prefix_bytes = prefix_bytes
        self._prefixes: Prefixes | None = None
        self._standing: object = None
        self.reading: list[Group] = []
        self._read, self._read_since = 0, 0
        """Tokens of prompts that were read, and of them those since the running requests got their last tokens."""
        self.running: list[Request] = []
        self._sizes: list[int] = []
        """Rows that each running request has in the cache."""
        self._cache: Cache | None = None
        self._rounds = 1
        """Tokens that the compiled path writes ahead."""
        self._hurried = np.zeros(1, np.int64)

    @property
    def busy(self) -> bool:
        """Is there anything to do?"""
        return bool(self.reading or self.running)

    @property
    def bytes(self) -> int:
        """Memory of all caches."""
        caches = [cache for cache in (self._cache, *(group.cache for group in self.reading)) if cache is not None]
        if self._prefixes is None:
            return sum(cache.bytes for cache in caches)
        rows = [row for cache in caches if isinstance(cache, PagedCache) for row in cache.pages]
        return bytes_of(page for row in (self._prefixes.pages(), *rows) for page in row)

    def add(self, requests: Sequence[Request]) -> None:
        """New requests, whose prompts are read side by side."""
        if requests:
            size = len(requests) * max(len(one.opening) for one in requests)
            self.reading.append(Group(list(requests), self._read + size))

    def drop(self, request: Request) -> None:
        """No more work for this one; its rows leave with the next step."""
        request.cancel()
        for group in [group for group in self.reading if any(one is request for one in group.requests)]:
            group.drop(request)
            if not group.requests:
                self.reading.remove(group)
        if self.running and not any(one.rows for one in self.running):
            self._arrange()

    @torch.inference_mode()
    def step(self) -> Shown:
        """One token for all that run, or a part of the prompts of a group."""
        # Telling each part of a network that nobody trains takes 2 ms.
        with evaluating(self.network) if self.network.training else nullcontext():
            return self.read() if self._reads_next() else self.go_on()

    def _reads_next(self) -> bool:
        if not self.reading:
            return False
        return not (self.running and self._read_since) or (
            self._read_since + self._charged(self._next_group().part(self.chunk)) <= self.between
        )

    def _charged(self, size: int) -> int:
        """Tokens for which those that run wait while so many are read: also one has all weights pass through the processor."""
        return max(size, self.chunk // 4)

    def go_on(self) -> Shown:
        """One step of all that run."""
        self._read_since = 0
        self._arrange()
        if self._cache is None:
            return []
        if (choices := self._by_kernels(self._cache)) is not None:
            return self._write(self._cache, choices)
        rows = [list(read.tokens) for request in self.running for read in request.rows]
        tokens, mask = padded(rows, self.network.device, left=True)
        with one_thread(self._compiled(self._cache)):
            states = None
            if tokens.shape[1] == 1 and not any(request.wants_states for request in self.running):
                logits = self.network.next_logits(tokens, self._cache).cpu()
            else:
                hidden = self.network.hidden(tokens, mask, cache=self._cache)
                states = hidden.flatten(0, 1) if mask is None else hidden[mask]
                logits = self.network.logits(states).cpu()
            shown, first = [], 0
            for request in self.running:
                size, request.beside = sum(len(read.tokens) for read in request.rows), len(rows)
                request.states = states[first : first + size] if states is not None and request.wants_states else None
                shown.append((request, self._take(request, partial(request.take, logits[first : first + size]))))
                first += size
        return shown

    def hurry(self) -> None:
        """Somebody waits for the end of the step that runs."""
        self._hurried[0] = 1

    def _by_kernels(self, cache: Cache) -> list[Choice] | None:
        """How all that run choose their next tokens, where the compiled path can do that by itself."""
        engine = self.network.engine
        if not isinstance(engine, CompiledNetwork) or not engine.owns(cache) or not engine.writes():
            return None
        choices = []
        for request in self.running:
            choice = request.by_kernels(self.network.config.vocab_size)
            if choice is None:
                return None
            choices.append(choice)
        return choices

    def _write(self, cache: Cache, choices: list[Choice]) -> Shown:
        """Some tokens of all that run: as many as take SECONDS_AHEAD, each read as soon as it is chosen, with what one row guesses to follow
        it; or those behind the guesses of several rows."""
        engine, requests = cast("CompiledNetwork", self.network.engine), cast("list[OneRow]", self.running)
        rows = [request.rows[0].tokens for request in requests]
        sizes = list(map(len, rows))
        rounds = 1 if self.reading else self._rounds
        start = time.perf_counter()
        if len(rows) == 1 and (lookup := requests[0].lookup) is not None:
            rounds = min(rounds, max(MOST_WRITTEN // (1 + lookup.most), 1))
            own = np.array(requests[0].shares(min(requests[0].room, rounds * (1 + lookup.most))))
            written = engine.follow(rows[0], cache, choices[0], own, rounds, self._hurried, lookup)
        else:
            if max(sizes) > 1:
                shares = np.array([[at for one, size in zip(requests, sizes, strict=True) for at in one.shares(size)]])
                choices = [one.behind(at) for one, size in zip(choices, sizes, strict=True) for at in range(size)]
            else:
                if any(request.guesser is not None for request in requests):
                    rounds = min(rounds, WITH_GUESSER)
                rounds = min(rounds, *(request.room for request in requests))
                shares = np.array([request.shares(rounds) for request in requests]).T.copy()
            written = engine.write(rows, cache, choices, shares, self._hurried)
        self._hurried[0] = 0  # whoever came or left since is seen before the next step
        self._rounds = min(max(int(SECONDS_AHEAD * written.rounds / (time.perf_counter() - start)), 1), MOST_AHEAD)
        shown: Shown = []
        with one_thread(any(one.logits is not None for one in written.rows)):
            for request, one in zip(requests, written.rows, strict=True):
                request.beside = len(rows)
                shown.append((request, self._take(request, partial(request.wrote, one))))
        return shown

    def read(self) -> Shown:
        """Read a part of a group's prompts; its first tokens when that was the last part."""
        if not self.reading:
            return []
        self._arrange()  # what is over is known to others before they begin, and one whose window slid has left its old row
        group = self._next_group()
        cache = self._begin(group) if group.cache is None else group.cache
        size, columns = group.part(self.chunk), max(1, self.chunk // len(group.requests))
        self._read, self._read_since = self._read + size, self._read_since + self._charged(size)
        part, mask = group.tokens[:, :columns], None if group.mask is None else group.mask[:, :columns]
        is_last = group.tokens.shape[1] <= columns
        group.tokens, group.mask = group.tokens[:, columns:], None if group.mask is None else group.mask[:, columns:]
        logits = self._logits_of(part, mask, cache, group.requests, is_last)
        if logits is None:
            return []
        self.reading.remove(group)
        for row, request in enumerate(group.requests):
            self._remember(request, request.opening, cache, row)
        if self._cache is None:
            self._cache = cache
        else:
            self._cache.join(cache)
            self._cache.close_up()
        self.running += group.requests
        self._sizes += [1] * len(group.requests)
        with one_thread(self._compiled(cache)):
            return [
                (one, self._take(one, partial(one.take, logits[at : at + 1]))) for at, one in enumerate(group.requests)
            ]

    def _logits_of(
        self, part: Tensor, mask: Tensor | None, cache: Cache, requests: Sequence[Request], is_last: bool
    ) -> Float[Tensor, "batch vocab"] | None:
        """Read a part of prompts; the logits behind the last one. The states of all tokens only where somebody wants them."""
        if not any(request.asked.prompt or request.wants_states for request in requests):
            if is_last:
                return self.network.next_logits(part, cache, mask).cpu()
            self.network.take_in(part, cache, mask)
            return None
        hidden = self.network.hidden(part, mask, cache=cache)
        for row, request in enumerate(requests):
            if request.asked.prompt or request.wants_states:
                states = hidden[row] if mask is None else hidden[row][mask[row]]
                request.saw_prompt(states)
                if request.asked.prompt:
                    self._predict(request, states)
        return self.network.logits(hidden[:, -1]).cpu() if is_last else None

    def _compiled(self, cache: Cache) -> bool:
        """Does an engine run what this cache is for?"""
        return self.network.engine is not None and self.network.engine.owns(cache)

    def _begin(self, group: Group) -> Cache:
        """A cache for the prompts, with what is made of their sources."""
        network, requests = self.network, group.requests
        for request in requests:
            request.reads_again = False
        sources = [request.source for request in requests if request.source is not None]
        memory = network.encode(*padded(sources, network.device, left=False)) if sources else None
        longest = max(len(request.opening) for request in requests)
        room = longest + min(256, max(request.limits.longest for request in requests))
        group.cache = network.new_cache(len(requests), room, memory)
        rest = [request.opening[self._begin_alike(row, request, group.cache) :] for row, request in enumerate(requests)]
        group.tokens, group.mask = padded(rest, network.device, left=True)
        return group.cache

    def _next_group(self) -> Group:
        """The one that is due first; one whose beginning another one reads just now waits for it, and need not read it again."""
        ordered = sorted(self.reading, key=lambda group: group.due)
        return next((group for group in ordered if not self._is_read_by_another(group)), ordered[0])

    def _is_read_by_another(self, group: Group) -> bool:
        if self._prefixes is None or group.cache is not None:
            return False
        own = group.requests[0].opening
        known = len(self._prefixes.find(own[:-1]))
        start = own[: (known + 1) * PAGE]
        return len(own) > len(start) and any(
            other.cache is not None and any(start == request.opening[: len(start)] for request in other.requests)
            for other in self.reading
        )

    def _begin_alike(self, row: int, request: Request, cache: Cache) -> int:
        """Begin a row with the pages of a text that begins as its prompt does; how many of its tokens they hold. The last
        token is always read: the next one comes of it."""
        prefixes, request.standing = self._kept(), self._standing
        if prefixes is None or not isinstance(cache, PagedCache) or request.asked.prompt or request.wants_states:
            return 0
        cache.begin(row, prefixes.find(request.opening[:-1]))
        request.reused = cache.sizes[row]
        return request.reused

    def _kept(self) -> Prefixes | None:
        """The beginnings that are kept: new ones where weights or adapters are others now."""
        engine = self.network.engine if self._prefix_bytes else None
        standing = engine.standing if isinstance(engine, CompiledNetwork) else None
        if standing is not self._standing:
            self._standing, self._prefixes = standing, None
            if isinstance(engine, CompiledNetwork):
                self._prefixes = engine.new_prefixes(self._prefix_bytes)
        return self._prefixes

    def _remember(self, request: Request, text: list[int], cache: Cache, row: int) -> None:
        """Keep the full pages of a row that holds this text of a request (or more, or less)."""
        prefixes = self._kept()
        if prefixes is not None and isinstance(cache, PagedCache) and request.standing is self._standing:
            prefixes.keep(text[: cache.sizes[row]], cache.pages[row])

    def _predict(self, request: Request, states: Float[Tensor, "read dim"]) -> None:
        """The log-probabilities of the prompt's own tokens that follow those with these states."""
        if not request.prompt_tokens:
            request.prompt_tokens.append(Token(request.prompt[0], None))
        wanted = request.prompt[len(request.prompt_tokens) :][: len(states)]
        if wanted:
            logprobs = self.network.logits(states[: len(wanted)]).log_softmax(-1).cpu()
            for one, token in zip(logprobs, wanted, strict=True):
                request.prompt_tokens.append(Token(token, float(one[token]), top_of(one, request.asked.top)))

    def _take(self, request: Request, take: Callable[[], str]) -> str:
        """The request's next text, by one of its methods; what fails in it is its own affair."""
        if request.finish is not None:  # nothing is to be written, or nobody wants it any more
            request.rows = []
            return ""
        try:
            shown = take()
            if request.reads_again:
                self.add([request])
            return shown
        except Exception as error:
            request.error, request.rows = error, []
            return ""

    def _arrange(self) -> None:
        """The cache's rows as the running requests go on from them; those of finished ones leave."""
        if self._cache is None:
            return
        kept, cuts, first = [], [], 0
        for request, size in zip(self.running, self._sizes, strict=True):
            kept += [first + read.row for read in request.rows]
            cuts += [read.cut for read in request.rows]
            # One whose window slid holds the text before, and no more the one that it reads again.
            if not request.rows and request.most_rows == 1 and not request.reads_again:
                self._remember(request, request.held[:-1], self._cache, first)
            first += size
        self.running = [request for request in self.running if request.rows]
        self._sizes = [len(request.rows) for request in self.running]
        if kept != list(range(first)):
            self._cache.keep(torch.tensor(kept, dtype=torch.long, device=self.network.device))
        if not kept:
            self._cache = None
        elif len(kept) != first or any(cuts):
            self._cache.cut(cuts)
            self._cache.close_up()
        for request in self.running:
            request.rows = [Read(at, read.tokens) for at, read in enumerate(request.rows)]


def padded(
    rows: Sequence[list[int]], device: torch.device, *, left: bool
) -> tuple[Int[Tensor, "batch seq"], Bool[Tensor, "batch seq"] | None]:
    """Rows of ids as a tensor, and which of them are real; None where all are."""
    longest = max(map(len, rows))
    blank = [longest - len(row) for row in rows]
    tokens = [[0] * size + row if left else row + [0] * size for size, row in zip(blank, rows, strict=True)]
    mask = None
    if any(blank):
        at = torch.arange(longest, device=device)
        sizes = torch.tensor(blank, device=device)[:, None]
        mask = at >= sizes if left else at < longest - sizes
    return torch.tensor(tokens, device=device), mask
