"""Timings beside peers, every program in a process of its own, in turn; each run is stored in benchmarks/results/.

python -m benchmarks                       # every work, three rounds
python -m benchmarks "lora step" decode    # those whose names begin so
python -m benchmarks readme                # the four works of the README's table, in some minutes, and its pages
python -m benchmarks.report                # the README's table and docs/benchmarks.md from the stored runs
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.store import Recorder, Timed, is_rate
from benchmarks.work import Facts, Side, Work
from lmworks.basics.declared import declared

HOPELESS = 1.3
"""A format that is this many times worse than its program's best in the first round is not run again."""

README = (
    ["benchmarks.compiled", "one stream, whole program", "prompt of 512"],
    ["benchmarks.serving", "many", "--rounds", "2"],
    ["benchmarks", "lora step", "--rounds", "1"],
    ["benchmarks.report"],
)
"""What `python -m benchmarks readme` runs, one after another."""


def works() -> dict[str, Work]:
    """Every work that a file of benchmarks/works/ declares."""
    return declared("benchmarks.works", Work)


def commands() -> dict[str, str]:
    """Every module here that is run by itself, with the first line of its docstring; nothing is imported."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(one, ast.FunctionDef) and one.name == "main" for one in module.body):
            name = "benchmarks" if path.stem == "__main__" else f"benchmarks.{path.stem}"
            found[name] = (ast.get_docstring(module) or "").splitlines()[0]
    return found


def measure(work: Work, side: Side) -> Facts | None:
    """Run one side of a work in a process of its own; its facts, or None where its package is not installed."""
    start = time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks", "--one", work.name, side.name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    missing = re.search(r"^ModuleNotFoundError: No module named '([^']*)'", done.stderr, re.MULTILINE)
    if missing:
        print(f"{missing[1]} is not installed; {work.name} is timed without {side.name}", flush=True)
        return None
    if done.returncode:
        sys.exit(f"{work.name}, {side.name} failed:\n{done.stderr}")
    return {"value": seconds} | json.loads(done.stdout.splitlines()[-1])


def one(work: str, side: str) -> None:
    """What the process of a side does: run it, and print its facts with the most memory that it held."""
    from lmworks.basics.memory import peak_megabytes

    (chosen,) = (other for other in works()[work].sides if other.name == side)
    facts = chosen.run()
    print(json.dumps(facts | {"peak_mb": round(peak_megabytes())}))


def alternate(chosen: Iterable[Work], rounds: int) -> dict[Side, list[Facts]]:
    """Every side of the works in turn, round after round; a format that is hopeless on this machine once."""
    first = {side: work for work in reversed(list(chosen)) for side in work.sides}
    found: dict[Side, list[Facts]] = {side: [] for work in chosen for side in work.sides}
    for round_ in range(rounds):
        for side, facts in found.items():
            if round_ and (not facts or hopeless(side, first[side], found)):
                continue
            measured = measure(first[side], side)
            if measured:
                facts.append(measured)
    return found


def hopeless(side: Side, work: Work, found: dict[Side, list[Facts]]) -> bool:
    """Whether another format of the same program at the same work was far better in the first round."""
    others = [found[one][0]["value"] for one in work.sides if one.program == side.program and found.get(one)]
    value = found[side][0]["value"]
    return max(others) / value > HOPELESS if is_rate(work.unit) else value / min(others) > HOPELESS


def timed(side: Side, found: list[Facts]) -> Timed:
    """The rounds of a side, for the store."""
    facts = {name: statistics.median(one[name] for one in found) for name in found[0] if name != "value"}
    return Timed(side.program, [one["value"] for one in found], side.format, facts)


def parser() -> argparse.ArgumentParser:
    """The command line, which lists everything that can be measured."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="works:\n"
        + "".join(f"  {name}\n" for name in ["readme", *works()])
        + "\ncommands (each has its own --help):\n"
        + "".join(f"  python -m {name:<24} {about}\n" for name, about in commands().items()),
    )
    made.add_argument("works", nargs="*", help="beginnings of the names below; all unless given")
    made.add_argument("--rounds", type=int, default=3, help="how often each program is run")
    made.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    return made


def main() -> None:
    """Alternate the programs of the works that begin with the same word, and store a run for each work."""
    options = parser().parse_args()
    if options.one:
        one(*options.one)
        return
    if options.works == ["readme"]:
        for module, *words in README:
            subprocess.run([sys.executable, "-m", module, *words], check=True)
        return
    chosen = [work for name, work in works().items() if not options.works or name.startswith(tuple(options.works))]
    if not chosen:
        sys.exit(f"no work begins with {' or '.join(options.works)}; there are {', '.join(works())}")
    groups: dict[str, list[Work]] = {}
    for work in chosen:
        groups.setdefault(work.name.split(maxsplit=1)[0].rstrip(","), []).append(work)
    recorder = Recorder()
    for group in groups.values():
        found = alternate(group, options.rounds)
        for work in group:
            recorder.keep(work.name, work.unit, [timed(side, found[side]) for side in work.sides if found[side]])


if __name__ == "__main__":
    main()
