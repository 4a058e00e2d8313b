"""The server beside its own engine on SmolLM2-135M: what HTTP costs, what a first token waits for, what a request's memory is.

python -m benchmarks.serving                # all three
python -m benchmarks.serving many first memory

"many": 16 requests at once, prompts included, all with answers of one length, beside llama.cpp on the same work (a bare loop
that takes the likeliest token; benchmarks/compiled.py). "first": the time to the first token with 1 and 8 clients, each asking
again when it is answered, answers of half as many tokens to all of them; and with 8 that ask at the same moment. Loads: prompts and
mean answers of ShareGPT and Alpaca (Kwon et al. 2023, arXiv:2309.06180, figure 11), and prompts of 16 to 512 tokens. "memory": what
the process holds for each further request of 2,000 tokens, beside its keys and values. The server is a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.compiled import ids

if TYPE_CHECKING:
    from lmworks.language_model import LanguageModel

LOADS = {"ShareGPT": (161, 450), "Alpaca": (19, 77), "short": (16, 128), "middle": (128, 128), "long": (512, 128)}
"""Tokens of a prompt, and of the longest answer: the mean is three quarters of it."""


def many(options: argparse.Namespace) -> None:
    """16 requests at once: through the server, through the engine alone, and in llama.cpp, in turn."""
    from benchmarks.compiled import Compiled, engines, requests
    from lmworks.kernels.team import usable_cores
    from lmworks.serving.load import measure
    from lmworks.serving.run import served

    before, new = options.before, options.new
    candidates = engines(usable_cores())
    with served("smollm2") as address:

        def through_the_server(seed: int) -> float:
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

        rates: dict[str, list[float]] = {}
        for turn in range(options.rounds + 1):
            found = {"server": through_the_server(turn)}
            for name, engine in candidates.items():
                ours = isinstance(engine, Compiled)
                found["engine" if ours else name] = (
                    alone(engine.model, 16, before, new, options.temperature)
                    if ours
                    else requests(engine, before, new, 16)
                )
            if turn:  # the first is for warming up
                for name, rate in found.items():
                    rates.setdefault(name, []).append(rate)
    server = statistics.median(rates["server"])
    for name, each in rates.items():
        shown = f"{statistics.median(each):,.0f} ({min(each):,.0f} ... {max(each):,.0f}) tokens/s"
        ratio = "" if name == "server" else f"   the server {server / statistics.median(each):.2f} times"
        print(f"16 requests at once, {before} + {new} tokens, {name:<16} {shown}{ratio}", flush=True)


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


def first(options: argparse.Namespace) -> None:
    """The time to the first token: one client, eight that come and go, eight that ask at the same moment."""
    from lmworks.serving.load import Load, measure
    from lmworks.serving.run import served

    def shown(load: Load) -> str:
        first, gaps = load.first_token, load.between_pieces
        return (
            f"first token p50 {1000 * first.p50:,.0f}, p95 {1000 * first.p95:,.0f} ms; between p50 {1000 * gaps.p50:,.0f}, "
            f"p95 {1000 * gaps.p95:,.0f} ms; {load.tokens_per_second:,.0f} tokens/s"
        )

    with served("smollm2") as address:
        asyncio.run(measure(address, concurrency=2, requests=4, max_tokens=8))
        for load_name in options.loads:
            before, new = LOADS[load_name]
            p95 = {}
            for clients, count in ((1, 48), (8, 96)):
                said = {
                    "concurrency": clients,
                    "requests": count + clients,
                    "settle": clients,
                    "seed": before + clients,
                }
                load = asyncio.run(measure(address, **said, prompt_tokens=before, max_tokens=new))
                p95[clients] = load.first_token.p95
                print(f"{load_name}, {before} tokens, {clients} clients, {count} requests: {shown(load)}", flush=True)
            at_once = {"concurrency": 8, "requests": 8, "prompt_tokens": before, "max_tokens": 8}
            herds = [asyncio.run(measure(address, **at_once, seed=before + seed)).first_token for seed in range(5)]
            longest = statistics.median(one.longest for one in herds)
            middle = statistics.median(one.p50 for one in herds)
            print(
                f"{load_name}, 8 at the same moment: first token p50 {1000 * middle:,.0f}, last {1000 * longest:,.0f} ms"
            )
            ratios = f"8 clients {p95[8] / p95[1]:.2f}, the last of 8 at once {longest / p95[1]:.2f}"
            print(f"{load_name}: times p95 of one client: {ratios}", flush=True)


def memory(options: argparse.Namespace) -> None:
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
    print(
        f"each further request of 2,000 tokens: {(end - start) / 8:.1f} MB resident, {(more - cache) / 8:.1f} MB of keys and values"
    )


def _resident() -> float:
    """Megabytes of 2^20 bytes that this process holds (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Run what is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=["many", "first", "memory", []], help="all unless named")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loads", nargs="+", choices=list(LOADS), default=list(LOADS), help="of first")
    parser.add_argument("--before", type=int, default=128, help="tokens of a prompt, of many")
    parser.add_argument("--temperature", type=float, default=0.0, help="of many")
    parser.add_argument("--new", type=int, default=128, help="tokens of an answer, of many")
    options = parser.parse_args()
    for part in options.parts or ["many", "first", "memory"]:
        {"many": many, "first": first, "memory": memory}[part](options)


if __name__ == "__main__":
    main()
