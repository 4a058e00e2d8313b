"""Answers that call functions: their form, and the calls in what was written.

    tools = Tools([Tool("weather", "The weather in a city.", schema)], choice="required")
    answer = model.generate([{"role": "user", "content": "Is it raining in Paris?"}], tools=tools)
    answer.calls                            # [ToolCall(name='weather', arguments='{"city": "Paris"}')]

A grammar holds the model to the form and to the schema of the function that it names, so that arguments always are JSON
that the schema describes, unless the answer is cut off. What they say is the model's. Before, between and after calls
it allows the white space that the model's chat template writes there, as a model is taught to call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lmworks.basics.errors import ConfigError
from lmworks.generation.constraints import SPACES, Constraint, Grammar, GrammarGuide, JsonSchema
from lmworks.text.tool import CLOSING, OPENING, Tool, distinct
from lmworks.tokens.chat.tools import spaces_around_calls
from lmworks.tokens.tokenizer import Tokenizer

AT_ONCE = 16
"""Calls of one answer: a small model that may go on with calls goes on."""
CHOICES = ("auto", "none", "required")
_HEAD = re.compile(re.escape(OPENING) + r'\n\{"name": "([^"]+)", "arguments": (?=\{)')


@dataclass(frozen=True)
class ToolCall:
    """A call as it was written."""

    name: str
    arguments: str
    """JSON; cut off where the answer was."""

    @property
    def value(self) -> dict[str, Any]:
        """The arguments. ConfigError where they were cut off."""
        try:
            return dict(json.loads(self.arguments))
        except ValueError:
            raise ConfigError(
                f"the arguments of {self.name} were cut off with the answer; allow more tokens (max_new_tokens)"
            ) from None


@dataclass(frozen=True)
class Tools(Grammar):
    """Functions that an answer may call, and whether it must. ConfigError for a choice that does not exist."""

    given_as: ClassVar[str] = "Tools(functions) of lmworks.generation.tool_calls"

    functions: Sequence[Tool]
    choice: str = "auto"
    """auto: words, then calls or none; required: a call or several; none: words; or the name of a function, which is
    called once."""
    parallel: bool = True
    """Whether an answer may call several."""

    def __post_init__(self) -> None:
        distinct(self.functions)
        names = [one.name for one in self.functions]
        if taken := [name for name in names if name in CHOICES]:
            raise ConfigError(f"a tool is called {taken[0]}, which is a choice of its own; rename it")
        if self.choice not in (*CHOICES, *names):
            raise ConfigError(
                f"the tool choice is {self.choice[:80]!r}; give {', '.join(CHOICES)} or a tool's name "
                f"({', '.join(names[:5])}{', ...' * (len(names) > 5)})"
            )

    @property
    def name(self) -> str:
        """What it is."""
        return "form of the tools' calls"

    @property
    def shown(self) -> Sequence[Tool]:
        """The functions that the model is shown."""
        return () if self.choice == "none" else self.functions

    @property
    def constraint(self) -> Constraint | None:
        """What an answer is held to."""
        return None if self.choice == "none" else self

    def grammar(self, tokenizer: Tokenizer) -> str:
        """A call for each function; before calls that are not asked for, any text. White space may stand before and
        after calls where the chat template writes some."""
        spaces = spaces_around_calls(tokenizer.chat)
        named = self.choice not in CHOICES
        callable_ = [one for one in self.functions if not named or one.name == self.choice]
        more = f" (again call){{0,{AT_ONCE - 1}}}" if self.parallel and not named else ""
        before, after = (f"{json.dumps(one)}? " if one else "" for one in (spaces.before, spaces.after))
        free = f"TEXT | begun call{more}" if self.choice == "auto" else f'{before}"{OPENING}" call{more}'
        rules = [f"start: {free} {after}".rstrip(), f"again: {json.dumps(spaces.between + OPENING)}"]
        if self.choice == "auto":
            rules += ["TEXT: /(.|\\n)*/", f"begun[lazy]: /(.|\\n)*{OPENING}/"]
        rules += [
            f'call: "\\n{{\\"name\\": \\"" function "}}\\n{CLOSING}"',
            "function: " + " | ".join(f"f{number}" for number in range(len(callable_))),
        ]
        for number, one in enumerate(callable_):
            schema = json.dumps(one.schema | {"x-guidance": SPACES})
            rules += [f'f{number}: "{one.name}\\", \\"arguments\\": " a{number}', f"a{number}: %json {schema}"]
        return "\n".join(rules) + "\n"

    def _guide(self, tokenizer: Tokenizer, vocab_size: int, grammar: str) -> GrammarGuide:
        for one in self.functions:  # before words are written, so that the error names the schema that is wrong
            try:
                JsonSchema(one.schema).start(tokenizer, vocab_size)
            except ConfigError as error:
                raise ConfigError(f"the parameters of the tool {one.name}: {error}") from None
        return super()._guide(tokenizer, vocab_size, grammar)

    def calls(self, text: str) -> list[ToolCall]:
        """The calls in an answer."""
        return Called.of(text).calls


@dataclass
class Called:
    """What an answer says and calls."""

    content: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    whole: bool = True
    """Whether no call is cut off."""

    @classmethod
    def of(cls, text: str) -> Called:
        """Of a whole answer."""
        reader = CallReader()
        pieces = [*reader.read(text), *reader.end()]
        calls: list[ToolCall] = []
        for piece in pieces:
            if piece.name is not None:
                calls.append(ToolCall(piece.name, ""))
            if piece.arguments:
                calls[-1] = ToolCall(calls[-1].name, calls[-1].arguments + piece.arguments)
        return cls("".join(piece.content for piece in pieces), calls, not reader.cut)


@dataclass(frozen=True)
class Piece:
    """What can be told of an answer that grows: words, the name of a call that begins, or more of its arguments."""

    content: str = ""
    call: int = 0
    """The call's number, from 0."""
    name: str | None = None
    arguments: str = ""


class CallReader:
    """Reads an answer of `Tools`' form as it grows."""

    def __init__(self) -> None:
        self._left = ""
        """What is not told yet."""
        self._calling = False
        """The words are over."""
        self._depth, self._quoted, self._escaped = 0, False, False
        """In the arguments: objects and lists that are open, and whether a text is."""
        self.calls = 0
        self.cut = False
        """The answer ended inside a call."""

    def read(self, text: str) -> list[Piece]:
        """What more text tells."""
        self._left += text
        found: list[Piece] = []
        if not self._calling:
            found += self._words()
        while self._calling and self._left:
            if self._depth:
                found.append(Piece(call=self.calls - 1, arguments=self._arguments()))
            elif (head := _HEAD.search(self._left)) is not None:
                self._left = self._left[head.end() :]
                found.append(Piece(call=self.calls, name=head[1]))
                self.calls += 1
                self._depth, self._left = 1, self._left[1:]
                found.append(Piece(call=self.calls - 1, arguments="{"))
            else:
                break
        return found

    def end(self) -> list[Piece]:
        """What is left when nothing more comes."""
        left, self._left = self._left, ""
        self.cut = self._calling and (self._depth > 0 or not left.rstrip().endswith(CLOSING))
        return [] if self._calling or not left else [Piece(left)]

    def _words(self) -> list[Piece]:
        """The words before the first call; white space and what may open a call are kept back."""
        place = self._left.find(OPENING)
        self._calling = place >= 0
        if self._calling:
            words, self._left = self._left[:place].rstrip(), self._left[place:]
        else:
            sizes = range(min(len(OPENING), len(self._left)), -1, -1)
            held = next(size for size in sizes if self._left.endswith(OPENING[:size]))
            shown = len(self._left[: len(self._left) - held].rstrip())
            words, self._left = self._left[:shown], self._left[shown:]
        return [Piece(words)] if words else []

    def _arguments(self) -> str:
        """More of the object that is open, up to its end."""
        end = len(self._left)
        for place, one in enumerate(self._left, 1):
            if self._escaped:
                self._escaped = False
            elif self._quoted:
                self._escaped, self._quoted = one == "\\", one != '"'
            elif one == '"':
                self._quoted = True
            elif one in "{[":
                self._depth += 1
            elif one in "}]":
                self._depth -= 1
                if not self._depth:
                    end = place
                    break
        told, self._left = self._left[:end], self._left[end:]
        return told
