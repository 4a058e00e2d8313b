"""A meaning as a SPARQL query, and the facts that a row of its result stands on."""

from __future__ import annotations

from collections.abc import Sequence

from lmworks.grounding.graph.meaning import Meaning
from lmworks.grounding.graph.paths import GraphPath
from lmworks.grounding.graph.terms import KIND, Term

Pattern = tuple[str, str, str]
"""Subject, property and object, as in SPARQL."""
MOST_ROWS = 1000


def patterns_of(meaning: Meaning) -> list[Pattern]:
    """What must hold for an answer."""
    if meaning.form == "compare":
        return [(name.node, meaning.order, f"?value{at}") for at, name in enumerate(meaning.anchors)]
    found: list[Pattern] = []
    for number, path in enumerate(meaning.paths):
        last = meaning.anchors[0].node if meaning.form == "check" else "?answer"
        found += _steps(path, number, last)
    if not meaning.paths:
        found.append(("?answer", f"<{KIND}>", meaning.kind))
    if meaning.order:
        found.append(("?answer", meaning.order, "?value"))
    return found


def _steps(path: GraphPath, number: int, last: str) -> list[Pattern]:
    found, here = [], path.anchor.node
    for at, hop in enumerate(path.hops, 1):
        there = last if at == len(path.hops) else f"?step{number + 1}{at}"
        found.append((here, hop.property, there) if hop.forward else (there, hop.property, here))
        here = there
    return found


def query_of(meaning: Meaning) -> str:
    """The query, which gives every variable of the patterns."""
    patterns = patterns_of(meaning)
    lines = [f"  {subject} {prop} {value} ." for subject, prop, value in patterns]
    if meaning.without_anchor:
        lines.append(f"  FILTER(?answer != {meaning.paths[0].anchor.node})")
    where = "WHERE {\n" + "\n".join(lines) + "\n}"
    if meaning.form == "count":
        return f"SELECT DISTINCT ?answer {_between(patterns)}{where}\nLIMIT {MOST_ROWS}"
    if meaning.order_counts:
        order = "DESC" if meaning.form == "most" else "ASC"
        return (
            f"SELECT ?answer (COUNT(DISTINCT ?value) AS ?number) {where}\nGROUP BY ?answer\n"
            f"ORDER BY {order}(?number)\nLIMIT {MOST_ROWS}"
        )
    names = sorted({part for pattern in patterns for part in pattern if part.startswith("?")})
    order = {"most": "\nORDER BY DESC(?value)", "least": "\nORDER BY ASC(?value)"}.get(meaning.form, "")
    return f"SELECT DISTINCT {' '.join(names) or '*'} {where}{order}\nLIMIT {MOST_ROWS}"


def _between(patterns: Sequence[Pattern]) -> str:
    names = sorted({part for pattern in patterns for part in pattern if part.startswith("?step")})
    return "".join(f"{one} " for one in names)


def facts_of(meaning: Meaning, row: dict[str, Term | None]) -> list[Pattern]:
    """The facts that a row stands on."""
    found = []
    for pattern in patterns_of(meaning):
        held = [str(row[part[1:]]) if part.startswith("?") and row.get(part[1:]) else part for part in pattern]
        if not any(part.startswith("?") for part in held):
            found.append((held[0], held[1], held[2]))
    return found
