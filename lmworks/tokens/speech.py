"""SpeechTokens: what the special tokens of a model that writes down speech mean, told by their texts.

    speech = SpeechTokens.of(model.tokenizer, model.config.vocab_size, said)
    speech.prompt("de", "translate")              # <|startoftranscript|> <|de|> <|translate|>

Ids after `<|notimestamps|>` are times, 0.02 seconds apart (Radford et al. 2022, https://arxiv.org/abs/2212.04356).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from lmworks.basics.errors import ConfigError, ModelError, did_you_mean
from lmworks.tokens.tokenizer import Tokenizer

STEP = 0.02
"""Seconds from one time to the next."""
FIRST_TIME = 50
"""The latest time that a text may begin with, in steps, where a model's files say no other."""
MOST_TIMES = 1501
"""Those of 30 seconds; a vocabulary may be filled up after them."""
ENGLISH_ONLY = 51_864
"""Rows of the largest vocabulary that has English alone."""
SINGLE, NOTES = '"#()*+/:;<=>@[\\]^_`{|}~「」『』', "♩♪♫♬♭♮♯"
RUNS = """<< >> <<< >>> -- --- -( -[ (' (" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪"""
ROLES = ("startoftranscript", "translate", "transcribe", "startoflm", "startofprev", "nospeech", "nocaptions")
"""Special tokens, without their brackets, that never stand in a text."""
Task = Literal["transcribe", "translate"]
SUPPRESS, SUPPRESS_FIRST = "suppress_tokens", "begin_suppress_tokens"
KNOWN = (
    *(SUPPRESS, SUPPRESS_FIRST, "no_timestamps_token_id", "is_multilingual", "max_initial_timestamp_index"),
    *("lang_to_id", "task_to_id", "return_timestamps", "alignment_heads", "prev_sot_token_id", "max_length"),
)
"""Keys of generation_config.json that are kept when a model is saved."""


@dataclass(frozen=True)
class SpeechTokens:
    """Ids with a role."""

    start: int
    """Opens what is written."""
    end: int
    no_speech: int | None
    """How probable it is after the start is how probable it is that nobody speaks."""
    no_times: int
    """After it a text is written without times."""
    times: range
    """Times, from 0; empty of a vocabulary without."""
    languages: Mapping[str, int]
    """By their codes; empty of a model of English alone."""
    tasks: Mapping[str, int]
    never: frozenset[int]
    """Suppressed everywhere: sounds that are described, tokens of other roles."""
    never_first: frozenset[int]
    """Suppressed as the first token: a space, the end."""
    latest_first: int
    """The latest time that a text may begin with, in steps."""

    @classmethod
    def of(cls, tokenizer: Tokenizer, vocab_size: int, said: Mapping[str, Any]) -> Self:
        """Those of a tokenizer; `said` is what generation_config.json says. ModelError where the start, the end or
        `<|notimestamps|>` is missing, or an id is none."""
        ids = {text: number for number, text in tokenizer.special.items()}
        start, no_times, end = (
            _named(ids, tokenizer, one) for one in ("<|startoftranscript|>", "<|notimestamps|>", "<|endoftext|>")
        )
        several = said.get("is_multilingual", vocab_size > ENGLISH_ONLY)
        codes = {text[2:-2]: number for text, number in ids.items() if re.fullmatch(r"<\|[a-z]{2,3}\|>", text)}
        tasks = {one: ids[f"<|{one}|>"] for one in ("transcribe", "translate") if f"<|{one}|>" in ids}
        latest = said.get("max_initial_timestamp_index", FIRST_TIME)
        return cls(
            start,
            end,
            next((ids[text] for text in ("<|nospeech|>", "<|nocaptions|>") if text in ids), None),
            no_times,
            range(no_times + 1, min(vocab_size, no_times + 1 + MOST_TIMES)),
            codes if several else {},
            tasks if several else {},
            _ids(said, SUPPRESS, vocab_size) if SUPPRESS in said else unspoken(tokenizer),
            _ids(said, SUPPRESS_FIRST, vocab_size)
            if SUPPRESS_FIRST in said
            else frozenset([*tokenizer.encode(" ", special=False)[:1], end]),
            latest if type(latest) is int and latest >= 0 else FIRST_TIME,
        )

    def prompt(self, language: str | None, task: Task) -> list[int]:
        """What stands before a text. ConfigError for a language or a task that the model does not know."""
        if not self.languages:
            if language not in (None, "en") or task != "transcribe":
                raise ConfigError(
                    "this model writes down English alone; leave the language and the task out, or take a model of "
                    "several languages"
                )
            return [self.start]
        if language is None or language not in self.languages:
            raise ConfigError(
                f"the model knows no language {language!r}; {did_you_mean(str(language), self.languages)}it is one of "
                f"{', '.join(sorted(self.languages))}"
            )
        if task not in self.tasks:
            raise ConfigError(f"the model has no task {task!r}; it has {', '.join(self.tasks) or 'none'}")
        return [self.start, self.languages[language], self.tasks[task]]

    def is_time(self, token: int) -> bool:
        """Whether it is a time."""
        return token in self.times

    def text_of(self, tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
        """The text of tokens, without times and whatever else is special."""
        return tokenizer.decode([one for one in tokens if one not in self.times])


def unspoken(tokenizer: Tokenizer) -> frozenset[int]:
    """Tokens of marks that nobody says (brackets around sounds, notes), and those with a role beside the end: what the
    published models suppress, where a folder does not say."""
    texts = [" -", " '", *(text for mark in (*SINGLE, *RUNS.split(), *NOTES) for text in (mark, f" {mark}"))]
    encoded = [(text, tokenizer.encode(text, special=False)) for text in texts]
    found = {ids[0] for text, ids in encoded if len(ids) == 1 or text[-1] in NOTES}
    roles = {number for number, text in tokenizer.special.items() if text[2:-2] in ROLES}
    return frozenset((found | roles) - {*tokenizer.encode(" ", special=False)})


def _named(ids: Mapping[str, int], tokenizer: Tokenizer, text: str) -> int:
    if text not in ids:
        raise ModelError(
            f"the tokenizer of {tokenizer.name} has no {text}, with which speech is written down; it belongs to "
            "another model"
        )
    return ids[text]


def _ids(said: Mapping[str, Any], name: str, vocab_size: int) -> frozenset[int]:
    listed = said.get(name) or ()
    if not isinstance(listed, Collection) or not all(type(one) is int and -1 <= one < vocab_size for one in listed):
        raise ModelError(f"generation_config.json: {name} is no list of ids below {vocab_size:,}; fetch it again")
    return frozenset(one for one in listed if one >= 0)
