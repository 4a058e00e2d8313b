"""A work that `python -m benchmarks` measures: a function for each program and number format, run in its own process.

A file of `benchmarks/works/` declares it, ours first:

    DECODE = Work("decode", (Side("lmworks", "bf16", ours), Side("transformers", "bf16", theirs)))
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Facts = dict[str, float]
"""What a function measured: `value` in the unit of its work, and what else is worth keeping."""


@dataclass(frozen=True)
class Side:
    """One program in one number format."""

    program: str
    format: str
    run: Callable[[], Facts]

    @property
    def name(self) -> str:
        """Program and format."""
        return f"{self.program} {self.format}".strip()


@dataclass(frozen=True)
class Work:
    """What several programs are timed at."""

    name: str
    sides: tuple[Side, ...]
    """Ours first. Sides that two works share are timed once for both."""
    unit: str = "tokens/s"
    """"s": the whole process is timed, and the functions need not say a `value`."""


def repeated(work: Callable[[], object], tokens: int, times: int = 5) -> Facts:
    """Tokens a second: the median of several repetitions after one that is not counted."""
    work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return {"value": tokens / statistics.median(seconds)}


def token_ids(count: int, start: int = 0) -> list[int]:
    """The same tokens of SmolLM2's vocabulary for everybody."""
    import torch

    made = torch.randint(100, 40_000, (4096,), generator=torch.Generator().manual_seed(0)).tolist()
    return made[start : start + count]


def data(name: str, publisher: str = "") -> Path:
    """A file or folder inside a folder of LMWORKS_DATA."""
    for folder in os.environ.get("LMWORKS_DATA", "").split(os.pathsep):
        if folder and (Path(folder) / name).exists():
            return Path(folder) / name
    where = f"; fetch it from {publisher}" if publisher else ""
    raise SystemExit(f"this benchmark reads {name} from a folder of LMWORKS_DATA, and there is none{where}")


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Processes that compute without rest; they have ended, and count as ours, when this is left."""
    started = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


def smollm2_folder() -> Path:
    """SmolLM2-135M as a Hugging Face directory, which the peers read."""
    import lmworks as lm
    from lmworks.basics.files import cache_folder

    folder = cache_folder("benchmarks") / "smollm2"
    if not folder.exists():
        lm.load("smollm2", compress="none").save(folder)
    return folder


def in_transformers(dtype: str, **settings: Any) -> Any:
    """The same weights in transformers."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(smollm2_folder(), dtype=getattr(torch, dtype), **settings).eval()
