"""The compiled path beside llama.cpp on SmolLM2-135M, in turn in one process: decoding, prompts, batches.

python -m benchmarks.compiled                          # everything, three rounds
python -m benchmarks.compiled "one stream" --rounds 5

"whole program" is `model.generate`, with sampler, stream and all; "sampled" is the same with temperature 0.8 and top-p
0.95 for ours, the peer's loop as it is. Rates are tokens a second; medians, least and most over the rounds. With
--processor a second is one of processor time, and every program has one thread: for a machine that others use too.
With --file llama-1b.q4_k_m both programs run that file instead, a network of random weights in a public shape or
SmolLM2 in another kind (benchmarks/shapes.py). Prompts are then asked of OpenVINO GenAI too, and where the processor
has tiles for bfloat16 (AMX) of ours with the network's weights in that: a record of its own, "ours in bfloat16".
With --busy another process keeps one core busy, with --busy 4 four of them compete for all, for comparison with a run
without.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

from benchmarks.programs import Compiled, CompiledFloats, programs
from benchmarks.store import Recorder, Timed
from benchmarks.work import neighbours, token_ids

ROWS = (2, 4, 8, 16)
PROMPTS = (32, 128, 512, 1000, 2000)
CONTEXTS, STEPS = (128, 512, 1000, 2000, 4000), 32
GROWTH = "growth with context"


clock: Callable[[], float] = time.perf_counter


def decoding(program: Any, before: int, new: int, rows: int = 1) -> float:
    """Tokens a second of `new` steps after `before` tokens, all rows together."""
    program.clear(rows)
    tokens = program.read([token_ids(before, start=row) for row in range(rows)])
    start = clock()
    for _ in range(new):
        tokens = program.read([[token] for token in tokens])
    return rows * new / (clock() - start)


def prompt(program: Any, size: int) -> float:
    """Tokens a second of a prompt, to the logits after its last token."""
    program.clear()
    start = clock()
    program.read([token_ids(size)])
    return size / (clock() - start)


def whole_program(program: Any, before: int, new: int, **sampling: Any) -> float:
    """Tokens a second of `model.generate`, greedy or `sampling`, and of the peer's bare loop; prompts are left out."""
    if not isinstance(program, Compiled):
        return decoding(program, before, new)
    from lmworks.generation.strategies import Sample

    strategy = Sample(seed=0, **sampling) if sampling else None
    program.never_stop()
    read = token_ids(before)
    program.model.generate(read, strategy, max_new_tokens=1)
    seconds = []
    for count in (1, new + 1):
        start = clock()
        program.model.generate(read, strategy, max_new_tokens=count)
        seconds.append(clock() - start)
    return new / (seconds[1] - seconds[0])


def requests(program: Any, before: int, new: int, count: int) -> float:
    """Tokens a second of `count` requests at once, prompts included; the peer's bare loop."""
    prompts = [token_ids(before, start=row) for row in range(count)]
    if isinstance(program, Compiled):
        from lmworks.generation.engine import Engine

        program.never_stop()
        with Engine(program.model, seats=count, prefix_bytes=0) as engine:
            start = clock()
            asked = [engine.submit(prompt, max_new_tokens=new) for prompt in prompts]
            for one in asked:
                one.answer()
            return count * new / (clock() - start)
    start = clock()
    program.clear(count)
    tokens = program.read(prompts)
    for _ in range(new - 1):
        tokens = program.read([[token] for token in tokens])
    return count * new / (clock() - start)


def growth(program: Any) -> float:
    """Nanoseconds that a step takes longer for each token of context: the slope of a line through CONTEXTS."""
    import numpy as np

    program.clear()
    seconds, length = [], 0
    for context in CONTEXTS:
        tokens = program.read([token_ids(context - length, start=length)])
        start = clock()
        for _ in range(STEPS):
            tokens = program.read([[token] for token in tokens])
        seconds.append((clock() - start) / STEPS)
        length = context + STEPS
    slope, start = np.polyfit(np.array(CONTEXTS) + STEPS / 2, seconds, 1)
    shown = ", ".join(f"{one * 1e3:.2f}" for one in seconds)
    print(
        f"{program.program}: a step after {', '.join(map(str, CONTEXTS))} tokens {shown} ms; at none {start * 1e3:.2f}"
    )
    return float(slope * 1e9)


TESTS: dict[str, Callable[[Any], float]] = {
    "one stream, whole program": lambda program: whole_program(program, 66, 128),
    "one stream, sampled": lambda program: whole_program(program, 66, 128, temperature=0.8, top_p=0.95),
    "one stream, steps alone": lambda program: decoding(program, 66, 128),
    "context 1,000, whole program": lambda program: whole_program(program, 936, 128),
    "context 1,000, steps alone": lambda program: decoding(program, 960, 64),
    **{f"prompt of {size}": (lambda program, size=size: prompt(program, size)) for size in PROMPTS},
    **{f"{rows} rows": (lambda program, rows=rows: decoding(program, 16, 48, rows)) for rows in ROWS},
    "requests, 16 at once": lambda program: requests(program, 16, 64, 16),
    "requests, 8 at once": lambda program: requests(program, 64, 64, 8),
    GROWTH: growth,
}


def in_turn(test: Callable[[Any], float], candidates: list[Any], rounds: int) -> list[Timed]:
    """Every program in turn, round after round; the first round is not counted."""
    rates: list[list[float]] = [[] for _ in candidates]
    for round_ in range(rounds + 1):
        for program, found in zip(candidates, rates, strict=True):
            rate = test(program)
            if round_:
                found.append(rate)
    return [Timed(one.program, found, one.format) for one, found in zip(candidates, rates, strict=True)]


def main() -> None:
    """Every test that begins with what is asked for, on every program in turn."""
    from lmworks.basics.ahead import usable_cores
    from lmworks.kernels.run.library import library

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", help=f"beginnings of: {'; '.join(TESTS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processor", action="store_true", help="count processor time, with one thread each")
    parser.add_argument("--busy", type=int, nargs="?", const=1, default=0, help="other processes that work meanwhile")
    parser.add_argument("--file", help="another model: qwen3-0.6b.q8_0, smollm2.q4_k_m")
    options = parser.parse_args()
    if options.processor:
        global clock  # noqa: PLW0603 (every test reads it)
        clock = time.process_time
        os.environ["LMWORKS_THREADS"] = "1"
    threads = usable_cores()
    candidates, recorder = programs(threads, options.file), Recorder()
    print(f"{library().instructions}, {threads} threads, {options.rounds} rounds", flush=True)
    how = "" if options.file is None else f", {options.file.replace('.q', ' Q').replace('_k_m', '_K_M')}"
    how += ", processor time" if options.processor else ""
    how += f", beside {options.busy} busy process{'es' if options.busy > 1 else ''}" if options.busy else ""
    for name, test in TESTS.items():
        if not options.tests or name.startswith(tuple(options.tests)):
            able = [one for one in candidates if name.startswith("prompt of") or not one.reads_alone]
            with neighbours(options.busy):
                timed = in_turn(test, able, options.rounds)
            unit = "ns/token" if name == GROWTH else "tokens/s"
            floats = [one for one in timed if one.program == CompiledFloats.program]
            others = [one for one in timed if one not in floats]
            recorder.keep(f"{name}{how}", unit, others)
            if floats:
                recorder.keep(f"{name}, ours in bfloat16{how}", unit, [*floats, *others])


if __name__ == "__main__":
    main()
