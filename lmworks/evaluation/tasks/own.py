"""A user's own questions as a task: a .jsonl or .csv file, an item a record.

    {"question": "Which gas do plants take in?", "choices": ["oxygen", "carbon dioxide"], "answer": "B"}
    {"question": "Who wrote Emma?", "answer": "Jane Austen"}
    {"good": "The cats sleep.", "bad": "The cats sleeps."}
    {"prompt": "def double(x):\\n", "tests": "assert double(2) == 4"}          # programs, which are run
    {"messages": [...], "tools": [...]}          # conversations that call tools (own_calls.py)

`answer` is a choice's letter or its text, `label` its place from 0; without `choices` (in a table: columns `choice_a`,
`choice_b` or `choice1`, `choice2`, whose letter is that of their name) the answer is written. `prompt` in place of
`question` is read as it is, and `delimiter` stands between it and each choice; items of one `group` depend on each
other; with `check` number a written answer is also judged by its last number; an item with `tests` wants a program,
which goes on from `prompt` or is asked for in `question`. `own_file.py` says what else may stand there.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from lmworks.basics.amounts import counted
from lmworks.basics.errors import DataError
from lmworks.evaluation.answer_words import numbers, words
from lmworks.evaluation.tasks.calling import HELD
from lmworks.evaluation.tasks.declaration import (
    FUNCTION_ENDS,
    Calling,
    Check,
    Choices,
    Item,
    Program,
    Question,
    Task,
)
from lmworks.evaluation.tasks.own_calls import NothingToCallError, calls_of, longest
from lmworks.evaluation.tasks.own_file import CALLS, CHOICE, TASK, UNREAD, records
from lmworks.evaluation.tasks.scores import EXACT, NUMBER, PASSES

DOCSTRING = '\n"""\n'
PROGRAM_ENDS = ('\n"""', "\nif __name__", "\nprint", "\nassert", "\n```")
"""What no longer belongs to a whole program."""
_POINT_ZERO = re.compile(r"(?<=\d)\.0+$")
SUFFIXES = (".jsonl", ".csv")


def own_task(path: Path) -> Task:
    """The task of a file. DataError, with its place, for an item that cannot be scored."""
    read, others = read_items(path)
    items, copies = _each_once(read)
    calls = [one for one in items if isinstance(one, Calling)]
    if calls and len(calls) < len(items):
        other = next(one for one in items if not isinstance(one, Calling))
        raise DataError(f"{other.name} is a question and {calls[0].name} a conversation; put them into other files")
    choices = [one for one in items if isinstance(one, Choices)]
    if choices and len(choices) < len(items):
        first = next(one.name for one in items if not isinstance(one, Choices))
        raise DataError(f"{first} has no choices and others have; put them into files of their own")
    programs = [one for one in items if isinstance(one, Program)]
    if programs and len(programs) < len(items):
        raise DataError(f"{programs[0].name} has `tests` and others have none; put them into files of their own")
    pairs = [one for one in choices if not one.asked[0][0]]
    if pairs and len(pairs) < len(items):
        raise DataError(f"{pairs[0].name} is a pair of sentences and others are questions; put them into other files")
    left_out = [
        f"{counted(len(every), what)} left out; the first: {every[0]}"
        for what, every in (("other conversation", others), ("repeated item", copies))
        if every
    ]
    shared = partial(
        Task,
        path.name,
        "your own questions",
        str(path),
        lambda: items,
        clustered=any(one.group for one in items),
        left_out="; ".join(left_out),
    )
    if calls:
        return shared(main=HELD, examples=False, longest=longest(calls))
    if pairs:
        return shared(scored=("sum", "rest"), main="sum", examples=False)
    if programs:
        return shared(main=PASSES, longest=512)
    by_number = all(isinstance(one, Question) and one.check == "number" for one in items)
    return shared() if choices else shared(main=NUMBER if by_number else EXACT, waits=True)


def read_items(path: Path) -> tuple[list[Item], list[NothingToCallError]]:
    """The items of a file, in order; and, beside conversations that may call tools, what is wrong with those that
    cannot be asked for calls."""
    items: list[Item] = []
    others: list[NothingToCallError] = []
    for line, record in records(path, TASK):
        try:
            items += _items(f"{path.name}#{line}", record)
        except NothingToCallError as error:
            others.append(error)
    if others and not any(isinstance(one, Calling) for one in items):
        raise others[0]
    if not items:
        raise DataError(f"{path} holds no question; give one a line, with `question` and `answer`")
    return items, others


def _each_once(items: Sequence[Item]) -> tuple[list[Item], list[str]]:
    """Items of which each asks something else, and a sentence for each that was left out as another asks the same.
    DataError where what is right for one of two such items is wrong for the other."""
    found: dict[Hashable, Item] = {}
    copies = []
    for one in items:
        asks = _asks(one)
        if (first := found.setdefault(asks, one)) is one:
            continue
        if not _right_of(first) & _right_of(one):
            also = "" if isinstance(one, Choices) else ", or give both as a list in one item of a .jsonl file"
            raise DataError(
                f"{one.name} asks what {first.name} asks, and another answer is right; correct one of them{also}"
            )
        if isinstance(first, Question) and isinstance(one, Question):
            found[asks] = replace(first, answers=tuple(dict.fromkeys((*first.answers, *one.answers))))
        copies.append(f"{one.name} asks what {first.name} asks")
    return list(found.values()), copies


def _asks(item: Item) -> Hashable:
    """What is equal where two items ask the same."""
    if isinstance(item, Choices):
        return frozenset(item.asked), frozenset(item.choices)
    if isinstance(item, Question):
        return item.prompt
    return repr((item.asks, item.told))


def _right_of(item: Item) -> set[tuple[str, ...]]:
    """What is right for an item, where that is not a part of what it asks."""
    if isinstance(item, Choices):
        return {(item.choices[item.right].strip(),)}
    return {tuple(words(answer)) for answer in item.answers} if isinstance(item, Question) else {()}


def _items(name: str, record: Mapping[str, Any]) -> list[Item]:
    if {"messages", "conversations"} & record.keys():
        _must_belong(name, record, CALLS, "a conversation")
        return [*calls_of(name, record)]
    return [_item(name, record)]


def _must_belong(name: str, record: Mapping[str, Any], own: Sequence[str], what: str) -> None:
    """DataError for a field that is given and not one of its own: it would not be read."""
    for key, value in record.items():
        is_empty = value is None or (CHOICE.fullmatch(key) and not str(value).strip())
        if key not in (*own, *UNREAD) and not is_empty:
            raise DataError(f"{name} has `{key}` beside {what}; leave it out")


def _item(name: str, record: Mapping[str, Any]) -> Item:
    group = "" if record.get("group") is None else str(record["group"])
    if record.get("good") is not None or record.get("bad") is not None:
        _must_belong(name, record, ("good", "bad", "group"), "a pair of sentences")
        good, bad = (_text(name, record, key) for key in ("good", "bad"))
        if good == bad:
            raise DataError(f"{name}: both sentences are equal, and none is right; change one of them")
        return Choices(name, (("", good), ("", bad)), 0, (good, bad), group)
    raw = record.get("prompt") is not None
    if raw and record.get("question") is not None:
        raise DataError(f"{name} has `question` and `prompt`, and one of them is asked; leave the other out")
    if record.get("tests") is not None:
        return _program(name, record, group)
    question = _text(name, record, "prompt" if raw else "question")
    prompt = question if raw else f"Question: {question}\nAnswer:"
    choices, check = _choices(name, record), _check(name, record)
    if choices and check:
        raise DataError(f"{name} has `check` beside choices, and only written answers are checked; leave it out")
    if record.get("label") is not None and not choices:
        raise DataError(f"{name} has `label`, the place of the right choice, and no choices; give them, or an `answer`")
    own = ("choices", *filter(CHOICE.fullmatch, record), "label", *["delimiter"] * raw) if choices else ("check",)
    named = f"a {'prompt' if raw else 'question'} {'with choices' if choices else 'whose answer is written'}"
    _must_belong(name, record, ("prompt", "question", "answer", "group", *own), named)
    if not choices:
        answers = record.get("answer")
        every = answers if isinstance(answers, list) else [answers]
        if other := [one for one in every if not _is_text(one)][:1] if answers is not None else []:
            raise DataError(f"{name}: the answer {_as_json(other[0])} is no text; write it in quotes")
        if not every or not all(one is not None and str(one).strip() for one in every):
            raise DataError(f"{name} has no right answer; give `answer` as a text")
        texts = tuple(str(one) for one in every)
        if check and (other := [one for one in texts if len(numbers(one)) != 1]):
            raise DataError(
                f"{name}: `check` is number, and the answer {_short(other[0])} is not one number; correct it"
            )
        return Question(name, prompt, texts, group, check)
    right, texts = _right(name, record, choices), tuple(choices.values())
    if equal := [place for place in choices if place != right and choices[place].strip() == choices[right].strip()]:
        letters = " and ".join(map(_letter, sorted((right, equal[0]))))
        raise DataError(f"{name}: the choices {letters} are equal, and only one of them is right; change one")
    said = record.get("delimiter")
    between = said if said is not None else "" if prompt[-1].isspace() else " "
    if not isinstance(between, str):
        raise DataError(f"{name}: `delimiter` is no text; write it in quotes")
    asked = tuple((prompt, between + text) for text in texts)
    return Choices(name, asked, list(choices).index(right), texts, group)


def _program(name: str, record: Mapping[str, Any], group: str) -> Program:
    """A program that goes on from `prompt`, or is asked for in `question`."""
    own = ("question", "prompt", "tests", "answer", "group")
    _must_belong(name, record, own, "`tests`, and a program is judged by these alone")
    tests, solution = _text(name, record, "tests"), record.get("answer", "")
    if not isinstance(solution, str):
        raise DataError(f"{name}: the answer {_as_json(solution)} is no text; write it in quotes")
    try:
        ast.parse(tests)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise DataError(f"{name}: `tests` is no Python ({error}); correct it") from None
    if record.get("prompt") is not None:
        before = _text(name, record, "prompt")
        return Program(name, before, tests, before, solution, (*FUNCTION_ENDS, "\n```"), group)
    question = _text(name, record, "question")
    return Program(name, f"{DOCSTRING.lstrip()}{question}{DOCSTRING}", tests, "", solution, PROGRAM_ENDS, group)


def _choices(name: str, record: Mapping[str, Any]) -> dict[int, str]:
    """The choices by their places; a column that is empty keeps its letter for none."""
    columns = {key: named[1] for key in record if (named := CHOICE.fullmatch(key))}
    listed = record.get("choices")
    if listed == []:
        raise DataError(f"{name}: `choices` is empty; give two or more, or leave it out where the answer is written")
    if listed and columns:
        raise DataError(f"{name} has `choices` and `{next(iter(columns))}`; leave one of them out")
    values = listed or ["" if record[key] is None else record[key] for key in columns]
    listed_values = values if isinstance(values, list) else []
    if wrong := [one for one in listed_values if isinstance(one, bool | float) and not _is_text(one)]:
        raise DataError(f"{name}: the choice {_as_json(wrong[0])} is no text; write it in quotes")
    if not isinstance(values, list) or not all(map(_is_text, values)):
        raise DataError(f'{name}: `choices` is no list of texts; write ["one", "two"], in a table choice_a, choice_b')
    if listed:
        choices = {place: str(one) for place, one in enumerate(listed)}
        if (empty := next((at for at, one in enumerate(listed, 1) if not str(one).strip()), None)) is not None:
            raise DataError(f"{name}: choice {empty} is empty; write it, or leave it out")
    else:
        first = min((int(one) for one in columns.values() if one.isdigit()), default=0)
        places = [int(one) - min(first, 1) if one.isdigit() else ord(one) - ord("a") for one in columns.values()]
        if len(set(places)) < len(places):
            raise DataError(f"{name} has two columns for one choice among {', '.join(columns)}; leave one")
        choices = {place: str(one) for place, one in sorted(zip(places, values, strict=True)) if str(one).strip()}
    if len(choices) == 1:
        raise DataError(f"{name} has one choice, and there is nothing to choose; give two or more")
    return choices


def _right(name: str, record: Mapping[str, Any], choices: Mapping[int, str]) -> int:
    """The place of the right choice; DataError for none, several, or one that is not among them."""
    given = [(key, record[key]) for key in ("answer", "label") if record.get(key) is not None]
    if not given:
        raise DataError(f"{name} has no right answer; give `answer` (a choice or its letter) or `label` (its place)")
    places = {place for key, value in given for place in _places(name, key, value, choices)}
    if len(places) > 1:
        letters = ", ".join(_letter(place) for place in sorted(places))
        raise DataError(f"{name} has {len(places)} right answers ({letters}); leave one")
    return places.pop()


def _places(name: str, key: str, value: Any, choices: Mapping[int, str]) -> list[int]:
    if isinstance(value, list):
        return [place for one in value for place in _places(name, key, one, choices)]
    found: list[int] = []
    if key == "answer" and isinstance(value, bool):
        raise DataError(f"{name}: the answer {_as_json(value)} is no text; write it in quotes")
    if key == "label":
        whole = _POINT_ZERO.sub("", str(value).strip())  # a table's column of numbers with gaps is written 1.0
        found = [place for place in choices if str(place) == whole]
    elif key == "answer":
        found = [place for place, choice in choices.items() if choice.strip() == str(value).strip()]
        found = found or [place for place in choices if _letter(place) == str(value).strip().upper()]
    if not found:
        named = [_letter(place) if key == "answer" else str(place) for place in choices]
        shown = f"{named[0]} to {named[-1]}" if list(choices) == list(range(len(choices))) else ", ".join(named)
        raise DataError(
            f"{name}: the {key} {_short(value)} is none of its {len(choices)} choices ({shown}); correct it"
        )
    return found


def _check(name: str, record: Mapping[str, Any]) -> Check | None:
    said = record.get("check")
    if said is None or said == "number":
        return said
    raise DataError(f"{name}: `check` is {_short(said)}; there is number, or leave it out")


def _is_text(value: Any) -> bool:
    """Whether a value may stand for a text: a text or a number, and neither true nor infinite."""
    return isinstance(value, str | int | float) and not isinstance(value, bool) and value not in (inf, -inf)


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:80]


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
