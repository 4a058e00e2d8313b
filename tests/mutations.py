"""Faults that are put into a copy of lmworks on purpose, one after another: each must turn its tests red.

    python -m tests.mutations               # all of tests/mutations.toml: about ten minutes
    python -m tests.mutations bos window    # those whose names hold one of these words

A fault whose tests stay green is a missing test; one that no longer fits its file is a mistake in the table. Both end
with exit code 1. `pytest -m slow` runs the same, and the default tests see to it that every fault still fits.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_suffix(".toml")
COPIED = ("lmworks", "tests", "benchmarks", "docs", "README.md", "pyproject.toml")
LONGEST = 600
"""Seconds of a run of tests; one fault's take some ten."""
RUN = """
import sys, hypothesis, pytest
hypothesis.settings.register_profile("found", phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate])
hypothesis.settings.load_profile("found")
sys.exit(pytest.main(sys.argv[1:]))
"""
"""pytest, for which any example that fails is as good as the smallest."""


@dataclass(frozen=True)
class Mutation:
    """An entry of the table."""

    name: str
    """What is wrong then, in words; no two are alike."""
    file: str
    old: str
    """Text that occurs once in the file."""
    new: str
    tests: tuple[str, ...]
    """Each of them must fail: a function, of which one case is enough."""
    pitfalls: tuple[int, ...] = ()
    """Silent errors of the field that it is one of, by their numbers in the tests' docstrings."""
    adapting: tuple[int, ...] = ()
    """Mistakes in adapting models that other projects have made, by their numbers in docs/adapting.md."""

    def applied(self, content: str) -> str:
        """The file's content with the fault in it; ValueError where it does not fit."""
        if (found := content.count(self.old)) != 1:
            raise ValueError(f"{self.name}: {self.file} holds the old text {found} times and not once; mend the table")
        return content.replace(self.old, self.new)


def table() -> list[Mutation]:
    """All faults."""
    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))["mutation"]
    return [
        Mutation(**row | {key: tuple(row.get(key, ())) for key in ("tests", "pitfalls", "adapting")}) for row in rows
    ]


class Copy:
    """A copy of the checkout, whose tests run its own lmworks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            one = ROOT / name
            if one.is_dir():
                shutil.copytree(one, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(one, folder / name)

    def plain(self, mutations: list[Mutation]) -> str:
        """What is wrong with the tests without any fault; nothing where all are green. This compiles the kernels."""
        done = self._run(sorted({test for one in mutations for test in one.tests}))
        return "" if done.returncode == 0 else f"without a fault not all tests are green: {done.stdout.strip()[-600:]}"

    def outcome(self, mutation: Mutation) -> str:
        """What is wrong with a fault or its tests; nothing where each of the tests turns red."""
        with self._broken(mutation):
            try:
                done = self._run(mutation.tests)
            except subprocess.TimeoutExpired:
                return f"its tests did not end within {LONGEST} seconds"
        if done.returncode not in (0, 1):
            return f"its tests cannot run: {(done.stdout + done.stderr).strip()[-600:]}"
        red = [line.partition(" ")[2] for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        green = [test for test in mutation.tests if not any(line.startswith(test) for line in red)]
        return f"stays green: {', '.join(green)}" if green else ""

    @contextmanager
    def _broken(self, mutation: Mutation) -> Iterator[None]:
        """The copy with the fault in it. Afterwards the file has its old time too, by which kernels are kept."""
        path = self.folder / mutation.file
        content, times = path.read_text(encoding="utf-8"), path.stat()
        path.write_text(mutation.applied(content), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(content, encoding="utf-8")
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def _run(self, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
        # Only what these tests need, as each fault has a process of its own; kernels are compiled beside the copy.
        environment = os.environ | {
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "LMWORKS_CACHE": str(self.folder / "cache"),
            "OMP_NUM_THREADS": "1",
            "LMWORKS_THREADS": "1",
        }
        command = [sys.executable, "-c", RUN, "-o", "addopts=", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider"]
        return subprocess.run(
            [*command, *tests],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )


def main(words: list[str]) -> int:
    """Run the faults that hold one of the words, or all; 1 where one is not caught."""
    chosen = [one for one in table() if not words or any(word in one.name for word in words)]
    if not chosen:
        print(f"no fault's name holds {' or '.join(words)}")
        return 1
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        if wrong := copy.plain(chosen):
            print(wrong)
            return 1
        for one in chosen:
            start = time.monotonic()
            try:
                wrong = copy.outcome(one)
            except ValueError as error:
                wrong = str(error)
            missed += bool(wrong)
            said = f"MISSED  {one.name}: {wrong}" if wrong else f"caught  {one.name}"
            print(f"{time.monotonic() - start:5.1f} s  {said}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} caught")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
