"""The handbook's page of claims, written from the stored findings alone; charts lie beside it as pictures."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from lmworks.evaluation.measurement import Measurement
from lmworks.lab.chart import Chart
from lmworks.lab.finding import Finding
from lmworks.lab.verdict import PartResult

WIDTH, KEPT = 120, "\0"
"""Characters of a line; a space at which no line is broken."""
SEVERAL = 3
"""Bars with as many rows and columns stand in a table, too."""
DPI = 80
"""Of the pictures: some 25 KB each."""
WORDS = {
    "holds": "yes",
    "fails": "no",
    "no difference above the margin": "no difference",
    "open": "open",
    "not tested": "not tested",
}

OPENING = """# The claims, measured

<!-- Written by `lmworks lab --all --show --markdown docs/lab.md` from lmworks/lab/results; change those, not this. -->

What everybody says about language models, run with the workshop's own parts on real data. Each claim is taken apart
into what it says, and each part is judged by itself: **yes**, **no**, **no difference** (smaller than the margin that
was named before the run), **open** (this run cannot tell) or **not tested** (a condition of the comparison was not
met). Parts and margins are fixed before the first seed is run. Everything was measured on small networks or a small
model on two CPU cores: "no" means not here. Intervals hold 95 % over all looks at the data: after 4, 8 and 16 seeds.
`lmworks lab 12` runs claim 12 in a minute or two; `--scale full` as for this page; `--recompute` judges again what is
stored, from every seed and item.
"""


def markdown(findings: Sequence[Finding], titles: Mapping[int, str], pictures: str = "") -> str:
    """The page: a table of headlines, then each claim by its title. `pictures` is the charts' folder, beside it."""
    rows = [
        f"| [{one.question}](#{_anchor(one, titles)}) | {_escaped(one.headline)} | {one.count} |" for one in findings
    ]
    table = "\n".join(["| claim | what was found | parts |", "| --- | --- | --- |", *rows])
    return "\n\n".join([OPENING.rstrip(), table, *(_section(one, titles, pictures) for one in findings)]) + "\n"


def write(findings: Sequence[Finding], titles: Mapping[int, str], page: Path) -> None:
    """Write the page, and the charts into a folder of its name beside it."""
    folder = page.with_suffix("")
    for one in findings:
        if one.chart is not None:
            one.chart.save(folder / picture(one), dpi=DPI)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(markdown(findings, titles, folder.name), encoding="utf-8")


def picture(finding: Finding) -> str:
    """The file name of a claim's chart."""
    return f"q{finding.question:02d}.png"


def _title(finding: Finding, titles: Mapping[int, str]) -> str:
    return f"{finding.question}. {titles[finding.question]}"


def _anchor(finding: Finding, titles: Mapping[int, str]) -> str:
    return re.sub(r"[^\w -]", "", _title(finding, titles).lower()).replace(" ", "-")


def _section(finding: Finding, titles: Mapping[int, str], pictures: str) -> str:
    key = finding.parts[0].figure
    blocks = [
        f"## {_title(finding, titles)}",
        _wrapped(finding.claim, "> ", "> "),
        _wrapped(f"**{finding.headline}** {finding.count.capitalize()}."),
        _wrapped(f"**{key.figure}** {key.of}" + (f" ({sureness(key)})" if sureness(key) else "")) if key else "",
        "\n".join(_wrapped(part_line(one), "- ", "  ") for one in finding.parts),
        _wrapped(_labelled("Not true when", exceptions(finding))),
        _wrapped(_labelled("Not tested:", finding.not_tested)),
        f"![{_escaped(finding.chart.title)}]({pictures}/{picture(finding)})" if finding.chart and pictures else "",
        _numbers(finding.chart) if finding.chart else "",
        _details(finding),
    ]
    return "\n\n".join(block for block in blocks if block)


def _numbers(chart: Chart) -> str:
    """The numbers of bars as a table, where there are several rows and columns of them."""
    if chart.kind != "bars" or min(len(chart.categories), len(chart.series)) < SEVERAL:
        return ""
    cells = {one.name: dict(zip(one.x, one.y, strict=True)) for one in chart.series}
    rows = [
        [name, *(f"{values[at]:.3g}" if at in values else "" for values in cells.values())]
        for at, name in enumerate(chart.categories)
    ]
    lines = [["", *cells], ["---"] * (len(cells) + 1), *rows]
    return "\n".join("| " + " | ".join(map(_escaped, line)) + " |" for line in lines)


def exceptions(finding: Finding) -> str:
    """When what is said here does not hold, by what was found and by what is known."""
    found = [one.otherwise for one in finding.parts if one.verdict not in ("holds", "open") and one.otherwise]
    return "; ".join(filter(None, [*found, finding.not_true_when]))


def part_line(part: PartResult) -> str:
    """What was found of a part: "yes: translates better (+1.7, 95 % 0.1 ... 3.3, 300 items, 4 seeds)"."""
    figure = part.figure
    shown = f" ({', '.join(filter(None, [figure.figure, sureness(figure)]))})" if figure else ""
    return f"{WORDS[part.verdict]}: {part.says}{shown}" + (f"; {part.why}" if part.why else "")


def sureness(figure: Measurement) -> str:
    """Interval, items and seeds of a figure; nothing for one that is exact."""
    interval = figure.certainty.partition(", n ")[0] if figure.interval else ""
    items = f"{figure.n:,} items" if figure.n > max(len(figure.seeds), 1) else ""
    seeds = f"{len(figure.seeds)} seeds" if figure.seeds else ""
    return ", ".join(filter(None, [interval, items, seeds]))


def measured(finding: Finding) -> str:
    """How a finding was measured: scale, seeds, time, day, machine, and whether another rule judged it."""
    seeds = f"{len(finding.seeds)} seeds, " if finding.seeds else ""
    machines = ", ".join(dict.fromkeys(str(one["processor"]) for one in finding.machines))
    rule = ", judged by an earlier rule" if finding.version == 1 else ""
    return f"{finding.scale}, {seeds}{took(finding)}, {finding.started[:10]}, {machines}{rule}"


def _details(finding: Finding) -> str:
    scale = " --scale full" if finding.scale == "full" else ""
    also = "\n".join(_wrapped(f"also measured, {part_line(one)}", "- ", "  ") for one in finding.also)
    checks = "\n".join(
        _wrapped(f"{'met' if one.passed else 'not met'}: {one.says} ({one.rule}; {one.value:.4g})", "- ", "  ")
        for one in finding.requirements
    )
    blocks = [
        "<details><summary>How it was measured</summary>",
        _wrapped(finding.note),
        also,
        checks,
        _wrapped(f"Run: {measured(finding)}. {finding.stopped}".rstrip()),
        f"Again: `lmworks lab {finding.question}{scale}`; every figure: `lmworks lab {finding.question} --show`",
        "</details>",
    ]
    return "\n\n".join(block for block in blocks if block)


def _labelled(label: str, text: str) -> str:
    return f"**{label}** {text}" if text else ""


def took(finding: Finding) -> str:
    """How long a run took: "199 s", "28 min"."""
    minutes = finding.seconds / 60
    return f"{finding.seconds:,.0f} s" if minutes < 10 else f"{minutes:,.0f} min"


def _escaped(text: str) -> str:
    return re.sub(r"<(?=[A-Za-z/!])", "&lt;", text).replace("|", "\\|")


def _wrapped(text: str, first: str = "", next_: str = "") -> str:
    """Text that Markdown shows as it is, in lines of 120: `<unk>` is not a tag, and no line begins with a mark."""
    text = re.sub(r"<(?=[A-Za-z/!])", "&lt;", text)
    text = re.sub(r" (?=([>#+*-]|1\.) )", KEPT, text)
    made = textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=next_, break_long_words=False, break_on_hyphens=False
    )
    return made.replace(KEPT, " ")
