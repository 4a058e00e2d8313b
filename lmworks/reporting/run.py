"""Measure a model section by section and write the page.

result = report("smollm2", out="reports/smollm2")
print(result.folder / "report.html", [one.figure for one in result.measurements])
"""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from lmworks.basics import progress
from lmworks.basics.arguments import checked
from lmworks.basics.declared import declared
from lmworks.basics.errors import ConfigError, LmworksError, Stopped
from lmworks.basics.files import write_json, written_whole
from lmworks.evaluation.tasks.run import told_by
from lmworks.lab.scale import Scale, require_scale
from lmworks.language_model import LanguageModel
from lmworks.reporting import card, page
from lmworks.reporting.facts import facts_about
from lmworks.reporting.own_file import must_hold_text
from lmworks.reporting.report import NOT_CHOSEN, Part, Report
from lmworks.reporting.section import Section
from lmworks.reporting.store import KEPT, Kept, Result, must_take_a_report
from lmworks.reporting.subject import Subject
from lmworks.text.sources import read


def sections() -> dict[str, Section]:
    """Every section by its name, in the order of the page."""
    found = declared("lmworks.reporting.sections", Section).values()
    return {one.name: one for one in sorted(found, key=lambda one: (one.place, one.name))}


@checked
def report(
    model: LanguageModel | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    scale: Scale = "quick",
    trained_on: str | os.PathLike[str] | None = None,
    questions: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    beside: LanguageModel | str | os.PathLike[str] | None = None,
    only: Sequence[str] | None = None,
) -> Report:
    """Measure a model that continues texts, and write one page about it into a folder, reports/NAME unless given.

    `scale` quick takes some minutes on two cores with a small model, full an hour and more. `trained_on` is the text
    that the model was trained on, for what it leaks: the one that its lmworks.json names unless given, "" for none;
    `questions` are files of your own (questions with answers or choices, conversations that call tools), of which plain
    ones are asked of the model's documents where it has some. `beside` is another model of the same text, trained with
    differential privacy where this one was not, or the other way round: what leaks from it stands beside.
    `only` names the sections that are measured; others are shown where the folder has them. What was measured before
    with the same settings is not measured again. ConfigError for a model of another kind, an unknown section, a folder
    of another model's report, and a model beside that did not learn the same documents; DataError for a question that
    cannot be asked.
    """
    scale, known = require_scale(scale), sections()
    chosen = _chosen(known, only)
    text = None if trained_on is None else str(trained_on)
    if text:
        read(text)  # a mistake is reported before anything is measured
    name = model.reference or "model" if isinstance(model, LanguageModel) else str(model)
    folder = Path(out) if out is not None else Path("reports") / (Path(name).stem or "model")
    must_take_a_report(folder)
    own = (questions,) if isinstance(questions, str | os.PathLike) else questions
    for file in own:
        must_hold_text(Path(file))  # before a model is loaded; what it asks is looked at below
    subject = Subject.of(model, scale, folder / KEPT / "items", text, tuple(map(str, own)), beside)
    _ = subject.own_files  # a mistake in these, too
    kept = Kept(folder, subject.name, told_by(subject.model))
    parts = {one.name: Part(one, kept.result(one.name), NOT_CHOSEN) for one in known.values()}

    def written() -> Report:
        found = Report(folder, facts_about(subject, cpu_seconds=_cpu(parts)), tuple(parts.values()))
        write(found)
        return found

    try:
        _measure(subject, kept, chosen, parts)
    except (KeyboardInterrupt, Stopped):
        written()
        done = sum(parts[one.name].result is not None for one in chosen)
        raise Stopped(
            f"stopped; {done} of {len(chosen)} sections are kept in {folder}: the same command goes on"
        ) from None
    return written()


def write(found: Report) -> None:
    """Write report.html, report.json and README.md, each whole or not at all."""
    for name, text in (("report.html", page.html(found)), ("README.md", card.card(found))):
        with written_whole(found.folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_json(found.folder / "report.json", found.to_json())


NOT_YET = "Not measured yet: the report was stopped; the same command goes on."


def _chosen(known: dict[str, Section], only: Sequence[str] | None) -> list[Section]:
    for name in only or ():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            raise ConfigError(f"{name!r} is no section of a report; {hint}")
    return [one for one in known.values() if not only or one.name in only]


def _measure(subject: Subject, kept: Kept, chosen: Sequence[Section], parts: dict[str, Part]) -> None:
    """Measure what is chosen and not kept, and put it into `parts`."""
    left = []
    for one in chosen:
        if (why := one.needs(subject)) is not None:
            parts[one.name] = Part(one, None, why)
            continue
        before = parts[one.name].result
        if before is not None and before.settings == one.settings(subject):
            progress.note(f"{one.name} was measured before, and is kept")
            continue
        parts[one.name] = Part(one, None, NOT_YET)
        left.append(one)
    total = sum(one.cost(subject.scale) for one in left)
    with progress.task("report", total, "s") as advance:
        for one in left:
            try:
                result = _measured(one, subject)
                kept.keep(result)
                parts[one.name] = Part(one, result)
            except Stopped:
                raise
            except LmworksError as error:
                parts[one.name] = Part(one, None, f"It could not be measured: {error}.")
            advance(one.cost(subject.scale))


def _measured(section: Section, subject: Subject) -> Result:
    started, used = time.perf_counter(), time.process_time()
    found = section.measure(subject)
    return Result(
        section=section.name,
        settings=section.settings(subject),
        found=found,
        cpu_seconds=round(time.process_time() - used, 1),
        seconds=round(time.perf_counter() - started, 1),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        lmworks=version("lmworks"),
    )


def _cpu(parts: dict[str, Part]) -> float:
    return round(sum(one.result.cpu_seconds for one in parts.values() if one.result), 1)
