"""What generation asks of a model, which is a `LanguageModel` (its room stands above this one)."""

from __future__ import annotations

from typing import Any, Protocol

from lmworks.generation.request import Prompt, Request
from lmworks.models.config import ModelConfig
from lmworks.models.runner import Runner
from lmworks.tokens.tokenizer import Tokenizer


class WritingModel(Protocol):
    """A runner with its tokenizer."""

    runner: Runner
    tokenizer: Tokenizer

    @property
    def config(self) -> ModelConfig:
        """What shapes the network."""

    def must_write(self) -> None:
        """ConfigError unless the network writes text."""

    def request(self, prompt: Prompt, *args: Any, **kwargs: Any) -> Request:
        """A request that fits the model; ConfigError for one that does not."""
