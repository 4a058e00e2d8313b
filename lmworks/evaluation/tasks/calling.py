"""Answers that call functions, each asked for with the grammar that binds calls to their schemas and without it.

Where the model may call (`held to the form`, `free`), and where a call is wanted also where it must: `made to call` by
the grammar, or `begun` with the opening of a call and then left free. What was written freely is read as well as it can
be, so that the difference is what the grammar does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation.tasks.call_match import Called, matches
from lmworks.evaluation.tasks.declaration import Calling
from lmworks.evaluation.tasks.scores import ItemScores
from lmworks.generation.engine import Engine
from lmworks.generation.handle import RequestHandle
from lmworks.generation.request import without_sliding
from lmworks.generation.tool_calls import Tools
from lmworks.language_model import LanguageModel
from lmworks.text.tool import CLOSING, OPENING

HELD, FREE, MADE, BEGUN = "held to the form", "free", "made to call", "begun"
AT_ONCE = 16
_BLOCK = re.compile(rf"{OPENING}(.*?)(?:{CLOSING}|\Z)", re.DOTALL)


def calls_scored(model: LanguageModel, items: Sequence[Calling], longest: int) -> Iterator[ItemScores]:
    """The scores of each item; all ways of one item share its prompt, which the compiled path reads once. ConfigError
    or DataError, with its name, for one that cannot be asked (longer than the model reads, say)."""
    if not items:
        return
    with Engine(model, seats=AT_ONCE, queue=4 * len(items)) as engine:
        asked = [(one, _named(engine, model, one, longest)) for one in items]
        for item, ways in asked:
            written = {way: handle.answer().text for way, handle in ways.items()}
            yield of_calls(item, {way: OPENING * (way == BEGUN) + text for way, text in written.items()})


def of_calls(item: Calling, written: Mapping[str, str]) -> ItemScores:
    """Whether the answers call what is wanted; one that calls nothing is right where no function helps."""
    right = {way: float(matches(calls_in(text), item.wanted, item.functions)) for way, text in written.items()}
    return ItemScores(item.name, item.group, written=written[HELD], ways=dict(written), alike=right)


def calls_in(text: str) -> list[Called]:
    """The calls in an answer that nothing held to the form: each block that is JSON with a name and arguments; an
    object or a list of them alone counts as well."""
    blocks = _BLOCK.findall(text) or [text]
    found: list[Called] = []
    for block in blocks:
        try:
            value = json.loads(block)
        except (ValueError, RecursionError):
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("arguments"), dict):
                found.append((one["name"], one["arguments"]))
    return found


def _named(engine: Engine, model: LanguageModel, item: Calling, longest: int) -> dict[str, RequestHandle]:
    try:
        return _begun(engine, model, item, longest)
    except (ConfigError, DataError) as error:
        raise type(error)(f"{item.name}: {without_sliding(error)}") from None


def _begun(engine: Engine, model: LanguageModel, item: Calling, longest: int) -> dict[str, RequestHandle]:
    tools = item.tools
    prompt = model.encode_prompt(item.messages, model.longest, tools)
    ways = {
        HELD: engine.submit(item.messages, max_new_tokens=longest, tools=Tools(tools)),
        FREE: engine.submit(prompt, max_new_tokens=longest),
    }
    if item.wanted:
        made = Tools(tools, "required", item.several)
        begun = prompt + model.tokenizer.encode(
            f"{OPENING}\n", special=False, continues=model.tokenizer.goes_on_after(prompt)
        )
        ways[MADE] = engine.submit(item.messages, max_new_tokens=longest, tools=made)
        ways[BEGUN] = engine.submit(begun, max_new_tokens=longest, stop=[] if item.several else [CLOSING])
    return ways
