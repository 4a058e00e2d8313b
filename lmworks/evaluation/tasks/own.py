"""A user's own questions as a task: a .jsonl or .csv file, an item a record.

    {"question": "Which gas do plants take in?", "choices": ["oxygen", "carbon dioxide"], "answer": "B"}
    {"question": "Who wrote Emma?", "answer": "Jane Austen"}
    {"good": "The cats sleep.", "bad": "The cats sleeps."}

`answer` is a choice's letter or its text, `label` its place from 0; without `choices` (in CSV: columns that begin with
"choice") the answer is written. `prompt` in place of `question` is read as it is; items of one `group` depend on
each other.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from lmworks.basics.errors import DataError
from lmworks.evaluation.tasks.declaration import Choices, Item, Question, Task

SUFFIXES = (".jsonl", ".csv")


def own_task(path: Path) -> Task:
    """The task of a file. DataError, with its place, for an item that cannot be scored."""
    items = read_items(path)
    choices = [one for one in items if isinstance(one, Choices)]
    if choices and len(choices) < len(items):
        other = next(one for one in items if isinstance(one, Question))
        raise DataError(f"{other.name} has no choices and others have; put them into files of their own")
    pairs = [one for one in choices if not one.asked[0][0]]
    if pairs and len(pairs) < len(items):
        raise DataError(f"{pairs[0].name} is a pair of sentences and others are questions; put them into other files")
    shared = partial(
        Task, path.name, "your own questions", str(path), lambda: items, clustered=any(one.group for one in items)
    )
    if pairs:
        return shared(scored=("sum", "rest"), main="sum", examples=False)
    return shared() if choices else shared(main="exact")


def read_items(path: Path) -> list[Item]:
    """The items of a file, in order."""
    items = [_item(f"{path.name}#{line}", record) for line, record in _records(path)]
    if not items:
        raise DataError(f"{path} holds no question; give one a line, with `question` and `answer`")
    return items


def _records(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets put a mark before the first column
            yield from (_rows if path.suffix == ".csv" else _objects)(path, file)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or error}); give a file that can be opened"
        ) from None


def _rows(path: Path, file: TextIO) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(file)
    try:
        for record in reader:
            if None in record:  # a comma that is not quoted moves every cell after it
                raise DataError(
                    f"{path.name}#{reader.line_num} has more cells than columns; put text with commas in quotes"
                )
            yield reader.line_num, {key: value for key, value in record.items() if value not in (None, "")}
    except csv.Error as error:
        raise DataError(f"{path.name}#{reader.line_num + 1}: this is no row of a CSV table ({error})") from None


def _objects(path: Path, file: TextIO) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:  # no JSON, or numbers and nesting beyond what is read
            why = getattr(error, "msg", None) or str(error).partition(";")[0]
            raise DataError(f"{path.name}#{line}: this line is no JSON ({why}); write an object a line") from None
        if not isinstance(record, dict):
            raise DataError(f"{path.name}#{line} is no object with `question` and `answer`")
        yield line, record


def _item(name: str, record: Mapping[str, Any]) -> Item:
    group = str(record.get("group", ""))
    if "good" in record and "bad" in record:
        good, bad = (_text(name, record, key) for key in ("good", "bad"))
        if good == bad:
            raise DataError(f"{name}: both sentences are equal, and none is right; change one of them")
        return Choices(name, (("", good), ("", bad)), 0, (good, bad), group)
    raw = "prompt" in record
    question = _text(name, record, "prompt" if raw else "question")
    prompt = question if raw else f"Question: {question}\nAnswer:"
    choices = _choices(name, record)
    if not choices:
        answers = record.get("answer")
        every = answers if isinstance(answers, list) else [answers]
        if not every or not all(isinstance(one, str | int | float) and str(one).strip() for one in every):
            raise DataError(f"{name} has no right answer; give `answer` as a text")
        return Question(name, prompt, tuple(str(one) for one in every), group)
    asked = tuple((prompt, choice if prompt[-1].isspace() else f" {choice}") for choice in choices)
    return Choices(name, asked, _right(name, record, choices), choices, group)


def _choices(name: str, record: Mapping[str, Any]) -> tuple[str, ...]:
    listed = record.get("choices") or [record[key] for key in record if key.startswith("choice") and key != "choices"]
    if not isinstance(listed, list) or not all(isinstance(one, str | int | float) for one in listed):
        raise DataError(f'{name}: `choices` is no list of texts; write ["one", "two"]')
    choices = tuple(str(one) for one in listed)
    if len(choices) == 1:
        raise DataError(f"{name} has one choice, and there is nothing to choose; give two or more")
    if (empty := next((at for at, one in enumerate(choices, 1) if not one.strip()), None)) is not None:
        raise DataError(f"{name}: choice {empty} is empty; write it, or leave it out")
    return choices


def _right(name: str, record: Mapping[str, Any], choices: tuple[str, ...]) -> int:
    """The place of the right choice; DataError for none, several, or one that is not among them."""
    given = [(key, record[key]) for key in ("answer", "label") if record.get(key) is not None]
    if not given:
        raise DataError(f"{name} has no right answer; give `answer` (a choice or its letter) or `label` (its place)")
    places = {place for key, value in given for place in _places(name, key, value, choices)}
    if len(places) > 1:
        letters = ", ".join(_letter(place) for place in sorted(places))
        raise DataError(f"{name} has {len(places)} right answers ({letters}); leave one")
    return places.pop()


def _places(name: str, key: str, value: Any, choices: tuple[str, ...]) -> list[int]:
    if isinstance(value, list):
        return [place for one in value for place in _places(name, key, one, choices)]
    found: list[int] = []
    if key == "label":
        found = [place for place in range(len(choices)) if str(place) == str(value).strip()]
    elif key == "answer":
        found = [place for place, choice in enumerate(choices) if choice.strip() == str(value).strip()]
        found = found or [place for place in range(len(choices)) if _letter(place) == str(value).strip().upper()]
    if not found:
        last = f"A to {_letter(len(choices) - 1)}" if key == "answer" else f"0 to {len(choices) - 1}"
        raise DataError(f"{name}: the {key} {_short(value)} is none of its {len(choices)} choices ({last}); correct it")
    return found


def _letter(place: int) -> str:
    return chr(ord("A") + place) if place < 26 else str(place)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}..."


def _text(name: str, record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    if value is None:
        raise DataError(f"{name} has no `{key}`; give `question` with `answer`, or `good` and `bad`")
    if not isinstance(value, str):
        raise DataError(f"{name}: `{key}` is no text; write it in quotes")
    if not value.strip():
        raise DataError(f"{name}: `{key}` is empty; write it, or leave the item out")
    return value
