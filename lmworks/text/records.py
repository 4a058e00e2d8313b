"""One record of a .jsonl, .csv or .parquet file as a document.

Understood: `chosen` and `rejected` (a preference pair: whole conversations, or answers to a `prompt`), `messages`
(OpenAI's chat records: a list of role and content, and `weight` 0 for an answer that is read and not learnt),
`conversations` (ShareGPT: a list of from and value), `instruction` with `input` and `output` (Alpaca), `prompt` with
`response` or `completion` (texts, or TRL's lists of turns, of which the prompt's are read and not learnt), `text`; the
first of these that a record has, with something in each, counts, so that a `text` beside a conversation, which often is
the same once more in somebody's template, is not learnt. Conversations may call tools: `tool_calls` of an assistant's
message, results from the role `tool`, and `tools` beside the messages, each as OpenAI's API has it; calls.py says what
else is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmworks.basics.errors import DataError
from lmworks.text.calls import TOOLS, calls_in, calls_of, results_in, tools_of
from lmworks.text.document import UNLEARNT, Document, Turn
from lmworks.text.metadata import of_record
from lmworks.text.plain import UnreadableError, check_line, newlines

ROLES = ("system", "user", "assistant", "tool")
SPEAKERS = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "observation": "tool",
}
"""What ShareGPT's files call some of them; a `function_call` says a call as JSON."""
ONCE = {"developer": "system", "function": "tool"}
"""Newer and older names of roles, which a model reads under the one that templates know."""
SILENT = {"assistant": "an answer", "user": "a user's turn"}
"""Whose turns must say something, and what an error calls them; a tool may well give nothing back."""
PAIR = ("chosen", "rejected")
PROMPTS = ("prompt", "instruction", "input")
"""What a pair's answers answer, where they are no conversations that begin with it."""
KINDS = (
    PAIR,
    ("messages",),
    ("conversations",),
    ("instruction", "output"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("text",),
)
ANSWERED = KINDS[4:6]
"""Those of a prompt and its answer, each a text or turns."""
CHATS = (*KINDS[:3], *ANSWERED)
"""Those of turns, which may call tools."""
EXPECTED = (
    "a `text`, `messages`, `conversations`, `instruction` and `output`, `prompt` and `response` or `completion`, or "
    "`chosen` and `rejected`"
)
NAMED = 5
"""Fields of a record that is not understood, of which an error says the names."""


def fields(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that make a record understood; empty when none do."""
    names = set(names)
    kind = next((kind for kind in KINDS if names.issuperset(kind)), ())
    if kind in CHATS:
        others = (*PROMPTS, *TOOLS) if kind == PAIR else TOOLS
        return (*kind, *(name for name in others if name in names))
    return (*kind, "input") if "instruction" in kind and "input" in names else kind


def document(record: Any, source: str) -> Document:
    """The document that a record holds; raises UnreadableError with what is wrong in it."""
    if not isinstance(record, Mapping):
        raise UnreadableError(f"it is not an object with {EXPECTED}")
    used = fields(name for name, value in record.items() if value not in (None, "")) or fields(record)
    if used[:2] in ANSWERED and not any(isinstance(record[name], list) for name in used[:2]):
        used = used[:2]  # texts call no tools
    if not used:
        fields_here = ", ".join(f"`{name[:40]}`" for name in list(record)[:NAMED]) or "no field"
        unnamed = ", ..." if len(record) > NAMED else ""
        raise UnreadableError(f"it has none of {EXPECTED}, but {fields_here}{unnamed}")
    metadata = of_record(record, used)
    try:
        tools = tools_of(record) if {*TOOLS} & {*used} else []
        if used[:2] == PAIR:
            return Document.preference(*_answers(record, tools), source, metadata, tools)
        if used[0] == "messages":
            return Document.conversation(_turns(record["messages"], tools=tools, weighed=True), source, metadata, tools)
        if used[0] == "conversations":
            messages = _as_messages(record["conversations"])
            turns = _turns(messages, "conversations", tools, weighed=True)
            return Document.conversation(turns, source, metadata, tools)
        if used[:2] in ANSWERED and any(isinstance(record[name], list) for name in used[:2]):
            return Document.conversation(_answered(record, used[1], tools), source, metadata, tools)
        if used == ("text",):
            return Document(_string(record["text"], "`text`"), source, metadata=metadata)
        question, answer, *more = (_string(record[name], f"`{name}`", name == "input") for name in used)
        asked = "\n\n".join(part for part in (question, *more) if part)
        _says_something("user", asked, f"`{used[0]}`")
        _says_something("assistant", answer, f"`{used[1]}`")
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        return Document.conversation(turns, source, metadata)
    except DataError as error:  # half a surrogate pair
        raise UnreadableError(str(error).removeprefix(f"{source}: ")) from None


def _answers(record: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]) -> tuple[list[Turn], list[Turn]]:
    """The conversations of a preference pair (TRL's layouts): each the prompt and an answer, or whole."""
    prompt = _prompt(record, tools)
    found = []
    for name in PAIR:
        given = record[name]
        if isinstance(given, str):
            if not prompt:
                raise UnreadableError("`chosen` and `rejected` are texts, and there is no `prompt` that they answer")
            turns = [{"role": "assistant", "content": _string(given, f"`{name}`")}]
        else:
            turns = _turns(given, name, tools)
        if turns[-1]["role"] != "assistant":
            raise UnreadableError(f"`{name}` ends with the {turns[-1]['role']}'s turn and not with an answer")
        found.append([*prompt, *turns] if turns[0]["role"] == "assistant" else turns)
    better, worse = found
    if better[:-1] != worse[:-1] or len(better) < 2:
        raise UnreadableError("`chosen` and `rejected` do not answer the same prompt")
    return better, worse


def _prompt(record: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]) -> list[Turn]:
    if isinstance(given := record.get("prompt"), list):
        return _turns(given, "prompt", tools)
    names = PROMPTS[:1] if given else PROMPTS[1:]
    asked = [_string(record.get(name), f"`{name}`", optional=True) for name in names]
    text = "\n\n".join(part for part in asked if part.strip())
    return [{"role": "user", "content": text}] if text else []


def _answered(record: Mapping[str, Any], answer: str, tools: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """The conversation of a prompt and its answer, at least one of them turns (TRL's layout), of which the answer alone
    is learnt."""
    asked = _turns(_spoken(record["prompt"], "user"), "prompt", tools)
    turns = _turns(_spoken(record[answer], "assistant"), answer, tools, weighed=True)
    if turns[0]["role"] not in ("assistant", "tool"):
        raise UnreadableError(f"`{answer}` begins with the {turns[0]['role']}'s turn and not with an answer")
    if turns[-1]["role"] != "assistant":
        raise UnreadableError(f"`{answer}` ends with the {turns[-1]['role']}'s turn and not with an answer")
    return [*(turn | {"weight": UNLEARNT} if turn["role"] == "assistant" else turn for turn in asked), *turns]


def _spoken(given: Any, role: str) -> Any:
    """A text as the one turn of a role; whatever else stays."""
    return [{"role": role, "content": given}] if isinstance(given, str) else given


def _as_messages(turns: Any) -> Any:
    """ShareGPT's turns as messages; whatever is no turn stays for `_turns` to refuse."""
    if not isinstance(turns, list):
        return turns
    return [_as_message(one) if isinstance(one, Mapping) else one for one in turns]


def _as_message(turn: Mapping[str, Any]) -> dict[str, Any]:
    speaker, value = turn.get("from"), turn.get("value")
    said = {"tool_calls": value} if speaker == "function_call" else {"content": value}
    weight = {name: given for name, given in turn.items() if name == "weight"}
    return {"role": SPEAKERS.get(str(speaker), speaker)} | said | weight


def _turns(
    messages: Any, name: str = "messages", tools: Sequence[Mapping[str, Any]] = (), weighed: bool = False
) -> list[Turn]:
    """A list of turns; `weighed`, those that are not to be learnt with `weight` too."""
    if not isinstance(messages, list) or not messages:
        raise UnreadableError(f"`{name}` is not a list of turns")
    turns: list[Turn] = []
    for index, message in enumerate(messages):
        where = f"{name}[{index}]"
        role = ONCE.get(str(message.get("role")), message.get("role")) if isinstance(message, Mapping) else None
        if role not in ROLES:
            raise UnreadableError(f"{where} has no `role` out of {', '.join(ROLES)}")
        calls = calls_of(message, where, tools)
        if calls and role != "assistant":
            raise UnreadableError(f"{where} calls a tool, and its role is {role}; only an assistant does")
        given = _joined(message.get("content"))
        if role == "tool" and isinstance(given, Mapping):  # an object, which a text would give as JSON
            given = json.dumps(given, ensure_ascii=False, default=str)
        content = _string(given, f"{where}.content", optional=bool(calls))
        if role == "tool" and tools:
            *before, content = results_in(content)
            turns += [{"role": "tool", "content": one} for one in before]
        if role == "assistant" and tools and not calls:
            content, calls = calls_in(content, where, tools)
        if role in SILENT and not calls:
            _says_something(role, content, where)
        if calls and not content.strip():
            content = ""
        turn = {"role": str(role), "content": content} | ({"tool_calls": calls} if calls else {})
        if weighed and role == "assistant" and not _weight(message.get("weight"), where):
            turn["weight"] = UNLEARNT
        turns.append(turn)
    return turns


def _weight(given: Any, name: str) -> bool:
    """Whether an answer is to be learnt (OpenAI's `weight`)."""
    if given is None or str(given) in {"1", "1.0"}:
        return True
    if str(given) not in {UNLEARNT, "0.0"}:
        raise UnreadableError(f"{name}.weight is {given!r}; an answer's is 1 (learnt) or 0 (read alone)")
    return False


def _joined(content: Any) -> Any:
    """OpenAI's content in parts as one text, as the server joins them, where all are texts; else as it is."""
    if not isinstance(content, list) or not content:
        return content
    texts = [one["text"] for one in content if isinstance(one, Mapping) and isinstance(one.get("text"), str)]
    kinds = {one.get("type") for one in content if isinstance(one, Mapping)}
    return "".join(texts) if len(texts) == len(content) and kinds == {"text"} else content


def _says_something(role: str, said: str, name: str) -> None:
    """An empty answer would teach a model to say nothing, and an answer to nothing what nobody asked for."""
    if not said.strip():
        raise UnreadableError(f"{name} is {SILENT[role]} that says nothing")


def _string(value: Any, name: str, optional: bool = False) -> str:
    if value is None and optional:
        return ""
    if not isinstance(value, str):
        kind = "missing" if value is None else f"{type(value).__name__}, not a string"
        raise UnreadableError(f"{name} is {kind}")
    check_line(len(value))
    return newlines(value)
