"""What clients may send to /v1/responses: items of a conversation, which become a request of the chat route.

There is one way from a conversation to an answer, the chat route's: templates, tools, forms, documents and limits are
its own. Here a response's items become its messages, and its complaints name the items that they are about.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, model_validator

from lmworks.serving.api.answering import Facts
from lmworks.serving.api.chat_requests import (
    MOST_CALLS,
    MOST_MESSAGES,
    MOST_PARTS,
    Arguments,
    CallId,
    ChatRequest,
    DescribedFunction,
    Effort,
    Grounding,
    Name,
    NamedFunction,
    Verbosity,
)
from lmworks.serving.api.requests import LONGEST, ClientRequest, SampledRequest, StrictModel, Text
from lmworks.serving.errors import Refused
from lmworks.text.tool import MOST

ResponseId = Annotated[str, Field(min_length=1, max_length=200)]
Summary = Literal["auto", "concise", "detailed"]
LOGPROBS = "message.output_text.logprobs"
NEEDED = {
    "message": ("role", "content"),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
}
"""The fields of each kind of item, all of them needed."""
NAMES = {"messages": "input", "response_format": "text.format", "logprobs": "include"}
"""What the chat route's fields are called here."""


class ContentPart(StrictModel):
    """A part of a message: text, or an image."""

    type: Literal["input_text", "output_text", "input_image"]
    text: Text | None = None
    image_url: Text | None = None
    """data:image/png;base64,... with the image itself."""

    detail: Literal["auto", "low", "high", "original"] | None = None
    """Accepted, not used; so are the fields below, which answers have, and which are not kept."""

    annotations: Annotated[list[Any], Field(max_length=1024)] | None = Field(default=None, exclude=True)
    logprobs: Annotated[list[Any], Field(max_length=2**20)] | None = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _is_what_it_says(self) -> Self:
        needed, other = ("image_url", "text") if self.type == "input_image" else ("text", "image_url")
        if getattr(self, needed) is None or getattr(self, other) is not None:
            raise ValueError(f"the part of type {self.type} needs {needed}, and no {other}")
        return self

    @property
    def chat_part(self) -> Facts:
        """As the chat route reads it."""
        if self.image_url is not None:
            return {"type": "image_url", "image_url": {"url": self.image_url}}
        return {"type": "text", "text": self.text}


class ResultPart(StrictModel):
    """A part of what a function gave."""

    type: Literal["input_text"]
    text: Text


class Item(StrictModel):
    """A message, a call of an earlier answer, or what a call gave."""

    type: Literal["message", "function_call", "function_call_output"] | None = None
    """message unless it is given."""

    role: Literal["system", "developer", "user", "assistant"] | None = None
    """Of a message."""

    content: Text | Annotated[list[ContentPart], Field(max_length=MOST_PARTS, fail_fast=True)] | None = None
    """Of a message."""

    call_id: CallId | None = None
    """Of a call, and of its output."""

    name: Name | None = None
    """Of the function that is called."""

    arguments: Arguments | None = None
    """Of a call: a JSON object, as text."""

    output: Text | Annotated[list[ResultPart], Field(max_length=MOST_PARTS, fail_fast=True)] | None = None
    """What the function gave."""

    id: Annotated[str, Field(max_length=200)] | None = None
    """Accepted, not used; so are the fields below, which answers have. The last two are not kept: they may be nested
    more deeply than can be written."""

    status: Literal["in_progress", "completed", "incomplete"] | None = None
    citations: Annotated[list[Any], Field(max_length=1024)] | None = Field(default=None, exclude=True)
    grounding: dict[str, Any] | None = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _is_what_it_says(self) -> Self:
        needed = NEEDED[self.kind]
        for field in ("role", "content", "call_id", "name", "arguments", "output"):
            given = getattr(self, field) is not None
            if given != (field in needed):
                raise ValueError(
                    f"an item of type {self.kind} has {', '.join(needed[:-1])} and {needed[-1]}; "
                    f"{'leave out' if given else 'give'} {field}"
                )
        if self.role != "user" and any(part.type == "input_image" for part in self._parts):
            raise ValueError(f"images are a user's, and the role is {self.role}; leave them out")
        return self

    @property
    def kind(self) -> str:
        """Its type."""
        return self.type or "message"

    @property
    def _parts(self) -> Sequence[ContentPart]:
        return self.content if isinstance(self.content, list) else ()

    @property
    def facts(self) -> Facts:
        """As it is kept and listed: in its long form, and with an id."""
        facts = self.model_dump(exclude_none=True)
        if isinstance(self.content, str):
            kind = "output_text" if self.role == "assistant" else "input_text"
            facts["content"] = [{"type": kind, "text": self.content}]
        letters = {"message": "msg", "function_call": "fc", "function_call_output": "fco"}[self.kind]
        return {"id": f"{letters}_{secrets.token_hex(12)}", "status": "completed"} | facts | {"type": self.kind}

    @property
    def message(self) -> Facts:
        """As the chat route reads it."""
        if self.kind == "function_call_output":
            said = self.output if isinstance(self.output, str) else "".join(part.text for part in self.output or ())
            return {"role": "tool", "tool_call_id": self.call_id, "content": said}
        if self.kind == "function_call":
            function = {"name": self.name, "arguments": self.arguments}
            return {"role": "assistant", "tool_calls": [{"id": self.call_id, "type": "function", "function": function}]}
        content = self.content if isinstance(self.content, str) else [part.chat_part for part in self._parts]
        return {"role": self.role, "content": content}


class Typed(StrictModel):
    """What says first what it is."""

    type: Literal["function"]


class FunctionTool(DescribedFunction, Typed):
    """A function with what it is for."""

    @property
    def chat_tool(self) -> Facts:
        """As the chat route reads it."""
        return {"type": "function", "function": self.model_dump(exclude={"type"})}


class ChosenFunction(NamedFunction, Typed):
    """The function that is to be called."""

    @property
    def chat_choice(self) -> Facts:
        """As the chat route reads it."""
        return {"type": "function", "function": {"name": self.name}}


class TextFormat(StrictModel):
    """The form of an answer."""

    type: Literal["text", "json_object", "json_schema"]
    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    description: Annotated[str, Field(max_length=4096)] | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    """A JSON schema."""

    strict: bool | None = None
    """It is always kept to."""

    @model_validator(mode="after")
    def _schema_with_its_type(self) -> Self:
        wanted = self.type == "json_schema"
        if (self.schema_ is not None) != wanted or (self.name is not None) != wanted:
            raise ValueError("give name and schema with the type json_schema, and with no other")
        return self

    @property
    def chat_form(self) -> Facts:
        """As the chat route reads it."""
        if self.schema_ is None:
            return {"type": self.type}
        return {"type": self.type, "json_schema": {"name": self.name, "schema": self.schema_}}


class TextSettings(StrictModel):
    """How an answer is written."""

    format: TextFormat | None = None
    verbosity: Verbosity | None = None
    """Accepted, not used, as on the chat route."""


class Reasoning(StrictModel):
    """What OpenAI's models that think take. Accepted, not used: a response tells null for each."""

    effort: Effort | None = None
    summary: Summary | None = None
    generate_summary: Summary | None = None


class EventOptions(StrictModel):
    """How a stream is sent."""

    include_obfuscation: Literal[False] | None = None
    """OpenAI's padding of events; not done here."""


class ResponseRequest(ClientRequest):
    """A request to /v1/responses: answer a conversation, and keep it to go on with."""

    input: Text | Annotated[list[Item], Field(min_length=1, max_length=MOST_MESSAGES, fail_fast=True)]
    """What a user says, or items: messages, calls of earlier answers, and what they gave."""

    instructions: Text | None = None
    """A system message before everything else; those of earlier responses are not carried over."""

    previous_response_id: ResponseId | None = None
    """A response that is kept here; its conversation comes first."""

    max_output_tokens: Annotated[int, Field(ge=1, le=LONGEST)] | None = None
    """The longest answer; the rest of the model's window unless it is given."""

    stream_options: EventOptions | None = None

    store: bool | None = None
    """Whether the response is kept to go on with, as far as there is room, until the server stops; true unless
    given."""

    tools: Annotated[list[FunctionTool], Field(max_length=MOST, fail_fast=True)] | None = None
    """Functions that the answer may call; what it calls is the client's to run."""

    tool_choice: Literal["none", "auto", "required"] | ChosenFunction | None = None
    """auto: words or calls; required: calls; none: words; or the one function that is called."""

    parallel_tool_calls: bool | None = None
    """Whether one answer may call several; true unless given."""

    text: TextSettings | None = None
    """The form of the answer."""

    include: (
        Annotated[
            list[
                Literal["message.output_text.logprobs", "reasoning.encrypted_content", "message.input_image.image_url"]
            ],
            Field(max_length=16, fail_fast=True),
        ]
        | None
    ) = None
    """The log-probability of each token; what else can be named is there anyway, or never is."""

    top_logprobs: Annotated[int, Field(ge=0, le=100)] | None = None
    """Those of this many of the likeliest in its place."""

    truncation: Literal["disabled"] | None = None
    """A conversation that is too long is an error: nothing is left out of it."""

    background: Literal[False] | None = None
    reasoning: Reasoning | None = None
    grounding: Grounding | None = None
    """Unless it is given, extract where the server has documents, and off where it has none."""

    @model_validator(mode="after")
    def _responds(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options goes with stream")
        if self.top_logprobs and not self.logprobs:
            raise ValueError(f"top_logprobs goes with {LOGPROBS} in include")
        if self.logprobs and self.tools and self.tool_choice != "none":
            raise ValueError("an answer that may call tools has no log-probabilities here; leave out include or tools")
        return self

    @property
    def logprobs(self) -> bool:
        """Whether log-probabilities are asked for."""
        return LOGPROBS in (self.include or ())

    @property
    def items(self) -> list[Item]:
        """What is new in the conversation."""
        return [Item(role="user", content=self.input)] if isinstance(self.input, str) else self.input

    def chat(self, before: Sequence[Facts] = ()) -> ResponseConversation:
        """As the chat route answers it, after the items of an earlier conversation. Refused for what does not go
        together."""
        turns = self._turns(before)
        if len(turns) > MOST_MESSAGES:
            said = f"the conversation has {len(turns):,} messages; it may have {MOST_MESSAGES:,}"
            raise Refused(400, said, param="input")
        choice, form = self.tool_choice, self.text and self.text.format
        asked = {name: getattr(self, name) for name in SampledRequest.model_fields} | {
            "messages": [message for _, message in turns],
            "places": [place for place, _ in turns],
            "max_completion_tokens": self.max_output_tokens,
            "tools": [tool.chat_tool for tool in self.tools or ()] or None,
            "tool_choice": choice.chat_choice if isinstance(choice, ChosenFunction) else choice,
            "parallel_tool_calls": self.parallel_tool_calls,
            "response_format": form and form.chat_form,
            "logprobs": self.logprobs or None,
            "top_logprobs": self.top_logprobs or None,
            "grounding": self.grounding,
        }
        try:
            return ResponseConversation.model_validate(asked)
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise Refused(400, said, code="invalid_value") from None

    def _turns(self, before: Sequence[Facts]) -> list[tuple[str, Facts]]:
        """The messages, each with the place where it begins."""
        places = ["input"] if isinstance(self.input, str) else [f"input.{place}" for place in range(len(self.input))]
        earlier = [("previous_response_id", Item.model_validate(one)) for one in before]
        turns = list(_turns([*earlier, *zip(places, self.items, strict=True)]))
        if self.instructions is None:
            return turns
        return [("instructions", {"role": "system", "content": self.instructions}), *turns]

    @property
    def echo(self) -> Facts:
        """What a response tells of its request."""
        form = self.text and self.text.format
        choice = self.tool_choice
        return {
            "background": False,
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "metadata": self.metadata or {},
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "previous_response_id": self.previous_response_id,
            "prompt_cache_key": self.prompt_cache_key,
            "reasoning": {"effort": None, "summary": None},
            "safety_identifier": self.safety_identifier,
            "service_tier": "default",
            "store": self.store is not False,
            "text": {"format": form.model_dump(by_alias=True, exclude_none=True) if form else {"type": "text"}},
            "tool_choice": choice.model_dump() if isinstance(choice, ChosenFunction) else choice or "auto",
            "tools": [tool.model_dump() | {"strict": tool.strict is not False} for tool in self.tools or ()],
            "top_logprobs": self.top_logprobs or 0,
            "truncation": "disabled",
            "user": self.user,
        } | {name: 1.0 if (value := getattr(self, name)) is None else value for name in ("temperature", "top_p")}


class ResponseConversation(ChatRequest):
    """A response's conversation as a request of the chat route, whose complaints name the items that it came from."""

    CALLING: ClassVar[str] = "its function_call item"
    places: list[str]
    """Where each message stood."""

    def named(self, field: str) -> str:
        """What a client calls a field here."""
        _, of_messages, place = field.partition("messages.")
        return self.places[int(place)] if of_messages else NAMES.get(field, field)


def _turns(placed: Iterable[tuple[str, Item]]) -> Iterable[tuple[str, Facts]]:
    """The messages of items, each with the place where it begins: calls in a row, and the words before them, are one
    turn of the assistant."""
    turn: tuple[str, Facts] | None = None
    for place, item in placed:
        message = item.message
        if turn is not None and item.kind == "function_call" and turn[1]["role"] == "assistant":
            calls = turn[1].setdefault("tool_calls", [])
            if len(calls) < MOST_CALLS:
                calls += message["tool_calls"]
                continue
        if turn is not None:
            yield turn
        turn = place, message
    if turn is not None:
        yield turn
