"""What `lmworks plan` foretells of SmolLM2 on this machine, beside what then happens: generate, serve, evaluate, tune.

python -m benchmarks.foretold                  # everything, two rounds
python -m benchmarks.foretold serve --rounds 3

Each is a rate in tokens a second: 128 tokens written after 256; eight such texts side by side in the engine, from the
last prompt on; a text of 12,288 tokens scored; steps of LoRA on 4 x 256 tokens. The plan is made first, in this
process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from benchmarks.compiled import whole_program
from benchmarks.engine import our_requests
from benchmarks.programs import Compiled
from benchmarks.store import Recorder, Timed
from benchmarks.work import token_ids
from benchmarks.works.lora import CONTEXT, ROWS, step_of_ours

MODEL = "smollm2"
SETTINGS = [f"training.rows={ROWS}", f"training.context={CONTEXT}"]
LONG, STEPS = 12_288, 3


@cache
def plan() -> Any:
    """The plan of the model, with steps as large as those that are measured."""
    from lmworks.jobs.planning.devices import find_device
    from lmworks.jobs.planning.plan import make_plan
    from lmworks.jobs.planning.reading import read_subject

    return make_plan(read_subject(MODEL, SETTINGS), find_device("cpu"))


@cache
def program() -> Compiled:
    """The model as it runs unless told otherwise."""
    found = Compiled(MODEL)
    found.never_stop()
    return found


def evaluate() -> float:
    """Tokens a second of a long text that is scored."""
    model = program().model
    text = model.tokenizer.decode((token_ids(4096) * 3)[:LONG])
    begin = time.perf_counter()
    count = len(model.score(text).tokens)
    return count / (time.perf_counter() - begin)


@cache
def lora_step() -> Callable[[], None]:
    """A step in the type that the plan says."""
    step = step_of_ours(plan().dtype)
    step()
    return step


def tune() -> float:
    """Tokens a second of some steps."""
    step = lora_step()
    begin = time.perf_counter()
    for _ in range(STEPS):
        step()
    return STEPS * ROWS * CONTEXT / (time.perf_counter() - begin)


def lora_rate() -> float:
    """What the plan says of LoRA."""
    return next(way.tokens_per_second for way in plan().ways if way.name == "lora")


WORKS: dict[str, tuple[Callable[[], float], Callable[[], float]]] = {
    "generate": (lambda: plan().running.generate, lambda: whole_program(program(), 256, 128)),
    "serve": (
        lambda: plan().running.serve,
        lambda: our_requests(program().model, [token_ids(256, start=row) for row in range(8)], False)[1],
    ),
    "evaluate": (lambda: plan().running.evaluate, evaluate),
    "tune": (lora_rate, tune),
}
"""What is foretold, and what is measured."""


def main() -> None:
    """Foretell and measure, and store both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", help=f"{', '.join(WORKS)}; all unless given")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    recorder = Recorder()
    for name in options.works or WORKS:
        foretold, measured = WORKS[name]
        said = foretold()
        rounds = [measured() for _ in range(options.rounds)]
        recorder.keep(f"foretold, {name}", "tokens/s", [Timed("lmworks", rounds), Timed("lmworks plan", [said])])


if __name__ == "__main__":
    main()
