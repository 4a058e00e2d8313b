"""Chat templates: messages in, the text that the model was trained to read out.

    template = ChatTemplate(source, {"eos_token": "<|im_end|>"}, name="smollm2")
    template.render([{"role": "user", "content": "Hello"}], add_generation_prompt=True)

Rendering equals transformers' `apply_chat_template`. A template is a program from a stranger: it runs in
`sandbox.py`, and whatever it does wrong is one sentence. What a message says stays data: `render_marked`
marks every special token's text that stands in a message (as transformers' `sanitize_control_tokens` does),
and the places where a message and the template's text around it could make one together.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from lmworks.basics.errors import DataError, ModelError
from lmworks.tokens.chat.sandbox import TemplateError, sandbox

Message = Mapping[str, Any]
Words = Callable[[str], str]

ROLES = ("system", "user", "assistant", "tool", "developer", "function", "ipython")
"""Who may speak. Some templates write the role into a special token, so it cannot be any text."""

OPEN, CLOSE, CUT = "\U000f0000", "\U000f0001", "\U000f0002"  # private use; taken out of messages first
_MARKS = re.compile(f"[{OPEN}{CLOSE}{CUT}]")
_FIRST_END, _MOST_ENDS = 0x100000, 0xFFFE  # the last plane is private use, too
_ENDS = re.compile(f"[{chr(_FIRST_END)}-{chr(_FIRST_END + _MOST_ENDS - 1)}]")
_DEEPEST = 32

PLAIN = """{{ first_token }}{% for message in messages %}{% if message.role == 'assistant' -%}
Assistant: {{ message.content }}{{ eos_token }}
{% elif message.role == 'system' -%}
{{ message.content }}
{% else -%}
User: {{ message.content }}
{% endif %}{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"""
"""For a model without a chat template: a plain dialogue, with the tokenizer's own BOS in front.

A user can write "Assistant:" into a message; only a model's own template, with special tokens, prevents it.
"""


class ChatTemplate:
    """A compiled template and the special tokens' texts that it may name (`bos_token`, `eos_token` ...).

    Raises ModelError where the source is no template, DataError for messages that cannot be rendered.
    """

    def __init__(
        self, source: str, tokens: Mapping[str, str] | None = None, name: str = "the model", special: Iterable[str] = ()
    ) -> None:
        self.source, self.name, self.tokens = source, name, dict(tokens or {})
        self._tools: list[Message] = []
        self.is_plain = source == PLAIN
        """Whether this is lmworks' own plain dialogue, because the model has no chat template."""
        texts = sorted((text for text in special if text), key=len, reverse=True)
        self.special = re.compile("|".join(map(re.escape, texts)) or "(?!)")
        self._special = "\n".join(texts)
        self._beginnings = {text[:size] for text in texts for size in range(1, len(text))}
        self._endings = {text[size:] for text in texts for size in range(1, len(text))}
        try:
            sandbox().check(source)
        except TemplateError as error:
            how = f"is not a template ({error})" if error.kind == "syntax" else f"cannot be used ({error})"
            raise self._broken(how) from error

    def showing(self, tools: Iterable[Message]) -> ChatTemplate:
        """The same template, which is given these tools: {"type": "function", "function": {...}}."""
        other = copy.copy(self)
        other._tools = list(tools)
        return other

    @cached_property
    def takes_system(self) -> bool:
        """Whether it takes a system message; some refuse it."""
        try:
            self.render([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}])
        except DataError:
            return False
        return True

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
        """The text of a conversation, as transformers renders it."""
        plain = [_plain(message, str, str) for message in checked(messages)]
        return self._render(plain, add_generation_prompt, self._tools)

    def render_marked(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
        """As `render`, with OPEN and CLOSE around each special token's text that stands in a message, and CUT
        where a message could grow into one together with the template's own text.

        DataError where the template does something else because of the marks: the text is then not safe.
        """
        plain = [_plain(message, str, str) for message in checked(messages)]
        marked = [self._all_marked(message) for message in messages]
        text = self._render(marked, add_generation_prompt, [self._all_marked(one) for one in self._tools])
        if (marked != plain or self._tools) and unmarked(text) != unmarked(
            self._render(plain, add_generation_prompt, self._tools)
        ):
            raise DataError(
                "a message holds the text of a special token, and the chat template of "
                f"{self.name} rewrites it; take it out of the message"
            )
        return text

    def ends_of(self, messages: Sequence[Message], text: str) -> dict[int, int]:
        """Where the words of messages end in `text`, their marked rendering; nothing is said of a message that is
        empty or that the template rewrites. One rendering, with a mark of its own at the end of each message."""
        if len(messages) > _MOST_ENDS or _ENDS.search(text):
            return {}
        ended = []
        for place, message in enumerate(messages):
            marked = self._all_marked(message)
            if isinstance(said := marked.get("content"), str) and (core := said.rstrip()):
                marked["content"] = core + chr(_FIRST_END + place) + said[len(core) :]
            ended.append(marked)
        tools = [self._all_marked(one) for one in self._tools]
        found, ends = self._render(ended, False, tools), dict[int, int]()
        for before, one in enumerate(_ENDS.finditer(found)):
            ends[ord(one[0]) - _FIRST_END] = one.start() - before
        return ends if text.startswith(_ENDS.sub("", found)) else {}

    def _render(self, messages: list[Any], add_generation_prompt: bool, tools: list[Any]) -> str:
        variables = self.tokens | {
            "messages": messages,
            "add_generation_prompt": add_generation_prompt,
            "tools": tools or None,
            "documents": None,
        }
        try:
            return sandbox().render(self.source, variables, _size(messages) + _size(tools))
        except TemplateError as error:
            if error.kind == "refused":
                raise DataError(f"the chat template of {self.name} refuses these messages: {error}") from error
            if error.kind == "undefined":
                raise DataError(
                    f"the chat template of {self.name} misses something in these messages: {error}; "
                    "each needs a role and a content"
                ) from error
            raise self._broken(f"was stopped: {error}") from error

    def _all_marked(self, value: Any) -> Any:
        return _plain(value, self._marked, self._marked_name)

    def _marked_name(self, text: str) -> str:
        """A field's name is looked up by the template, so that it stays as it is but for whole special tokens."""
        return self.special.sub(lambda found: OPEN + found[0] + CLOSE, _MARKS.sub("", text))

    def _marked(self, text: str) -> str:
        text = _MARKS.sub("", text)
        core = text.strip()
        if not core:
            return text
        start = text.index(core)
        sizes = range(1, min(max(map(len, self._beginnings), default=0), len(core)) + 1)
        middle = core in self._special  # "im_end" between a template's "<|" and "|>"
        ends = middle or any(core[-size:] in self._beginnings for size in sizes)
        begins = middle or any(core[:size] in self._endings for size in sizes)
        marked = self.special.sub(lambda found: OPEN + found[0] + CLOSE, core)
        return text[:start] + (CUT if begins else "") + marked + (CUT if ends else "") + text[start + len(core) :]

    def _broken(self, how: str) -> ModelError:
        return ModelError(
            f"the chat template of {self.name} {how.rstrip('.')}; use another template "
            "(chat_template.jinja in the model's folder)"
        )


def unmarked(text: str) -> str:
    """A rendering without its marks."""
    return _MARKS.sub("", text)


def checked(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages; DataError for what is no conversation."""
    if isinstance(messages, str | Mapping) or not messages:
        raise DataError("a conversation is a list of at least one message; each has a role and a content")
    for place, message in enumerate(messages, 1):
        if not isinstance(message, Mapping):
            raise DataError(f"message {place} is a {type(message).__name__}; it must have a role and content")
        if message.get("role") not in ROLES:
            role = message.get("role")
            raise DataError(f"message {place} has the role {role!r}; a role is one of {', '.join(ROLES)}")
        if not isinstance(message.get("content", ""), str | list | type(None)):
            raise DataError(f"message {place} has a content that is no text")
    return messages


def _plain(value: Any, text: Words, names: Words, key: str = "", depth: int = 0) -> Any:
    """A copy out of plain JSON values, every string but roles and types through `text`, and the names of fields through
    `names`; None is left out."""
    if depth > _DEEPEST:
        raise DataError(f"a message holds lists more than {_DEEPEST} deep; flatten it")
    if isinstance(value, Mapping):
        return {
            names(str(name)): _plain(inner, text, names, str(name), depth + 1)
            for name, inner in value.items()
            if depth or inner is not None
        }
    if isinstance(value, list | tuple):
        return [_plain(inner, text, names, key, depth + 1) for inner in value]
    if isinstance(value, str):
        return str(value) if key in {"role", "type"} else text(str(value))
    if value is None or isinstance(value, bool | int | float):
        return value
    raise DataError(f"a message holds a {type(value).__name__}; it may hold text, numbers, lists and objects")


def _size(value: Any) -> int:
    """Bytes of the strings in a plain value."""
    if isinstance(value, str):
        return 4 * len(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 64 + sum(map(_size, inner))
