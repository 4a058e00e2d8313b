"""The sections of a recipe of `lmworks train` beside the network, the objective and the training itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lmworks.basics.config import Config
from lmworks.models.relatives.glove_config import GloveConfig


class TextSettings(Config):
    """The text to learn from."""

    text: str = "python-reference"
    """A folder, a file, python-reference, a name of the data registry or hf:org/name. What `lmworks corpus` made keeps
    its own split: its train/ is trained on, and its held_out/ validates."""

    held_out: float = Field(default=0.1, gt=0, lt=1)
    """Share of the text that is never trained on and validates the model."""

    validation: str | None = None
    """A text that validates instead of a share of `text`; what both hold is not trained on."""

    test: str | None = None
    """seq2seq, classification: a text that the finished model is measured on, instead of what validates it."""

    hold_out: Literal["documents", "end"] = "documents"
    """Hold out whole documents, by their hash; or the end of each document, where there are few and long ones."""

    rows: Literal["stream", "documents"] = "stream"
    """stream: the corpus as one stream, cut anew each epoch; documents: whole documents that do not see each other.
    Masked objectives read as many whole sentences of a document as a row holds, whatever is said here."""


class NGramSettings(Config):
    """Embeddings of whole n-grams beside those of the tokens (model.family = "lmworks")."""

    longest: int = Field(default=1, ge=1, le=8)
    """Up to how many tokens; 1 for none."""

    most: int = Field(default=50_000, gt=0)
    """At most this many of each length: the most frequent ones of the training text."""


class EmbeddingSettings(Config):
    """What the tokens' embedding begins as."""

    source: str = "random"
    """random; glove, for vectors of words trained on the training text first; or a file of word vectors (GloVe's or
    word2vec's text, safetensors). Tokens that are a word begin as its vector, the others at random."""

    frozen: bool = False
    """Training leaves the embedding as it began, all of it; needs model.tied = false."""

    glove: GloveConfig = GloveConfig()
    """Of source = "glove"; dim is the network's."""


class ValidationSettings(Config):
    """How much is measured."""

    tokens: int = Field(default=1_000_000, gt=0)
    """At most this many tokens of the held-out text."""

    figures: tuple[Literal["bleu", "chrf", "rouge"], ...] = ("bleu", "chrf")
    """seq2seq: how like the references the answers of the finished model are; bleu and chrf for translations, rouge for
    summaries."""

    beams: int = Field(default=5, gt=0, le=100)
    """seq2seq: width of the beam search that writes those answers; 1 for the likeliest token each time."""


class SampleSettings(Config):
    """The text at the end."""

    prompt: str = "\n"
    """The beginning that the result continues."""

    max_new_tokens: int = Field(default=200, gt=0)
    """How far."""

    temperature: float = Field(default=0.8, ge=0)
    """0 for the likeliest token each time."""
