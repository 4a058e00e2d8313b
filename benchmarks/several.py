"""What adapters beside one base cost: four texts written with none, one for all, two, or four different ones.

    python -m benchmarks.several --store

SmolLM2 on the compiled path, for each kind of adapter four of random weights beside it: LoRA and DoRA of rank 8 on all
matrices, bottlenecks of 64 (Houlsby), trained prompts of 20 vectors; and one of each kind. Every case in turn, in one
process. A case's figure is the median over the rounds of its CPU seconds beside the base's in the same round, which has
no adapters beside it. What is stored lies in benchmarks/several.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import this_machine

STORED = Path(__file__).with_suffix(".json")
NAMES = ("a", "b", "c", "d")
KINDS = ("lora", "dora", "bottleneck", "prompt")
MIXED = "one of each kind"
SIZE = 0.001
"""Of the random numbers that an adapter adds by."""
CASES: dict[str, list[str | None]] = {
    "none of them": [None] * 4,
    "one adapter": ["a"] * 4,
    "two adapters, two texts without": ["a", "b", None, None],
    "four adapters": list(NAMES),
}


def beside(kinds: tuple[str, ...]) -> Any:
    """SmolLM2 with an adapter of each of these kinds beside it, by NAMES."""
    import torch

    from lmworks.adaptation.declaration import Setup
    from lmworks.adaptation.lora import remove_adapters
    from lmworks.adaptation.methods import METHODS
    from lmworks.loading import add_adapter, load
    from lmworks.objectives import CausalLM

    network, model = load("smollm2", dtype="float32").network, load("smollm2")
    with tempfile.TemporaryDirectory() as folder:
        for seed, (name, kind) in enumerate(zip(NAMES, kinds, strict=True)):
            method = METHODS[kind]
            assert method.adapter is not None
            method.prepare(Setup(network, CausalLM(), [], seed=seed), method.settings())
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for one in method.adapter.tensors(network).values():
                    if not one.any():  # what begins at zero
                        one.copy_(SIZE * torch.randn(one.shape, generator=generator))
            place = Path(folder) / name
            place.mkdir()
            method.adapter.write(place, network, "smollm2")
            remove_adapters(network)
            add_adapter(model, name, place)
    assert model.runner.name == "compiled"
    return model


def seconds(model: Any, adapters: list[str | None], prompts: list[str], tokens: int) -> float:
    """CPU seconds of writing so many tokens after each prompt."""
    started = time.process_time()
    model.generate_batch(prompts, max_new_tokens=tokens, adapter=adapters)
    return time.process_time() - started


def main() -> None:
    """Run, print, and store where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--store", action="store_true")
    options = parser.parse_args()
    from lmworks.loading import load

    plain = load("smollm2")
    models = {kind: beside((kind,) * 4) for kind in KINDS}
    cases = [(f"{kind}, {case}", models[kind], adapters) for kind in KINDS for case, adapters in CASES.items()]
    cases = [("base", plain, CASES["none of them"]), *cases, (MIXED, beside(KINDS), [*NAMES])]
    work = {"writing": (["Once", "A list", "The end", "Notes"], options.tokens), "reading": (["word " * 500] * 4, 1)}
    facts: dict[str, Any] = {"rounds": options.rounds, "machine": asdict(this_machine())}
    for what, (prompts, tokens) in work.items():
        rounds = [
            {name: seconds(model, adapters, prompts, tokens) for name, model, adapters in cases}
            for _ in range(options.rounds + 1)
        ][1:]
        facts[what] = {
            name: round(statistics.median(one[name] / one["base"] for one in rounds), 3) for name, _, _ in cases
        }
    print(json.dumps(facts, indent=2))
    if options.store:
        STORED.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
