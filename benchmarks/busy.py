"""PyTorch beside a busy machine: a LoRA step, writing and evaluating, alone and beside two processes that never rest.

python -m benchmarks.busy                        # all three, 3 rounds, as lmworks waits and as libgomp does by itself
python -m benchmarks.busy lora --rounds 5
python -m benchmarks.busy lora --spin 0 1000 10000 300000

Each round runs each number of busy rounds (GOMP_SPINCOUNT) in a process of its own, in turn. Two busy processes on two
cores leave half of them: a fair share is 0.5 of the speed alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.store import Recorder, Timed
from benchmarks.work import neighbours
from benchmarks.works.lora import CONTEXT, step_of_ours
from lmworks.basics.openmp import ROUNDS

ROWS = 2
PROMPT, NEW = 64, 16
SECONDS = 6.0
"""How long each of the two is timed."""
LIBGOMP = 300_000
"""Rounds that libgomp waits busily unless told otherwise."""


def lora() -> tuple[Callable[[], object], int]:
    """A LoRA step in float32 on 2 x 256 tokens: rank 8 on all linear layers, AdamW."""
    return step_of_ours("float32", ROWS), ROWS * CONTEXT


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
    with neighbours(2):
        time.sleep(0.5)
        beside = rate(work, tokens)
    print(json.dumps({"alone": quiet, "beside 2 busy processes": beside}))


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", help=f"{', '.join(WORKLOADS)}; all unless given")
    parser.add_argument("--rounds", type=int, default=3, help="how often each setting is run")
    parser.add_argument("--spin", type=int, nargs="+", default=[LIBGOMP, ROUNDS], help="rounds of waiting busily")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one)
        return
    recorder = Recorder()
    for name in options.workloads or WORKLOADS:
        runs: dict[int, list[dict[str, float]]] = {spin: [] for spin in options.spin}
        for _ in range(options.rounds):
            for spin in options.spin:
                runs[spin].append(measure(name, spin))
        for where in ("alone", "beside 2 busy processes"):
            timed = [
                Timed("lmworks" if spin == ROUNDS else f"spinning {spin:,} rounds", [run[where] for run in found])
                for spin, found in sorted(runs.items(), key=lambda one: one[0] != ROUNDS)
            ]
            recorder.keep(f"PyTorch, {name}, {where}", "tokens/s", timed)


if __name__ == "__main__":
    main()
