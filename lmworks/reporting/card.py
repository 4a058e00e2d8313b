"""The report as a model card of Hugging Face: Markdown, with the results in its front matter (`model-index`).

Its fields: https://huggingface.co/docs/hub/model-cards. A test reads it with huggingface_hub's ModelCard.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from lmworks.evaluation.measurement import Measurement
from lmworks.reporting.report import Part, Report
from lmworks.reporting.section import CardEntry

HEADS = ("what", "figure", "95 % interval", "n", "chance", "ideal", "remark")


def card(report: Report) -> str:
    """The whole README.md."""
    facts = report.facts
    lines = [
        "---",
        *_yaml(front_matter(report)),
        "---",
        "",
        f"# {_text(facts['called'])}",
        "",
        f"{facts['parameters'] / 1e6:,.1f} million parameters, {facts['layers']} layers of the family "
        f"{facts['family']}; it reads {facts['context']:,} tokens. The figures are those of `lmworks report`, each "
        "with its 95 % interval, the number of independent items, what guessing reaches, and the best value there is.",
        "",
    ]
    for part in report.parts:
        lines += [f"## {part.section.title}", "", *_section(part)]
    machine = facts["machine"]
    lines += [
        "## The run",
        "",
        f"`{_text(report.command)}`, lmworks {facts['lmworks']}, "
        f"{facts['cpu_seconds']:,.0f} CPU seconds on {machine['cores']} cores of {machine['processor']}.",
        "",
    ]
    return "\n".join(lines)


def front_matter(report: Report) -> dict[str, Any]:
    """What the hub reads of a card."""
    facts = report.facts
    results = [
        _result(entry, next(m for m in part.result.found.measurements if m.name == entry.measurement))
        for part in report.parts
        if part.result is not None
        for entry in part.result.found.card
    ]
    licence = {"license": facts["licence"].lower()} if facts["licence"] else {}
    index = {"model-index": [{"name": facts["called"], "results": results}]} if results else {}
    return licence | {"library_name": "lmworks", "pipeline_tag": "text-generation", "tags": ["lmworks"]} | index


def _result(entry: CardEntry, figure: Measurement) -> dict[str, Any]:
    dataset = {"type": entry.dataset, "name": entry.dataset_name, "config": entry.config, "split": entry.split}
    unit, ideal = f", {figure.unit}" * bool(figure.unit), "" if figure.ideal is None else f", ideal {figure.ideal:g}"
    said = f"{figure.name}{unit}{ideal} ({figure.certainty})"  # what a 1 means differs from metric to metric
    metric = {"type": entry.metric, "value": round(figure.value, 6), "name": said}
    return {
        "task": {"type": entry.task},
        "dataset": {name: value for name, value in dataset.items() if value is not None},
        "metrics": [metric],
    }


def _section(part: Part) -> list[str]:
    if part.result is None:
        return [_text(part.why_not), ""]
    found = part.result.found
    rows = [_row(one, found.remark_on(one)) for one in found.measurements]
    table = [_cells(HEADS), _cells(["---"] * len(HEADS)), *map(_cells, rows)]
    left_out = ["Left out. " + _text(" ".join(found.left_out)), ""] if found.left_out else []
    summary = [_text(part.summary), ""] if part.summary else []
    return [_text(part.section.says), "", *summary, *table, "", _text(found.note.strip()), "", *left_out]


def _row(one: Measurement, remark: str) -> list[str]:
    low_high = "" if one.interval is None else f"{one.alike(one.interval[0])} ... {one.alike(one.interval[1])}"
    chance = "" if one.chance is None or one.difference else one.alike(one.chance)
    ideal = "" if one.ideal is None else f"{one.ideal:g}"
    return [one.name, one.figure, low_high, f"{one.n:,}", chance, ideal, remark]


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_text(one) for one in cells)} |"


def _text(text: str) -> str:
    """A text that breaks no table and opens no markup."""
    return re.sub(r"([\\|<>`*\[\]])", r"\\\1", " ".join(text.split()))


def _yaml(value: dict[str, Any], indent: str = "") -> list[str]:
    """Maps, lists, texts and numbers as YAML; texts as JSON writes them, which YAML reads."""
    lines = []
    for name, one in value.items():
        lines += _entry(f"{indent}{name}:", one, indent + "  ")
    return lines


def _entry(head: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, dict):
        return [head, *_yaml(value, indent)]
    if not isinstance(value, list):
        return [f"{head} {json.dumps(value, ensure_ascii=False)}"]
    lines = [head]
    for one in value:
        inner = (
            _yaml(one, indent + "  ") if isinstance(one, dict) else [f"{indent}  {json.dumps(one, ensure_ascii=False)}"]
        )
        lines += [f"{indent}- {inner[0].lstrip()}", *inner[1:]]
    return lines
