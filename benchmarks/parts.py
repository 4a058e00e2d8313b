"""What parts of the compiled path bring or cost, each beside the same process without it, in turn: SmolLM2-135M.

python -m benchmarks.parts --pairs 30
python -m benchmarks.parts adapter --pairs 10

"tokens ahead": one stream of 64 tokens, the whole program, the prompt left out; without, Python chooses each token.
"last token alone": a prompt of 512 tokens to the logits after its last one; without, all tokens go through the last
block to the end. "outliers": a stream, a prompt and 16 rows, beside a model whose outliers are rounded with the
others. "adapter": the same with an adapter of rank 8 on all linear layers, beside the model without one; "compiled
adapter" beside PyTorch with the same one. Printed of the ratios: the median of the pairs, their quartiles, and how
many are above 1.
"""

from __future__ import annotations

import argparse
import copy
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.programs import Compiled
from benchmarks.store import Recorder, Timed
from benchmarks.work import token_ids as ids
from lmworks.adaptation.lora import add_lora, lora_layers
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.generation.strategies import Greedy, Sample, Strategy
from lmworks.kernels import CompiledRunner
from lmworks.kernels.run import weights
from lmworks.language_model import LanguageModel


def stream(model: Any, strategy: Strategy, ahead: bool) -> float:
    """Seconds for 64 tokens after the first."""
    can_write = CompiledRunner.can_write
    if not ahead:
        CompiledRunner.can_write = lambda *_: False  # type: ignore[method-assign]
    try:
        written = model.stream(ids(66), strategy, max_new_tokens=65)
        next(written)
        start = time.perf_counter()
        for _ in written:
            pass
        return time.perf_counter() - start
    finally:
        CompiledRunner.can_write = can_write  # type: ignore[method-assign]


@torch.inference_mode()
def prompt(runner: Any, alone: bool) -> float:
    """Seconds for a prompt of 512 tokens."""
    cache, tokens = runner.new_cache(1), torch.tensor([ids(512)])
    start = time.perf_counter()
    if alone:
        runner.next_logits(tokens, cache)
    else:
        runner.logits(runner.hidden(tokens, cache=cache)[:, -1])
    return time.perf_counter() - start


@torch.inference_mode()
def rows(runner: Any) -> float:
    """Seconds for 8 tokens of 16 rows."""
    cache = runner.new_cache(16)
    runner.read(torch.tensor([ids(16, start=row) for row in range(16)]), cache)
    start = time.perf_counter()
    for token in ids(8):
        runner.next_logits(torch.full((16, 1), token), cache)
    return time.perf_counter() - start


def without_outliers() -> Any:
    """The same model, nothing of it in float32."""
    found = weights.outliers
    weights.outliers = lambda network: {}
    try:
        return Compiled().model
    finally:
        weights.outliers = found


def with_adapter() -> Any:
    """The same model with an adapter whose update is not zero."""
    model = Compiled().model
    add_lora(model.network, LoRAConfig())
    for layer in lora_layers(model.network).values():
        for up in layer.up:
            torch.nn.init.normal_(up, std=0.01)
    model.network.requires_grad_(False)
    model.choose_runner()
    return model


def in_pytorch(model: Any) -> Any:
    """A copy of a model that PyTorch runs."""
    return LanguageModel(copy.deepcopy(model.network), model.tokenizer)


def report(name: str, seconds: Callable[[bool], float], pairs: int, recorder: Recorder) -> None:
    """Pairs in turn, the order changing from one to the next; two that are not counted first."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for pair in range(-2, pairs):
        for way in (True, False) if pair % 2 else (False, True):
            took = seconds(way)
            if pair >= 0:
                found[way].append(took)
    ratios = [without / with_ for with_, without in zip(found[True], found[False], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    above = sum(one > 1 for one in ratios)
    recorder.keep(f"parts, {name}", "s", [Timed("with", found[True]), Timed("without", found[False])])
    print(f"{name}: {middle:.3f} times ({low:.3f} ... {high:.3f}), {above} of {pairs} above 1", flush=True)


def main() -> None:
    """Those whose names hold a word that is given, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--pairs", type=int, default=30)
    asked = parser.parse_args()
    ours, sampled, recorder = Compiled(), Sample(temperature=0.8, top_p=0.95, seed=0), Recorder()
    ours.never_stop()
    model = ours.model

    @functools.cache
    def other(make: Callable[[], Any]) -> Any:
        """A model to compare with, made where it is asked for."""
        made = make()
        made.tokenizer.__dict__["stop_ids"] = frozenset()
        return made

    def beside(name: str, first: Callable[[], Any], second: Callable[[], Any]) -> dict[str, Callable[[bool], float]]:
        """Two models at three kinds of work."""

        def of(way: bool) -> Any:
            return other(first if way else second)

        return {
            f"{name}, one stream": lambda way: stream(of(way), Greedy(), ahead=True),
            f"{name}, prompt of 512": lambda way: prompt(of(way).runner, alone=True),
            f"{name}, 16 rows": lambda way: rows(of(way).runner),
        }

    def plain() -> Any:
        return model

    def slow() -> Any:
        return in_pytorch(other(with_adapter))

    parts: dict[str, Callable[[bool], float]] = {
        "tokens ahead, greedy": lambda way: stream(model, Greedy(), way),
        "tokens ahead, sampled": lambda way: stream(model, sampled, way),
        "last token alone": lambda way: prompt(model.runner, way),
        **beside("outliers", plain, without_outliers),
        **beside("adapter", with_adapter, plain),
        **beside("compiled adapter", with_adapter, slow),
    }
    for name, seconds in parts.items():
        if not asked.words or any(word in name for word in asked.words):
            report(name, seconds, asked.pairs, recorder)


if __name__ == "__main__":
    main()
