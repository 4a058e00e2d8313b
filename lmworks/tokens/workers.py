"""Texts encoded by several processes at once: a process gets whole batches, and their ids come back in the order of the
batches.

    for ids, what in encoded(batches, tokenizer, dtype, processes): ...

The first batches are encoded here: a short text is done before a process has started, and the others begin with the
words that are known by then. A worker is a program of its own that reads batches until its standard input ends, so it
ends with whoever started it, however that ended; a forked copy of this process would inherit its threads and its locks.
Pickles pass between this process and its own children alone, through pipes that nobody else holds.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

from lmworks.basics.errors import LmworksError
from lmworks.tokens.chunks import MOST_KNOWN, BulkEncoder
from lmworks.tokens.tokenizer import Tokenizer

T = TypeVar("T")
Batch = tuple[Sequence[str], T]
"""Texts, and whatever is to come back with their ids."""

ALONE = 8
"""Batches that this process encodes before it starts others: of shards, 8 million characters."""
AHEAD = 2
"""Batches that are read beyond one for each process, so that none waits for the source."""
MOST = 16
"""Processes; more would wait for the one that reads, hashes and writes."""


def cores() -> int:
    """Processes that can work side by side here."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(there, MOST)


def encoded(
    batches: Iterator[Batch[T]], tokenizer: Tokenizer, dtype: np.dtype[Any], processes: int
) -> Generator[tuple[list[bytes], T]]:
    """The ids of each batch's texts, as BulkEncoder gives them, whatever the number of processes. Close it if you do
    not read it to its end.

    LmworksError where a process is killed.
    """
    alone = BulkEncoder(tokenizer, dtype)
    for texts, what in batches if processes == 1 else islice(batches, ALONE):
        yield alone.encode(texts), what
    if (first := next(batches, None)) is None:
        return
    waiting: deque[tuple[Future[list[bytes]], T]] = deque()
    with _workers(
        processes, pickle.dumps((tokenizer.vocabulary, dtype, alone.known, MOST_KNOWN // processes))
    ) as submit:
        for texts, what in chain([first], batches):
            waiting.append((submit(texts), what))
            if len(waiting) == processes + AHEAD:
                yield _next_of(waiting)
        while waiting:
            yield _next_of(waiting)


def _next_of(waiting: deque[tuple[Future[list[bytes]], T]]) -> tuple[list[bytes], T]:
    ids, what = waiting.popleft()
    return ids.result(), what


@contextmanager
def _workers(processes: int, beginning: bytes) -> Iterator[Callable[[Sequence[str]], Future[list[bytes]]]]:
    """What has a batch encoded by whichever process is free; all of them are gone after the block."""
    free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    started = [_start(beginning) for _ in range(processes)]
    for one in started:
        free.put(one)

    def encode(texts: Sequence[str]) -> list[bytes]:
        worker = free.get()
        try:
            return _asked(worker, texts)
        finally:
            free.put(worker)

    threads = ThreadPoolExecutor(processes, "encoding")  # each waits for a process
    try:
        yield lambda texts: threads.submit(encode, texts)
    finally:
        for one in started:
            one.kill()
        threads.shutdown(cancel_futures=True)
        for one in started:
            one.communicate()


def _start(beginning: bytes) -> subprocess.Popen[bytes]:
    # With the path that this process has by now, and no thread of the library's beside its own.
    program = f"import sys; sys.path[:] = {sys.path!r}; from lmworks.tokens.workers import work; work()"
    worker = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
        process_group=0,  # Ctrl-C is for the process that waits for this one
    )
    assert worker.stdin is not None
    worker.stdin.write(beginning)
    return worker


def _asked(worker: subprocess.Popen[bytes], texts: Sequence[str]) -> list[bytes]:
    assert worker.stdin is not None and worker.stdout is not None
    try:
        pickle.dump(list(texts), worker.stdin, pickle.HIGHEST_PROTOCOL)
        worker.stdin.flush()
        answer: list[bytes] | LmworksError = pickle.load(worker.stdout)
    except (OSError, EOFError, pickle.UnpicklingError, ValueError):
        raise LmworksError(
            "a process that encodes text was killed (for want of memory?); close other programs, and run it again"
        ) from None
    if isinstance(answer, LmworksError):
        raise answer
    return answer


def work() -> None:
    """Encode batches from standard input until it ends."""
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no result
    vocabulary, dtype, known, most = pickle.load(sys.stdin.buffer)
    encoder = BulkEncoder(Tokenizer(vocabulary), dtype, known, most)
    while True:
        try:
            texts = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: list[bytes] | LmworksError
        try:
            answer = encoder.encode(texts)
        except LmworksError as error:
            answer = error
        pickle.dump(answer, results, pickle.HIGHEST_PROTOCOL)
        results.flush()
