"""What a GGUF file says of its vocabulary, `tokenizer.ggml.*`, each entry checked to be of its kind."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lmworks.basics.errors import ModelError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # token types of the specification

LONGEST_TOKEN = 1024  # characters; longer ones are never merged, so a hostile file cannot cost quadratic time

STRIPPING_NAME = re.compile("phi-?3", re.IGNORECASE)
"""A `general.name` by which llama.cpp knows Phi-3."""
NOT_STRIPPING = ("<unk>", "<s>", "<|endoftext|>")


def strips_after(token: str) -> bool:
    """Does this special token of Phi-3 take white space after it away? The file does not say so, llama.cpp knows it."""
    return token not in NOT_STRIPPING


class Described(Protocol):
    """What says of a vocabulary what a GGUF file says of it."""

    @property
    def path(self) -> Path:
        """Its name is what errors call it."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """`tokenizer.ggml.tokens` and the like."""


class Facts:
    """The entries of one file."""

    def __init__(self, file: Described) -> None:
        self.file = file
        self.tokens: list[str] = self.entries("tokens", str)
        self.ids = {token: number for number, token in enumerate(self.tokens)}
        if len(self.ids) != len(self.tokens) or not self.tokens or "" in self.ids:
            raise self.wrong("has a vocabulary with no tokens, an empty token, or the same token twice")
        self.kinds: list[int] = self.entries("token_type", int) or [NORMAL] * len(self.tokens)
        if len(self.kinds) != len(self.tokens):
            raise self.wrong(f"has {len(self.kinds):,} token types for {len(self.tokens):,} tokens")

    def entries(self, key: str, kind: type) -> list[Any]:
        """A list of this kind, empty where there is none."""
        values = self.file.metadata.get(f"tokenizer.ggml.{key}", [])
        if not isinstance(values, list) or not set(map(type, values)) <= {kind}:
            raise self.wrong(f"has a tokenizer.ggml.{key} that is not a list of {kind.__name__}")
        return values

    def scores(self) -> list[float]:
        """One for each token."""
        scores = self.entries("scores", float)
        if len(scores) != len(self.tokens) or not all(map(math.isfinite, scores)):
            raise self.wrong(
                f"has {len(scores):,} scores, or some that are not finite, for {len(self.tokens):,} tokens"
            )
        return scores

    def text(self, key: str, default: str | None = None) -> str:
        """A text; ModelError where there is none and no default."""
        value = self.file.metadata.get(f"tokenizer.ggml.{key}", default)
        if not isinstance(value, str):
            raise self.wrong(f"has no usable tokenizer.ggml.{key}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Is it so?"""
        return bool(self.file.metadata.get(f"tokenizer.ggml.{key}", default))

    def token(self, role: str) -> int | None:
        """The token with a role."""
        number = self.file.metadata.get(f"tokenizer.ggml.{role}_token_id")
        if number is not None and not (type(number) is int and 0 <= number < len(self.tokens)):
            raise self.wrong(f"names {number!r} as its {role} token, and has {len(self.tokens):,} tokens")
        return number

    def ends(self) -> list[int]:
        """Tokens that end a text, as Ollama names several."""
        numbers = self.entries("eos_token_ids", int)
        if not all(0 <= number < len(self.tokens) for number in numbers):
            raise self.wrong(f"names {numbers} as tokens that end a text, and has {len(self.tokens):,} tokens")
        return numbers

    def wrong(self, how: str) -> ModelError:
        """An error that names the file."""
        return ModelError(
            f"{self.file.path.name} {how}; take the model as a Hugging Face folder, or another GGUF file of it"
        )
