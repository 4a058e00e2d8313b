"""What each setting of a class means: the string below it in the source, read when somebody asks.

pydantic reads these strings, too (`use_attribute_docstrings`), but for each class when it is made, with a tokenizer in
Python: a tenth of the time until a small model's first token. Here a file is parsed once, and only for help.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel


def meanings(kind: type[BaseModel]) -> dict[str, str]:
    """A sentence or more for each setting, by its name and on one line: what its field says it is, or the string below
    it in the class, or in the nearest base, that writes one. Empty where nothing is said."""
    strings: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if issubclass(one, BaseModel) and one is not BaseModel:
            strings |= _strings(one)
    said = {name: field.description or strings.get(name, "") for name, field in kind.model_fields.items()}
    return {name: " ".join(text.split()) for name, text in said.items()}


def _strings(kind: type) -> dict[str, str]:
    try:
        file = inspect.getsourcefile(kind)
    except (TypeError, OSError):  # a class of Python's own, or one that was typed in
        return {}
    return _of_file(file).get(kind.__qualname__, {}) if file else {}


@cache
def _of_file(path: str) -> dict[str, dict[str, str]]:
    """Of each class in a file, by its qualified name, the strings below its fields."""
    try:
        return dict(_classes(ast.parse(Path(path).read_text("utf-8")).body, ""))
    except (OSError, SyntaxError):  # a program without its source, in an archive
        return {}


def _classes(body: Iterable[ast.stmt], within: str) -> Iterator[tuple[str, dict[str, str]]]:
    for one in body:
        if isinstance(one, ast.ClassDef):
            yield within + one.name, dict(_fields(one.body))
            yield from _classes(one.body, f"{within}{one.name}.")
        elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _classes(one.body, f"{within}{one.name}.<locals>.")
        elif isinstance(one, ast.If | ast.Try):
            yield from _classes([*one.body, *one.orelse], within)


def _fields(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, text
