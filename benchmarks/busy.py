"""PyTorch beside a busy machine: a LoRA step, writing and evaluating, alone and beside two processes that never rest.

python -m benchmarks.busy                        # all three, 3 rounds, as lmworks waits and as libgomp does by itself
python -m benchmarks.busy lora --rounds 5
python -m benchmarks.busy lora --spin 0 1000 10000 300000

Each round runs each number of busy rounds (GOMP_SPINCOUNT) in a process of its own, in turn. Tokens a second, medians;
"share" is busy / quiet. Two busy processes on two cores leave half of them: 0.5.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lmworks.basics.openmp import ROUNDS

ROWS, CONTEXT, RANK = 2, 256, 8
PROMPT, NEW = 64, 16
SECONDS = 6.0
"""How long each of the two is timed."""
LIBGOMP = 300_000
"""Rounds that libgomp waits busily unless told otherwise."""


def lora() -> tuple[Callable[[], object], int]:
    """A LoRA step in float32 on 2 x 256 tokens: rank 8 on all linear layers, AdamW."""
    from lmworks.basics.memory import keep_freed_memory

    keep_freed_memory()
    import torch

    import lmworks as lm
    from lmworks.adaptation.lora import LoRAConfig, add_lora
    from lmworks.objectives import CausalLM
    from lmworks.tokens.batch import IGNORE, Batch
    from lmworks.training.by_hand.fused_block import use_fused_blocks
    from lmworks.training.optimiser import adamw, trainable
    from lmworks.training.settings import TrainingConfig

    network = add_lora(lm.load("smollm2", dtype="float32").network, LoRAConfig(rank=RANK))
    assert use_fused_blocks(network)
    network.train()
    ids = torch.randint(0, 49_152, (ROWS, CONTEXT))
    labels = torch.cat([ids[:, 1:], torch.full((ROWS, 1), IGNORE)], dim=1)
    batch = Batch(ids, labels, torch.arange(CONTEXT).expand(ROWS, -1), torch.zeros_like(ids))
    optimiser, objective = adamw(trainable(network), TrainingConfig()), CausalLM()

    def step() -> None:
        objective(network, batch).mean.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step, ROWS * CONTEXT


def generate() -> tuple[Callable[[], object], int]:
    """16 tokens after a prompt of 64, in PyTorch and float32."""
    import lmworks as lm

    model = lm.load("smollm2", dtype="float32", compress="none")
    model.tokenizer.__dict__["stop_ids"] = frozenset()  # every repetition writes the same number of tokens
    return lambda: model.generate(list(range(100, 100 + PROMPT)), max_new_tokens=NEW), NEW


def evaluate() -> tuple[Callable[[], object], int]:
    """The log-probabilities of a text of 512 tokens, in PyTorch and float32."""
    import lmworks as lm

    model = lm.load("smollm2", dtype="float32", compress="none")
    text = model.tokenizer.decode(list(range(1000, 1512)))
    return lambda: model.score(text), len(model.score(text).tokens)


WORKLOADS = {"lora": lora, "generate": generate, "evaluate": evaluate}


@contextmanager
def busy(processes: int = 2) -> Iterator[None]:
    """Other processes that compute without rest."""
    started = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(processes)]
    time.sleep(0.5)
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def rate(work: Callable[[], object], tokens: int) -> float:
    """Tokens a second over some seconds, after a repetition that is not counted."""
    work()
    times = 0
    begun = time.perf_counter()
    while time.perf_counter() - begun < SECONDS:
        work()
        times += 1
    return tokens * times / (time.perf_counter() - begun)


def one(name: str) -> None:
    """Time a workload in this process."""
    work, tokens = WORKLOADS[name]()
    quiet = rate(work, tokens)
    with busy():
        beside = rate(work, tokens)
    print(json.dumps({"quiet": quiet, "busy": beside}))


def measure(name: str, spin: int) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.busy", "--one", name]
    environment = os.environ | {"GOMP_SPINCOUNT": str(spin)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Alternate the settings and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads", nargs="*", help=f"{', '.join(WORKLOADS)}; all unless given")
    parser.add_argument("--rounds", type=int, default=3, help="how often each setting is run")
    parser.add_argument("--spin", type=int, nargs="+", default=[LIBGOMP, ROUNDS], help="rounds of waiting busily")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one)
        return
    for name in options.workloads or WORKLOADS:
        runs: dict[int, list[dict[str, float]]] = {spin: [] for spin in options.spin}
        for _ in range(options.rounds):
            for spin in options.spin:
                runs[spin].append(measure(name, spin))
        for spin, found in runs.items():
            quiet, beside = (statistics.median(run[kind] for run in found) for kind in ("quiet", "busy"))
            print(
                f"{name:<9} spin {spin:>7,}  quiet {quiet:7.1f}  busy {beside:7.1f} tok/s  share {beside / quiet:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
