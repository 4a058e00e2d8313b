"""What clients may send to /v1/chat/completions: messages, tools that an answer may call, and earlier calls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from lmworks.generation.tool_calls import Tools
from lmworks.serving.api.image_urls import MOST_IMAGES, ImageUrl
from lmworks.serving.api.requests import LONGEST, GenerationRequest, StrictModel, Text, few
from lmworks.text.tool import MOST, Tool

MOST_MESSAGES = 4096
"""Of one conversation."""
MOST_PARTS = 1024
"""Of one message."""
MOST_CALLS = 128
"""Of one turn."""


def _an_object(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("this text is no JSON object; send the arguments as they were written")
    return text


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Verbosity = Literal["low", "medium", "high"]
Name = Annotated[str, Field(min_length=1, max_length=64)]
CallId = Annotated[str, Field(min_length=1, max_length=200)]
Arguments = Annotated[Text, AfterValidator(_an_object)]
"""A JSON object, as text."""


class Part(StrictModel):
    """A part of a message: text, or an image."""

    type: Literal["text", "image_url"]
    text: Text | None = None
    image_url: ImageUrl | None = None

    @model_validator(mode="after")
    def _is_what_it_says(self) -> Self:
        if (self.text is not None) != (self.type == "text") or (self.image_url is not None) == (self.type == "text"):
            raise ValueError(f"the part of type {self.type} needs {self.type}, and nothing else")
        return self


class CalledFunction(StrictModel):
    """What an earlier answer called."""

    name: Name
    arguments: Arguments
    """A JSON object, as text."""


class Call(StrictModel):
    """A call of an earlier answer."""

    id: CallId
    type: Literal["function"]
    function: CalledFunction

    index: int | None = None
    """Accepted, not used."""

    @property
    def facts(self) -> dict[str, Any]:
        """As a chat template reads it; some, such as Mistral's, write the id."""
        function = {"name": self.function.name, "arguments": json.loads(self.function.arguments)}
        return {"id": self.id, "type": "function", "function": function}


class Message(StrictModel):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | Annotated[list[Part], Field(max_length=MOST_PARTS, fail_fast=True)] | None = None
    """Text, and a user's images; none of an assistant that only calls tools."""

    name: Annotated[str, Field(max_length=200)] | None = None
    """Accepted, not used."""

    refusal: None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    audio: None = None
    tool_calls: Annotated[list[Call], Field(max_length=MOST_CALLS, fail_fast=True)] | None = None
    """What the assistant called."""

    tool_call_id: CallId | None = None
    """Which call a tool answers."""

    function_call: None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"tool_calls are an assistant's, and the role is {self.role}; leave them out")
        if (self.tool_call_id is not None) != (self.role == "tool"):
            raise ValueError("tool_call_id goes with the role tool, which needs it, and with no other")
        if self.content is None and not self.tool_calls:
            raise ValueError("content is missing; give a text")
        if self.images and self.role != "user":
            raise ValueError(f"images are a user's, and the role is {self.role}; leave them out")
        return self

    @property
    def text(self) -> str:
        """What it says."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text or "" for part in self.content or ())

    @property
    def images(self) -> list[str]:
        """The addresses of its images."""
        parts = () if isinstance(self.content, str) else self.content or ()
        return [part.image_url.url for part in parts if part.image_url is not None]

    @property
    def turn(self) -> dict[str, Any]:
        """As a chat template reads it."""
        turn: dict[str, Any] = {"role": "system" if self.role == "developer" else self.role, "content": self.text}
        turn |= {"tool_calls": [one.facts for one in self.tool_calls]} if self.tool_calls else {}
        return turn | ({} if self.tool_call_id is None else {"tool_call_id": self.tool_call_id})


class DescribedFunction(StrictModel):
    """What a model may call."""

    name: Name
    description: Annotated[str, Field(max_length=2**14)] | None = None
    parameters: Annotated[dict[str, Any], BeforeValidator(few)] | None = None
    """A JSON schema of its arguments, an object; a function without arguments has none."""

    strict: bool | None = None
    """It is always kept to."""


class DescribedTool(StrictModel):
    """A function with what it is for."""

    type: Literal["function"]
    function: DescribedFunction


class NamedFunction(StrictModel):
    """One of the functions."""

    name: Name


class NamedTool(StrictModel):
    """The function that is to be called."""

    type: Literal["function"]
    function: NamedFunction


ToolList = Annotated[list[DescribedTool], Field(max_length=MOST, fail_fast=True)]


def check_text(prompt: object, messages: Sequence[Message] | None) -> None:
    """ValueError unless a request that is about text alone gives either a prompt or messages, without images."""
    if (prompt is None) == (messages is None):
        raise ValueError("give a prompt or messages")
    if any(message.images for message in messages or ()):
        raise ValueError("images are not read here, only the text of messages; leave them out")


def tools_of(described: Sequence[DescribedTool] | None) -> list[Tool]:
    """As the house has them. ConfigError for one that cannot be called."""
    return [Tool(one.function.name, one.function.description or "", one.function.parameters) for one in described or ()]


class Grounding(StrictModel):
    """Whether an answer comes from the server's documents, and how."""

    way: Literal["extract", "write", "off"]
    """extract: spans of the documents; write: the model's own words, of which each sentence is supported by a cited
    span; off: the model answers by itself."""
    min_right: Annotated[float, Field(ge=0, lt=1)] | None = None
    """With extract: refuse an answer that is less likely to be right than this."""


class ChatRequest(GenerationRequest):
    """A request to /v1/chat/completions: answer a conversation."""

    CALLING: ClassVar[str] = "the assistant's message with its tool_calls"
    """What makes a call."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES, fail_fast=True)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=LONGEST)] | None = None
    """The longest answer; the rest of the model's window unless it is given."""

    max_tokens: Annotated[int, Field(ge=1, le=LONGEST)] | None = None
    """The older name of the same."""

    add_generation_prompt: bool | None = None
    """False goes with `continue_final_message`, as vLLM has it; nothing else is done with it."""

    continue_final_message: bool | None = None
    """The last message is an answer that is not finished: go on with it instead of beginning a new one (vLLM's)."""

    grounding: Grounding | None = None
    """Unless it is given, extract where the server has documents, and off where it has none."""

    logprobs: bool | None = None
    """The log-probability of each token."""

    top_logprobs: Annotated[int, Field(ge=0, le=100)] | None = None
    """Those of this many of the likeliest in its place."""

    tools: ToolList | None = None
    """Functions that the answer may call; what it calls is the client's to run."""

    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    """auto: words or calls; required: calls; none: words; or the one function that is called."""

    parallel_tool_calls: bool | None = None
    """Whether one answer may call several; true unless given."""

    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None
    reasoning_effort: Effort | None = None
    """Accepted and ignored: no model here can be asked to think longer or shorter."""

    verbosity: Verbosity | None = None
    """Accepted and ignored: say in a message how long the answer should be."""

    @model_validator(mode="after")
    def _chats(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs goes with logprobs")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens and max_completion_tokens differ; give one of them")
        self._tools_fit()
        self._goes_on()
        self._images_fit()
        return self

    def named(self, field: str) -> str:
        """What a client calls a field, here and where it asked another endpoint."""
        return field

    def _images_fit(self) -> None:
        count = sum(len(message.images) for message in self.messages)
        if count > MOST_IMAGES:
            raise ValueError(f"the messages have {count} images; send at most {MOST_IMAGES}")
        for field, given in (("tools", self.tools), ("continue_final_message", self.continue_final_message)):
            if count and given:
                raise ValueError(f"images are described here; leave {field} out")

    @property
    def images(self) -> list[tuple[str, str]]:
        """The addresses of all images, each with its place in the request."""
        placed = ((self.named(f"messages.{place}"), one) for place, one in enumerate(self.messages))
        return [(f"{place}.content", url) for place, one in placed for url in one.images]

    def _goes_on(self) -> None:
        if self.continue_final_message:
            if self.add_generation_prompt:
                raise ValueError("continue_final_message goes on with an answer, and add_generation_prompt begins one")
            if len(self.messages) < 2 or self.messages[-1].role != "assistant" or self.messages[-1].tool_calls:
                raise ValueError("continue_final_message needs an assistant's text at the end, after another message")
            if self.tools and self.tool_choice != "none":
                raise ValueError("continue_final_message goes on with words, and tools may call; leave out the tools")
        elif self.add_generation_prompt is False:
            raise ValueError("add_generation_prompt false is done here with continue_final_message alone")

    def _tools_fit(self) -> None:
        form = self.structured_outputs is not None or (
            self.response_format is not None and self.response_format.type != "text"
        )
        if self.tools and form and self.tool_choice != "none":
            form_field = self.named("response_format")
            raise ValueError(f"tools and {form_field} both say the form of the answer; give one of them")
        if not self.tools and self.tool_choice not in (None, "none", "auto"):
            raise ValueError("tool_choice asks for a call and there are no tools; give some")
        called: set[str] = set()
        for place, message in enumerate(self.messages):
            called |= {one.id for one in message.tool_calls or ()}
            if message.tool_call_id is not None and message.tool_call_id not in called:
                where = self.named(f"messages.{place}")
                raise ValueError(
                    f"{where} is the result of a call that no message before it makes; send {self.CALLING} first"
                )

    def called(self) -> Tools | None:
        """What the answer may call. ConfigError for tools that cannot be, and for a choice that is none of them."""
        if not self.tools:
            return None
        choice = self.tool_choice.function.name if isinstance(self.tool_choice, NamedTool) else self.tool_choice
        tools = Tools(tools_of(self.tools), choice or "auto", self.parallel_tool_calls is not False)
        return None if tools.choice == "none" else tools

    @property
    def text(self) -> str:
        """What is asked, for a log that is to hold it."""
        return "\n".join(f"{one.role}: {one.text}" for one in self.messages)
