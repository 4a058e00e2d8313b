"""A report as data: the sections with what came of them, and what is known of the model and the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmworks.basics.terminal import for_shell
from lmworks.evaluation.measurement import Measurement
from lmworks.reporting.section import Section
from lmworks.reporting.store import Result

NOT_CHOSEN = "Not measured: this report was asked for other sections."


@dataclass(frozen=True)
class Part:
    """A section with what came of it."""

    section: Section
    result: Result | None
    why_not: str = ""
    """Why there is no result, in a sentence."""

    @property
    def summary(self) -> str:
        """What its figures say as a whole, in a sentence; nothing where one says no more than they do."""
        return "" if self.result is None else self.section.summary(self.result.found)


@dataclass(frozen=True)
class Report:
    """What was measured, and where it is written."""

    folder: Path
    facts: dict[str, Any]
    """Of the model and the machine."""
    parts: tuple[Part, ...]

    @property
    def measurements(self) -> list[Measurement]:
        """Every figure."""
        return [one for part in self.parts if part.result for one in part.result.found.measurements]

    @property
    def command(self) -> str:
        """What makes the same page again: with the sections that it shows."""
        facts = self.facts
        given = [facts["model"], "--scale", facts["scale"]]
        if facts["trained_on"]:
            given += ["--trained-on", facts["trained_on"]]
        for one in facts["questions"]:
            given += ["--questions", one]
        if facts["beside"]:
            given += ["--beside", facts["beside"]]
        shown = [one.section.name for one in self.parts if one.result is not None or one.why_not != NOT_CHOSEN]
        if len(shown) < len(self.parts):
            given += ["--section", ",".join(shown)]
        return "lmworks report " + " ".join(map(for_shell, given))

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, texts and lists: what report.json holds."""
        return self.facts | {
            "sections": {
                one.section.name: {"title": one.section.title, "says": one.section.says}
                | ({"summary": one.summary} if one.summary else {})
                | ({"not_measured": one.why_not} if one.result is None else one.result.model_dump(mode="json"))
                for one in self.parts
            }
        }
