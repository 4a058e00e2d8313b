"""What parts of the compiled path bring or cost, each beside the same process without it, in turn: SmolLM2-135M.

python -m benchmarks.parts --pairs 30

"tokens ahead": one stream of 64 tokens, the whole program, the prompt left out; without, Python chooses each token. "last token
alone": a prompt of 512 tokens to the logits behind its last one; without, all tokens go through the last block to the end.
"outliers": a stream, a prompt and 16 rows, beside a model whose outliers are rounded with the others. Ratios of rates: the median
of the pairs, their quartiles, and how many are above 1.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.compiled import Compiled, ids
from lmworks.generation.batch import Batch
from lmworks.generation.strategies import Greedy, Sample, Strategy
from lmworks.kernels import tape


def stream(model: Any, strategy: Strategy, ahead: bool) -> float:
    """Seconds for 64 tokens behind the first."""
    by_kernels = Batch._by_kernels
    if not ahead:
        Batch._by_kernels = lambda *_: None  # type: ignore[method-assign,assignment]
    try:
        written = model.stream(ids(66), strategy, max_new_tokens=65)
        next(written)
        start = time.perf_counter()
        for _ in written:
            pass
        return time.perf_counter() - start
    finally:
        Batch._by_kernels = by_kernels  # type: ignore[method-assign]


@torch.inference_mode()
def prompt(network: Any, alone: bool) -> float:
    """Seconds for a prompt of 512 tokens."""
    cache, tokens = network.new_cache(1), torch.tensor([ids(512)])
    start = time.perf_counter()
    if alone:
        network.next_logits(tokens, cache)
    else:
        network.logits(network.hidden(tokens, cache=cache)[:, -1])
    return time.perf_counter() - start


@torch.inference_mode()
def rows(network: Any) -> float:
    """Seconds for 8 tokens of 16 rows."""
    cache = network.new_cache(16)
    network.take_in(torch.tensor([ids(16, start=row) for row in range(16)]), cache)
    start = time.perf_counter()
    for token in ids(8):
        network.next_logits(torch.full((16, 1), token), cache)
    return time.perf_counter() - start


def without_outliers() -> Any:
    """The same model, nothing of it in float32."""
    found = tape.outliers
    tape.outliers = lambda network: {}
    try:
        return Compiled().model
    finally:
        tape.outliers = found


def report(name: str, seconds: Callable[[bool], float], pairs: int) -> None:
    """Pairs in turn, the order changing from one to the next; two that are not counted first."""
    ratios = []
    for pair in range(-2, pairs):
        found = {way: seconds(way) for way in ((True, False) if pair % 2 else (False, True))}
        if pair >= 0:
            ratios.append(found[False] / found[True])
    low, middle, high = statistics.quantiles(ratios, n=4)
    above = sum(one > 1 for one in ratios)
    print(f"{name:<24} {middle:.3f} times ({low:.3f} ... {high:.3f}), {above} of {pairs} above 1", flush=True)


def main() -> None:
    """All of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=30)
    pairs = parser.parse_args().pairs
    model, plain = Compiled().model, without_outliers()
    for one in (model, plain):
        one.tokenizer.__dict__["stop_ids"] = frozenset()  # always as many tokens
    sampled = Sample(temperature=0.8, top_p=0.95, seed=0)
    report("tokens ahead, greedy", lambda ahead: stream(model, Greedy(), ahead), pairs)
    report("tokens ahead, sampled", lambda ahead: stream(model, sampled, ahead), pairs)
    report("last token alone", lambda alone: prompt(model.network, alone), pairs)
    report("outliers, one stream", lambda apart: stream(model if apart else plain, Greedy(), ahead=True), pairs)
    report("outliers, prompt of 512", lambda apart: prompt((model if apart else plain).network, alone=True), pairs)
    report("outliers, 16 rows", lambda apart: rows((model if apart else plain).network), pairs)


if __name__ == "__main__":
    main()
