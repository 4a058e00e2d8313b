"""Log-probabilities of continuations of contexts; what several texts begin with is read once.

All texts are put into a tree by their tokens. Its branches are read side by side, level by level, each row going on
from the keys and values of the branch before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from lmworks.basics.errors import DataError
from lmworks.generation.prefill import padded
from lmworks.generation.scoring import READ, refuse_unless_causal
from lmworks.generation.states import tensors
from lmworks.models.kv_cache import KVCache
from lmworks.models.network import evaluating
from lmworks.models.runner import Runner

Pair = tuple[list[int], list[int]]
CACHED = 2**29
"""Bytes of keys and values of the rows that are read side by side."""
TOKENS = 4096
"""Tokens of them that are new, at most."""
LOGITS = 2**26
"""Bytes of the logits that are computed at once."""
NEAR = 4
"""Rows of logits that are looked at together."""
DEEPEST = 64
"""Branches one below the other; what texts share after that is read for each."""


class Continuation(NamedTuple):
    """How likely a continuation is."""

    logprobs: list[float]
    """Natural log-probability of each of its tokens."""
    greedy: bool
    """Whether each of them is the likeliest one."""

    @property
    def total(self) -> float:
        """Log-probability of the whole."""
        return sum(self.logprobs)


@dataclass
class Reading:
    """How much was read."""

    tokens: int = 0
    """Tokens that the network has read."""
    apart: int = 0
    """Tokens that it would have read, each pair by itself."""
    cut: list[int] = field(default_factory=list)
    """The numbers of the pairs whose context lost its beginning, as it was longer than the window."""


@dataclass
class _Text:
    """A text that is read, and what is wanted of it."""

    tokens: tuple[int, ...]
    wanted: list[tuple[int, list[int]]] = field(default_factory=list)
    """(request, its continuation): the continuation's first token follows the text without its last ones."""


@dataclass
class _Branch:
    """Tokens `start` to `end` that texts `low` to `high` share, after those that their parent shares."""

    low: int
    high: int
    start: int
    end: int
    children: list[_Branch]
    size: int
    """Tokens of it and of all below."""
    rows: int
    """Branches at its ends."""
    reach: int
    """Where the longest text of them ends."""


@torch.inference_mode()
def continuations(
    runner: Runner, pairs: Sequence[Pair], window: int, reading: Reading | None = None
) -> Iterator[tuple[int, Continuation]]:
    """(number of the pair, what was found), as pairs are done; contexts are cut at their beginning to the window.

    Both sides of a pair have at least one token. DataError for a continuation that is longer than the window.
    """
    refuse_unless_causal(runner.network)
    reading = Reading() if reading is None else reading
    texts = _texts(pairs, window, reading)
    walk = _Walk(runner, texts, reading)
    with evaluating(runner.network):
        scaling = runner.network.config.rope_scaling
        if scaling is not None and scaling.turns_with_length:  # keys depend on what follows them
            for number in range(len(texts)):
                yield from walk.alone(number)
        elif texts:
            yield from walk.below(_branch(texts, 0, len(texts), 0), None)
        yield from walk.rest()


def _texts(pairs: Sequence[Pair], window: int, reading: Reading) -> list[_Text]:
    """The texts to read, each once, in the order of their tokens."""
    found: dict[tuple[int, ...], _Text] = {}
    for number, (context, continuation) in enumerate(pairs):
        if len(continuation) > window:
            raise DataError(
                f"a continuation has {len(continuation):,} tokens and the model reads {window:,}; shorten it"
            )
        read = tuple([*context, *continuation[:-1]][-window:])
        if len(context) + len(continuation) - 1 > window:
            reading.cut.append(number)
        reading.apart += len(read)
        found.setdefault(read, _Text(read)).wanted.append((number, continuation))
    return [found[read] for read in sorted(found)]


def _branch(texts: list[_Text], low: int, high: int, start: int, depth: int = 0) -> _Branch:
    """The branch of sorted texts that share their first `start` tokens."""
    end = _shared(texts[low].tokens, texts[high - 1].tokens, start)
    children, at = [], low + (len(texts[low].tokens) == end)
    while at < high:
        first, first_token = at, texts[at].tokens[end]
        while at < high and texts[at].tokens[end] == first_token and (depth < DEEPEST or at == first):
            at += 1
        children.append(_branch(texts, first, at, end, depth + 1))
    size, rows = (sum(getattr(child, name) for child in children) for name in ("size", "rows"))
    reach = max((child.reach for child in children), default=end)
    return _Branch(low, high, start, end, children, end - start + size, max(rows, 1), reach)


def _shared(first: tuple[int, ...], last: tuple[int, ...], start: int) -> int:
    most = min(len(first), len(last))
    return next((at for at in range(start, most) if first[at] != last[at]), most)


class _Walk:
    """Reads branches and scores what ends in them."""

    def __init__(self, runner: Runner, texts: list[_Text], reading: Reading) -> None:
        self.runner, self.texts, self.reading = runner, texts, reading
        self.found: dict[int, tuple[list[float], bool]] = {}
        self.states: list[Tensor] = []
        """Collected states, float32 [dim] each, whose logits have not been computed yet."""
        self.wanted: list[tuple[int, int, int]] = []
        """(place among them, request, target)"""
        self.done: list[int] = []
        """Requests whose last target is among these."""
        self.at_once = max(LOGITS // (4 * runner.config.vocab_size), 1)
        self.cached = max(CACHED // max(runner.token_bytes, 1), 1)

    def alone(self, number: int) -> Iterator[tuple[int, Continuation]]:
        """A text without any other."""
        tokens = self.texts[number].tokens
        branch = _Branch(number, number + 1, 0, len(tokens), [], len(tokens), 1, len(tokens))
        self.reading.tokens += len(tokens)
        yield from self._score([branch], self.runner.hidden(self._ids([tokens])))

    def below(self, branch: _Branch, cache: KVCache | None) -> Iterator[tuple[int, Continuation]]:
        """A branch and all below; `cache` holds in its one row what stands before it."""
        if branch.start < branch.end and self._fits([branch]):
            yield from self._levels([branch], self.runner.new_cache(1) if cache is None else cache)
            return
        if branch.start < branch.end:
            cache = self.runner.new_cache(1) if cache is None else cache
            for start in range(branch.start, branch.end, READ):
                part = _part(branch, start, min(start + READ, branch.end))
                yield from self._score([part], self._read([part], cache))
        for together in self._together(branch.children):
            fresh = self.runner.new_cache(len(together)) if cache is None else cache.fork([0] * len(together))
            if len(together) == 1 and not self._fits(together):
                yield from self.below(together[0], fresh)
            else:
                yield from self._levels(together, fresh)

    def _levels(self, branches: list[_Branch], cache: KVCache) -> Iterator[tuple[int, Continuation]]:
        """Branches side by side, a row each, then those below them."""
        while True:
            yield from self._score(branches, self._read(branches, cache))
            below = [(child, row) for row, branch in enumerate(branches) for child in branch.children]
            if not below:
                return
            cache.keep([row for _, row in below])
            branches = [child for child, _ in below]

    def _together(self, branches: list[_Branch]) -> Iterator[list[_Branch]]:
        """Neighbours that fit side by side; one that is too large comes alone."""
        together: list[_Branch] = []
        for branch in branches:
            if together and not self._fits([*together, branch]):
                yield together
                together = []
            together.append(branch)
        if together:
            yield together

    def _fits(self, branches: list[_Branch]) -> bool:
        """Whether all of them and of those below have room side by side. Rows that share pages need room for their own
        tokens only, in whole pages, so many short continuations of one long context fit; other rows are padded to the
        longest one."""
        new, rows = (sum(getattr(branch, name) for branch in branches) for name in ("size", "rows"))
        page = self.runner.page_tokens
        cached = rows * max(branch.reach for branch in branches) if page is None else new + page * rows
        return new <= TOKENS and cached <= self.cached

    def _read(self, branches: list[_Branch], cache: KVCache) -> Tensor:
        rows = [self.texts[one.low].tokens[one.start : one.end] for one in branches]
        self.reading.tokens += sum(map(len, rows))
        return self.runner.hidden(*tensors(self.runner, *padded([list(row) for row in rows], left=False)), cache)

    def _ids(self, rows: list[tuple[int, ...]]) -> Tensor:
        return torch.tensor(rows, device=self.runner.network.device)

    def _score(self, branches: list[_Branch], hidden: Tensor) -> Iterator[tuple[int, Continuation]]:
        """Collect the states that predict tokens of these branches; yields the pairs that are scored meanwhile."""
        wanted: list[tuple[tuple[int, int], int, int]] = []  # ((row, place in it), request, target)
        done: list[int] = []
        for row, branch in enumerate(branches):
            for text in self.texts[branch.low : branch.high]:
                for number, continuation in text.wanted:
                    first = len(text.tokens) - len(continuation)  # the place that predicts its first token
                    for at in range(max(branch.start, first), min(branch.end, len(text.tokens))):
                        wanted.append(((row, at - branch.start), number, continuation[at - first]))
                    if len(text.tokens) == branch.end:
                        done.append(number)
        wanted.sort()  # a request's targets are noted in their order, also where others share some of its places
        rows = list(dict.fromkeys(place for place, _, _ in wanted))
        if len(self.states) + len(rows) > self.at_once:
            yield from self.rest()
        places = {place: len(self.states) + number for number, place in enumerate(rows)}
        if rows:
            self.states += hidden[[row for row, _ in rows], [at for _, at in rows]]
        self.wanted += [(places[place], number, target) for place, number, target in wanted]
        self.done += done

    def rest(self) -> Iterator[tuple[int, Continuation]]:
        """Score the collected states, many at once, as the head's weights are read once for all of them."""
        if self.states:
            self._note(torch.stack(self.states), self.wanted)
        done, self.states, self.wanted, self.done = self.done, [], [], []
        for number in done:
            yield number, Continuation(*self.found.pop(number))

    def _note(self, states: Tensor, wanted: list[tuple[int, int, int]]) -> None:
        """Log-probabilities of targets by the states before them."""
        place, targets = (self._ids([one[column] for one in wanted]) for column in (0, 2))  # type: ignore[misc]
        for start in range(0, len(states), self.at_once):
            logits = self.runner.logits(states[start : start + self.at_once])
            here = ((place >= start) & (place < start + self.at_once)).nonzero()[:, 0]
            own = place[here] - start
            chosen, (largest, totals) = logits[own, targets[here]], _largest_and_totals(logits)
            logprobs, greedy = (chosen - totals[own]).tolist(), (chosen == largest[own]).tolist()
            for at, logprob, is_best in zip(here.tolist(), logprobs, greedy, strict=True):
                before, all_greedy = self.found.get(wanted[at][1], ([], True))
                self.found[wanted[at][1]] = [*before, logprob], all_greedy and is_best


def _largest_and_totals(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's largest logit, and what is taken off a logit for its log-probability; the logits are lost. A few rows
    at a time, 200 KB each, which stay in the processor's cache through all four passes."""
    largest, totals = logits.new_empty(2, len(logits))
    for rows, most, total in zip(logits.split(NEAR), largest.split(NEAR), totals.split(NEAR), strict=True):
        torch.amax(rows, dim=1, out=most)
        torch.sum(rows.sub_(most[:, None]).exp_(), dim=1, out=total)
    return largest, totals.log_().add_(largest)


def _part(branch: _Branch, start: int, end: int) -> _Branch:
    return _Branch(branch.low, branch.high, start, end, branch.children, end - start, 1, end)
