"""The process that runs queries on a store: it can be ended, which a query inside ours cannot.

    python -m lmworks.grounding.graph.worker STORE SECONDS

Reads one JSON object a line (`query`, `rows`) and answers with one: `variables`, `rows` (as in SPARQL's JSON results),
`more` where there were more rows than asked for, or `error`. The system ends it when one query takes longer than
SECONDS.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import sys
from typing import TYPE_CHECKING, Any

from lmworks.basics.extras import require

if TYPE_CHECKING:
    import pyoxigraph as ox
else:
    ox = require("pyoxigraph", "graph")

MEMORY = 2 * 2**30
"""Bytes that a query may need."""
LONGEST = 16 * 2**20
"""Characters of an answer."""


def answer(store: ox.Store, query: str, rows: int) -> dict[str, Any]:
    """What a query gives, at most as many rows as asked for."""
    try:
        found = store.query(query, use_default_graph_as_union=True)
    except (SyntaxError, ValueError) as error:
        return {"error": str(error)}
    if isinstance(found, ox.QueryBoolean):
        return {"variables": ["answer"], "rows": [[binding_of(ox.Literal(bool(found)))]], "more": False}
    if isinstance(found, ox.QueryTriples):
        variables = ["subject", "predicate", "object"]
        solutions = ([one.subject, one.predicate, one.object] for one in found)
    else:
        variables = [one.value for one in found.variables]
        solutions = (list(one) for one in found)
    held: list[Any] = []
    size, more = 0, False
    try:
        for solution in itertools.islice(solutions, rows + 1):
            row = [None if one is None else binding_of(one) for one in solution]
            size += sum(len(one["value"]) for one in row if one)
            more = len(held) == rows or size > LONGEST
            if more:
                break
            held.append(row)
    except (ValueError, OSError) as error:
        return {"error": str(error)}
    return {"variables": variables, "rows": held, "more": more}


def binding_of(term: Any) -> dict[str, str]:
    """A term as in SPARQL's JSON results."""
    if isinstance(term, ox.Literal):
        more = {"xml:lang": term.language} if term.language else {"datatype": term.datatype.value}
        return {"type": "literal", "value": term.value, **more}
    if isinstance(term, ox.NamedNode):
        return {"type": "uri", "value": term.value}
    return {"type": "bnode", "value": getattr(term, "value", str(term))}


def main() -> None:
    """Answer until there is nothing more to read."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # a system without limits, or a lower one
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    store, seconds = ox.Store.read_only(sys.argv[1]), float(sys.argv[2])
    for line in sys.stdin:
        asked = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, seconds)  # nobody handles it, so that the system ends the process
        found = answer(store, asked["query"], asked["rows"])
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
