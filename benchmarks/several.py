"""What adapters beside one base cost: four texts written with none, one for all, two, or four different ones.

    python -m benchmarks.several --store

SmolLM2 on the compiled path, adapters of rank 8 on all matrices with random weights; every case in turn, in one
process. A case's figure is the median over the rounds of its CPU seconds beside the base's in the same round. What is
stored lies in benchmarks/several.json.
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
CASES: dict[str, list[str | None]] = {
    "base": [None] * 4,
    "one adapter": ["a"] * 4,
    "two adapters, two texts without": ["a", "b", None, None],
    "four adapters": list(NAMES),
}


def adapted() -> Any:
    """SmolLM2 with four adapters beside it."""
    import torch

    from lmworks.adaptation.lora import add_lora, lora_layers, remove_adapters
    from lmworks.adaptation.lora_config import LoRAConfig
    from lmworks.adaptation.methods import METHODS
    from lmworks.loading import add_adapter, load

    network = load("smollm2", dtype="float32").network
    adapter = METHODS["lora"].adapter
    assert adapter is not None
    model = load("smollm2")
    with tempfile.TemporaryDirectory() as folder:
        for seed, name in enumerate(NAMES):
            add_lora(network, LoRAConfig(rank=8), seed)
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for layer in lora_layers(network).values():
                    for up in layer.up:
                        up.copy_(0.001 * torch.randn(up.shape, generator=generator))
            place = Path(folder) / name
            place.mkdir()
            adapter.write(place, network, "smollm2")
            remove_adapters(network)
            add_adapter(model, name, place)
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
    model = adapted()
    work = {"writing": (["Once", "A list", "The end", "Notes"], options.tokens), "reading": (["word " * 500] * 4, 1)}
    facts: dict[str, Any] = {"rounds": options.rounds, "machine": asdict(this_machine())}
    for what, (prompts, tokens) in work.items():
        rounds = [
            {name: seconds(model, adapters, prompts, tokens) for name, adapters in CASES.items()}
            for _ in range(options.rounds + 1)
        ][1:]
        facts[what] = {name: round(statistics.median(one[name] / one["base"] for one in rounds), 3) for name in CASES}
    print(json.dumps(facts, indent=2))
    if options.store:
        STORED.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
