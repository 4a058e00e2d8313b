"""How faithful each way to attribute an answer is, on facts that a model knows, beside a random ranking.

    python -m benchmarks.attributing occlusion gradient-x-input --items 200 --store
    python -m benchmarks.attributing --integral --store        # what integrated gradients miss

The prompts are those of relations (Hernandez et al. 2024, https://arxiv.org/abs/2308.09124; MIT) in the folder
`lre_relations` of LMWORKS_DATA, zero-shot, whose answer the model's likeliest next token begins; they are drawn by a
seed. What is stored lies in benchmarks/attributing.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import this_machine

STORED = Path(__file__).with_suffix(".json")


def known(model: Any, folder: Path, count: int, seed: int) -> list[tuple[list[int], list[int]]]:
    """Prompts and the tokens that answer them, of facts that the model knows."""
    import torch

    asked = []
    for path in sorted(folder.glob("*.json")):
        relation = json.loads(path.read_text())
        if relation["properties"]["relation_type"] == "factual":
            template = relation["prompt_templates_zs"][0]
            asked += [(template.format(one["subject"]), " " + one["object"]) for one in relation["samples"]]
    random.Random(seed).shuffle(asked)
    found: list[tuple[list[int], list[int]]] = []
    for text, answer in asked:
        ids, first = model.encode_prompt(text), model.tokenizer.encode(answer, special=False, continues=True)[:1]
        with torch.no_grad():
            if model.logits([ids])[0, -1].argmax() == first[0]:
                found.append((ids, first))
        if len(found) == count:
            break
    return found


def missed(model: Any, prompt: str, answer: str) -> dict[str, Any]:
    """What integrated gradients miss of the change there is to explain: from 50 points as they are, and refined."""
    from lmworks.inside.attribution import attribute, explain, integral

    ids, wanted = model.encode_prompt(prompt), model.tokenizer.encode(answer, special=False, continues=True)
    end = model.tokenizer.document_end
    refined = attribute(model.network, ids, wanted, away=end, method="integrated-gradients")
    change = refined.value - refined.baseline
    plain = {
        name: base - float(integral(explain(model.network, ids, wanted, away=away), 0, 1, 50).sum())
        for name, away, base in (
            ("document's end", end, change),
            ("zero vector", None, refined.value - attribute(model.network, ids, wanted).baseline),
        )
    }
    return {"prompt": prompt, "change": change, "50 points": plain, "refined": refined.left}


def main() -> None:
    """Run, print, and store where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--integral", action="store_true")
    parser.add_argument("--store", action="store_true")
    options = parser.parse_args()
    from lmworks.evaluation.faithfulness import measure
    from lmworks.loading import load

    model = load(options.model, dtype="float32")
    folder = Path(os.environ["LMWORKS_DATA"]) / "lre_relations"
    items = known(model, folder, options.items, options.seed) if options.methods else []
    end = model.tokenizer.document_end
    stored = json.loads(STORED.read_text()) if STORED.exists() else []
    if options.integral:
        facts = missed(model, "The capital of France is", " Paris") | {"model": options.model}
        print(json.dumps(facts, indent=2))
        _keep(stored, facts | {"machine": asdict(this_machine())}, options.store)
    for method in options.methods:
        started = time.process_time()
        found = measure(model.network, items, method, away=end, seed=options.seed, steps=options.steps)
        facts = {
            **{"model": options.model, "method": method, "prompts": len(items), "seed": options.seed},
            "cpu_seconds": round(time.process_time() - started, 1),
            "machine": asdict(this_machine()),
            "measurements": [one.to_json() for one in found],
        }
        print(method, facts["cpu_seconds"], "CPU seconds", *found, sep="\n", flush=True)
        _keep(stored, facts, options.store)


def _keep(stored: list[Any], facts: dict[str, Any], store: bool) -> None:
    stored.append(facts)
    if store:
        STORED.write_text(json.dumps(stored, indent=2) + "\n")


if __name__ == "__main__":
    main()
