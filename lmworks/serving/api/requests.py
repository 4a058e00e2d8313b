"""What clients may send: bounded, of exact types, and no setting that is not known.

Names are OpenAI's, and vLLM's for what OpenAI does not have. Settings of sampling are read from `Sample`. What OpenAI's
clients send and changes no answer (`user`, `metadata`, ...) is accepted by its name and not looked at.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

from lmworks.basics.errors import ConfigError
from lmworks.basics.meanings import meanings
from lmworks.generation.constraints import Choice, Constraint, JsonSchema, Regex
from lmworks.generation.strategies import Greedy, Sample, Strategy

LONGEST = 2**31
"""No number of tokens is above it."""

Text = Annotated[str, Field(max_length=2**22)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Stop = Annotated[str, Field(min_length=1, max_length=256)]
Token = Annotated[int, Field(ge=0, lt=2**31)]
Tokens = Annotated[list[Token], Field(min_length=1, max_length=2**20, fail_fast=True)]


# A wrong item costs microseconds in which no stream goes on: lists stop at the first, large objects are not looked at.


def few(value: Any, most: int = 1024) -> Any:
    """The value, unless it is an object of more fields."""
    if isinstance(value, dict) and len(value) > most:
        raise ValueError(f"at most {most:,} fields can be given, not {len(value):,}")
    return value


class StrictModel(BaseModel):
    """A part of a request: its fields and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, value: Any) -> Any:
        """Not too many; what is null and not known here is as good as not given: clients send all that they know."""
        value = few(value, 64)
        if not isinstance(value, dict) or None not in value.values():
            return value
        return {name: one for name, one in value.items() if one is not None or name in cls.names()}

    @classmethod
    def names(cls) -> set[str]:
        """Its fields, as they are sent."""
        return {field.alias or name for name, field in cls.model_fields.items()}


class StreamOptions(StrictModel):
    """How a stream is sent."""

    include_usage: bool | None = None
    """A last chunk without choices tells how many tokens were read and written."""

    include_obfuscation: Literal[False] | None = None
    """OpenAI's padding of chunks; not done here."""


class Schema(StrictModel):
    """A JSON schema and its name."""

    name: Annotated[str, Field(max_length=200)]
    description: Annotated[str, Field(max_length=4096)] | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    """Any object unless it is given."""

    strict: bool | None = None
    """It is always kept to."""


class ResponseFormat(StrictModel):
    """The form of an answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None

    @model_validator(mode="after")
    def _schema_with_its_type(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("give json_schema with the type json_schema, and with no other")
        return self

    @property
    def constraint(self) -> Constraint | None:
        """What keeps an answer to it."""
        if self.type == "text":
            return None
        return JsonSchema(self.json_schema.schema_ if self.json_schema is not None else None)


class StructuredOutputs(StrictModel):
    """vLLM's name for one of three forms."""

    json_: dict[str, Any] | None = Field(default=None, alias="json")
    """A JSON schema."""

    regex: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """A regular expression that the whole answer matches."""

    choice: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=4096)]], Field(min_length=1, max_length=256)]
        | None
    ) = None
    """One of these texts."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if [self.json_, self.regex, self.choice].count(None) != 2:
            raise ValueError("give one of json, regex and choice")
        return self

    @property
    def constraint(self) -> Constraint:
        """What keeps an answer to it."""
        if self.json_ is not None:
            return JsonSchema(self.json_)
        return Regex(self.regex) if self.regex is not None else Choice(self.choice or ())


Asked = TypeVar("Asked", bound="StrictModel")
LIMITS = ("max_completion_tokens", "max_tokens")
"""Fields that say how long an answer may be."""
NAMES = {"min_new_tokens": "min_tokens"}
"""Settings of strategies that have another name here: vLLM's."""


def with_sampling(kind: type[Asked]) -> type[Asked]:
    """Add a field for each setting of `Sample` that the class does not say itself, as `Sample` declares it."""
    added: dict[str, Any] = {}
    said = meanings(Sample)
    for ours, field in Sample.model_fields.items():
        if (name := NAMES.get(ours, ours)) not in kind.model_fields:
            whole = [Field(le=LONGEST)] if field.annotation in (int, int | None) else []
            bounded: Any = Annotated[field.annotation, *whole, *field.metadata, Field()]
            added[name] = (bounded | None, Field(default=None, description=said[ours]))
    return create_model(kind.__name__, __base__=kind, __module__=kind.__module__, __doc__=kind.__doc__, **added)


@with_sampling
class SampledRequest(StrictModel):
    """How a token is chosen. Every setting of `Sample` is a field; those that OpenAI's API has in its own way are
    written here."""

    model: Annotated[str, Field(max_length=1000)] | None = None
    """One of /v1/models; the one that writes unless it is given."""

    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    """Same seed, same answer, whatever else the server does."""

    top_k: Annotated[int, Field(ge=-1, lt=2**31)] | None = None
    """Keep the k most probable tokens; 0 and -1 for all."""

    logit_bias: (
        Annotated[dict[str, Annotated[Number, Field(ge=-100, le=100)]], Field(max_length=1024), BeforeValidator(few)]
        | None
    ) = None
    """Added to the logits of tokens, by their ids."""

    def strategy(self, number: int = 0) -> Strategy:
        """How the answer of this number is chosen; ConfigError for a bias of something that is no token."""
        said = {ours: getattr(self, NAMES.get(ours, ours)) for ours in Sample.model_fields}
        said |= {"logit_bias": self._bias(), "top_k": self.top_k if (self.top_k or 0) > 0 else None}
        said |= {"seed": None if self.seed is None else (self.seed + number) % 2**63}
        kind = Greedy if said["temperature"] == 0 else Sample
        return kind(**{name: value for name, value in said.items() if value is not None and name in kind.model_fields})

    def _bias(self) -> dict[int, float] | None:
        if self.logit_bias is None:
            return None
        for token in self.logit_bias:
            if not (token.isascii() and token.isdigit() and len(token) < 10):
                raise ConfigError(f"logit_bias names {token[:40]!r}, which is no token's id")
        return {int(token): bias for token, bias in self.logit_bias.items()}


class ClientRequest(SampledRequest):
    """What OpenAI's clients say of any answer."""

    stream: bool | None = None

    user: Annotated[str, Field(max_length=4096)] | None = None
    """Accepted, not used; so are the fields below, but where their endpoint says so."""

    metadata: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=64)] | None = None
    store: bool | None = None
    service_tier: Annotated[str, Field(max_length=100)] | None = None
    safety_identifier: Annotated[str, Field(max_length=4096)] | None = None
    prompt_cache_key: Annotated[str, Field(max_length=4096)] | None = None
    prompt_cache_retention: Annotated[str, Field(max_length=100)] | None = None


class GenerationRequest(ClientRequest):
    """What completions and chats share: how the answer is chosen and sent."""

    n: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Answers to each prompt; the second has the next seed, and so on."""

    stop: Stop | Annotated[list[Stop], Field(max_length=16, fail_fast=True)] | None = None
    """The answer ends before the first of these texts."""

    structured_outputs: StructuredOutputs | None = None
    response_format: ResponseFormat | None = None
    stream_options: StreamOptions | None = None

    prediction: Annotated[dict[str, Any], BeforeValidator(few)] | None = None
    """OpenAI's guess of the answer, which makes it faster there and changes nothing."""

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options goes with stream")
        if self.structured_outputs is not None and self.response_format is not None:
            raise ValueError("structured_outputs and response_format both say the form; give one of them")
        longest = next((one for name in LIMITS if (one := getattr(self, name, None)) is not None), None)
        least = getattr(self, NAMES["min_new_tokens"], None) or 0
        if longest is not None and least > longest:
            raise ValueError(f"min_tokens is {least} and max_tokens is {longest}, which is less; change one of them")
        return self

    @property
    def answers(self) -> int:
        """To each prompt."""
        return self.n or 1

    @property
    def stops(self) -> list[str]:
        """The stop strings."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    @abstractmethod
    def text(self) -> str:
        """What is asked, for a log that is to hold it."""

    @property
    def constraint(self) -> Constraint | None:
        """The form that is asked for."""
        form = self.structured_outputs or self.response_format
        return None if form is None else form.constraint


class CompletionRequest(GenerationRequest):
    """A request to /v1/completions: continue a text."""

    prompt: (
        Text
        | Tokens
        | Annotated[list[Text], Field(min_length=1, max_length=1024, fail_fast=True)]
        | Annotated[list[Tokens], Field(min_length=1, max_length=1024, fail_fast=True)]
    )
    """A text, several, or their tokens' ids."""

    max_tokens: Annotated[int, Field(ge=0, le=LONGEST)] | None = None
    """The longest answer; 16 unless it is given. 0 with `echo`."""

    logprobs: Annotated[int, Field(ge=0, le=100)] | None = None
    """The log-probability of each token, and those of this many of the likeliest in its place."""

    echo: bool | None = None
    """The prompt before the answer, with its log-probabilities where those are asked for."""

    best_of: Annotated[int, Field(ge=1, le=1024)] | None = None
    """None but `n`: all answers are given."""

    suffix: Annotated[str, Field(max_length=0)] | None = None
    """Text after the answer; not done here."""

    @model_validator(mode="after")
    def _completes(self) -> Self:
        if self.best_of is not None and self.best_of != self.answers:
            raise ValueError("best_of is not n; every answer is given here, ask for n of them")
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens is 0; give at least 1, or echo")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """One or several."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]  # type: ignore[list-item]
        return list(self.prompt)  # type: ignore[arg-type]

    @property
    def text(self) -> str:
        """What is asked, for a log that is to hold it."""
        return str(self.prompt)
