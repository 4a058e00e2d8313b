"""PyTorch beside a busy machine: a LoRA step, writing and evaluating, alone and beside two processes that never rest.

python -m benchmarks.busy                        # all three, 5 rounds, as lmworks waits and as libgomp does by itself
python -m benchmarks.busy lora --rounds 8
python -m benchmarks.busy lora --spin 0 1000 10000 300000

Each number of busy rounds (GOMP_SPINCOUNT) has a process of its own; all are loaded, and work in turn for some seconds
each, quiet and busy. Tokens a second, medians; "share" is busy / quiet: two busy processes on two cores leave half, 0.5.
"others" is what else ran meanwhile, in cores: a round with more than 0.2 says little, and is left out if others remain.
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
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lmworks.basics.openmp import ROUNDS

BUSY = 2
"""Processes that never rest."""
ROWS, CONTEXT, RANK = 1, 256, 8
PROMPT, NEW = 64, 16
SECONDS = 4.0
"""How long a process works at a time, at least."""
DISTURBED = 0.2
"""Cores that others may use in a round that counts."""
LIBGOMP = 300_000
"""Rounds that libgomp waits busily unless told otherwise."""


def lora() -> tuple[Callable[[], object], int]:
    """A LoRA step in float32 on 256 tokens: rank 8 on all linear layers, AdamW."""
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


def serve(name: str) -> None:
    """Load a workload; then work whenever a line comes in, and answer with [tokens, seconds]."""
    work, tokens = WORKLOADS[name]()
    work()
    print("ready", flush=True)
    for _ in sys.stdin:
        done, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < SECONDS:
            work()
            done += tokens
        print(json.dumps([done, time.perf_counter() - begun]), flush=True)


@contextmanager
def served(name: str, spin: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has loaded a workload and waits."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.busy", "--serve", name]
    environment = os.environ | {"GOMP_SPINCOUNT": str(spin)}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            sys.exit(f"{name} failed")
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def busy(processes: int) -> Iterator[list[int]]:
    """Other processes that compute without rest."""
    started = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(processes)]
    time.sleep(0.3)
    try:
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


def processor_seconds(pids: list[int]) -> float:
    """What all processes but these have used so far."""
    tick = os.sysconf("SC_CLK_TCK")
    user, nice, system, _, _, interrupts, soft = map(int, Path("/proc/stat").read_text().split()[1:8])
    own = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        own += int(fields[11]) + int(fields[12])
    return (user + nice + system + interrupts + soft - own) / tick


def work(process: subprocess.Popen[str], processes: int) -> tuple[float, float]:
    """Tokens a second beside this many busy processes, and the cores that others used."""
    assert process.stdin is not None and process.stdout is not None
    with busy(processes) as started:
        pids = [process.pid, *started]
        before = processor_seconds(pids)
        process.stdin.write("\n")
        process.stdin.flush()
        tokens, seconds = json.loads(process.stdout.readline())
        return tokens / seconds, (processor_seconds(pids) - before) / seconds


def middle(runs: list[tuple[float, float]]) -> tuple[float, int]:
    """The median rate of the rounds that nobody disturbed, or of all where there are none; and their number."""
    calm = [rate for rate, others in runs if others <= DISTURBED] or [rate for rate, _ in runs]
    return statistics.median(calm), len(calm)


def measure(name: str, spins: list[int], rounds: int) -> None:
    """Alternate the settings and print their medians."""
    runs: dict[tuple[int, int], list[tuple[float, float]]] = {}
    with ExitStack() as stack:
        processes = {spin: stack.enter_context(served(name, spin)) for spin in spins}
        for _ in range(rounds):
            for others in (0, BUSY):
                for spin, process in processes.items():
                    runs.setdefault((spin, others), []).append(work(process, others))
    for spin in spins:
        (quiet, n), (beside, m) = middle(runs[spin, 0]), middle(runs[spin, BUSY])
        print(
            f"{name:<9} spin {spin:>7,}  quiet {quiet:7.1f} (n {n})  busy {beside:7.1f} (n {m}) tok/s  "
            f"share {beside / quiet:.2f}",
            flush=True,
        )


def main() -> None:
    """Time each workload."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads", nargs="*", help=f"{', '.join(WORKLOADS)}; all unless given")
    parser.add_argument("--rounds", type=int, default=5, help="how often each setting is run")
    parser.add_argument("--spin", type=int, nargs="+", default=[LIBGOMP, ROUNDS], help="rounds of waiting busily")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    for name in options.workloads or WORKLOADS:
        measure(name, options.spin, options.rounds)


if __name__ == "__main__":
    main()
