"""The examples in the docstrings of modules call their functions with arguments that these take."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def examples(docstring: str) -> Iterator[ast.Call]:
    """The calls in a docstring's indented lines, where a block of these is Python."""
    lines = [line for line in docstring.splitlines()[1:] if line.strip()]
    indented = "\n".join(line if line.startswith("    ") else "" for line in lines)
    for block in textwrap.dedent(indented).split("\n\n"):
        try:
            parsed = ast.parse(block)
        except SyntaxError:  # a table, a picture, a shell's line
            continue
        yield from (one for one in ast.walk(parsed) if isinstance(one, ast.Call))


def mistakes(source: str) -> Iterator[str]:
    """Keywords that a module's docstring gives to a function of the module, and that it does not take."""
    module = ast.parse(source)
    functions = {one.name: one.args for one in module.body if isinstance(one, ast.FunctionDef)}
    for call in examples(ast.get_docstring(module, clean=False) or ""):
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        takes = functions.get(name)
        if takes is None or takes.kwarg:
            continue
        places = [*takes.posonlyargs, *takes.args]
        known = {one.arg for one in (*takes.args, *takes.kwonlyargs)} - {one.arg for one in places[: len(call.args)]}
        yield from (f"{name}({one.arg}=...)" for one in call.keywords if one.arg and one.arg not in known)
        if len(call.args) > len(places) and not takes.vararg:
            yield f"{name} with {len(call.args)} arguments in their order"


@pytest.mark.parametrize(
    ("called", "found"),
    [("f(1, b=2)", []), ("f(1, a=2)", ["f(a=...)"]), ("f(c=2)", ["f(c=...)"]), ("f(1, 2, 3)", ["f with 3"])],
)
def test_a_wrong_call_is_found(called: str, found: list[str]):
    told = list(mistakes(f'"""Does a thing.\n\n    x = {called}  # so\n\nAnd more.\n"""\ndef f(a, b): ...\n'))
    assert len(told) == len(found) and all(one.startswith(begin) for one, begin in zip(told, found, strict=True))


def test_examples_call_what_is_there():
    found = {
        str(path.relative_to(ROOT)): wrong
        for path in sorted((ROOT / "lmworks").rglob("*.py"))
        if (wrong := list(mistakes(path.read_text(encoding="utf-8"))))
    }
    assert not found, found
