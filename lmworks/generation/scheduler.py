"""Scheduler: which sequences run in the next step; they join and leave between steps, and long prompts are read in
parts.

    scheduler = Scheduler(runner)
    scheduler.add([start(request, runner), start(other, runner)])
    while scheduler.busy:
        for sequence, text in scheduler.step():
            ...

A step gives every running sequence one token (more where it guessed some, or where the runner writes ahead:
`SECONDS_AHEAD`), or reads a part of a waiting prompt: at most `chunk` tokens a part, and at most `between` of
prompts between two tokens of those that run. The prompt that is due first is read first, and it is due when as many
tokens were read since it came as it has itself: a short one does not wait for a long one that came before, nor a
long one for more than its own length in short ones that come later. Rows of all sequences share each pass through
the network; what a sequence draws and keeps is its own. On the compiled path, whose sums have one order, an answer
is the same to the bit whatever stands beside it; in PyTorch the last bits of the logits depend on the number of
rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence as List
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lmworks.basics.arrays import Float
from lmworks.generation.distribution import log_softmax
from lmworks.generation.prefill import Group, next_group, padded
from lmworks.generation.sequence import RowInput, Sequence, Token, top_of
from lmworks.models.kv_cache import KVCache
from lmworks.models.runner import Prefixes, RealTokens, Row, Runner, TokenRows

if TYPE_CHECKING:
    from torch import Tensor

PREFILL = 512
"""Prompt tokens read at once: enough to fill the processor, few enough to bound memory."""
SECONDS_AHEAD, MOST_AHEAD = 0.04, 8
"""A runner writes tokens for this long before anybody sees them, or until there are this many: as long as a film
shows a picture. Whoever comes, or leaves, ends it with the token that is being written (`Scheduler.interrupt`)."""
WITH_GUESSES = 2
"""Tokens that are written ahead at most where a sequence among several may guess: it should soon notice that it
quotes."""
Shown = list[tuple[Sequence, str]]
"""Sequences that went on, each with its new text."""


class Scheduler:
    """The sequences of one runner."""

    def __init__(self, runner: Runner, chunk: int = PREFILL, prefix_bytes: int = 0, between: int | None = None) -> None:
        """At most `chunk` tokens of prompts are read in a step, and at most `between` (None: as many) between two
        tokens of those that run. `prefix_bytes` may be kept of the beginnings of texts, for others that begin alike,
        where the runner can."""
        self.runner, self.chunk, self.between = runner, chunk, chunk if between is None else between
        self._prefix_bytes = prefix_bytes
        self._prefixes: Prefixes | None = None
        self._version: tuple[Runner, int] | None = None
        """That of the keys and values in all caches."""
        self.reading: list[Group] = []
        self._read, self._read_since = 0, 0
        """Tokens of prompts that were read, and of them those since the running sequences got their last tokens."""
        self.running: list[Sequence] = []
        self._sizes: list[int] = []
        """Rows that each running sequence has in the cache."""
        self._cache: KVCache | None = None
        self._rounds = 1
        """Tokens that are written ahead."""
        self._interrupt = np.zeros(1, np.int64)

    @property
    def busy(self) -> bool:
        """Is there anything to do?"""
        return bool(self.reading or self.running)

    @property
    def bytes(self) -> int:
        """Memory of all caches."""
        caches = [cache for cache in (self._cache, *(group.cache for group in self.reading)) if cache is not None]
        return sum(cache.bytes for cache in caches) if self._prefixes is None else self._prefixes.bytes_with(caches)

    def add(self, sequences: List[Sequence]) -> None:
        """New sequences, whose prompts are read side by side."""
        if sequences:
            size = len(sequences) * max(len(one.opening) for one in sequences)
            self.reading.append(Group(list(sequences), self._read + size))

    def drop(self, sequence: Sequence) -> None:
        """No more work for this one; its rows leave with the next step."""
        sequence.cancel()
        for group in [group for group in self.reading if any(one is sequence for one in group.sequences)]:
            group.drop(sequence)
            if not group.sequences:
                self.reading.remove(group)
        if self.running and not any(one.rows for one in self.running):
            self._arrange()

    def interrupt(self) -> None:
        """Somebody waits for the end of the step that runs."""
        self._interrupt[0] = 1

    def step(self) -> Shown:
        """One token for all that run, or a part of the prompts of a group."""
        with self.runner.evaluating():
            try:
                self._follow_weights()
                return self._read_prompts() if self._reads_next() else self._go_on()
            except Exception:
                if self._version == self._version_now():
                    raise
                return []  # the runner computes in another way from here on: the next step reads all texts again

    def _reads_next(self) -> bool:
        if not self.reading:
            return False
        return not (self.running and self._read_since) or (
            self._read_since + self._charged(self._next_group().size(self.chunk)) <= self.between
        )

    def _charged(self, size: int) -> int:
        """Tokens for which those that run wait while this many are read: also one has all weights pass through the
        processor."""
        return max(size, self.chunk // 4)

    def _next_group(self) -> Group:
        return next_group(self.reading, self._prefixes)

    # Those that run

    def _go_on(self) -> Shown:
        """One step of all that run."""
        self._read_since = 0
        self._arrange()
        if self._cache is None:
            return []
        if (rows := self._ahead(self._cache)) is not None:
            return self._write(self._cache, rows)
        texts = [read.tokens for sequence in self.running for read in sequence.rows]
        tokens, mask = padded(texts, left=True)
        states = None
        if tokens.shape[1] == 1 and not any(sequence.wants_states for sequence in self.running):
            logits = self.runner.next_logits(tokens, self._cache)
        else:
            from lmworks.generation.states import hidden_of, logits_of, without_padding

            states = without_padding(hidden_of(self.runner, tokens, mask, self._cache), mask)
            logits = logits_of(self.runner, states, self._cache)
        shown, first = [], 0
        for one in self.running:
            size, one.beside = sum(len(read.tokens) for read in one.rows), len(texts)
            one.states = states[first : first + size] if states is not None and one.wants_states else None
            shown.append((one, self._take(one, partial(one.observe, logits[first : first + size]))))
            first += size
        return shown

    def _rounds_ahead(self) -> int:
        """Tokens that may be written before anybody looks."""
        if self.reading:
            return 1
        if len(self.running) > 1 and any(one.request.guesser is not None for one in self.running):
            return min(self._rounds, WITH_GUESSES)
        return self._rounds

    def _ahead(self, cache: KVCache) -> list[Row] | None:
        """How all that run go on by themselves, where the runner can do that."""
        if not self.runner.can_write(cache):
            return None
        rounds, vocabulary, rows = self._rounds_ahead(), self.runner.config.vocab_size, []
        for sequence in self.running:
            row = sequence.ahead(rounds, vocabulary)
            if row is None:
                return None
            rows.append(row)
        return rows

    def _write(self, cache: KVCache, rows: list[Row]) -> Shown:
        """Some tokens of all that run: as many as take SECONDS_AHEAD, each read as soon as it is chosen."""
        start = time.perf_counter()
        written = self.runner.write(rows, cache, self._rounds_ahead(), self._interrupt)
        self._interrupt[0] = 0  # whoever came or left since is seen before the next step
        self._rounds = min(max(int(SECONDS_AHEAD * written.rounds / (time.perf_counter() - start)), 1), MOST_AHEAD)
        shown: Shown = []
        for sequence, one in zip(self.running, written.rows, strict=True):
            sequence.beside = len(rows)
            shown.append((sequence, self._take(sequence, partial(sequence.append, one))))
        return shown

    def _take(self, sequence: Sequence, take: Callable[[], str]) -> str:
        """The sequence's next text, by one of its methods; what fails in it is its own affair."""
        if sequence.finish is not None:  # nothing is to be written, or nobody wants it any more
            sequence.rows = []
            return ""
        try:
            shown = take()
            if sequence.reads_again:
                self.add([sequence])
            return shown
        except Exception as error:
            sequence.error, sequence.rows = error, []
            return ""

    def _arrange(self) -> None:
        """The cache's rows as the running sequences go on from them; those of finished ones leave."""
        if self._cache is None:
            return
        kept, cuts, first = [], [], 0
        for sequence, size in zip(self.running, self._sizes, strict=True):
            kept += [first + read.row for read in sequence.rows]
            cuts += [read.cut for read in sequence.rows]
            # One whose window slid holds the text before, and no more the one that it reads again.
            if not sequence.rows and sequence.request.rows == 1 and not sequence.reads_again:
                self._remember(self._cache, first, sequence.written[:-1])
            first += size
        self.running = [sequence for sequence in self.running if sequence.rows]
        self._sizes = [len(sequence.rows) for sequence in self.running]
        if kept != list(range(first)):
            self._cache.keep(kept)
        if not kept:
            self._cache = None
        elif len(kept) != first or any(cuts):
            self._cache.cut(cuts)
            self._cache.close_up()
        for sequence in self.running:
            sequence.rows = [RowInput(at, read.tokens) for at, read in enumerate(sequence.rows)]

    # Prompts

    def _read_prompts(self) -> Shown:
        """Read a part of a group's prompts; its first tokens when that was the last part."""
        # What is over is known to others before they begin, and one whose window slid has left its old row.
        self._arrange()
        group = self._next_group()
        cache = self._begin(group) if group.cache is None else group.cache
        size = group.size(self.chunk)
        self._read, self._read_since = self._read + size, self._read_since + self._charged(size)
        part, mask = group.take(self.chunk)
        logits = self._logits_of(part, mask, cache, group.sequences, is_last=group.tokens.shape[1] == 0)
        if logits is None:
            return []
        self.reading.remove(group)
        for row, sequence in enumerate(group.sequences):
            self._remember(cache, row, sequence.opening)
        if self._cache is None:
            self._cache = cache
        else:
            self._cache.join(cache)
            self._cache.close_up()
        self.running += group.sequences
        self._sizes += [1] * len(group.sequences)
        return [
            (one, self._take(one, partial(one.observe, logits[at : at + 1]))) for at, one in enumerate(group.sequences)
        ]

    def _begin(self, group: Group) -> KVCache:
        """A cache for the prompts, with what is made of their sources and what is kept of their beginnings."""
        sequences = group.sequences
        for one in sequences:
            one.reads_again = False
        longest = max(len(one.opening) for one in sequences)
        cache = self._new_cache(sequences, longest + min(256, max(one.limits.longest for one in sequences)))
        self._follow_weights()  # weights are looked at for each new cache
        rest = []
        for row, one in enumerate(sequences):
            known = 0
            if self._prefixes is not None and not one.request.logprobs.prompt and not one.wants_states:
                # The last token is always read: the next one comes of it.
                known = one.reused = self._prefixes.begin(cache, row, one.opening[:-1])
            rest.append(one.opening[known:])
        group.tokens, group.mask = padded(rest, left=True)
        group.cache = cache
        return cache

    def _new_cache(self, rows: List[Sequence], room: int) -> KVCache:
        """An empty cache with a row for each of these sequences, which its adapter reads."""
        sources = [one.request.source for one in rows if one.request.source is not None]
        memory = self.runner.encode(*padded(sources, left=False)) if sources else None
        return self.runner.new_cache(len(rows), room, memory, [one.request.adapter for one in rows])

    def _logits_of(
        self, part: TokenRows, mask: RealTokens | None, cache: KVCache, sequences: List[Sequence], is_last: bool
    ) -> Float[np.ndarray, "batch vocab"] | None:
        """Read a part of prompts; the logits after the last one. The states of all tokens only where somebody wants
        them."""
        runner = self.runner
        if not any(one.request.logprobs.prompt or one.wants_states for one in sequences):
            if is_last:
                return runner.next_logits(part, cache, mask)
            runner.read(part, cache, mask)
            return None
        from lmworks.generation.states import hidden_of, logits_of, without_padding

        hidden = hidden_of(runner, part, mask, cache)
        for row, one in enumerate(sequences):
            if one.request.logprobs.prompt or one.wants_states:
                at = slice(row, row + 1)
                states = without_padding(hidden[at], None if mask is None else mask[at])
                one.observe_prompt(states)
                if one.request.logprobs.prompt:
                    self._predict(one, states)
        return logits_of(runner, hidden[:, -1], cache) if is_last else None

    def _predict(self, sequence: Sequence, states: Float[Tensor, "read dim"]) -> None:
        """The log-probabilities of the prompt's own tokens that follow those with these states."""
        prompt, known = sequence.request.prompt, sequence.prompt_tokens
        if not known:
            known.append(Token(prompt[0], None))
        wanted = prompt[len(known) :][: len(states)]
        if wanted:
            logprobs = log_softmax(self.runner.logits(states[: len(wanted)]).cpu().numpy())
            for one, token in zip(logprobs, wanted, strict=True):
                known.append(Token(token, float(one[token]), top_of(one, sequence.request.logprobs.top)))

    # What is kept

    def _remember(self, cache: KVCache, row: int, text: list[int]) -> None:
        """Keep the beginning of a row that holds this text, or more, or less."""
        if self._prefixes is not None:
            self._prefixes.keep(cache, row, text)

    def _version_now(self) -> tuple[Runner, int]:
        return self.runner, self.runner.weights_version

    def _follow_weights(self) -> None:
        """Where keys and values are no longer those of the weights, or of this runner, read all texts again."""
        version = self._version_now()
        if version == self._version:
            return
        self._version = version
        self._prefixes = self.runner.new_prefixes(self._prefix_bytes) if self._prefix_bytes else None
        for group in self.reading:
            group.restart()
        self.running, self._cache = [one for one in self.running if one.rows], None
        self._sizes = [len(one.rows) for one in self.running]
        if not self.running:
            return
        texts = [text for one in self.running for text in one.held]
        cache = self._new_cache([one for one in self.running for _ in one.rows], max(map(len, texts)) + 256)
        tokens, mask = padded(texts, left=True)
        columns = max(1, self.chunk // len(texts))
        for start in range(0, tokens.shape[1], columns):
            part = None if mask is None else mask[:, start : start + columns]
            self.runner.read(tokens[:, start : start + columns], cache, part)
        self._cache = cache
        for one in self.running:
            one.rows = [RowInput(at, read.tokens) for at, read in enumerate(one.rows)]
