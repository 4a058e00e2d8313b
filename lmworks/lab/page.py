"""The handbook's page of claims, written from stored findings and from nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lmworks.lab.finding import Finding

OPENING = """# The claims, measured

<!-- Written by `lmworks lab --all --show --markdown` from lmworks/lab/results; change those, not this page. -->

What everybody says about language models, run with the workshop's own parts on real data. A verdict is computed from the
measurements by a rule that stands in the experiment's file before its run: **holds**, **holds only if** (says when), **fails
here**, or **underpowered** (an interval holds the bound, so that this run cannot tell). All of it was measured on small networks
or a small model on two CPU cores: "fails here" means here. Each line below a claim is one check of its rule, with the figure, its
95 % interval, n and chance level. `lmworks lab 12 --show` shows every figure and the chart of claim 12; `lmworks lab 12` runs
it again in under two minutes, `--scale full` as it was run for this page.
"""


def markdown(findings: Sequence[Finding]) -> str:
    """The page: a table of verdicts, then each claim with the checks that decided."""
    rows = [f"| [{one.question}](#claim-{one.question}) | {one.verdict} | {_how(one)} |" for one in findings]
    table = "\n".join(["| claim | verdict | measured |", "| --- | --- | --- |", *rows])
    return "\n\n".join([OPENING.rstrip(), table, *map(_section, findings)]) + "\n"


def _section(finding: Finding) -> str:
    checks = "\n".join(f"- {_plain(line)}" for line in finding.reasons)
    return "\n\n".join(
        [
            f"## Claim {finding.question}",
            f"> {_plain(finding.claim)}",
            f"**{finding.verdict}** ({_how(finding)}; {_took(finding)}, {finding.started[:10]}, {finding.machine['processor']})",
            checks,
            _plain(finding.note),
        ]
    )


def _how(finding: Finding) -> str:
    seeds = finding.most_seeds
    return finding.scale + (f", {seeds} seeds" if seeds else "")


def _took(finding: Finding) -> str:
    minutes = finding.seconds / 60
    return f"{finding.seconds:,.0f} s" if minutes < 10 else f"{minutes:,.0f} min"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: <unk> is no tag."""
    return re.sub(r"<(?=[A-Za-z/!])", "&lt;", text)
