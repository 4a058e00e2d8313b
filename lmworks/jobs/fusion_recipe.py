"""FusionRecipe: everything that shapes a model that reads and draws images as tokens of its own vocabulary.

recipe = FusionRecipe.read("emoji-fusion", ["training.max_seconds=120"])
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.basics.recipe_file import RecipeFile
from lmworks.jobs.picture_settings import PictureSettings
from lmworks.models.config import MOST_LAYERS, ModelConfig
from lmworks.tokens.trainer import TokenizerConfig
from lmworks.training.settings import TrainingConfig

END = "<|endoftext|>"
"""What begins and ends each row."""


class CaptionedPictures(PictureSettings):
    """The images with captions to learn from."""

    dropped: float = Field(default=0.1, ge=0, lt=1)
    """Share of the captions that are left out before an image, so that the network also learns images of anything:
    what guidance starts from."""

    captioning: float = Field(default=0.25, ge=0, le=1)
    """Share of the rows in which the image comes first and its caption after it."""

    views: int = Field(default=4, ge=1, le=64)
    """Versions of each image that are learnt: itself, mirrored, and others that are moved, turned and zoomed a
    little."""


class FusionSizes(Config):
    """The sizes of the network: Llama's blocks with normed queries and keys, which keep two kinds of tokens at one
    size."""

    explain_as: ClassVar[str] = "fusion-network"

    dim: int = Field(default=160, gt=0, le=100_000)
    """Width of the residual stream."""

    layers: int = Field(default=6, gt=0, le=MOST_LAYERS)
    """Blocks."""

    heads: int = Field(default=5, gt=0, le=100_000)
    """Heads of attention."""

    context: int = Field(default=160, gt=0, le=100_000)
    """Tokens of the longest row: an image with its two marks, the caption, and the two ends."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of activations dropped in training."""

    def network(self, vocab_size: int) -> ModelConfig:
        """The config of the network for as many tokens, those of images among them."""
        sizes: dict[str, Any] = self.model_dump()
        return ModelConfig(family="qwen3", vocab_size=vocab_size, qk_norm=True, norm="rms", tied=True, **sizes)


class FusionRecipe(RecipeFile):
    """Everything that shapes a run of `lmworks train` with `learns = "fusion"`."""

    explain_as: ClassVar[str] = "fusion"

    kind = "fusion"

    learns: Literal["fusion"] = "fusion"
    """What tells such a recipe from that of a model of text."""

    image_tokens: str = "models/image-tokens"
    """What writes images as tokens: a directory that `lmworks train image-tokens` made. Its files are copied into the
    result."""

    data: CaptionedPictures = CaptionedPictures()
    tokenizer: TokenizerConfig = TokenizerConfig(vocab_size=1024)
    """How to train the tokenizer on the captions; 1,024 tokens where nothing is said. Those of images come after it."""
    model: FusionSizes = FusionSizes()
    training: SerializeAsAny[TrainingConfig] = TrainingConfig()

    @model_validator(mode="before")
    @classmethod
    def _few_tokens(cls, values: Any) -> Any:
        tokenizer = values.get("tokenizer") if isinstance(values, dict) else None
        if isinstance(tokenizer, dict) and tokenizer.get("kind", "bpe") in ("bpe", "unigram", "word", "wordpiece"):
            values = values | {"tokenizer": {"vocab_size": 1024} | tokenizer}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if END not in self.tokenizer.special:
            raise ConfigError(f"{{at}}tokenizer.special_tokens lacks {END}, which begins and ends each row; add it")
        if self.tokenizer.chat_template is not None:
            raise ConfigError("{at}tokenizer.chat_template is for a model that chats; leave it out")
        return self
