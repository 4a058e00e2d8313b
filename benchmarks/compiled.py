"""The compiled path beside llama.cpp on SmolLM2-135M, in turn in one process: decoding, prompts, batches.

python -m benchmarks.compiled                          # everything, three rounds
python -m benchmarks.compiled "one stream" --rounds 5

llama.cpp is called through llama-cpp-python's low-level `llama_decode`, with as many threads, on the same file (Q4_1) and on
a Q4_0 that `lmworks export` makes of it (other weights, llama.cpp's fastest path). Without that package ours runs alone.
"program" is `model.generate`: sampler, stream and all. Rates are tokens a second; medians, least and most over the rounds.
"sampled" is the same with temperature 0.8 and top-p 0.95 for ours, the peer's loop as it is. With --processor a second is one of
processor time, and everybody has one thread: for a machine that others use too. With --busy another process keeps one core busy,
with --busy 4 four of them compete for all, for comparison with a run without.
"""

from __future__ import annotations

import argparse
import atexit
import ctypes
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

MOST_ROWS = 16
ROWS = (2, 4, 8, 16)
PROMPTS = (32, 128, 512, 1000, 2000)
CONTEXTS, STEPS = (128, 512, 1000, 2000, 4000), 32
GROWTH = "growth with context"


clock: Callable[[], float] = time.perf_counter


def ids(count: int, start: int = 0) -> list[int]:
    """The same tokens for everybody."""
    made = torch.randint(100, 40_000, (4096,), generator=torch.Generator().manual_seed(0)).tolist()
    return made[start : start + count]


class Compiled:
    """Our network's own interface: no sampler, greedy choice by argmax, as for the peer."""

    def __init__(self) -> None:
        from lmworks.language_model import LanguageModel

        self.model = LanguageModel.load("smollm2")
        self.runner = self.model.runner
        self.clear()

    def clear(self, rows: int = 1) -> None:
        """Forget all texts."""
        with torch.inference_mode():
            self.cache = self.runner.new_cache(rows)

    @torch.inference_mode()
    def read(self, tokens: list[list[int]]) -> list[int]:
        """Read new tokens of every row; the likeliest next one of each."""
        *parts, last = torch.tensor(tokens).split(512, dim=1)
        for part in parts:
            self.runner.read(part, self.cache)
        return self.runner.next_logits(last, self.cache).numpy().argmax(-1).tolist()


class LlamaCpp:
    """The peer, one sequence for each row."""

    def __init__(self, path: Path, threads: int) -> None:
        import llama_cpp as peer

        self.peer = peer
        self._quiet = peer.llama_log_callback(lambda level, text, data: None)
        peer.llama_log_set(self._quiet, ctypes.c_void_p(0))
        peer.llama_backend_init()
        self.loaded = peer.llama_model_load_from_file(str(path).encode(), peer.llama_model_default_params())
        settings = peer.llama_context_default_params()
        settings.n_ctx, settings.n_seq_max, settings.n_batch, settings.n_ubatch = 16_384, MOST_ROWS, 512, 512
        settings.n_threads = settings.n_threads_batch = threads
        if hasattr(settings, "kv_unified"):
            settings.kv_unified = True
        self.context = peer.llama_init_from_model(self.loaded, settings)
        self.batch = peer.llama_batch_init(512, 0, MOST_ROWS)
        self.size = peer.llama_vocab_n_tokens(peer.llama_model_get_vocab(self.loaded))
        self.length = 0

    def clear(self, rows: int = 1) -> None:
        """Forget all texts."""
        self.peer.llama_memory_clear(self.peer.llama_get_memory(self.context), True)
        self.length = 0

    def read(self, tokens: list[list[int]]) -> list[int]:
        """Read new tokens of every row; the likeliest next one of each."""
        import numpy as np

        count, at_once = len(tokens[0]), max(512 // len(tokens), 1)
        for start in range(0, count, at_once):
            stop = min(start + at_once, count)
            entries = [(row[place], place, number) for number, row in enumerate(tokens) for place in range(start, stop)]
            self.batch.n_tokens = len(entries)
            for slot, (token, place, number) in enumerate(entries):
                self.batch.token[slot], self.batch.pos[slot] = token, self.length + place
                self.batch.n_seq_id[slot], self.batch.seq_id[slot][0] = 1, number
                self.batch.logits[slot] = place == count - 1
            if self.peer.llama_decode(self.context, self.batch):
                raise SystemExit("llama_decode failed")
        self.length += count
        last = [slot for slot, (_, place, _) in enumerate(entries) if place == count - 1]
        made = [self.peer.llama_get_logits_ith(self.context, slot) for slot in last]
        return [int(np.ctypeslib.as_array(one, (self.size,)).argmax()) for one in made]


def decoding(engine: Any, before: int, new: int, rows: int = 1) -> float:
    """Tokens a second of `new` steps behind `before` tokens, all rows together."""
    engine.clear(rows)
    tokens = engine.read([ids(before, start=row) for row in range(rows)])
    start = clock()
    for _ in range(new):
        tokens = engine.read([[token] for token in tokens])
    return rows * new / (clock() - start)


def growth(engine: Any) -> list[float]:
    """Seconds of a step behind each of CONTEXTS, read one after another into the same cache."""
    engine.clear()
    seconds, length = [], 0
    for context in CONTEXTS:
        tokens = engine.read([ids(context - length, start=length)])
        start = clock()
        for _ in range(STEPS):
            tokens = engine.read([[token] for token in tokens])
        seconds.append((clock() - start) / STEPS)
        length = context + STEPS
    return seconds


def fitted(seconds: list[float]) -> str:
    """The line through the times of a step, by least squares, and how far the times lie from it."""
    import numpy as np

    at = np.array(CONTEXTS) + STEPS / 2
    slope, start = np.polyfit(at, seconds, 1)
    off = max(abs(np.polyval((slope, start), at) / np.array(seconds) - 1))
    steps = ", ".join(f"{one * 1e3:.2f}" for one in seconds)
    return (
        f"{start * 1e3:.2f} ms + {slope * 1e9:,.0f} ns a token of context (at most {off:.0%} off; "
        f"{', '.join(map(str, CONTEXTS))}: {steps} ms)"
    )


def prompt(engine: Any, size: int) -> float:
    """Tokens a second of a prompt, to the logits behind its last token."""
    engine.clear()
    start = clock()
    engine.read([ids(size)])
    return size / (clock() - start)


def requests(engine: Any, before: int, new: int, count: int) -> float:
    """Tokens a second of `count` requests at once, prompts included: ours through the engine with its sampler and streams, the
    peer's through the bare loop."""
    prompts = [ids(before, start=row) for row in range(count)]
    if not isinstance(engine, Compiled):
        start = clock()
        engine.clear(count)
        tokens = engine.read(prompts)
        for _ in range(new - 1):
            tokens = engine.read([[token] for token in tokens])
        return count * new / (clock() - start)
    from lmworks.generation.engine import Engine

    engine.model.tokenizer.__dict__["stop_ids"] = frozenset()  # always as many tokens
    with Engine(engine.model, seats=count, prefix_bytes=0) as ours:
        start = clock()
        handles = [ours.submit(prompt, max_new_tokens=new) for prompt in prompts]
        for handle in handles:
            handle.answer()
        return count * new / (clock() - start)


def program(engine: Any, before: int, new: int, **sampling: Any) -> float:
    """Tokens a second of `model.generate`, greedy or `sampling`, the prompt left out of both."""
    if not isinstance(engine, Compiled):
        return decoding(engine, before, new)
    from lmworks.generation.strategies import Sample

    strategy = Sample(seed=0, **sampling) if sampling else None
    engine.model.tokenizer.__dict__["stop_ids"] = frozenset()  # always as many tokens
    read = ids(before)
    engine.model.generate(read, strategy, max_new_tokens=1)
    seconds = []
    for count in (1, new + 1):
        start = clock()
        engine.model.generate(read, strategy, max_new_tokens=count)
        seconds.append(clock() - start)
    return new / (seconds[1] - seconds[0])


TESTS: dict[str, Callable[[Any], float]] = {
    "one stream, whole program": lambda engine: program(engine, 66, 128),
    "one stream, sampled": lambda engine: program(engine, 66, 128, temperature=0.8, top_p=0.95),
    "one stream, 128 tokens": lambda engine: decoding(engine, 66, 128),
    "context 1,000": lambda engine: decoding(engine, 960, 64),
    "context 1,000, whole program": lambda engine: program(engine, 936, 128),
    **{f"prompt of {size}": (lambda engine, size=size: prompt(engine, size)) for size in PROMPTS},
    **{f"{rows} rows": (lambda engine, rows=rows: decoding(engine, 16, 48, rows)) for rows in ROWS},
    "requests, 16 at once": lambda engine: requests(engine, 16, 64, 16),
}


def engines(threads: int) -> dict[str, Any]:
    """Ours, and the peer's two where its package is installed."""
    made: dict[str, Any] = {"lmworks": Compiled()}
    try:
        import llama_cpp  # noqa: F401
    except ImportError:
        print("llama-cpp-python is not installed; ours runs alone")
        return made
    from lmworks.basics.files import cache_folder
    from lmworks.jobs.export import export
    from lmworks.models.files.references import resolve

    other = cache_folder("benchmarks") / "smollm2.q4_0.gguf"
    if not other.exists():
        export("smollm2", other, kind="q4_0")
    for name, path in (("llama.cpp Q4_1", resolve("smollm2")), ("llama.cpp Q4_0", other)):
        made[name] = LlamaCpp(path, threads)
    return made


def main() -> None:
    """Every test on every engine in turn, round after round; the first round is not counted."""
    from lmworks.kernels.library import library
    from lmworks.kernels.team import usable_cores

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tests", nargs="*", help=f"beginnings of: {', '.join([*TESTS, GROWTH])}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processor", action="store_true", help="count processor time, with one thread each")
    parser.add_argument("--busy", type=int, nargs="?", const=1, default=0, help="other processes that work meanwhile")
    options = parser.parse_args()
    if options.processor:
        global clock  # noqa: PLW0603 (every test reads it)
        clock = time.process_time
        os.environ["LMWORKS_THREADS"] = "1"
    chosen = {name: test for name, test in TESTS.items() if not options.tests or name.startswith(tuple(options.tests))}
    grows = not options.tests or GROWTH.startswith(tuple(options.tests))
    threads = usable_cores()
    candidates = engines(threads)
    second = "second of processor time" if options.processor else "second"
    for _ in range(options.busy):
        neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        atexit.register(neighbour.kill)
    print(f"{library().instructions}, {threads} threads, {options.rounds} rounds; tokens a {second}", flush=True)
    for name, test in chosen.items():
        rates: dict[str, list[float]] = {engine: [] for engine in candidates}
        for round_ in range(options.rounds + 1):
            for engine, one in candidates.items():
                rate = test(one)
                if round_:
                    rates[engine].append(rate)
        middle = {engine: statistics.median(found) for engine, found in rates.items()}
        for engine, found in rates.items():
            ratio = f"   ours {middle['lmworks'] / middle[engine]:.2f} times" if engine != "lmworks" else ""
            print(
                f"{name:<28} {engine:<16} {middle[engine]:8,.0f}  ({min(found):,.0f} ... {max(found):,.0f}){ratio}",
                flush=True,
            )
    if grows:
        report_growth(candidates, options.rounds)


def report_growth(candidates: dict[str, Any], rounds: int) -> None:
    """How the time of a step grows, for each engine: the median of each context over the rounds, and the line through them."""
    times: dict[str, list[list[float]]] = {engine: [] for engine in candidates}
    for _ in range(rounds):
        for engine, one in candidates.items():
            times[engine].append(growth(one))
    for engine, found in times.items():
        middle = [statistics.median(row[at] for row in found) for at in range(len(CONTEXTS))]
        print(f"{GROWTH:<28} {engine:<16} {fitted(middle)}", flush=True)


if __name__ == "__main__":
    main()
