"""The server beside its own engine on SmolLM2-135M: what HTTP costs, what a first token waits for, what a request's memory is.

python -m benchmarks.serving                # all three
python -m benchmarks.serving many first memory

"many": 16 requests at once, prompts included, all with answers of one length. "first": the time to the first token with 1 and
8 clients, each asking again when it is answered, answers of half of --new tokens to all of them. "memory": what the process
holds for each further request of 2,000 tokens, beside its keys and values. The server of the first two is a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import threading
import time
from pathlib import Path

from benchmarks.compiled import ids


def alone(count: int, before: int, new: int, temperature: float) -> float:
    """Tokens a second of the engine without a server, each stream read in a thread of its own."""
    import lmworks as lm
    from lmworks.generation.engine import Engine

    with Engine(MODEL.setdefault("model", lm.load("smollm2")), prefix_bytes=0) as engine:
        start = time.perf_counter()
        strategy = lm.Sample(temperature=temperature, top_p=0.95, min_new_tokens=new)
        tickets = [engine.submit(ids(before, start=row), strategy, max_new_tokens=new) for row in range(count)]
        readers = [threading.Thread(target=list, args=(ticket,)) for ticket in tickets]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        return count * new / (time.perf_counter() - start)


MODEL: dict[str, object] = {}


def many(options: argparse.Namespace) -> None:
    """16 requests at once, through the server and without it, in turn."""
    from lmworks.serving.load import measure
    from lmworks.serving.run import served

    ours: list[float] = []
    engine: list[float] = []
    with served("smollm2") as address:
        for turn in range(options.rounds + 1):
            said = {"concurrency": 16, "requests": 16, "prompt_tokens": options.before, "max_tokens": options.new}
            load = asyncio.run(measure(address, **said, vary=False, seed=turn, temperature=options.temperature))
            rate = alone(16, options.before, options.new, options.temperature)
            if turn:  # the first is for warming up
                ours.append(load.tokens_per_second)
                engine.append(rate)
    for name, rates in (("through the server", ours), ("engine alone", engine)):
        shown = f"{statistics.median(rates):,.0f} ({min(rates):,.0f} ... {max(rates):,.0f})"
        print(f"16 requests at once, {options.before} + {options.new} tokens, {name}: {shown} tokens/s")
    print(f"ratio {statistics.median(ours) / statistics.median(engine):.2f}")


def first(options: argparse.Namespace) -> None:
    """The time to the first token, one client and eight."""
    from lmworks.serving.load import measure
    from lmworks.serving.run import served

    with served("smollm2") as address:
        asyncio.run(measure(address, concurrency=2, requests=4, max_tokens=8))
        for before in (16, options.before, 512):
            p95 = {}
            for clients in (1, 8):
                said = {"concurrency": clients, "requests": 12 * min(clients, 6), "prompt_tokens": before}
                load = asyncio.run(measure(address, **said, max_tokens=options.new, seed=before + clients))
                p95[clients] = load.first_token.p95
                times = f"p50 {1000 * load.first_token.p50:,.0f}, p95 {1000 * load.first_token.p95:,.0f} ms"
                gaps = f"p50 {1000 * load.between_tokens.p50:,.0f}, p95 {1000 * load.between_tokens.p95:,.0f} ms"
                rate = f"{load.tokens_per_second:,.0f} tokens/s"
                print(f"prompt {before}, {clients} clients: first token {times}; between {gaps}; {rate}", flush=True)
            print(f"prompt {before}: p95 of 8 clients / of 1: {p95[8] / p95[1]:.2f}", flush=True)


def memory(options: argparse.Namespace) -> None:
    """Resident memory with more and more requests of 2,000 tokens that write."""
    import lmworks as lm
    from lmworks.generation.engine import Engine

    strategy = lm.Greedy(min_new_tokens=4000)
    with Engine(lm.load("smollm2"), seats=12, prefix_bytes=0) as engine:
        tickets, held = [], []
        for row in range(10):
            tickets.append(engine.submit(ids(2000, start=row), strategy, max_new_tokens=4000))
            while tickets[-1].first is None:
                time.sleep(0.01)
            held.append((_resident(), engine.state.cache_bytes / 2**20))
        for ticket in tickets:
            ticket.cancel()
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
    parser.add_argument("--before", type=int, default=128, help="tokens of a prompt")
    parser.add_argument("--temperature", type=float, default=0.0, help="of many")
    parser.add_argument("--new", type=int, default=128, help="tokens of an answer")
    options = parser.parse_args()
    for part in options.parts or ["many", "first", "memory"]:
        {"many": many, "first": first, "memory": memory}[part](options)


if __name__ == "__main__":
    main()
