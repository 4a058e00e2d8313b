"""BFCL: which function a question asks for, and with which arguments; and questions that none of them answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from lmworks.evaluation.tasks.declaration import Calling, Task
from lmworks.text.registry import content
from lmworks.text.tool import Tool

_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}
"""BFCL's names of types and those of JSON schemas."""


def _items(kind: str) -> list[Calling]:
    questions = map(json.loads, content(f"bfcl-{kind}").decode().splitlines())
    answers: dict[str, Any] = {}
    if kind != "irrelevance":
        lines = content(f"bfcl-{kind}-answers").decode().splitlines()
        answers = {one["id"]: one["ground_truth"] for one in map(json.loads, lines)}
    return [
        Calling(
            f"bfcl-{kind}#{one['id']}",
            tuple(one["question"][0]),
            tuple(map(tool_of, one["function"])),
            tuple(one["function"]),
            tuple(answers.get(one["id"], ())),
            several=kind == "parallel",
        )
        for one in questions
    ]


def tool_of(described: Mapping[str, Any]) -> Tool:
    """A function as BFCL describes it, as a tool."""
    return Tool(described["name"], described["description"], _schema(described["parameters"]))


def _schema(value: Any) -> Any:
    """A JSON schema out of BFCL's: its own names of types, and marks that no schema has."""
    if not isinstance(value, Mapping):
        return value
    schema = {key: inner for key, inner in value.items() if key not in ("optional", "default", "format")}
    if isinstance(schema.get("type"), str):
        schema["type"] = _TYPES.get(schema["type"], schema["type"])
    if isinstance(schema.get("properties"), Mapping):
        schema["properties"] = {name: _schema(one) for name, one in schema["properties"].items()}
    if "items" in schema:
        schema["items"] = _schema(schema["items"])
    return schema


SIMPLE, MULTIPLE, PARALLEL, IRRELEVANCE = (
    Task(
        f"bfcl-{kind}",
        what,
        f"bfcl-{kind}",
        partial(_items, kind),
        main="held to the form",
        examples=False,
        longest=160,
    )
    for kind, what in (
        ("simple", "one function is called"),
        ("multiple", "one of several functions is called"),
        ("parallel", "a function is called several times"),
        ("irrelevance", "no function helps, and none is called"),
    )
)
