"""The figures that the README shows of `make run` are those of a run: training that learns less than it should crashes
nowhere, and only its figures tell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NUMBER = r"[-+]?\d+\.\d+"


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def holds(self, other: Estimate) -> bool:
        return self.low <= other.value <= self.high


@dataclass(frozen=True)
class Printed:
    """What a build of the quick recipe prints at its end."""

    change: Estimate
    """Of bits per byte on held-out text."""
    moved: Estimate
    """Bits per token by which predictions moved."""
    verdict: str
    right: int
    """Of 40 questions made from the text."""

    @classmethod
    def of(cls, text: str) -> Printed:
        change = estimate(text, rf"held-out text .* ({NUMBER}) bits/byte \(95 % ({NUMBER}) \.\.\. ({NUMBER}), n \d+\)")
        verdict = re.search(r"held-out text .*n \d+\) +(\S.*?) *$", text, re.MULTILINE)
        right = re.search(r"documents +40 questions made from the text: (\d+) right", text)
        assert verdict and right, text
        moved = estimate(text, rf"moved +({NUMBER}) bits/token \(95 % ({NUMBER}) \.\.\. ({NUMBER}),")
        return cls(change, moved, verdict[1], int(right[1]))

    def fits(self, run: Printed) -> bool:
        """Are a run's figures inside the intervals shown here, and are nearly as many answers right?"""
        return (
            self.change.holds(run.change)
            and self.moved.holds(run.moved)
            and self.verdict == run.verdict
            and abs(self.right - run.right) <= 2
        )


def estimate(text: str, pattern: str) -> Estimate:
    found = re.search(pattern, text)
    assert found, (pattern, text)
    return Estimate(*map(float, found.groups()))


@pytest.fixture(scope="module")
def readme() -> Printed:
    return Printed.of((ROOT / "README.md").read_text(encoding="utf-8"))


ANOTHER_PROCESSOR = """
               before           after            change
held-out text  0.79 bits/byte   0.72 bits/byte   -0.073 bits/byte (95 % -0.084 ... -0.062, n 34)     learnt
general text   1.096 bits/byte  1.084 bits/byte  -0.0120 bits/byte (95 % -0.0158 ... -0.0078, n 32)  better too
documents      40 questions made from the text: 33 right, 0 refused, 7 wrong
moved          0.555 bits/token (95 % 0.509 ... 0.608, n 19) by KL(base, tuned) on held-out text
"""
"""Emerald Rapids, where the README shows Zen 4."""
POOR = """
               before           after            change
held-out text  0.79 bits/byte   0.763 bits/byte  -0.027 bits/byte (95 % -0.031 ... -0.022, n 34)     learnt
documents      40 questions made from the text: 33 right, 0 refused, 7 wrong
moved          0.112 bits/token (95 % 0.103 ... 0.121, n 19) by KL(base, tuned) on held-out text
"""
"""Where a fused optimiser stepped each number by another's gradient."""


def test_the_readme_fits_a_run_and_not_one_that_learnt_a_third(readme: Printed):
    padded = re.sub("$", " " * 4, ANOTHER_PROCESSOR, flags=re.MULTILINE)  # columns of a terminal
    assert readme.fits(Printed.of(padded))
    assert not readme.fits(Printed.of(POOR))


@pytest.mark.slow
def test_a_run_ends_as_the_readme_shows(
    readme: Printed, smollm2_path: Path, minilm: str, reranker: str, tmp_path: Path
):
    """In a process of its own, with as many threads as the machine has: those of tests have one."""
    alone = {name: value for name, value in os.environ.items() if not name.endswith("_THREADS")}
    words = ["build", "python-reference", "--recipe", "quick", "--out", str(tmp_path / "made")]
    run = subprocess.run(
        [sys.executable, "-m", "lmworks", *words], cwd=ROOT, env=alone, capture_output=True, text=True, check=True
    )
    assert readme.fits(Printed.of(run.stdout + run.stderr)), run.stdout
