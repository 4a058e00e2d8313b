"""Answers of a given form: a JSON schema, a regular expression, one of several texts (llguidance, extra `serve`).

    city = {"type": "object", "properties": {"city": {"type": "string"}}}
    model.generate("Name a city.", constraint=JsonSchema(city))
    model.generate("Yes or no?", constraint=Choice(["yes", "no"]))
    model.generate("When was it?", Sample(seed=1), constraint=Regex(r"(19|20)[0-9]{2}"))

Before each token everything is forbidden that cannot be continued to a text of the form; this comes after the
strategy's penalties and biases and before temperature and filters. The answer ends by itself where nothing can
follow. One that max_new_tokens cuts (finish "length") is the beginning of a text of the form.
"""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from lmworks.basics.errors import ConfigError
from lmworks.basics.extras import require
from lmworks.generation.distribution import Logits
from lmworks.tokens.tokenizer import Tokenizer

SPACES = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON on one line, as json.dumps writes it: a small model that may write any white space writes little else."""
LONGEST = 2**17
"""Characters of a grammar: where only one text can follow, each token costs as much as that text is long (50 ms for
100,000)."""
FUEL = 200_000
"""Of llguidance's measure for the work before the first token (its own bound is 1,000,000): (a{1000}){1000} took 2.1
s and is refused after 0.2; a thousand choices of a hundred characters fit in half of it."""


class Constraint(ABC):
    """The form of an answer."""

    given_as: ClassVar[str] = "a JsonSchema, a Regex or a Choice of lmworks.generation.constraints"

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is, for people."""

    @abstractmethod
    def start(self, tokenizer: Tokenizer, vocab_size: int) -> Guide:
        """A guide for one answer. ConfigError, one sentence, for a form that there are no texts of."""


class Guide(ABC):
    """A constraint at work on one answer."""

    name: str
    """The constraint's."""

    @abstractmethod
    def copy(self) -> Guide:
        """A guide for a second answer, as far on as this one."""

    @property
    @abstractmethod
    def complete(self) -> bool:
        """Can nothing follow?"""

    @abstractmethod
    def allowed(self, logits: Logits) -> Logits:
        """Minus infinity for what leads out of the form."""

    @abstractmethod
    def accept(self, token: int) -> None:
        """The next token of the answer. ConfigError where the form's own limits are passed."""


class Grammar(Constraint):
    """A form that llguidance follows."""

    @abstractmethod
    def grammar(self, tokenizer: Tokenizer) -> str:
        """In llguidance's own form, for a model with this tokenizer. ConfigError for what is no such form."""

    def start(self, tokenizer: Tokenizer, vocab_size: int) -> GrammarGuide:
        """See Constraint."""
        asked = (tokenizer, vocab_size, self.grammar(tokenizer))
        begun: dict[Any, GrammarGuide] = getattr(self, "_begun", {})
        if asked not in begun:  # several answers of one form, the choices of one request say, cost its work once
            begun = {asked: self._guide(*asked)}
            object.__setattr__(self, "_begun", begun)
        return begun[asked].copy()

    def _guide(self, tokenizer: Tokenizer, vocab_size: int, grammar: str) -> GrammarGuide:
        library = require("llguidance", "serve")
        self._must_be_short(grammar)
        matcher = library.LLMatcher(_vocabulary(tokenizer, vocab_size), grammar, log_level=0, limits=_limits())
        if matcher.is_error():
            raise self._refusal(matcher.get_error())
        guide = GrammarGuide(matcher, self.name)
        guide.look()  # most of its work comes with the first look, which an engine's thread has no time for
        return guide

    def _must_be_short(self, grammar: str) -> None:
        if len(grammar) > LONGEST:
            raise ConfigError(
                f"the {self.name} is too long: its grammar has {len(grammar):,} characters of {LONGEST:,}"
            )

    def _refusal(self, error: str) -> ConfigError:
        """llguidance's error as a sentence."""
        lines = [line.strip(" ^") for line in error.splitlines()]
        said = next((line for line in lines if line.startswith("error: ")), lines[0])
        return ConfigError(f"the {self.name} cannot be followed: {said.removeprefix('error: ')}")


class Form(Grammar):
    """A grammar that is the same for every model."""

    @property
    @abstractmethod
    def text(self) -> str:
        """The grammar. ConfigError for what is no such form."""

    def grammar(self, tokenizer: Tokenizer) -> str:
        """See Grammar."""
        return self.text

    def must_be_sound(self) -> None:
        """ConfigError for a form that no model could follow; none is needed to tell."""
        self._must_be_short(text := self.text)
        if error := require("llguidance", "serve").LLMatcher.validate_grammar(text, limits=_limits()):
            raise self._refusal(error)


@dataclass(frozen=True)
class JsonSchema(Form):
    """JSON that a schema describes (draft 2020-12, as far as llguidance knows it); any object unless one is given."""

    schema: Mapping[str, Any] | str | bool | None = None

    @property
    def name(self) -> str:
        """What it is."""
        return "JSON schema"

    @property
    def text(self) -> str:
        """The schema's grammar."""
        schema = {"type": "object"} if self.schema is None else self.schema
        try:
            if isinstance(schema, str):
                schema = json.loads(schema)
            if not isinstance(schema, Mapping):
                raise ValueError("a schema is a JSON object")
            text = json.dumps(schema)
            return require("llguidance", "serve").LLMatcher.grammar_from_json_schema(text, overrides=SPACES)
        except (ValueError, TypeError, RecursionError) as error:
            raise ConfigError(f"the JSON schema is no schema: {' '.join(str(error).split())}") from None


@dataclass(frozen=True)
class Regex(Form):
    """A text that a regular expression matches as a whole (Rust's syntax: no look-around, no back-references)."""

    pattern: str

    @property
    def name(self) -> str:
        """What it is."""
        return "regular expression"

    @property
    def text(self) -> str:
        """The expression's grammar."""
        return require("llguidance", "serve").LLMatcher.grammar_from_regex(self.pattern)


@dataclass(frozen=True)
class Choice(Form):
    """One of several texts."""

    options: Sequence[str]

    @property
    def name(self) -> str:
        """What it is."""
        return "choice"

    @property
    def text(self) -> str:
        """One literal beside another."""
        options = [self.options] if isinstance(self.options, str) else list(self.options)
        if not options or not all(isinstance(one, str) and one for one in options):
            raise ConfigError("a choice is between texts; give at least one, none of them empty")
        texts = (
            json.dumps(one, ensure_ascii=False).replace("\x7f", "\\u007f") for one in options
        )  # its lexer wants that
        return "start: " + " | ".join(texts)


class GrammarGuide(Guide):
    """A grammar at work on one answer."""

    def __init__(self, matcher: Any, name: str) -> None:
        self._matcher, self.name = matcher, name
        self._mask: np.ndarray | None = None

    def copy(self) -> GrammarGuide:
        """See Guide."""
        other = GrammarGuide(self._matcher.deep_copy(), self.name)
        other._mask = self._mask
        return other

    @property
    def complete(self) -> bool:
        """See Guide."""
        stopped: bool = self._matcher.is_stopped()
        return stopped

    def look(self) -> np.ndarray:
        """Which tokens can come next. ConfigError where none can."""
        if self._mask is None:
            bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
            self._must_go_on()
            self._mask = np.unpackbits(bits, bitorder="little").astype(bool)
        return self._mask

    def allowed(self, logits: Logits) -> Logits:
        """See Guide."""
        mask, allowed = self.look()[: len(logits)], np.full_like(logits, -np.inf)
        allowed[: len(mask)][mask] = logits[: len(mask)][mask]
        return allowed

    def accept(self, token: int) -> None:
        """See Guide."""
        self._mask = None
        self._matcher.consume_token(token)
        self._must_go_on()

    def _must_go_on(self) -> None:
        if self._matcher.is_error():
            said = self._matcher.get_error().splitlines()[0]
            ends = said.startswith("NoExtension")  # llguidance's word for a form that there are no texts of
            raise ConfigError(f"the {self.name} " + ("allows no text" if ends else f"is too complex: {said}"))


class _Vocabulary:
    """What llguidance asks of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.tokens = [tokenizer.token_bytes(number) for number in range(tokenizer.vocab_size)]
        self.special_token_ids = [number for number, piece in enumerate(self.tokens) if not piece]
        self.bos_token_id = tokenizer.bos
        self.eos_token_id = min(tokenizer.stop_ids, default=0)

    def __call__(self, text: bytes) -> list[int]:
        return self._tokenizer.encode(text.decode(), special=False)


def _limits() -> Any:
    return require("llguidance", "serve").LLParserLimits(initial_lexer_fuel=FUEL)


_known: WeakKeyDictionary[Tokenizer, dict[int, Any]] = WeakKeyDictionary()
_making = threading.Lock()


def _vocabulary(tokenizer: Tokenizer, vocab_size: int) -> Any:
    """llguidance's form of a vocabulary; made once, which takes a tenth of a second for 49,152 tokens."""
    library = require("llguidance", "serve")
    with _making:
        made = _known.setdefault(tokenizer, {})
        if vocab_size not in made:
            wrapped = library.TokenizerWrapper(_Vocabulary(tokenizer))
            ends = sorted(tokenizer.stop_ids) or None
            made[vocab_size] = library.LLTokenizer(wrapped, n_vocab=vocab_size, eos_token=ends)
        return made[vocab_size]
