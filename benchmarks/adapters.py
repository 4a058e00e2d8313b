"""A step of each kind of adapter beside PEFT's, in CPU seconds, which a busy machine changes little: SmolLM2-135M.

python -m benchmarks.adapters
python -m benchmarks.adapters lora dora --wall --rounds 3      # by the clock, on a machine that does nothing else
python -m benchmarks.adapters qlora "qlora, int8" --rounds 4 --dtype float32

4 x 256 tokens, rank 8, all linear layers, AdamW. All programs of a work stand in one process and step in turn; the
most memory that each takes is measured in a process of its own, from its start to two steps.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.store import Recorder, Timed
from benchmarks.works.lora import step_of_ours, step_of_peft

Step = Callable[[], None]
PROGRAMS: dict[str, Callable[[str], Step]] = {
    "lmworks lora": step_of_ours,
    "lmworks lora exact": functools.partial(step_of_ours, products="exact"),
    "lmworks dora": functools.partial(step_of_ours, method="dora"),
    "lmworks qlora nf4": functools.partial(step_of_ours, method="qlora"),
    "lmworks qlora nf4, int8": functools.partial(step_of_ours, method="qlora", products="int8"),
    "lmworks qlora file": functools.partial(step_of_ours, method="qlora", grid="file"),
    "lmworks bottleneck": functools.partial(step_of_ours, method="bottleneck"),
    "lmworks prompt": functools.partial(step_of_ours, method="prompt"),
    "lmworks private": functools.partial(step_of_ours, private=True),
    "PEFT lora": step_of_peft,
    "PEFT dora": functools.partial(step_of_peft, use_dora=True),
    "PEFT + bitsandbytes": functools.partial(step_of_peft, nf4=True),
    "PEFT + Opacus": functools.partial(step_of_peft, private=True),
}
WORKS = {
    "lora": ("lmworks lora", "PEFT lora"),
    "frozen": ("lmworks lora", "lmworks lora exact", "PEFT lora"),
    "dora": ("lmworks dora", "lmworks lora", "PEFT dora"),
    "qlora": ("lmworks qlora nf4", "lmworks qlora file", "lmworks lora", "PEFT + bitsandbytes"),
    "qlora, int8": ("lmworks qlora nf4, int8", "lmworks qlora nf4", "lmworks lora", "PEFT + bitsandbytes"),
    "private": ("lmworks private", "lmworks lora exact", "PEFT + Opacus"),
    "others": ("lmworks bottleneck", "lmworks prompt", "lmworks lora"),
}
"""Programs that are timed together."""
NOT_BY_DEFAULT = ("qlora, int8", "private")
"""The second needs Opacus, whose package is installed by hand: `pip install --no-deps opacus opt-einsum`."""


def seconds(step: Step, clock: Callable[[], float]) -> float:
    """Of a step: by the wall's clock, or CPU seconds of all threads of this process."""
    start = clock()
    step()
    return clock() - start


def peak(program: str, dtype: str) -> float:
    """Megabytes of a process that prepares a program and steps twice."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.adapters", "--peak", program, "--dtype", dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{program} failed:\n{done.stderr}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def measure(work: str, dtype: str, rounds: int, peaks: dict[str, float], wall: bool) -> list[Timed]:
    """A step of each program in turn; one before them is not counted. `peaks` are those that are known; by the wall's
    clock none is asked for."""
    clock = time.perf_counter if wall else time.process_time
    for name in WORKS[work]:
        if name not in peaks and not wall:
            peaks[name] = peak(name, dtype)
            print(f"{name:<22} {peaks[name]:8,.0f} MB", flush=True)
    steps = {name: PROGRAMS[name](dtype) for name in WORKS[work]}
    for step in steps.values():
        step()
    found: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(rounds):
        for name in steps if round_ % 2 else reversed(steps):
            found[name].append(seconds(steps[name], clock))
    return [Timed(name, found[name], dtype, {"peak_mb": peaks[name]} if name in peaks else {}) for name in steps]


def main() -> None:
    """Measure the works that are named, or all, and store a run for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", help=", ".join(WORKS))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--wall", action="store_true")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.peak:
        from lmworks.basics.memory import peak_megabytes

        step = PROGRAMS[asked.peak](asked.dtype)
        step()
        step()
        print(json.dumps(peak_megabytes()))
        return
    recorder, peaks = Recorder(), dict[str, float]()
    for work in asked.works or [one for one in WORKS if one not in NOT_BY_DEFAULT]:
        timed = measure(work, asked.dtype, asked.rounds, peaks, asked.wall)
        recorder.keep(f"adapter step, {work}" + ", wall" * asked.wall, "s" if asked.wall else "CPU s", timed)


if __name__ == "__main__":
    main()
