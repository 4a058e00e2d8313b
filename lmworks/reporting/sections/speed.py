"""How fast the model reads and writes on this machine, and how much memory it takes."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement
from lmworks.generation.strategies import Greedy
from lmworks.language_model import LanguageModel
from lmworks.reporting.section import Found, Section
from lmworks.reporting.subject import Subject

READ, WRITTEN = 512, 64
"""Tokens of the prompt that is read, and of the text that is written."""


def tokens_of(model: LanguageModel, count: int) -> list[int]:
    """Tokens from all over the vocabulary: what they are makes no difference to the speed."""
    usable = model.tokenizer.vocab_size
    return [7919 * (at + 1) % usable for at in range(count)]


def read(model: LanguageModel, count: int) -> int:
    """Read a prompt of this many tokens, which the model has not seen."""
    tokens = np.array([tokens_of(model, count)])
    with model.runner.evaluating():
        model.runner.next_logits(tokens, model.runner.new_cache(1, count))
    return count


def write(model: LanguageModel, count: int) -> int:
    """Write this many tokens after a short prompt."""
    start = model.tokenizer.decode(tokens_of(model, 8))
    answer = model.generate(start, Greedy(min_new_tokens=count), max_new_tokens=count)
    return len(answer.tokens)


def _timed(work: Callable[[], int], rounds: int) -> tuple[list[float], list[float]]:
    """Tokens a second by the clock, and CPU seconds a token, of each round after a first one that warms up."""
    work()
    rates, cpu = [], []
    for _ in range(rounds):
        started, used = time.perf_counter(), time.process_time()
        count = work()
        rates.append(count / (time.perf_counter() - started))
        cpu.append((time.process_time() - used) / count)
    return rates, cpu


def _measure(subject: Subject) -> Found:
    model, rounds = subject.model, subject.scaled(5, 20)
    size = min(READ, model.longest // 2)
    written = min(WRITTEN, model.longest // 4)
    kinds = {
        f"reads a prompt of {size} tokens": _timed(lambda: read(model, size), rounds),
        f"writes {written} tokens, one text": _timed(lambda: write(model, written), rounds),
    }
    figures = [
        [_figure(what, rates, "tokens/s"), _figure(f"{what}, CPU time", [1000 * one for one in cpu], "CPU ms/token")]
        for what, (rates, cpu) in kinds.items()
    ]
    memory, why = _memory(subject, size, written)
    return Found(
        measurements=(*itertools.chain.from_iterable(figures), *memory),
        key=figures[1][0].name,
        note=f"{rounds} rounds after one that warms up, {_way(model)} on {_threads()}; "
        "the rates are by the clock, and lower where other programs run beside it. The peak is that of a process of "
        "its own that loads the model, reads and writes.",
        left_out=(why,) if why else (),
    )


def _threads() -> str:
    return "one thread" if (number := torch.get_num_threads()) == 1 else f"{number} threads"


def _way(model: LanguageModel) -> str:
    return "compiled" if model.runner.name == "compiled" else "in PyTorch"


def _figure(name: str, values: list[float], unit: str) -> Measurement:
    estimate = statistics.mean(values, bounds=statistics.AT_LEAST_0)
    return Measurement(name=name, value=estimate.value, unit=unit, interval=estimate.interval, n=len(values))


def _memory(subject: Subject, size: int, written: int) -> tuple[list[Measurement], str]:
    """The peak of a fresh process, or why there is none."""
    if subject.model.source is None:
        return [], "Memory: the model lies in no files, which a process of its own could load; save it first."
    command = [sys.executable, "-m", "lmworks.reporting.alone", str(subject.model.reference), str(size), str(written)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        return [], f"Memory: the process that measures it ended with {(ran.stderr.splitlines() or ['no word'])[-1]}."
    figure = Measurement(name="peak memory of the whole process", value=float(ran.stdout), unit="MB")
    return [figure] if figure.value else [], "" if figure.value else "Memory: this system does not say it."


SPEED = Section(
    name="speed",
    place=20,
    title="Tokens a second and memory on this machine",
    says="Speed is that of one text at a time; several requests at once share each step (lmworks bench serve).",
    measure=_measure,
    seconds=(25.0, 80.0),
)
