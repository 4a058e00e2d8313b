"""Conversations as token ids: for a prompt, and for training with the turns that carry loss.

Both go through one path, so what the model is trained to read and what it reads when it answers are the same
ids (pitfall 1). An assistant's turn begins a new piece: when the model wrote it, its first token could not
merge with the prompt either. Special tokens in a message's text stay text; see `chat.py`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.text.document import Document, is_learnt
from lmworks.text.tool import Tool, distinct
from lmworks.tokens.chat.template import CLOSE, CUT, OPEN, ChatTemplate, Message, unmarked
from lmworks.tokens.chat.tools import with_tools
from lmworks.tokens.tokenizer import Tokenizer

_PIECES = re.compile(f"{OPEN}([^{OPEN}{CLOSE}]*){CLOSE}|[{OPEN}{CLOSE}{CUT}]")


EXACT = 16
"""Answers, from the last one back, whose beginnings are found by rendering the conversation up to each of them: time
that grows with the square of their number. Earlier ones are found by what stands around these."""
WORDLESS = 4 * EXACT
"""As many more, of those that follow a message without words (of a function that gave nothing), where nothing stands
by which they could be found."""


class RewrittenError(ModelError):
    """A template that writes a turn differently once others follow."""


def encode_chat(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    add_generation_prompt: bool = True,
    most: int | None = None,
    tools: Sequence[Tool] = (),
) -> list[int]:
    """The ids of a rendered conversation. BOS and EOS are the template's business: nothing is added.

    Equal to transformers' `apply_chat_template` unless a message holds a special token's text (which stays
    text here), or an assistant's turn begins with white space that would merge with what stands before it.
    ConfigError, before anything is tokenized, for a conversation that certainly has more than `most` tokens. It tells
    the model of `tools` that it may call, in whatever way the template has for that (`tools.py`).
    """
    chat, messages = with_tools(tokenizer.chat, messages, tools)
    text = chat.render_marked(messages, add_generation_prompt)
    tokenizer.must_fit(unmarked(text), most)
    cuts = [0, *_answers(chat, messages, text), len(text)]
    ids: list[int] = []
    for start, end in pairwise(cuts):
        ids += _encode_piece(tokenizer, text[start:end], ids)
    return ids


def encode_continued(tokenizer: Tokenizer, messages: Sequence[Message], most: int | None = None) -> list[int]:
    """The ids of a conversation whose last message is the beginning of an answer that the model is to go on with: the
    prompt for that answer, then what is written of it. ConfigError as by `encode_chat`."""
    *before, last = messages
    begun = str(last.get("content") or "")
    tokenizer.must_fit(begun, most)
    ids = encode_chat(tokenizer, before, most=most)
    return ids + tokenizer.encode(begun, special=False, markup=False, continues=tokenizer.goes_on_after(ids))


def encode_conversation(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    source: str = "the conversation",
    tools: Sequence[Tool] = (),
) -> tuple[list[int], list[bool]]:
    """Ids, and for each whether it carries loss: the assistant's words and calls and the token that closes its turn,
    but for turns whose `weight` is 0. Tools, calls and their results are written as `encode_chat` writes them.

    Raises DataError where no assistant speaks, ModelError where the template closes no turn with a special
    token (the model would never learn to stop) or writes earlier turns differently once others follow
    (what is learnt would not be what is read).
    """
    chat, messages = with_tools(tokenizer.chat, messages, tools)
    text = chat.render_marked(messages)
    turns = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    if not turns or turns[0] == 0:
        raise DataError(
            f"{source} has no assistant's turn that answers something, so nothing in it can be learnt; leave it out"
        )
    starts = _answers(chat, messages, text)
    ends = [chat.render_marked(messages[: place + 1]) for place in turns]
    if len(starts) != len(turns) or not all(map(text.startswith, ends)):
        raise RewrittenError(
            f"the chat template of {chat.name} writes {source} differently for training and for "
            "answering: a turn changes with what follows it; use another template"
        )
    ids = _encode_piece(tokenizer, text[: starts[0]], [])
    supervised = [False] * len(ids)
    learnt = [is_learnt(messages[place]) for place in turns]
    for start, end, after, counts in zip(starts, map(len, ends), [*starts[1:], len(text)], learnt, strict=True):
        piece = _encode_piece(tokenizer, text[start:after], ids)
        words = _closed(tokenizer, piece, _encode_piece(tokenizer, text[start:end], ids), source)
        ids += piece
        supervised += [counts] * words + [False] * (len(piece) - words)
    return ids, supervised


def encode_answer(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    source: str = "the conversation",
    tools: Sequence[Tool] = (),
) -> tuple[list[int], list[bool]]:
    """Ids, and for each whether it carries loss: the last answer and the token that closes it, after the prompt that a
    model is asked with for it. ModelError where the template writes that prompt differently once it is answered."""
    prompt = encode_chat(tokenizer, messages[:-1], tools=tools)
    chat, asked = with_tools(tokenizer.chat, messages[:-1], tools)
    text = chat.render_marked(with_tools(tokenizer.chat, messages, tools)[1])
    before = chat.render_marked(asked, add_generation_prompt=True)
    if not text.startswith(before):
        raise RewrittenError(
            f"the chat template of {chat.name} writes the prompt of {source} differently before an answer and without "
            "one; use another template"
        )
    piece = _encode_piece(tokenizer, text[len(before) :], prompt)
    words = _closed(tokenizer, piece, piece, source)
    return [*prompt, *piece], [False] * len(prompt) + [True] * words + [False] * (len(piece) - words)


def encode_document(tokenizer: Tokenizer, document: Document) -> list[tuple[list[int], list[bool]]]:
    """A conversation with its tools as it is learnt: as a whole (`encode_conversation`); where the template writes
    earlier turns differently once others follow, each learnt answer after its own prompt (`encode_answer`). Qwen 3's
    leaves the thoughts of earlier turns out. DataError, with its source, for one that the template refuses."""
    messages, tools = document.messages or (), tools_in(document)
    try:
        try:
            return [encode_conversation(tokenizer, messages, document.source, tools)]
        except RewrittenError:
            places = [at for at, turn in enumerate(messages) if is_learnt(turn)]
            return [encode_answer(tokenizer, messages[: at + 1], document.source, tools) for at in places]
    except DataError as error:
        if document.source in str(error):
            raise
        raise DataError(f"{document.source}: {error}") from None


def refusal(tokenizer: Tokenizer, document: Document) -> str | None:
    """Why the chat template takes no such conversation, or not the prompt of one of its answers, in a sentence; None
    where it does, and for a text."""
    try:
        for messages in filter(None, (document.messages, document.rejected)):
            chat, turns = with_tools(tokenizer.chat, messages, tools_in(document))
            chat.render_marked(turns)
        if document.is_answered and not _alternates(document.messages or ()):
            with contextlib.suppress(ModelError):  # of the model, not of this conversation
                encode_document(tokenizer, document)
    except (DataError, ModelError) as error:
        return str(error).removeprefix(f"{document.source}: ")
    return None


def _alternates(messages: Sequence[Message]) -> bool:
    """Whether a conversation is of words alone and a user begins it: a template that takes the whole takes its
    beginnings, too."""
    said = messages[1:] if messages and messages[0]["role"] == "system" else messages
    return not said or (
        said[0]["role"] == "user"
        and all(one["role"] in ("user", "assistant") and "tool_calls" not in one for one in said)
    )


def tools_in(document: Document) -> list[Tool]:
    """What the answers of a conversation may call. DataError for what is no tool."""
    try:
        return distinct([Tool.of(one) for one in document.tools]) if document.tools else []
    except ConfigError as error:
        raise DataError(f"{document.source}: {error}") from None


def _answers(chat: ChatTemplate, messages: Sequence[Message], text: str) -> list[int]:
    """Where each assistant's turn begins in the marked rendering: right after the prompt for it.

    A turn that does not follow its prompt's own rendering has no place.
    """
    turns = [place for place, message in enumerate(messages) if place and message["role"] == "assistant"]
    wordless = [place for place in turns[:-EXACT] if not str(messages[place - 1].get("content") or "").strip()]
    rendered = [*wordless[-WORDLESS:], *turns[-EXACT:]]
    earlier = [place for place in turns if place not in rendered]
    exact: dict[int, int] = {}
    for place in rendered:
        with contextlib.suppress(DataError):  # a template may refuse a conversation that ends here
            prompt = chat.render_marked(messages[:place], add_generation_prompt=True)
            if text.startswith(prompt):
                exact[place] = len(prompt)
    return sorted([*_earlier_answers(chat, messages, text, earlier, exact), *exact.values()])


def _earlier_answers(
    chat: ChatTemplate, messages: Sequence[Message], text: str, turns: Sequence[int], exact: Mapping[int, int]
) -> list[int]:
    """Where turns begin, by what the template writes between a message of the same role and a turn whose place is
    known."""
    ends = chat.ends_of(messages, text) if turns else {}
    between: dict[str, str] = {}
    for place, start in exact.items():
        if (end := ends.get(place - 1)) is not None:
            space, found = _last_space(messages[place - 1]), text[end:start]
            between[messages[place - 1]["role"]] = found.removeprefix(space)
    starts = []
    for place in turns:
        end, opening = ends.get(place - 1), between.get(messages[place - 1]["role"])
        if end is not None and opening is not None:
            spaced = _last_space(messages[place - 1]) + opening  # a template may write it or leave it out
            starts += [end + len(one) for one in (spaced, opening) if text.startswith(one, end)][:1]
    return starts


def _last_space(message: Message) -> str:
    text = str(message.get("content") or "")
    return text[len(text.rstrip()) :]


def _closed(tokenizer: Tokenizer, piece: list[int], turn: list[int], source: str) -> int:
    """How many tokens of a piece are the assistant's: up to the token that ends its turn, itself included.

    `turn` is the turn without what follows it, so that a turn that nothing ends is not read on into the next.
    """
    for place, number in enumerate(turn):
        if number in tokenizer.stop_ids and piece[: place + 1] == turn[: place + 1]:
            return place + 1
    raise ModelError(
        f"the chat template of {tokenizer.chat.name} ends the assistant's turn in {source} with "
        "no token at which the model stops, so it could not learn to; use a template that does"
    )


def _encode_piece(tokenizer: Tokenizer, marked: str, before: Sequence[int]) -> list[int]:
    """The ids of a part of a marked rendering after those `before` it: as one text where no message plays at special
    tokens."""
    text = unmarked(marked)
    if OPEN not in marked and CLOSE not in marked and not _grown_together(tokenizer.chat, marked, text):
        return tokenizer.encode(text, special=False, markup=True, continues=tokenizer.goes_on_after(before))
    ids: list[int] = []
    for number, part in enumerate(_PIECES.split(marked)):
        if part:  # odd ones are special tokens' texts from a message
            continues = tokenizer.goes_on_after(ids or before)
            ids += tokenizer.encode(part, special=False, markup=number % 2 == 0, continues=continues)
    return ids


def _grown_together(chat: ChatTemplate, marked: str, text: str) -> bool:
    """Whether a special token in the text spans a place where a message meets the template."""
    places, seen = set(), 0
    for part in marked.split(CUT)[:-1]:
        seen += len(part)
        places.add(seen)
    return bool(places) and any(
        not places.isdisjoint(range(found.start() + 1, found.end())) for found in chat.special.finditer(text)
    )
