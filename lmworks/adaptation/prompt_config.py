"""PromptConfig: the settings of a trained prompt, apart from it so that a recipe is read without torch."""

from __future__ import annotations

from pydantic import Field

from lmworks.basics.config import Config


class PromptConfig(Config):
    """Settings of prompt tuning."""

    length: int = Field(default=20, gt=0)
    """Vectors that every text begins with; each is a token more to read."""
