"""The shipped reader on tables: how often it takes the cell that answers, in Markdown and in lines with headers.

python -m benchmarks.tables            # stored in benchmarks/results/quality/tables.json

Each question of `table_questions.toml` is asked of its whole table, of the table without each other row, and of its row
alone; the interval is over questions. With this file and that of the questions copied into a checkout of 5e9f3fa900,
before tables were read by their headers, it wrote `tables-before.json`.
"""

from __future__ import annotations

import json
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, commit
from lmworks.basics.files import write_json
from lmworks.evaluation.statistics import clustered_mean, within
from lmworks.grounding import heads
from lmworks.text.formats.rows import lines

QUESTIONS = Path(__file__).with_name("table_questions.toml")
RESULT = ROOT / "benchmarks" / "results" / "quality" / "tables.json"
Table = Sequence[Sequence[str]]


def bars(table: Table) -> str:
    """In Markdown."""
    head, *rows = (f"| {' | '.join(row)} |" for row in table)
    return "\n".join([head, "|" + "---|" * len(table[0]), *rows])


FORMS = {"Markdown": bars, "lines": lambda table: "\n".join(lines(table, 1))}
"""How a table is written: the second is what tables of HTML, Word, PDF and CSV become."""


def variants(table: Table, answer: str) -> Iterator[Table]:
    """The table, the table without each other row, and the row of the answer alone."""
    head, *rows = table
    right = next(row for row in rows if answer in row)
    yield table
    yield from ([head, *(row for row in rows if row is not gone)] for gone in rows if gone is not right)
    yield [head, right]


def main() -> None:
    """Ask, print and store."""
    reader = heads.reader()
    right: dict[str, list[float]] = defaultdict(list)
    of: dict[str, list[str]] = defaultdict(list)
    for table in tomllib.loads(QUESTIONS.read_text(encoding="utf-8"))["table"]:
        for question, answer in table["asked"]:
            for form, write in FORMS.items():
                name = f"{table['part']}, {form}"
                for one in variants(table["rows"], answer):
                    text = write(one)
                    (found,) = reader.read(question, [text])
                    right[name].append(float(text[found.start : found.end] == answer))
                    of[name].append(question)
    figures: dict[str, Any] = {}
    for name, values in right.items():
        value, interval = within(clustered_mean(values, of[name]), (0, 1), len(set(of[name])))
        figures[name] = {"value": round(value, 4), "interval": interval and [round(one, 4) for one in interval]}
        figures[name] |= {"n": len(values), "questions": len(set(of[name]))}
    print(json.dumps(figures, indent=1))
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M")
    write_json(RESULT, {"date": date, "commit": commit(), "command": "python -m benchmarks.tables", "figures": figures})


if __name__ == "__main__":
    main()
