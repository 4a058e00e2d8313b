"""ImageConfig and TowersConfig: a transformer that reads an image's patches, and one for images beside one for texts.

A ViT is an ImageConfig; CLIP and SigLIP are a TowersConfig. Their blocks are those of every other network.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self, cast

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.models.config import MOST_LAYERS, ModelConfig

MOST_PIXELS = 8192
"""The longest side of an image that a network reads."""
MOST_PLACES = 65_536
"""Patches of one image; attention between all of them takes the square of that."""


class ImageConfig(ModelConfig):
    """Every choice that shapes a transformer which reads images. Blocks, norms and positions are ModelConfig's."""

    explain_as: ClassVar[str] = "image"

    image_size: int = Field(gt=0, le=MOST_PIXELS)
    """Pixels of a side of the images that it reads, which are square."""

    patch_size: int = Field(gt=0, le=MOST_PIXELS)
    """Pixels of a side of a patch; each becomes one place of the stream."""

    channels: int = Field(default=3, gt=0, le=1000)
    """Numbers of a pixel: 3 for red, green and blue."""

    patch_bias: bool = True
    """A bias on the patches' projection (ViT, SigLIP; not CLIP)."""

    class_token: bool = True
    """A learned place before the patches, which comes to stand for the image (ViT, CLIP; not SigLIP)."""

    image_state: Literal["first", "mean", "attention"] = "first"
    """What stands for an image: the first place's state, the mean over all, or what a learned query takes from all by
    attention (SigLIP)."""

    @model_validator(mode="before")
    @classmethod
    def _places(cls, values: Any) -> Any:
        """What follows from the image: context, and that all places see each other."""
        if isinstance(values, dict):
            size, patch = values.get("image_size"), values.get("patch_size")
            context = 1  # of sizes that another check refuses
            if isinstance(size, int) and isinstance(patch, int) and 0 < patch <= size <= MOST_PIXELS:
                context = (size // patch) ** 2 + (values.get("class_token", True) is True)
            values.setdefault("context", context)
            values.setdefault("arrangement", "encoder")
            values.setdefault("vocab_size", 1)  # there are no tokens
        return values

    @model_validator(mode="after")
    def _sees(self) -> Self:
        if self.image_size % self.patch_size:
            raise ConfigError(
                f"{{at}}image_size ({self.image_size}) is not a multiple of {{at}}patch_size ({self.patch_size}); "
                "pixels at the edge would not be seen"
            )
        if self.places > MOST_PLACES:
            raise ConfigError(
                f"{{at}}patch_size {self.patch_size} cuts an image into {self.places:,} patches, and the most is "
                f"{MOST_PLACES:,}; take larger ones"
            )
        if self.context != self.places:
            raise ConfigError(f"{{at}}context is {self.context} and an image has {self.places} places; leave it out")
        if self.arrangement != "encoder":
            raise ConfigError(f"{{at}}arrangement is {self.arrangement!r}, and an image has no order; leave it out")
        return self

    @property
    def places(self) -> int:
        """Places of the stream: the patches, and the class token where there is one."""
        return (self.image_size // self.patch_size) ** 2 + self.class_token


class ReadsImages(Config):
    """What a transformer may have and a network beside it has not, for whoever asks a network."""

    causal: ClassVar[bool] = False
    is_classic_decoder: ClassVar[bool] = False
    arrangement: ClassVar[str] = "encoder"
    window: ClassVar[None] = None
    experts: ClassVar[None] = None


class TowersConfig(ReadsImages):
    """A tower for images and one for texts, whose vectors can be compared (CLIP, SigLIP)."""

    explain_as: ClassVar[str] = "towers"

    family: str = "clip"
    """The architecture whose names its files use: clip or siglip."""

    image: ImageConfig
    """The tower for images."""

    text: ModelConfig
    """The tower for texts."""

    width: int = Field(gt=0, le=100_000)
    """Numbers of a vector, of an image or of a text."""

    project_images: bool = True
    """A matrix from the image tower's width to that of the vectors (CLIP); without, the two are equal (SigLIP)."""

    projection_bias: bool = False
    """The projection of texts has a bias (SigLIP)."""

    text_end: Literal["token", "largest", "last"] = "token"
    """Whose state stands for a text: token: the first `end_token`; largest: the largest id (CLIP's first files); last:
    the last place, which may be padding (SigLIP)."""

    end_token: int | None = Field(default=None, ge=0)
    """The id that ends each text, where `text_end` asks for it."""

    bias: bool = False
    """A number is added to each scaled similarity, for a loss that judges each pair by itself (SigLIP)."""

    labels: ClassVar[tuple[str, ...]] = ()

    @property
    def vocab_size(self) -> int:
        """Of the tower for texts."""
        return self.text.vocab_size

    @property
    def context(self) -> int:
        """Tokens of the longest text."""
        return self.text.context

    @property
    def dim(self) -> int:
        """Numbers of a vector."""
        return self.width

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if not self.project_images and self.width != self.image.dim:
            raise ConfigError(
                f"{{at}}width ({self.width}) differs from {{at}}image.dim ({self.image.dim}), and "
                "{at}project_images is false; let it be true"
            )
        if (self.text_end == "token") != (self.end_token is not None):
            raise ConfigError(
                f"{{at}}text_end is {self.text_end!r} and {{at}}end_token is {self.end_token}: the token is for "
                "'token' alone, which needs one"
            )
        if self.text.arrangement == "encoder-decoder":
            raise ConfigError("{at}text.arrangement is 'encoder-decoder', and one stack reads a text; take 'decoder'")
        return self


class ClipSizes(Config):
    """The sizes of a CLIP or a SigLIP; what lies between them is as in the published ones."""

    explain_as: ClassVar[str] = "clip"

    image_size: int = Field(default=32, gt=0, le=MOST_PIXELS)
    """Pixels of a side of the images."""

    patch_size: int = Field(default=4, gt=0, le=MOST_PIXELS)
    """Pixels of a side of a patch."""

    dim: int = Field(default=128, gt=0, le=100_000)
    """Width of the image tower, and of the text tower unless `text_dim` is given."""

    layers: int = Field(default=4, gt=0, le=MOST_LAYERS)
    """Blocks of the image tower, and of the text tower unless `text_layers` is given."""

    heads: int = Field(default=4, gt=0, le=100_000)
    """Heads of either tower."""

    text_dim: int | None = Field(default=None, gt=0, le=100_000)
    """Width of the text tower."""

    text_layers: int | None = Field(default=None, gt=0, le=MOST_LAYERS)
    """Blocks of the text tower."""

    context: int = Field(default=32, gt=0, le=100_000)
    """Tokens of the longest text."""

    width: int = Field(default=128, gt=0, le=100_000)
    """Numbers of a vector; a SigLIP has those of `dim`."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of activations dropped in training."""

    sigmoid: bool = False
    """A SigLIP: each pair is judged by itself, the text tower is not causal, and a learned query sums an image up."""

    def towers(self, vocab_size: int, end_token: int) -> TowersConfig:
        """The config of both towers for a tokenizer with this many ids, which ends texts with `end_token`."""
        return self._siglip(vocab_size) if self.sigmoid else self._clip(vocab_size, end_token)

    def _clip(self, vocab_size: int, end_token: int) -> TowersConfig:
        image = self._image("clip", "quick_gelu", patch_bias=False, embedding_norm="layer")
        text = self._text("clip", "quick_gelu", vocab_size, "decoder")
        return TowersConfig(family="clip", image=image, text=text, width=self.width, end_token=end_token)

    def _siglip(self, vocab_size: int) -> TowersConfig:
        image = self._image("siglip", "gelu_tanh", class_token=False, image_state="attention")
        text = self._text("siglip", "gelu_tanh", vocab_size, "encoder")
        return TowersConfig(family="siglip", image=image, text=text, width=self.dim, **SIGLIP)

    def _image(self, family: str, activation: Any, **looks: Any) -> ImageConfig:
        sizes = {name: getattr(self, name) for name in ("image_size", "patch_size", "dim", "layers", "heads")}
        return ImageConfig(family=family, activation=activation, dropout=self.dropout, **sizes, **looks, **BLOCKS)

    def _text(self, family: str, activation: Any, vocab_size: int, arrangement: Any) -> ModelConfig:
        return ModelConfig(
            family=family,
            activation=activation,
            arrangement=arrangement,
            vocab_size=vocab_size,
            context=self.context,
            dim=self.text_dim or self.dim,
            layers=self.text_layers or self.layers,
            heads=self.heads,
            dropout=self.dropout,
            **BLOCKS,
        )


def clip_config(vocab_size: int, end_token: int, **sizes: Any) -> TowersConfig:
    """The config of a CLIP, or of a SigLIP where `sigmoid` is true; `sizes` are those of `ClipSizes`."""
    return ClipSizes(**sizes).towers(vocab_size, end_token)


SIGLIP: dict[str, Any] = {"project_images": False, "projection_bias": True, "text_end": "last", "bias": True}
"""What of a TowersConfig makes a SigLIP."""

BLOCKS: dict[str, Any] = {
    "positions": "learned",
    "norm": "layer",
    "gated": False,
    "qkv_bias": True,
    "output_bias": True,
    "feed_forward_bias": True,
    "tied": True,
}
"""What ViT, CLIP and SigLIP have in common."""


def as_model_config(config: Config) -> ModelConfig:
    """A config of this folder where a ModelConfig is expected, as its network stands where a Network would."""
    return cast(ModelConfig, config)
