"""Several claims, one after another, each in a process of its own: one that fails does not stop the others.

for outcome in measure_each([6, 12], measure=lambda claim: run_apart(claim, "quick", Path("lab-results"))):
    print(outcome.question, outcome.found, outcome.took)
"""

from __future__ import annotations

import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmworks.basics.errors import LmworksError, Stopped
from lmworks.lab import store
from lmworks.lab.finding import Finding
from lmworks.lab.scale import Scale

Tell = Callable[[str], None]
"""Shows a line to whoever waits."""


@dataclass(frozen=True)
class ClaimRun:
    """What became of one claim."""

    question: int
    found: str
    """How many of its parts hold, or why it was not measured."""
    took: str = ""
    """The time, or that an earlier result was kept."""
    finding: Finding | None = None
    """None where it was not measured."""


def measure_each(
    questions: Sequence[int],
    measure: Callable[[int], Finding],
    kept: Callable[[int], Finding | None] = lambda question: None,
    tell: Tell = lambda line: None,
) -> list[ClaimRun]:
    """Measure claim by claim, but for those of which `kept` has a result.

    An error in one of several becomes its outcome; the error of a single claim is raised. Stopped on Ctrl-C.
    """
    runs = []
    for question in questions:
        try:
            earlier = kept(question)
            if earlier is not None:
                runs.append(ClaimRun(question, earlier.count, "kept", earlier))
                continue
            tell(f"claim {question}")
            found = measure(question)
            runs.append(ClaimRun(question, found.count, f"{found.seconds:,.0f} s", found))
        except (Stopped, KeyboardInterrupt):
            raise Stopped(
                f"stopped in claim {question}; what was measured before is kept: go on with the same command and "
                "--resume",
                resume=True,
            ) from None
        except Exception as error:  # an unattended run goes on with the next claim
            if len(questions) == 1:
                raise
            if not isinstance(error, LmworksError):
                traceback.print_exc()
            runs.append(ClaimRun(question, f"not measured: {error or type(error).__name__}"))
    return runs


def run_apart(
    question: int, scale: Scale, out: Path, options: Sequence[str] = (), *, ship: bool = False, tell: Tell = print
) -> Finding:
    """Run a claim in a process of its own, which gives back its memory when it ends; `tell` gets its messages.

    LmworksError with its last message where it fails or is killed. Interrupting this process ends that one, too.
    """
    command = [sys.executable, "-m", "lmworks", "lab", str(question), "--scale", scale, "--out", str(out), "--json"]
    command += [*options, *(["--store"] if ship else [])]
    last = ""
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it ends as Ctrl-C does
    try:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
            assert child.stderr is not None
            try:
                for line in child.stderr:
                    if line.strip() != f"claim {question}":  # which measure_each has said
                        tell(line.rstrip("\n"))
                    last = line.strip() or last
            except BaseException:
                child.terminate()
                raise
    finally:
        signal.signal(signal.SIGTERM, earlier)
    if child.returncode < 0:
        raise LmworksError(f"killed by signal {-child.returncode}, as where memory ends")
    if child.returncode:
        raise LmworksError(last.removeprefix("lmworks: ") or f"it ended with exit code {child.returncode}")
    return store.read(store.path_of(store.SHIPPED if ship else out, question, scale))
