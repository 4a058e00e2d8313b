"""A function that a model may call: its name, what it is for, and a JSON schema of its arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmworks.basics.config import shortened
from lmworks.basics.errors import ConfigError

OPENING, CLOSING = "<tool_call>", "</tool_call>"
"""What stands around a call where it is written, as in Qwen's and Hermes' templates."""
MOST, LONGEST, DEEPEST = 128, 2**16, 32
"""Tools of a request, characters of one of them as JSON, and how deep the lists and objects in it may lie."""
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
OPEN_ENDED = ("additionalProperties", "patternProperties", "unevaluatedProperties", "$ref", "allOf", "anyOf", "oneOf")
"""Keys of a JSON schema that may allow arguments which it does not name."""


@dataclass(frozen=True)
class Tool:
    """A function that a model may call. ConfigError for what is none."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    """A JSON schema of its arguments, an object; None for a function without arguments."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise ConfigError(
                f"the tool's name {shortened(self.name)} is none; a name has 1 to 64 letters, digits, _, - and ."
            )
        if not isinstance(self.description, str):
            raise ConfigError(f"the description of the tool {self.name} is no text")
        if self.parameters is None:
            return
        if not isinstance(self.parameters, Mapping) or self.parameters.get("type", "object") != "object":
            raise ConfigError(
                f'the parameters of the tool {self.name} describe no object; give a JSON schema of "type": "object"'
            )
        if not _flat_enough(self.parameters, DEEPEST):
            raise ConfigError(f"the parameters of the tool {self.name} are nested more than {DEEPEST} deep")
        try:
            size = len(json.dumps(self.facts))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the parameters of the tool {self.name} are no JSON ({error})") from None
        if size > LONGEST:
            raise ConfigError(f"the tool {self.name} has {size:,} characters as JSON; at most {LONGEST:,} are read")

    @classmethod
    def of(cls, value: Any) -> Tool:
        """A tool as OpenAI's API has it, {"type": "function", "function": {...}}, or the inner object alone."""
        inner = value.get("function", value) if isinstance(value, Mapping) else None
        if not isinstance(inner, Mapping) or "name" not in inner:
            raise ConfigError(
                f"{shortened(value)} describes no tool; give an object with `name`, `description` and `parameters`"
            )
        return cls(inner["name"], inner.get("description") or "", inner.get("parameters"))

    @property
    def facts(self) -> dict[str, Any]:
        """As OpenAI's API has it."""
        empty = {"type": "object", "properties": {}}
        function = {"name": self.name, "description": self.description, "parameters": self.parameters or empty}
        return {"type": "function", "function": function}

    @property
    def schema(self) -> dict[str, Any]:
        """Of the arguments, an object. Unless it says something of others, none but those that it names are written."""
        schema = dict(self.facts["function"]["parameters"])
        if "$ref" not in schema:  # beside one that leads back to itself llguidance allows no other key
            schema["type"] = "object"
        return schema if any(key in schema for key in OPEN_ENDED) else schema | {"additionalProperties": False}


def distinct(tools: Sequence[Tool]) -> list[Tool]:
    """The tools; ConfigError for none, too many, and two of one name."""
    if not 0 < len(tools) <= MOST:
        raise ConfigError(f"there are {len(tools):,} tools; give 1 to {MOST}")
    names = [one.name for one in tools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"two tools are called {twice}; rename one of them")
    return list(tools)


def _flat_enough(value: Any, depth: int) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return depth > 0 and all(_flat_enough(one, depth - 1) for one in inner)
