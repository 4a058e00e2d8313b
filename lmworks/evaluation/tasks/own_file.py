"""The records of a user's file of questions, with the line of each; whatever could be misread is one sentence.

    for line, record in records(Path("mine.csv"), TASK): ...

A .csv file has commas, semicolons (as spreadsheets of some countries write them) or tabs between its cells; one of them
may hold a conversation as JSON.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lmworks.basics.errors import DataError
from lmworks.text.formats.csv_table import TURNS, with_turns
from lmworks.text.plain import LINE_LIMIT

UNREAD = ("id", "note", "notes", "source", "comment")
"""What is the user's own, and is not read."""
CHOICE = re.compile(r"(?!choices$)choice[ _-]?([a-z]|\d{1,2})")
"""The name of a column with one choice."""


CALLS = ("messages", "conversations", "tools", "functions", "parallel_tool_calls")
"""Of a conversation that calls tools; the last one is OpenAI's, and not read."""


@dataclass(frozen=True)
class Fields:
    """What a file of questions may hold."""

    names: tuple[str, ...]
    in_objects_alone: tuple[str, ...] = ()
    """Those of a .jsonl file that a table has no columns for: lists, and what may be empty."""
    choices: bool = False
    """Whether columns choice_a, choice_b, ... are known too."""

    def knows(self, name: str) -> bool:
        """Whether a name may stand in the file."""
        is_choice = self.choices and CHOICE.fullmatch(name) is not None
        return name in (*self.names, *self.in_objects_alone, *UNREAD) or is_choice

    def listed(self, what: str) -> str:
        """For a sentence on a column or field that is not known."""
        names = [*self.names, *(self.in_objects_alone if what == "field" else ())]
        choices = ", choice_a, choice_b and so on" if self.choices else ""
        return f"{', '.join(names)}{choices}, and {', '.join(UNREAD)}, which are not read"


TASK = Fields(
    ("question", "prompt", "answer", "label", "check", "tests", "group", "good", "bad", *CALLS),
    in_objects_alone=("choices", "delimiter"),
    choices=True,
)
"""Of a task's own questions (own.py)."""


def records(path: Path, fields: Fields) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(line, record) of each, names in small letters. DataError for a file that is not UTF-8, for what is no record,
    and for a name that is not known. Of a table, empty cells are left out but for those of choices."""
    yield from (_rows if path.suffix.lower() == ".csv" else _objects)(path, text_of(path), fields)


def text_of(path: Path) -> str:
    """What a file holds. DataError for one that cannot be opened, or is not UTF-8."""
    try:
        text = path.read_bytes().decode("utf-8-sig")  # spreadsheets put a mark before the first column
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); give a file that can be opened") from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # of UTF-16, which may be sound as bytes
        raise DataError(f"{path} is no UTF-8 text; save it as UTF-8 (a spreadsheet calls it CSV UTF-8)")
    return text


def _rows(path: Path, text: str, fields: Fields) -> Iterator[tuple[int, Mapping[str, Any]]]:
    # The first line tells what stands between cells: what makes most known names of it.
    between = max(",;\t", key=lambda one: sum(map(fields.knows, _names(text.partition("\n")[0].split(one)))))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True)
    earlier = csv.field_size_limit()
    try:
        columns = _known(path.name, "column", next(reader, []), fields)
        if not {*TURNS}.isdisjoint(columns):  # a question is not as long as a conversation
            csv.field_size_limit(LINE_LIMIT)
        for row in reader:
            place = f"{path.name}#{reader.line_num}"
            if any(row[len(columns) :]):  # a comma that is not quoted moves every cell after it
                raise DataError(f"{place} has more cells than columns; put text with commas in quotes")
            cells = dict(zip(columns, row, strict=False))
            if cells.get("", "").strip():
                raise DataError(f"{place} has a cell in a column without a name; name the column, or empty the cell")
            if any(cell.strip() for cell in cells.values()):
                kept = {key: cell for key, cell in cells.items() if cell.strip() or CHOICE.fullmatch(key)}
                yield reader.line_num, with_turns(kept)
    except csv.Error as error:
        raise DataError(f"{path.name}#{reader.line_num}: this is no row of a CSV table ({error})") from None
    finally:
        csv.field_size_limit(earlier)


def _objects(path: Path, text: str, fields: Fields) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, one in enumerate(io.StringIO(text, newline=""), 1):
        if not one.strip():
            continue
        place = f"{path.name}#{line}"
        try:
            record = json.loads(one, parse_constant=partial(_no_number, place), object_pairs_hook=partial(_once, place))
        except (json.JSONDecodeError, RecursionError) as error:  # no JSON, or nesting beyond what is read
            why = getattr(error, "msg", error)
            raise DataError(f"{place}: this line is no JSON ({why}); write an object a line") from None
        except ValueError:
            raise DataError(f"{place} has a number of more digits than are read; write it in quotes") from None
        if not isinstance(record, dict):
            raise DataError(f"{place} is no object with `question` and `answer`")
        if not _is_text(record):
            raise DataError(f"{place} holds half of a surrogate pair (\\ud83d alone, say); write the text as UTF-8")
        names = _known(place, "field", list(record), fields)
        yield line, dict(zip(names, record.values(), strict=True))


def _once(place: str, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. DataError for a name that stands in it twice, of which JSON's readers take the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        _known_once(place, "field", [name for name, _ in pairs])
    return found


def _is_text(record: Mapping[str, Any]) -> bool:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # an escape alone makes it
        return False
    return True


def _no_number(place: str, written: str) -> float:
    raise DataError(f"{place} has {written}, which is no value of JSON; write a text in quotes, or leave the field out")


def _names(said: Iterable[str]) -> list[str]:
    return [one.strip().strip('"').strip().lower() for one in said]


def _known(place: str, what: str, said: Sequence[str], fields: Fields) -> list[str]:
    """The names as they are known; DataError for one that is not, and for one that stands twice."""
    names = _names(said)
    _known_once(place, what, [*filter(None, names)])
    for name, as_said in zip(names, said, strict=True):
        if (name or what == "field") and not fields.knows(name):
            shown = as_said if len(as_said) <= 40 else f"{as_said[:40]}..."
            raise DataError(f"{place} has the {what} {shown!r}, which is not known; known are {fields.listed(what)}")
    return names


def _known_once(place: str, what: str, names: Sequence[str]) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{place} has two {what}s that are called {twice[0]}; rename one, or leave it out")
