"""A step of tuning a real model in processes of their own, which take turns: its processor time and its most memory.

    found = in_turn("smollm2", {"full": FULL, "lora": lora(8)}, rounds=4)
    found["lora"].peaks, found["lora"].seconds          # MB and processor seconds of each round

What else the machine does falls on all methods of a round alike. A process reads the model, lets the method change it,
forgets what that took at most, and trains with the workshop's own loop on rows of random tokens, one a step.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from lmworks.adaptation.declaration import Chosen, Setup
from lmworks.adaptation.methods import METHODS
from lmworks.basics import progress
from lmworks.basics.errors import ModelError
from lmworks.basics.memory import begin_peak, keep_freed_memory, peak_megabytes
from lmworks.jobs.planning.adapting import method_memory
from lmworks.jobs.planning.heap import in_a_process
from lmworks.jobs.planning.reading import read_subject
from lmworks.jobs.planning.workload import made_up, usual_objective
from lmworks.lab.bench.training import DrawnRows, fit
from lmworks.language_model import LanguageModel
from lmworks.models.precision import fast_dtype
from lmworks.objectives import CausalLM
from lmworks.tokens.batch import Batch
from lmworks.training.settings import TrainingConfig

STEPS = 5
"""Of a process: the first warms up, and the last is seen to begin alone, so that three are timed."""


@dataclass
class Steps:
    """What a method took, round by round."""

    peaks: list[float] = field(default_factory=list)
    """The most memory of the process while it trained, MB."""
    seconds: list[float] = field(default_factory=list)
    """Processor time of a step, the median of a process."""


def training_of(context: int) -> TrainingConfig:
    """One row of `context` tokens a step, blocks recomputed: the settings that the planner assumes."""
    return TrainingConfig(context=context, rows=1, recompute=True, steps=STEPS, frozen_products="exact")


def in_turn(model: str, ways: Mapping[str, Chosen], rounds: int, context: int = 512) -> dict[str, Steps]:
    """Each way by its name, in as many rounds; ModelError where a process ends with an error."""
    found = {name: Steps() for name in ways}
    with progress.task("training in processes of their own", rounds * len(ways), "processes") as advance:
        for _ in range(rounds):
            for name, chosen in ways.items():
                peak, seconds = _alone(model, chosen, context)
                found[name].peaks.append(peak)
                found[name].seconds.append(seconds)
                advance(1)
    return found


def planned_megabytes(model: str, chosen: Chosen, context: int = 512) -> float:
    """What `lmworks plan` says that such a process holds at most."""
    config, dtype = read_subject(model).model, str(fast_dtype()).removeprefix("torch.")
    memory = method_memory(config, training_of(context), dtype, chosen, objective=usual_objective(config), documents=1)
    return in_a_process(memory).peak / 1e6


def _alone(model: str, chosen: Chosen, context: int) -> tuple[float, float]:
    task = {
        "model": model,
        "method": chosen.method.name,
        "settings": chosen.settings.model_dump(mode="json"),
        "context": context,
    }
    command = [sys.executable, "-m", "lmworks.lab.bench.tuning_steps", json.dumps(task)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or ["no word"])[-1]
        raise ModelError(f"the process that trains {model} by {chosen.method.name} ended with: {last}")
    peak, seconds = json.loads(ran.stdout.splitlines()[-1])
    return float(peak), float(seconds)


class TimedRows(DrawnRows):
    """Drawn batches that note the processor time at which each is asked for: one after another, a step apart."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        super().__init__(batches)
        self.asked: list[float] = []

    def batch(self, places: Sequence[int]) -> Batch:
        """The one batch of that number."""
        self.asked.append(time.process_time())
        return super().batch(places)


def main() -> None:
    """Train as the task says, and print the process's most memory in MB and the processor seconds of a step."""
    task = json.loads(sys.argv[1])
    keep_freed_memory()
    network = LanguageModel.load(task["model"], dtype=fast_dtype()).network  # and what was mapped of its file goes
    method, config = METHODS[task["method"]], training_of(task["context"])
    chosen = Chosen(method, method.settings(**task["settings"]))
    setup = chosen.prepare(Setup(network, CausalLM(), []), config.context)
    torch.manual_seed(0)
    kind = usual_objective(network.config)
    rows = TimedRows([made_up(network.config, kind, 1, config.context, 1)[1] for _ in range(STEPS)])
    gc.collect()
    begin_peak()
    fit(setup.network, setup.objective, rows, config)
    apart = [later - earlier for earlier, later in zip(rows.asked[1:], rows.asked[2:], strict=False)]
    print(json.dumps([peak_megabytes(), statistics.median(apart)]))


if __name__ == "__main__":
    main()
