"""The handbook's page of claims, written from the stored findings alone."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from lmworks.lab.finding import Finding

WIDTH, KEPT = 120, "\0"
"""Characters of a line; a space at which no line is broken."""

OPENING = """# The claims, measured

<!-- Written by `lmworks lab --all --show --markdown` from lmworks/lab/results; change those, not this page. -->

What everybody says about language models, run with the workshop's own parts on real data. A verdict is computed from
the measurements by a rule that is fixed before the run, in the experiment's file: **holds**, **holds only if** (says
when), **fails here**, or **underpowered** (an interval includes the bound, so this run cannot tell). Everything was
measured on small networks or a small model on two CPU cores: "fails here" means here. Each line under a claim is one
check of its rule, with the figure, its 95 % interval, n and chance level. `lmworks lab 12 --show` shows every figure
and the chart of claim 12; `lmworks lab 12` runs it again in under two minutes, `--scale full` as for this page.
"""


def markdown(findings: Sequence[Finding]) -> str:
    """The page: a table of verdicts, then each claim with the checks that decided."""
    rows = [f"| [{one.question}](#claim-{one.question}) | {one.verdict} | {_how(one)} |" for one in findings]
    table = "\n".join(["| claim | verdict | measured |", "| --- | --- | --- |", *rows])
    return "\n\n".join([OPENING.rstrip(), table, *map(_section, findings)]) + "\n"


def _section(finding: Finding) -> str:
    measured = f"{_took(finding)}, {finding.started[:10]}, {finding.machine['processor']}"
    return "\n\n".join(
        [
            f"## Claim {finding.question}",
            _wrapped(finding.claim, "> ", "> "),
            _wrapped(f"**{finding.verdict}** ({_how(finding)}; {measured})"),
            "\n".join(_wrapped(line, "- ", "  ") for line in finding.reasons),
            _wrapped(finding.note),
        ]
    )


def _how(finding: Finding) -> str:
    seeds = finding.most_seeds
    return finding.scale + (f", {seeds} seeds" if seeds else "")


def _took(finding: Finding) -> str:
    minutes = finding.seconds / 60
    return f"{finding.seconds:,.0f} s" if minutes < 10 else f"{minutes:,.0f} min"


def _wrapped(text: str, first: str = "", next_: str = "") -> str:
    """Text that Markdown shows as it is, in lines of 120: `<unk>` is not a tag, and no line begins with a mark."""
    text = re.sub(r"<(?=[A-Za-z/!])", "&lt;", text)
    text = re.sub(r" (?=([>#+*-]|1\.) )", KEPT, text)
    made = textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=next_, break_long_words=False, break_on_hyphens=False
    )
    return made.replace(KEPT, " ")
