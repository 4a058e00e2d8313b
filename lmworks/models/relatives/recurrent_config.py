"""RecurrentConfig: every choice that shapes a recurrent network, each with its meaning below it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, cast

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.models.config import ModelConfig, Positive

MOST_LAYERS = 100
TRANSFORMER, RECURRENT = "transformer", "recurrent"
KINDS = (TRANSFORMER, RECURRENT)


class RecurrentConfig(Config):
    """Every choice that shapes a recurrent network. `lmworks explain recurrent` prints these lines."""

    explain_as: ClassVar[str] = "recurrent"

    family: Literal["lmworks-recurrent"] = "lmworks-recurrent"
    """The architecture whose names its files use: our own, which lmworks reads; transformers and other programs do
    not."""

    arrangement: Literal["decoder", "encoder-decoder"] = "decoder"
    """decoder: a language model, which reads its text from the left; encoder-decoder: one that begins with what an
    encoder made of a source text, and attends to it."""

    cell: Literal["lstm", "gru", "tanh"] = "lstm"
    """What carries the state on: a long short-term memory (Hochreiter & Schmidhuber 1997, with forget gates), a gated
    unit (Cho et al. 2014), or tanh alone (Elman 1990)."""

    vocab_size: int = Positive
    """Rows of the embedding; at least the tokenizer's largest id + 1."""

    dim: int = Positive
    """Width of the embedding, and of what the head reads."""

    hidden_dim: int = Positive
    """Width of the state that each layer carries on; dim unless given."""

    layers: int = Field(default=1, gt=0, le=MOST_LAYERS)
    """Layers; of an encoder-decoder, on either side."""

    context: int = Positive
    """The longest text in tokens that is read at once. The recurrence itself has no end: it is the length that the
    network is trained for."""

    bidirectional: bool = False
    """The encoder reads from both sides, each direction with half of hidden_dim; on for an encoder-decoder unless
    given."""

    attention: Literal["dot", "general", "additive", "none"] = "none"
    """How a decoder's state is compared with each state of the source: by their product, by a product through a matrix
    (Luong et al. 2015; general is an encoder-decoder's unless given), or by a layer with tanh (Bahdanau et al. 2014);
    none: the decoder has only its first state from the source."""

    input_feeding: bool = False
    """What the attention gave is an input of the next step (Luong et al. 2015, section 3.3): steps follow one another
    in training too."""

    tied: bool = True
    """The head uses the embedding's own matrix."""

    head_bias: bool = False
    """A bias on the logits."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of activations dropped in training: after the embedding, between layers, before the head; never from one
    step to the next (Zaremba et al. 2014)."""

    causal: ClassVar[bool] = True
    """Each token sees only those before it."""
    is_classic_decoder: ClassVar[bool] = False
    window: ClassVar[None] = None
    logit_cap: ClassVar[None] = None
    head_scale: ClassVar[None] = None
    adaptive_cutoffs: ClassVar[None] = None
    head_transform: ClassVar[bool] = False
    experts: ClassVar[None] = None
    pooler: ClassVar[bool] = False
    labels: ClassVar[tuple[str, ...]] = ()
    # What a transformer may have and this has not, for whoever asks a network.

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """What follows from other settings unless given: hidden_dim, attention, bidirectional."""
        if isinstance(values, dict):
            two = values.get("arrangement") == "encoder-decoder"
            given = {name: value for name, value in values.items() if name != "attention" or value is not None}
            given.setdefault("attention", "general" if two and "attention" not in values else "none")
            given.setdefault("bidirectional", two)
            if "dim" in given:
                given.setdefault("hidden_dim", given["dim"])
            return given
        return values

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        for name, value, without in (
            ("bidirectional", self.bidirectional, False),
            ("attention", self.attention, "none"),
        ):
            if value != without and self.arrangement != "encoder-decoder":
                raise ConfigError(
                    f"{{at}}{name} = {value!r} is for an encoder-decoder, and {{at}}arrangement is {self.arrangement!r}"
                )
        if self.input_feeding and self.attention == "none":
            raise ConfigError(
                "{at}input_feeding = True hands on what the attention gave, and {at}attention is 'none'; choose one"
            )
        if self.bidirectional and self.hidden_dim % 2:
            raise ConfigError(
                f"{{at}}hidden_dim ({self.hidden_dim}) is odd, and {{at}}bidirectional = True gives each direction "
                "a half"
            )
        return self


def network_config(settings: Mapping[str, Any]) -> ModelConfig:
    """The config of a network of the `kind` that the settings name, a transformer unless they do; a RecurrentConfig
    stands where a ModelConfig would, as its network stands where a Network would. ConfigError for a kind that there is
    not."""
    rest = {name: value for name, value in settings.items() if name != "kind"}
    kind = settings.get("kind", TRANSFORMER)
    if kind not in KINDS:
        raise ConfigError(f"{{at}}kind is {kind!r}; there are {' and '.join(KINDS)}")
    return ModelConfig(**rest) if kind == TRANSFORMER else cast(ModelConfig, RecurrentConfig(**rest))
