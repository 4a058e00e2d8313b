"""The server beside its own engine and llama.cpp on SmolLM2-135M: what HTTP costs, and what a first token waits for.

python -m benchmarks.serving                # all three
python -m benchmarks.serving many first memory

"many": 16 requests at once, prompts included, all with answers of one length, beside llama.cpp on the same work (a
bare loop that takes the likeliest token; benchmarks/programs.py). "first": the 95th percentile of the time to the
first token with 1 and 8 clients, each asking again when it is answered, with answers of half of the longest to the
longest; and with 8 that ask at the same moment. Loads: prompts and mean answers of ShareGPT and Alpaca (Kwon et al.
2023, arXiv:2309.06180, figure 11), and prompts of 16 to 512 tokens. "memory": what the process holds for each further
request of 2,000 tokens, beside its keys and values. The server is a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.store import Recorder, Timed
from benchmarks.work import token_ids as ids

if TYPE_CHECKING:
    from lmworks.language_model import LanguageModel

LOADS = {"ShareGPT": (161, 450), "Alpaca": (19, 77), "short": (16, 128), "middle": (128, 128), "long": (512, 128)}
"""Tokens of a prompt, and of the longest answer: the mean is three quarters of it."""


def many(options: argparse.Namespace, recorder: Recorder) -> None:
    """16 requests at once: through the server, through the engine alone, and in llama.cpp, in turn."""
    from benchmarks.compiled import requests
    from benchmarks.programs import Compiled, programs
    from lmworks.basics.ahead import usable_cores
    from lmworks.serving.load import measure
    from lmworks.serving.run import served

    before, new = options.before, options.new
    candidates = programs(usable_cores())

    def through_the_server(address: str, seed: int, new: int) -> float:
        load = measure(
            address,
            concurrency=16,
            requests=16,
            prompt_tokens=before,
            max_tokens=new,
            vary=False,
            seed=seed,
            temperature=options.temperature,
        )
        return asyncio.run(load).tokens_per_second

    def by_itself(program: Any, new: int) -> float:
        if isinstance(program, Compiled):
            return alone(program.model, 16, before, new, options.temperature)
        return requests(program, before, new, 16)

    rates: list[list[float]] = [[] for _ in range(1 + len(candidates))]
    with served("smollm2") as address:
        for turn in range(options.rounds + 1):
            length = new if turn else 16  # the first is for warming up
            found = [through_the_server(address, turn, length), *(by_itself(one, length) for one in candidates)]
            if turn:
                for rate, each in zip(found, rates, strict=True):
                    each.append(rate)
    names = ["lmworks server", "lmworks engine", *(one.program for one in candidates[1:])]
    sampled = f", temperature {options.temperature:g}" if options.temperature else ""
    recorder.keep(
        f"16 requests through the server, {before} + {new} tokens{sampled}",
        "tokens/s",
        [Timed(name, each) for name, each in zip(names, rates, strict=True)],
    )


def alone(model: LanguageModel, count: int, before: int, new: int, temperature: float) -> float:
    """Tokens a second of the engine without a server, each stream read in a thread of its own."""
    from lmworks.generation.engine import Engine
    from lmworks.generation.strategies import Sample

    with Engine(model, prefix_bytes=0) as engine:
        start = time.perf_counter()
        strategy = Sample(temperature=temperature, top_p=0.95, min_new_tokens=new)
        handles = [engine.submit(ids(before, start=row), strategy, max_new_tokens=new) for row in range(count)]
        readers = [threading.Thread(target=list, args=(handle,)) for handle in handles]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        return count * new / (time.perf_counter() - start)


def first(options: argparse.Namespace, recorder: Recorder) -> None:
    """The time to the first token: one client, eight that come and go, eight that ask at the same moment."""
    from lmworks.serving.load import Load, measure
    from lmworks.serving.run import served

    def timed(who: str, load: Load) -> Timed:
        gaps = load.between_pieces
        facts = {
            "p50": 1e3 * load.first_token.p50,
            "gap_p50": 1e3 * gaps.p50,
            "gap_p95": 1e3 * gaps.p95,
            "tokens_per_second": load.tokens_per_second,
        }
        facts = {name: round(value, 1) for name, value in facts.items()}
        return Timed(who, [1e3 * load.first_token.p95], facts=facts)

    with served("smollm2") as address:
        asyncio.run(measure(address, concurrency=2, requests=4, max_tokens=8))
        for load_name in options.loads:
            before, new = LOADS[load_name]
            found = []
            for clients, count in ((8, 96), (1, 48)):
                load = measure(
                    address,
                    concurrency=clients,
                    requests=count + clients,
                    settle=clients,
                    seed=before + clients,
                    prompt_tokens=before,
                    max_tokens=new,
                )
                found.append(timed(f"{clients} client{'s' if clients > 1 else ''}", asyncio.run(load)))
            at_once = {"concurrency": 8, "requests": 8, "prompt_tokens": before, "max_tokens": 8}
            herds = [asyncio.run(measure(address, **at_once, seed=before + seed)).first_token for seed in range(5)]
            longest = [1e3 * one.longest for one in herds]
            recorder.keep(f"first token, {load_name}", "ms", [*found, Timed("the last of 8 at once", longest)])


def memory(options: argparse.Namespace, recorder: Recorder) -> None:
    """Resident memory with more and more requests of 2,000 tokens that write."""
    import lmworks as lm
    from lmworks.generation.engine import Engine

    strategy = lm.Greedy(min_new_tokens=4000)
    with Engine(lm.load("smollm2"), seats=12, prefix_bytes=0) as engine:
        handles, held = [], []
        for row in range(10):
            handles.append(engine.submit(ids(2000, start=row), strategy, max_new_tokens=4000))
            while handles[-1].first is None:
                time.sleep(0.01)
            held.append((_resident(), engine.state.cache_bytes / 2**20))
        for handle in handles:
            handle.cancel()
    (start, cache), (end, more) = held[1], held[-1]
    timed = [Timed("a further request", [(end - start) / 8]), Timed("its keys and values", [(more - cache) / 8])]
    recorder.keep("memory of a request of 2,000 tokens", "MB", timed)


def _resident() -> float:
    """Megabytes of 2^20 bytes that this process holds (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Run what is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["many", "first", "memory", []], help="all unless named")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loads", nargs="+", choices=list(LOADS), default=list(LOADS), help="of first")
    parser.add_argument("--before", type=int, default=128, help="tokens of a prompt, of many")
    parser.add_argument("--temperature", type=float, default=0.0, help="of many")
    parser.add_argument("--new", type=int, default=128, help="tokens of an answer, of many")
    options = parser.parse_args()
    recorder = Recorder()
    for part in options.parts or ["many", "first", "memory"]:
        {"many": many, "first": first, "memory": memory}[part](options, recorder)


if __name__ == "__main__":
    main()
