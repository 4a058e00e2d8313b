"""ModelConfig: every choice that shapes a network, each with its meaning below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from lmworks.basics.config import Config
from lmworks.basics.declared import declared
from lmworks.basics.errors import ConfigError
from lmworks.models.convolution_settings import ConvolutionSettings
from lmworks.models.expert_settings import ExpertSettings
from lmworks.models.latent_settings import LatentSettings
from lmworks.models.rope_scaling import RopeScaling

__all__ = [
    "ConvolutionSettings",
    "ExpertSettings",
    "LatentSettings",
    "ModelConfig",
    "PositionDeclaration",
    "RopeScaling",
    "position_declarations",
    "stretched",
]

# A config comes from outside: sizes are bounded so that none can ask for more memory than its weights have.
Positive = Field(gt=0, le=100_000_000)
MOST_LAYERS = 10_000
MOST_CLUSTERS = 16
MOST_PARTS = 100_000
MOST_LABELS = 100_000


class PositionDeclaration:
    """What a config knows of a positional encoding. How it is computed: `lmworks.models.positions.encoding`."""

    name: str
    """The value of ModelConfig.positions."""

    acts_on: Literal["embedding", "heads", "scores"] | None
    """embedding: something is added to each token's; heads: queries and keys are rotated; scores: a bias is added to
    those of attention; None: nowhere."""

    fields: tuple[str, ...] = ()
    """Fields of ModelConfig that only this encoding reads."""

    settings: type[Config] | None = None
    """What ModelConfig.position_settings holds; None where the encoding has no settings of its own."""

    def check(self, config: ModelConfig) -> None:
        """ConfigError where the config does not suit the encoding; {at} in its text stands for the config's path."""


def position_declarations() -> Mapping[str, PositionDeclaration]:
    """Every positional encoding by its name. Their files load torch, which is why this is not done at import."""
    return declared("lmworks.models.positions", PositionDeclaration)


class ModelConfig(Config):
    """Every choice that shapes a network."""

    explain_as: ClassVar[str] = "model"

    family: str = "llama"
    """The architecture whose names its files use, one of those of lmworks/models/families (docs/models.md lists them);
    lmworks is our own and takes every choice below."""

    arrangement: Literal["decoder", "encoder", "encoder-decoder"] = "decoder"
    """decoder: each token sees those before it; encoder: all see all; encoder-decoder: a decoder that also attends to
    what an encoder made of a source text."""

    vocab_size: int = Positive
    """Rows of the embedding; at least the tokenizer's largest id + 1."""

    dim: int = Positive
    """Width of the residual stream."""

    embedding_dim: int | None = Field(default=None, gt=0, le=100_000_000)
    """Width of the embeddings, which a dense layer then brings to `dim` (ELECTRA); None for `dim` itself."""

    layers: int = Field(gt=0, le=MOST_LAYERS)
    """Number of blocks; of an encoder-decoder, those of its decoder."""

    encoder_layers: int | None = Field(default=None, gt=0, le=MOST_LAYERS)
    """Blocks of an encoder-decoder's encoder; as many as `layers` unless given."""

    heads: int = Positive
    """Query heads."""

    kv_heads: int = Positive
    """Key and value heads, shared by groups of query heads; equal to `heads` for plain attention."""

    head_dim: int = Positive
    """Width of one head; dim / heads unless given."""

    hidden_dim: int = Positive
    """Width inside the feed-forward; 4 x dim unless given."""

    context: int = Positive
    """The longest text in tokens that the network reads."""

    positions: str = "rope"
    """How the network knows the order of tokens. rope: queries and keys are rotated; learned, sinusoidal: an embedding
    is added; relative, alibi: a bias on attention's scores, learned for ranges of distances (T5) or falling with the
    distance (ALiBi); learned_relative: an embedding and a learned bias (MPNet); none: not at all. Each is a file of
    lmworks/models/positions."""

    position_settings: SerializeAsAny[Config] | None = None
    """The settings of a positional encoding that brings its own; those above have theirs below."""

    position_offset: int = Field(default=0, ge=0, le=1000)
    """The number of the first position that is learned or a place of the sines (BART, M2M100: 2)."""

    waves_include_end: bool = False
    """The wavelengths of sinusoidal positions end with 20,000 pi (tensor2tensor, M2M100) and not just below it."""

    relative_buckets: int = Field(default=32, ge=4, le=100_000)
    """Ranges of distances that relative positions tell apart."""

    relative_distance: int = Field(default=128, gt=0)
    """From this distance on, relative positions tell nothing apart."""

    rotary_dim: int | None = Field(default=None, gt=0)
    """How many dimensions of each head rotary positions turn, from the first; None for all."""

    rope_theta: float = Field(default=10_000.0, gt=0)
    """Base of the rotary frequencies."""

    rope_scaling: RopeScaling | None = None
    """How rotary frequencies are stretched; None for not at all."""

    rope_layers: tuple[int, ...] | None = None
    """The layers that rotate queries and keys, the others know nothing of the order (SmolLM3); None for all."""

    window_theta: float | None = Field(default=None, gt=0)
    """Base of the rotary frequencies in layers with a window, which are not stretched there (Gemma 3); None for the
    same as in the others."""

    norm: Literal["rms", "layer", "none"] = "rms"
    """Root-mean-square norm without bias, layer norm, or none (to see what a network is without)."""

    norm_place: Literal["before", "after", "result", "both"] = "before"
    """before: each part reads the normed stream, and a norm ends the blocks (pre-norm); after: the sum of stream and
    part is normed (post-norm, as the first transformers); result: what a part makes is normed before it is added, and
    a norm ends the blocks (OLMo 2); both: before and result (Gemma 2)."""

    first_norm: bool = True
    """The first block's attention reads a normed stream; False where the embeddings are normed already (ModernBERT)."""

    parallel: bool = False
    """Attention and feed-forward of a block read the same stream and are added at once (GPT-NeoX)."""

    shared_norm: bool = False
    """The two parts of a parallel block read the stream through one norm (Phi, Cohere)."""

    residual: bool = True
    """Each part is added to the stream; False lets it replace the stream (to see what a network is without)."""

    residual_scale: float | None = Field(default=None, gt=0)
    """What each part makes is multiplied by before it is added (Granite); None for 1."""

    norm_eps: float = Field(default=1e-5, gt=0)
    """Added to the variance before the root."""

    norm_weight: bool = True
    """The norm multiplies by a learned weight."""

    norm_bias: bool = True
    """A layer norm adds a learned bias; a root-mean-square norm never does."""

    norm_unit_offset: bool = False
    """The norm multiplies by 1 + weight (Gemma) and not by weight."""

    activation: Literal[
        "silu", "gelu", "gelu_tanh", "quick_gelu", "relu", "relu_squared", "xielu", "sigmoid", "tanh"
    ] = "silu"
    """The feed-forward's non-linearity; gelu is exact, gelu_tanh its tanh approximation, quick_gelu one by a sigmoid
    (gpt-oss), xielu learns two numbers a layer (Apertus). sigmoid and tanh are for a gate (GLU), or to see why plain
    ones were given up."""

    gated: bool = True
    """The feed-forward multiplies activation(gate) with a second projection (SwiGLU and relatives)."""

    gate_limit: float | None = Field(default=None, gt=0)
    """A gated feed-forward cuts the gate off above this, and what it multiplies above and below (gpt-oss: 7)."""

    gate_shift: bool = False
    """The gate multiplies 1 more than the second projection (gpt-oss)."""

    experts: ExpertSettings | None = None
    """Many feed-forwards, of which each token uses a few; None for one that all tokens use. `lmworks explain experts`
    has their settings."""

    qkv_bias: bool = False
    """Biases on query, key and value projections."""

    output_bias: bool = False
    """Bias on the attention's output projection."""

    feed_forward_bias: bool = False
    """Biases in the feed-forward."""

    qk_norm: bool = False
    """An RMS norm over query and key (Qwen3)."""

    qk_norm_over: Literal["head", "row"] = "head"
    """head: each head is normed, with one weight for all heads; row: all heads at once (OLMo 2)."""

    qk_norm_after: bool = False
    """Query and key are normed after the rotation (Hunyuan) and not before it."""

    sinks: bool = False
    """Each head learns a score that joins every softmax and takes weight away from all tokens (gpt-oss)."""

    latent: LatentSettings | None = None
    """Keys and values that are made of one narrow state (DeepSeek-V3); None for projections of their own. `lmworks
    explain latent` has its settings."""

    convolution: ConvolutionSettings | None = None
    """Short convolutions in place of some layers' attention (LFM2); None where all attend. `lmworks explain
    convolution` has its settings."""

    attention_scale: float | None = Field(default=None, gt=0)
    """What dot products of query and key are multiplied by; None for 1 / root of head_dim."""

    attention_cap: float | None = Field(default=None, gt=0)
    """Scores are softly kept below this: cap * tanh(scores / cap) (Gemma 2); None for no cap."""

    window: int | None = Field(default=None, gt=0)
    """Each token sees this many tokens back, itself included; None for the whole context."""

    window_layers: tuple[int, ...] | None = None
    """The layers that use the window, of an encoder-decoder in both stacks; None for all."""

    scale_embedding: bool = False
    """Multiply embeddings by the root of dim (Gemma)."""

    embedding_scale: float | None = Field(default=None, gt=0)
    """What embeddings are multiplied by (Granite); None for 1, or what scale_embedding says."""

    embedding_norm: Literal["rms", "layer"] | None = None
    """rms: an RMS norm without weight over the tokens' embeddings; layer: a layer norm over their sum with those of
    positions and segments (BERT, BART)."""

    segments: int = Field(default=0, ge=0, le=1000)
    """Segment embeddings that are added to the tokens' (BERT: 2, for the first and the second text); 0 for none."""

    ngrams: tuple[Annotated[int, Field(gt=0)], ...] = ()
    """How many different 2-grams, 3-grams, ... have an embedding of their own, added to the token's."""

    logit_cap: float | None = Field(default=None, gt=0)
    """Logits are softly kept below this: cap * tanh(logits / cap); None for no cap."""

    tied: bool = True
    """The head uses the embedding's own matrix."""

    head_transform: bool = False
    """A dense layer, activation and norm between hidden states and head (BERT's masked language model)."""

    head_transform_bias: bool = True
    """The head_transform's dense layer has a bias."""

    head_bias: bool = False
    """A bias on the logits."""

    head_scale: float | None = Field(default=None, gt=0)
    """What hidden states are multiplied by before the head (T5 with tied embeddings: 1 / root of dim)."""

    pooler: bool = False
    """A dense layer with an activation over the state that stands for the text (BERT), or over each token's where the
    classifier judges tokens (ELECTRA)."""

    pooler_activation: Literal["tanh", "relu", "gelu", "gelu_tanh", "silu"] = "tanh"
    """Of the pooler: tanh (BERT), relu (DistilBERT), gelu (ELECTRA)."""

    text_state: Literal["token", "mean"] = "token"
    """What stands for a text: the state of an encoder's first or a decoder's last token, or the mean over all."""

    labels: tuple[str, ...] = Field(default=(), max_length=MOST_LABELS)
    """Names of the classes of a classifier over hidden states; none for no classifier."""

    labels_of: Literal["texts", "tokens"] = "texts"
    """What the classifier judges: a whole text (its `text_state`, after the pooler where there is one), or each
    token."""

    classifier_transform: bool = False
    """The classifier, too, reads states through the head_transform (ModernBERT)."""

    adaptive_cutoffs: tuple[Annotated[int, Positive], ...] | None = Field(
        default=None, min_length=1, max_length=MOST_CLUSTERS
    )
    """An adaptive softmax as the head: tokens up to the first cutoff in the order of frequency are predicted at once,
    those after each cutoff through a cluster of their own; None for one softmax over all."""

    adaptive_divisor: float = Field(default=4.0, ge=1, le=10_000)
    """Cluster i (from 1) of an adaptive softmax predicts from dim / adaptive_divisor^i dimensions."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of activations dropped in training: after the embedding, in the attention pattern, after each part."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """What follows from other settings unless given: kv_heads, head_dim, hidden_dim."""
        if isinstance(values, dict):
            dim, heads = values.get("dim"), values.get("heads")
            if isinstance(heads, int):
                values.setdefault("kv_heads", heads)
            if isinstance(dim, int) and isinstance(heads, int) and heads > 0 and values.get("head_dim") is None:
                if dim % heads:
                    raise ConfigError(
                        f"{{at}}dim ({dim}) is not a multiple of {{at}}heads ({heads}); give head_dim too"
                    )
                values["head_dim"] = dim // heads
            if isinstance(dim, int):
                values.setdefault("hidden_dim", 4 * dim)
            _fill_in_position_settings(values)
        return values

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.heads % self.kv_heads:
            raise ConfigError(f"{{at}}heads ({self.heads}) is not a multiple of {{at}}kv_heads ({self.kv_heads})")
        self._check_positions()
        self._check_arrangement()
        if self.embedding_dim is not None and (self.ngrams or (self.causal and self.tied)):
            raise ConfigError(
                "{at}embedding_dim is for encoders, and for decoders whose head has a matrix of its own, without "
                "{at}ngrams; leave it out"
            )
        self._check_norms()
        if not self.gated and (self.gate_limit is not None or self.gate_shift):
            raise ConfigError("{at}gate_limit and {at}gate_shift need {at}gated = true; leave them out")
        if self.vocab_size ** (len(self.ngrams) + 1) >= 2**63:
            raise ConfigError(
                f"{{at}}ngrams asks for {len(self.ngrams) + 1}-grams of {self.vocab_size:,} tokens, which have no "
                "number in 64 bits; take shorter ones"
            )
        self._check_adaptive()
        if self.window_layers is not None and self.window is None:
            raise ConfigError(
                "{at}window_layers says where {at}window is used, and there is none; give one or leave both out"
            )
        self._check_layers("window_layers", self.window_layers)
        self._check_layers("rope_layers", self.rope_layers)
        self._check_experts()
        self._check_latent()
        if self.convolution is not None:
            self._check_layers("convolution.layers", self.convolution.layers)
            if self.arrangement != "decoder":
                raise ConfigError(
                    f"{{at}}convolution looks back alone and is for a decoder, and {{at}}arrangement is "
                    f"{self.arrangement!r}"
                )
        return self

    def _check_norms(self) -> None:
        if self.norm == "layer" and self.norm_bias and not self.norm_weight:
            raise ConfigError("{at}norm_weight = false of a layer norm needs {at}norm_bias = false too")
        if self.norm_unit_offset and not self.norm_weight:
            raise ConfigError("{at}norm_unit_offset adds to a weight, and {at}norm_weight = false leaves none")
        if not self.qk_norm and (self.qk_norm_over != "head" or self.qk_norm_after):
            raise ConfigError("{at}qk_norm_over and {at}qk_norm_after are for {at}qk_norm = true; leave them out")
        if not self.first_norm and (self.norm_place != "before" or self.parallel):
            raise ConfigError("{at}first_norm = false is for {at}norm_place = 'before' without {at}parallel")
        if self.shared_norm and not self.parallel:
            raise ConfigError("{at}shared_norm is for {at}parallel = true: else each part reads another stream")
        if self.head_transform and self.activation == "xielu":
            raise ConfigError("{at}head_transform has no numbers of its own to learn; take another {at}activation")
        if self.embedding_scale is not None and self.scale_embedding:
            raise ConfigError("{at}scale_embedding and {at}embedding_scale both scale embeddings; give one of them")

    def _check_latent(self) -> None:
        if self.latent is None:
            return
        if self.arrangement != "decoder" or not self.rotates or self.rotary_dim in (None, self.head_dim):
            raise ConfigError(
                "{at}latent is for a decoder whose heads are rotated in part: give a {at}rotary_dim below {at}head_dim"
            )
        if self.kv_heads != self.heads or self.qk_norm or self.window_theta is not None:
            raise ConfigError(
                "{at}latent has as many {at}kv_heads as {at}heads, no {at}qk_norm and no {at}window_theta"
            )

    def _check_experts(self) -> None:
        if self.experts is None:
            return
        named = self.experts.layers
        if self.activation == "xielu":
            raise ConfigError("{at}activation = 'xielu' learns its numbers in one feed-forward; leave out {at}experts")
        self._check_layers("experts.layers", named)
        if named is not None and (not named or len(set(named)) < len(named)):
            raise ConfigError("{at}experts.layers must name each of its layers once, and at least one")
        if self.experts.count * self.layers > MOST_PARTS:
            raise ConfigError(
                f"{{at}}experts.count ({self.experts.count}) in {{at}}layers ({self.layers}) is more than "
                f"{MOST_PARTS:,} experts; take fewer"
            )

    def _check_layers(self, name: str, named: tuple[int, ...] | None) -> None:
        """Both stacks of an encoder-decoder go by the same numbers."""
        fewest = min(self.layers, self.encoder_layers or self.layers)
        outside = [layer for layer in named or () if not 0 <= layer < fewest]
        if outside:
            where = "" if fewest == self.layers else " in the encoder"
            raise ConfigError(f"{{at}}{name} names layer {outside[0]}, and there are {fewest} layers{where}")

    def _check_positions(self) -> None:
        own = self.position_declaration
        of: dict[str, list[str]] = {}
        for other in position_declarations().values():
            for name in other.fields:
                of.setdefault(name, []).append(repr(other.name))
        for name, kinds in of.items():
            value = getattr(self, name)
            if name not in own.fields and value != type(self).model_fields[name].default:
                raise ConfigError(
                    f"{{at}}{name} ({getattr(value, 'kind', value)}) is for {{at}}positions = {' or '.join(kinds)}, "
                    f"and {{at}}positions is {self.positions!r}; leave it out"
                )
        own.check(self)

    def _check_arrangement(self) -> None:
        if self.encoder_layers is not None and self.arrangement != "encoder-decoder":
            raise ConfigError(
                f"{{at}}encoder_layers is for an encoder-decoder, and {{at}}arrangement is {self.arrangement!r}"
            )
        if self.ngrams and self.arrangement != "decoder":
            raise ConfigError(
                f"{{at}}ngrams look back alone and are for a decoder, and {{at}}arrangement is {self.arrangement!r}"
            )
        if self.sinks and self.arrangement == "encoder-decoder":
            raise ConfigError("{at}sinks is for a decoder or an encoder, and {at}arrangement is 'encoder-decoder'")
        if self.parallel and self.norm_place != "before":
            raise ConfigError(
                "{at}parallel needs {at}norm_place = 'before': two parts at once have no norm between them"
            )
        if self.classifier_transform and not (self.labels and self.head_transform):
            raise ConfigError("{at}classifier_transform needs {at}labels and {at}head_transform")
        if not self.labels and self.labels_of == "tokens":
            raise ConfigError("{at}labels_of = 'tokens' needs {at}labels, the names of the classes")
        if twice := sorted(label for label, count in Counter(self.labels).items() if count > 1):
            raise ConfigError(f"{{at}}labels names {twice[0]!r} twice; each class needs a name of its own")

    def _check_adaptive(self) -> None:
        cutoffs = self.adaptive_cutoffs
        if cutoffs is None:
            return
        if any(later <= earlier for earlier, later in pairwise((*cutoffs, self.vocab_size))):
            raise ConfigError(
                f"{{at}}adaptive_cutoffs ({', '.join(map(str, cutoffs))}) must rise and stay below {{at}}vocab_size "
                f"({self.vocab_size})"
            )
        if self.head_bias or self.head_transform:
            raise ConfigError(
                "{at}head_bias and {at}head_transform are for one softmax; leave out {at}adaptive_cutoffs"
            )
        if self.tied:
            raise ConfigError("{at}adaptive_cutoffs needs {at}tied = false: an adaptive softmax has its own matrices")
        if self.logit_cap is not None:
            raise ConfigError("{at}logit_cap is for one softmax over all; leave out it or {at}adaptive_cutoffs")
        if not self.cluster_dim(len(cutoffs)):
            raise ConfigError(
                f"{{at}}adaptive_divisor ({self.adaptive_divisor:g}) leaves cluster {len(cutoffs)} no dimension of "
                f"{{at}}dim ({self.dim}); take a smaller one or fewer {{at}}adaptive_cutoffs"
            )

    @property
    def embedding_width(self) -> int:
        """Of an embedding, before it is brought to `dim`."""
        return self.embedding_dim or self.dim

    @property
    def causal(self) -> bool:
        """Does each token see only those before it?"""
        return self.arrangement != "encoder"

    @property
    def position_declaration(self) -> PositionDeclaration:
        """What the config's positional encoding declares."""
        return position_declarations()[self.positions]

    @property
    def rotates(self) -> bool:
        """Are queries and keys rotated by their positions?"""
        return self.position_declaration.acts_on == "heads"

    @property
    def is_classic_decoder(self) -> bool:
        """A decoder of sequential pre-norm blocks on a residual stream, its heads wholly rotated where they are and
        its parts neither capped nor scaled: what fast ways of running a block by hand are written for."""
        return (
            self.arrangement == "decoder"
            and self.norm_place == "before"
            and self.norm != "none"
            and self.residual
            and not self.parallel
            and self.first_norm
            and self.rotary_dim is None
            and self.residual_scale is None
            and self.attention_cap is None
            and self.qk_norm_over == "head"
            and not self.qk_norm_after
            and self.activation != "xielu"
            and self.experts is None
            and self.latent is None
            and self.convolution is None
            and not self.sinks
            and self.gate_limit is None
            and not self.gate_shift
            and self.activation != "quick_gelu"
            and self.position_declaration.acts_on != "scores"
        )

    def cached(self, layer: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """What a cache keeps of one token in a layer: heads and width of its keys, and of its values."""
        if self.convolves(layer):  # what the token hands on
            return (1, self.dim), (1, 0)
        if self.latent is not None and self.rotary_dim is not None:  # the state, and the key's rotated part
            return (1, self.latent.rank + self.rotary_dim), (1, 0)
        return (self.kv_heads, self.head_dim), (self.kv_heads, self.head_dim)

    @property
    def cached_numbers(self) -> int:
        """Numbers that a cache keeps of one token in all layers."""
        return sum(heads * width for layer in range(self.layers) for heads, width in self.cached(layer))

    def convolves(self, layer: int) -> bool:
        """Has this layer a short convolution in place of attention?"""
        return self.convolution is not None and layer in self.convolution.layers

    @property
    def expert_dim(self) -> int:
        """Width inside one expert."""
        assert self.experts is not None
        return self.experts.hidden_dim or self.hidden_dim

    def has_experts(self, layer: int) -> bool:
        """Is the feed-forward of this layer a mixture of experts?"""
        return self.experts is not None and (self.experts.layers is None or layer in self.experts.layers)

    def encoder(self) -> ModelConfig:
        """The config of an encoder-decoder's encoder."""
        return self.but(arrangement="encoder", layers=self.encoder_layers or self.layers, encoder_layers=None)

    def cluster_dim(self, number: int) -> int:
        """The width that cluster `number` (from 1) of an adaptive softmax predicts from."""
        return int(self.dim // self.adaptive_divisor**number)

    def window_of(self, layer: int) -> int | None:
        """The window that one layer uses; None for the whole context."""
        if self.convolution is not None and self.convolves(layer):
            return self.convolution.width
        return self.window if self.window_layers is None or layer in self.window_layers else None


def _fill_in_position_settings(values: dict[str, Any]) -> None:
    """Make the settings that the named encoding declares; ConfigError for a name that nothing declares."""
    name, declarations = values.get("positions", "rope"), position_declarations()
    if not isinstance(name, str):
        return  # the field's own check says so
    if name not in declarations:
        raise ConfigError(f"{{at}}positions is {name!r}; take one of {', '.join(declarations)}")
    kind, given = declarations[name].settings, values.get("position_settings")
    if isinstance(given, kind or ()) or (kind is None and given is None):
        return
    if kind is None or not (given is None or isinstance(given, Mapping)):
        raise ConfigError(
            f"{{at}}position_settings is {given!r}, and {{at}}positions = {name!r} "
            + ("has no settings of its own; leave it out" if kind is None else "takes a table of settings")
        )
    try:
        values["position_settings"] = kind(**(given or {}))
    except ConfigError as error:
        raise error.inside(("position_settings",)) from None


def stretched(config: ModelConfig, scaling: RopeScaling) -> ModelConfig:
    """The same network for texts `factor` times as long. ConfigError where it has no rotary positions, or is
    stretched."""
    if config.positions != "rope":
        raise ConfigError(f"rope_scaling stretches rotary positions, and this network's are {config.positions}")
    if config.rope_scaling is not None:
        raise ConfigError(f"this network is stretched already (rope_scaling {config.rope_scaling.kind}); leave it so")
    if scaling.factor <= 1:
        raise ConfigError(f"rope_scaling.factor is {scaling.factor:g}; above 1 makes the context longer")
    original = scaling.original_context or config.context
    longer = scaling.but(original_context=original)
    return config.but(context=int(original * scaling.factor), rope_scaling=longer)
