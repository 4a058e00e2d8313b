"""Prompt: a text's class asked of a model that was not trained to tell it: format, words for the classes, examples.

    prompt = Prompt(format="{Text}: {text}\\n{Label}:", words={"0": "bad", "1": "good"}, examples=(("Dull.", "0"),))
    prompt.item("test#1", "A joy.", "1").asked      # for each class, what is read and the word that may follow

A prompt is a file (`save`, `read`), which `lmworks evaluate MODEL DATA --prompt FILE` measures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import field_validator, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.basics.files import regular, write_json
from lmworks.evaluation.tasks.declaration import BETWEEN, Choices

FORMATS = (
    "{Text}: {text}\n{Label}:",
    "{Text}: {text} {Label}:",
    "{TEXT}: {text}\n{LABEL}:",
    "{Text} - {text}\n{Label} -",
    "{Text}\n{text}\n{Label}\n",
    "{text}\n{Label}:",
    "{text} {Label}:",
    "{text} =>",
    "Input: {text}\nOutput:",
    "Question: What is the {label} of this {text_name}? {text}\nAnswer:",
)
"""Ten ways to write the same question: separators, letter case and order move a figure by many points (Sclar et al.
2023, https://arxiv.org/abs/2310.11324). Text and Label stand for what the two are called."""
NOTHING = ("N/A", "", "[MASK]")
"""Texts without content, by which a prompt's own leaning is seen (Zhao et al. 2021, https://arxiv.org/abs/2102.09690)."""


class Prompt(Config):
    """How the class of a text is asked. ConfigError for what cannot be asked."""

    format: str
    """What stands around `{text}`, up to the class; `{Text}` and `{Label}` are what text and class are called."""

    words: dict[str, str]
    """For each class, the word that stands for it."""

    examples: tuple[tuple[str, str], ...] = ()
    """Texts with their classes, in the order in which they stand before each text."""

    names: tuple[str, str] = ("text", "label")
    """What a text and its class are called."""

    calibrated: bool = False
    """Whether each class's probability is divided by that which it has after texts without content."""

    chosen_by: tuple[str, ...] = ()
    """Hashes of the texts that a search chose it by, its examples' among them: of these it is surely good."""

    @field_validator("format")
    @classmethod
    def _with_a_text(cls, value: str) -> str:
        if value.count("{text}") != 1:
            raise ConfigError(f"the format {value[:60]!r} has no {{text}}, or several; give one, where the text stands")
        return value

    @model_validator(mode="after")
    def _classes_have_words(self) -> Prompt:
        if len(self.words) < 2 or not all(word.strip() for word in self.words.values()):
            raise ConfigError("a prompt has a word for each of two classes or more; give words such as 0=bad,1=good")
        if len(set(self.words.values())) < len(self.words):
            raise ConfigError("two classes have the same word, so that nothing tells them apart; change one of them")
        if unknown := [label for _, label in self.examples if label not in self.words]:
            raise ConfigError(
                f"an example has the class {unknown[0]!r}, which has no word; there are {', '.join(self.words)}"
            )
        return self

    @classmethod
    def read(cls, path: str | Path) -> Prompt:
        """A prompt's file. ConfigError for what is none."""
        try:
            value = json.loads(regular(Path(path)).read_text(encoding="utf-8"))
            if not isinstance(value, dict):
                raise ValueError("no JSON object")
            return cls(**{name: value[name] for name in cls.model_fields if name in value})
        except ConfigError:
            raise
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} holds no prompt ({error}); lmworks prompt search writes one") from None

    def save(self, path: str | Path, facts: dict[str, Any] | None = None) -> Path:
        """Write it, with what is known of it beside its fields."""
        write_json(Path(path), self.model_dump(mode="json") | (facts or {}))
        return Path(path)

    @property
    def labels(self) -> list[str]:
        """The classes, in the order of their words."""
        return list(self.words)

    def has_seen(self, text: str) -> bool:
        """Whether a search chose it by this text."""
        return hash_of(text) in self.chosen_by

    def shown(self, text: str) -> str:
        """A text in the format."""
        name, label = self.names
        said = {"{TEXT}": name.upper(), "{LABEL}": label.upper(), "{Text}": name.capitalize()}
        said |= {"{Label}": label.capitalize(), "{text_name}": name, "{label}": label}
        shown = self.format
        for place, word in said.items():
            shown = shown.replace(place, word)
        return shown.replace("{text}", " ".join(text.split()))

    def context(self, text: str) -> str:
        """What is read before the class of a text: the examples, and the text."""
        solved = (self.shown(example) + self._word(label) for example, label in self.examples)
        return BETWEEN.join([*solved, self.shown(text)])

    def item(self, name: str, text: str, label: str) -> Choices:
        """A text as an item of a task; DataError is the caller's for a class without a word."""
        context, right = self.context(text), self.labels.index(label)
        asked = tuple((context, self._word(one)) for one in self.labels)
        return Choices(name, asked, right, tuple(self.words.values()))

    def without_content(self) -> list[Choices]:
        """The same question about nothing."""
        return [self.item(f"nothing#{number}", text, self.labels[0]) for number, text in enumerate(NOTHING)]

    def _word(self, label: str) -> str:
        return self.words[label] if self.format[-1].isspace() else f" {self.words[label]}"


def hash_of(text: str) -> str:
    """What tells a text from others, however its spaces are written: twelve digits of its SHA-256."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:12]


def called(labels: Sequence[str]) -> dict[str, str]:
    """Words for classes that have none: their own names, in small letters."""
    return {label: label.lower() for label in labels}
