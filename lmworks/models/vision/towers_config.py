"""TowersConfig: a network for images beside one for texts, whose vectors can be compared (CLIP, SigLIP)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.models.config import MOST_LAYERS, ModelConfig
from lmworks.models.vision.config import BLOCKS, MOST_PIXELS, ImageConfig, ReadsImages
from lmworks.models.vision.convolutional_config import ConvolutionalConfig
from lmworks.models.vision.convolutions import Width
from lmworks.models.vision.efficientnet_config import EfficientNetConfig

OWN = "lmworks-towers"
"""Our own family: two towers that are neither a CLIP's nor a SigLIP's."""


class TowersConfig(ReadsImages):
    """A tower for images and one for texts, whose vectors can be compared (CLIP, SigLIP)."""

    explain_as: ClassVar[str] = "towers"

    family: str = "clip"
    """The architecture whose names its files use: clip or siglip; lmworks-towers for what neither has."""

    image: ImageConfig | ConvolutionalConfig | EfficientNetConfig
    """The tower for images: a transformer that reads patches, or convolutions."""

    image_hidden: int | None = Field(default=None, gt=0, le=100_000)
    """Units of a hidden layer, after a batch norm, between an image's state and its vector; None for a matrix alone."""

    image_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of an image's state, and of the hidden units, dropped in training."""

    beside: ConvolutionalConfig | None = None
    """Convolutions beside a frozen tower for images, which are trained: an image's vector is the sum of both networks'
    vectors, each brought to length 1."""

    text: ModelConfig
    """The tower for texts."""

    width: int = Field(gt=0, le=100_000)
    """Numbers of a vector, of an image or of a text."""

    project_images: bool = True
    """A matrix from the image tower's width to that of the vectors (CLIP); without, the two are equal (SigLIP)."""

    projection_bias: bool = False
    """The projection of texts has a bias (SigLIP)."""

    text_end: Literal["token", "largest", "last", "mean", "first"] = "token"
    """Whose state stands for a text: token: the first `end_token`; largest: the largest id (CLIP's first files); last:
    the last place, which may be padding (SigLIP); mean or first: the mean over all tokens, or the first (encoders of
    sentences)."""

    end_token: int | None = Field(default=None, ge=0)
    """The id that ends each text, where `text_end` asks for it."""

    pad_token: int | None = Field(default=None, ge=0)
    """The id of padding, which no other token of a text sees; None where that need not be known."""

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
        if self.text_end == "mean" and self.pad_token is None:
            raise ConfigError("{at}text_end is 'mean', and padding has no part in it; give its id, {at}pad_token")
        if self.family != OWN and not isinstance(self.image, ImageConfig):
            raise ConfigError(f"{{at}}family is {self.family!r}, and its images are read by patches; take {OWN!r}")
        if self.image_hidden and (self.family != OWN or not self.project_images):
            raise ConfigError(f"{{at}}image_hidden is for {{at}}family {OWN!r} with {{at}}project_images; leave it out")
        if self.beside is not None and not (isinstance(self.image, EfficientNetConfig) and self.image_hidden):
            raise ConfigError("{at}beside stands beside an EfficientNet with {at}image_hidden; leave it out")
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

    widths: tuple[Width, ...] | None = Field(default=None, min_length=1, max_length=8)
    """Channels of each block of convolutions, which then read the images (the network of `learns = "classes"`), or do
    so beside `image_model`; None for patches and a transformer."""

    image_model: str | None = None
    """A pretrained network of convolutions (efficientnet, say) as the tower for images. It is frozen, and reads each
    image twice in a whole run, as it is and changed; None for a tower from nothing."""

    image_stages: tuple[int, ...] = (2, 4)
    """Stages of `image_model`, counted from 0, whose maps are pooled to 4 x 4 places and concatenated to its vector."""

    image_hidden: int = Field(default=512, gt=0, le=100_000)
    """Units of the hidden layer between the vectors of `image_model` and those of the towers."""

    small_size: int = Field(default=32, ge=16, le=MOST_PIXELS)
    """Pixels of a side that the images are reduced to for convolutions beside `image_model`."""

    text_model: str | None = None
    """A model that makes vectors of texts (minilm, say) as the tower for texts; None for one from nothing."""

    text_trained: bool = False
    """Whether the model for texts is trained too. One that stays as it is reads each text only once."""

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

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.sigmoid and any((self.widths, self.image_model, self.text_model)):
            raise ConfigError(
                "{at}sigmoid makes a SigLIP, whose towers are its own; leave {at}widths, {at}image_model and "
                "{at}text_model out"
            )
        if self.small_size != type(self).model_fields["small_size"].default and None in (self.widths, self.image_model):
            raise ConfigError("{at}small_size is for {at}widths beside {at}image_model; leave it out, or give both")
        if self.image_model is not None and self.widths is not None and self.small_size > self.image_size:
            raise ConfigError(
                f"{{at}}small_size ({self.small_size}) is more than {{at}}image_size ({self.image_size}), which is "
                "reduced to it; give less"
            )
        if self.image_model is None:
            for name in ("image_stages", "image_hidden"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ConfigError(f"{{at}}{name} is for {{at}}image_model, and there is none; leave it out")
        if self.text_trained and self.text_model is None:
            raise ConfigError("{at}text_trained is for {at}text_model; a tower from nothing is always trained")
        return self

    def towers(self, vocab_size: int, end_token: int, known: EfficientNetConfig | None = None) -> TowersConfig:
        """The config of both towers for a tokenizer with this many ids, which ends texts with `end_token`; `known` as
        for `around`."""
        if self.sigmoid:
            return self._siglip(vocab_size)
        text = self._text("clip", "quick_gelu", vocab_size, "decoder")
        return self.around(text, known, text_end="token", end_token=end_token)

    def around(self, text: ModelConfig, known: EfficientNetConfig | None = None, **ends: Any) -> TowersConfig:
        """The config of both towers with this one for texts, which `ends` says how to sum up; `known` is the
        pretrained tower for images, where there is one."""
        image: ImageConfig | ConvolutionalConfig | EfficientNetConfig
        size = self.image_size if known is None else self.small_size
        convolutions = None
        if self.widths is not None:
            convolutions = ConvolutionalConfig(image_size=size, widths=self.widths, image_state="places")
        if known is not None:
            learnt: dict[str, Any] = {"image_hidden": self.image_hidden, "image_dropout": self.dropout}
            learnt |= {"beside": convolutions, "width": self.width}
            return TowersConfig(family=OWN, image=known, text=text, **learnt, **ends)
        image = convolutions or self._image("clip", "quick_gelu", patch_bias=False, embedding_norm="layer")
        family = "clip" if self.widths is None and self.text_model is None else OWN
        return TowersConfig(family=family, image=image, text=text, width=self.width, **ends)

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
