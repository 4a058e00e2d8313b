"""The parameters of a claim's experiment that a page lets people change, as they are declared.

controls(12)[4]        # Control(name="top_k", kind="integer", quick="40", full="40", least=1)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from lmworks.lab import registry

Kind = Literal["integer", "number", "text", "list"]


@dataclass(frozen=True)
class Control:
    """One parameter."""

    name: str
    kind: Kind
    quick: str
    """Its default at the quick scale, as `--set` takes it."""
    full: str
    """And at the full one."""
    least: float | None = None
    """The smallest value of a number."""


def controls(question: int) -> list[Control]:
    """Every parameter of an experiment. Imports it; ConfigError where there is none."""
    chosen = registry.load(question)
    declared = chosen.parameters("quick").model_json_schema()["properties"]
    quick, full = chosen.settings("quick"), chosen.settings("full")
    return [_control(name, declared[name], value, full[name]) for name, value in quick.items()]


def _control(name: str, declared: dict[str, Any], value: Any, full: Any) -> Control:
    kind: Kind = {"integer": "integer", "number": "number", "string": "text"}.get(declared.get("type", ""), "list")  # type: ignore[assignment]
    if kind == "list" and (value is None or isinstance(value, str)):  # a text that may be left out
        kind = "text"
    return Control(name, kind, written(value), written(full), declared.get("minimum"))


def written(value: Any) -> str:
    """A parameter's value as `--set` takes it: TOML, a bare text, or none."""
    if isinstance(value, str):
        return value
    return "none" if value is None else _toml(value)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(name)} = {_toml(one)}" for name, one in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
