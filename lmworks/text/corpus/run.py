"""Run a corpus recipe: on this machine's cores or on a Ray cluster, and go on where a run was stopped.

    report = build("prose", "corpora/mine", changes=['sources=["notes"]'])

The result is a folder with `train/`, `held_out/` and `dropped/` (JSON lines), `corpus.json` (the report) and
`recipe.json`. While it is made there is only the folder `.work` in it, with datatrove's own markers of what is done.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, DataError, LmworksError, Stopped
from lmworks.basics.extras import require
from lmworks.basics.files import must_be_writable, names_in, says_why, write_json
from lmworks.text.corpus.recipe import CorpusRecipe
from lmworks.text.sources import listing

if TYPE_CHECKING:
    from lmworks.text.corpus.report import CorpusReport

EXECUTORS = ("local", "ray")
_SMALL = 20_000_000  # bytes; less is done in this process, sooner than others have started


def build(
    recipe: str | Path,
    out: str | Path | None = None,
    executor: str = "local",
    changes: list[str] | None = None,
    resume: bool = False,
) -> CorpusReport:
    """Make the corpus of a recipe (a shipped one's name or a path) in the folder `out`, and report on it.

    Raises ConfigError for a bad recipe, DataError for sources that cannot be read or of which nothing is left,
    LmworksError for a folder that is in use, a missing package or a task that failed; Stopped on Ctrl-C.
    """
    if executor not in EXECUTORS:
        raise ConfigError(f"executor is {executor!r}; choose {' or '.join(EXECUTORS)}")
    settings = CorpusRecipe.read(recipe, changes)
    require("datatrove", "corpus")
    if executor == "ray":
        require("ray", "scale")
    from lmworks.text.corpus.steps import require_everything

    require_everything(settings)
    folder = Path(out) if out is not None else Path("corpora") / Path(recipe).stem
    must_be_writable(folder / "corpus.json")
    files = {source: listing(source) for source in settings.sources}
    work = folder / ".work"
    _begin(folder, work, {"recipe": settings.model_dump(mode="json"), "files": files}, resume)
    size = sum(size for found in files.values() for _, size, _ in found)
    try:
        with _machine(executor):
            report = _run(settings, work, executor, size)
    except KeyboardInterrupt:
        raise Stopped(
            f"stopped; what is done stands in {work}: the same command with --resume goes on", resume=True
        ) from None
    _finish(folder, work, report)
    return report.at(folder)


def _begin(folder: Path, work: Path, state: dict[str, Any], resume: bool) -> None:
    """Make the work folder, or see that it was begun by the same recipe on the same files."""
    state = json.loads(json.dumps(state))
    if (folder / "corpus.json").exists():
        raise LmworksError(f"{folder} holds a finished corpus; give another --out, or remove it")
    with says_why(folder):
        if (work / "state.json").exists():
            if not resume:
                raise LmworksError(f"{folder} holds a run that was stopped; add --resume to go on, or remove {work}")
            _compare(json.loads((work / "state.json").read_text(encoding="utf-8")), state, folder)
        elif names_in(folder):
            raise LmworksError(f"{folder} is not empty; give another --out")
        elif resume:
            raise LmworksError(f"{folder} holds no run to go on with; leave --resume out")
        else:
            work.mkdir(parents=True, exist_ok=True)
            write_json(work / "state.json", state)


def _compare(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """LmworksError that names the first setting or file that is not as it was."""
    if change := next(_changes(before["recipe"], now["recipe"]), None):
        name, old, new = change
        raise ConfigError(
            f"{folder} was begun with {name} = {json.dumps(old)}, and now it is {json.dumps(new)}; "
            "set it back, or start anew in another --out"
        )
    for source, files in now["files"].items():
        old, new = ({one[0]: one for one in found} for found in (before["files"][source], files))
        if old != new:
            name = next(name for name in sorted(old | new) if old.get(name) != new.get(name))
            raise DataError(
                f"{name} of {source} has changed since {folder} was begun; start anew in another --out, "
                "or text would be missing or there twice"
            )


def _changes(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before | now):
            yield from _changes(before.get(name), now.get(name), f"{path}.{name}" if path else name)
    elif before != now:
        yield path, before, now


def _run(settings: CorpusRecipe, work: Path, executor: str, size: int) -> CorpusReport:
    """All stages; those that are done are not done again."""
    from lmworks.text.corpus import report
    from lmworks.text.corpus.executors import be_quiet, execute
    from lmworks.text.corpus.stages import Stages

    be_quiet()
    stages = Stages(settings, work)
    later = list(stages.after_filter())
    workers = 1 if size < _SMALL else os.cpu_count() or 1
    with progress.task("making the corpus", 1 + len(later), "stages") as advance:
        first = stages.filter()
        execute(first, work, executor, workers)
        advance(1, done=first.name)
        report.refuse_nothing(work, settings)
        for make in later:
            stage = make()
            execute(stage, work, executor, workers)
            advance(1, done=stage.name)
    return report.of(work, settings)


@contextlib.contextmanager
def _machine(executor: str) -> Iterator[None]:
    """The Ray cluster of RAY_ADDRESS, or one on this machine; nothing for the local executor."""
    if executor == "local":
        yield
        return
    ray = require("ray", "scale")
    ours = not ray.is_initialized()
    if ours:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        if ours:
            ray.shutdown()


def _finish(folder: Path, work: Path, report: CorpusReport) -> None:
    """Move the result into place; the report comes last, and says that the rest is whole."""
    with says_why(folder):
        for name in ("train", "held_out"):
            (work / "result" / name).replace(folder / name)
        if (work / "dropped").exists():
            (work / "dropped").replace(folder / "dropped")
        write_json(folder / "recipe.json", json.loads((work / "state.json").read_text(encoding="utf-8"))["recipe"])
        facts = report.to_json()
        del facts["folder"]  # it may be moved
        write_json(folder / "corpus.json", facts)
        shutil.rmtree(work)
