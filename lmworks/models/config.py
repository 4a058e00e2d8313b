"""ModelConfig: every choice that shapes a network, each with its meaning below it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError

# A config comes from outside: sizes are bounded so that none can ask for more memory than its weights have.
Positive = Field(gt=0, le=100_000_000)
MOST_LAYERS = 10_000
MOST_CLUSTERS = 16
MOST_EXPERTS = 1024
MOST_PARTS = 100_000
MOST_LABELS = 100_000


OF_POSITIONS = {
    "position_offset": "learned",
    "relative_buckets": "relative",
    "relative_distance": "relative",
    "rotary_dim": "rope",
    "rope_theta": "rope",
    "rope_scaling": "rope",
}
"""The settings of one kind of positions alone."""


class RopeScaling(Config):
    """How rotary frequencies are stretched to read further than the network was trained for."""

    explain_as: ClassVar[str] = "rope_scaling"

    kind: Literal["linear", "dynamic", "yarn", "llama3"]
    """linear: all frequencies divided by `factor` (Chen et al. 2023); dynamic: the base grows with the text
    (NTK); yarn: high frequencies kept, low ones divided (Peng et al. 2023); llama3: the same in Llama 3.1's form."""

    factor: float = Field(gt=0)
    """How many times longer the text may become."""

    original_context: int | None = None
    """The context before stretching; None for the network's own."""

    attention_factor: float | None = None
    """yarn: multiplies cosine and sine; None for 0.1 ln(factor) + 1."""

    fast_turns: float = 32.0
    """yarn: dimensions with more turns than this within the original context keep their frequency (beta_fast)."""

    slow_turns: float = 1.0
    """yarn: dimensions with fewer turns than this are divided by `factor` (beta_slow)."""

    low_frequency_factor: float = 1.0
    """llama3: wavelengths longer than original_context / this are divided by `factor`."""

    high_frequency_factor: float = 4.0
    """llama3: wavelengths shorter than original_context / this keep their frequency."""


class ExpertSettings(Config):
    """Many feed-forwards in the place of one, of which a router chooses a few for each token (mixture of experts)."""

    explain_as: ClassVar[str] = "experts"

    count: int = Field(gt=1, le=MOST_EXPERTS)
    """Experts of a layer."""

    top_k: int = Field(default=2, gt=0)
    """Experts that each token is sent to."""

    hidden_dim: int | None = Field(default=None, gt=0, le=100_000_000)
    """Width inside one expert; that of the network's feed-forward unless given."""

    scores: Literal["softmax", "sigmoid"] = "softmax"
    """What the router's logits become: a softmax over all experts, or a sigmoid of each (DeepSeek-V3)."""

    normalised: bool = True
    """The weights of the chosen experts sum to 1, which is a softmax over the chosen alone (Mixtral); False leaves them as
    they came out of all."""

    scale: float = Field(default=1.0, gt=0)
    """What the weights of the chosen experts are multiplied by (DeepSeek-V3: 2.5); at top_k, normalised weights are 1 each
    on average, and the layer is as loud as a feed-forward as wide as its chosen experts."""

    shared_dim: int = Field(default=0, ge=0, le=100_000_000)
    """Width of an expert that every token is sent to as well; 0 for none. Several shared ones are one that is as wide."""

    shared_gate: bool = False
    """A learned gate for each token on the shared expert's result (Qwen2-MoE)."""

    layers: tuple[int, ...] | None = None
    """The layers that have experts, of an encoder-decoder in both stacks; None for all. The others keep a feed-forward of the network's hidden_dim."""

    capacity: float | None = Field(default=None, gt=0)
    """In training an expert computes at most this many times an even share of a micro-batch's rows, the first in the order
    of the text, and drops the rest; None to drop nothing. Tokens of a micro-batch then compete for places, also those of
    different documents; in evaluation and generation nothing is ever dropped."""

    bias_rate: float = Field(default=0.0, ge=0, lt=1)
    """Balance by a bias on the scores that says who is chosen and nothing else: after each step it moves by this towards
    experts with less load (Wang et al. 2024; DeepSeek-V3 takes 0.001). 0 for no bias."""

    @model_validator(mode="after")
    def _can_choose(self) -> Self:
        if self.top_k > self.count:
            raise ConfigError(
                f"{{at}}top_k ({self.top_k}) is more than {{at}}count ({self.count}) experts; choose fewer"
            )
        if self.shared_gate and not self.shared_dim:
            raise ConfigError("{at}shared_gate is a gate on a shared expert, and {at}shared_dim = 0 leaves none")
        return self


class ModelConfig(Config):
    """Every choice that shapes a network."""

    explain_as: ClassVar[str] = "model"

    family: str = "llama"
    """The architecture whose names its files use: llama, mistral, qwen2, qwen3, gemma, mixtral, qwen2_moe,
    qwen3_moe, gpt2, gpt_neox, bert, t5, bart, mbart, marian are public ones; lmworks is our own and takes every choice below."""

    arrangement: Literal["decoder", "encoder", "encoder-decoder"] = "decoder"
    """decoder: each token sees those before it; encoder: all see all; encoder-decoder: a decoder that also attends to
    what an encoder made of a source text."""

    vocab_size: int = Positive
    """Rows of the embedding; at least the tokenizer's largest id + 1."""

    dim: int = Positive
    """Width of the residual stream."""

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

    positions: Literal["rope", "learned", "sinusoidal", "relative", "alibi", "none"] = "rope"
    """How the network knows the order of tokens: rotary; an embedding that is learned, or made of sines; a bias on the
    attention's scores that is learned for ranges of distances (T5), or falls with the distance (ALiBi); or not at all."""

    position_offset: int = Field(default=0, ge=0, le=1000)
    """The row of the first learned position (BART: 2)."""

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

    norm: Literal["rms", "layer", "none"] = "rms"
    """Root-mean-square norm without bias, layer norm with bias, or none (to see what a network is without)."""

    norm_place: Literal["before", "after"] = "before"
    """before: each part reads the normed stream, and a norm ends the blocks (pre-norm); after: the sum of stream and part
    is normed (post-norm, as the first transformers)."""

    parallel: bool = False
    """Attention and feed-forward of a block read the same stream and are added at once (GPT-NeoX)."""

    residual: bool = True
    """Each part is added to the stream; False lets it replace the stream (to see what a network is without)."""

    norm_eps: float = Field(default=1e-5, gt=0)
    """Added to the variance before the root."""

    norm_weight: bool = True
    """The root-mean-square norm multiplies by a learned weight."""

    norm_unit_offset: bool = False
    """The norm multiplies by 1 + weight (Gemma) and not by weight."""

    activation: Literal["silu", "gelu", "gelu_tanh", "relu", "relu_squared", "sigmoid", "tanh"] = "silu"
    """The feed-forward's non-linearity; gelu is exact, gelu_tanh its tanh approximation. sigmoid and tanh are for a gate
    (GLU), or to see why plain ones were given up."""

    gated: bool = True
    """The feed-forward multiplies activation(gate) with a second projection (SwiGLU and relatives)."""

    experts: ExpertSettings | None = None
    """Many feed-forwards, of which each token uses a few; None for one that all tokens use. `lmworks explain experts` has
    their settings."""

    qkv_bias: bool = False
    """Biases on query, key and value projections."""

    output_bias: bool = False
    """Bias on the attention's output projection."""

    feed_forward_bias: bool = False
    """Biases in the feed-forward."""

    qk_norm: bool = False
    """An RMS norm over each head of query and key, before the rotation (Qwen3)."""

    attention_scale: float | None = Field(default=None, gt=0)
    """What dot products of query and key are multiplied by; None for 1 / root of head_dim."""

    window: int | None = Field(default=None, gt=0)
    """Each token sees this many tokens back, itself included; None for the whole context."""

    window_layers: tuple[int, ...] | None = None
    """The layers that use the window, of an encoder-decoder in both stacks; None for all."""

    scale_embedding: bool = False
    """Multiply embeddings by the root of dim (Gemma)."""

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

    head_bias: bool = False
    """A bias on the logits."""

    head_scale: float | None = Field(default=None, gt=0)
    """What hidden states are multiplied by before the head (T5 with tied embeddings: 1 / root of dim)."""

    pooler: bool = False
    """A dense layer with tanh over the first token's state, which stands for the text (BERT)."""

    labels: tuple[str, ...] = Field(default=(), max_length=MOST_LABELS)
    """Names of the classes of a classifier over hidden states; none for no classifier."""

    labels_of: Literal["texts", "tokens"] = "texts"
    """What the classifier judges: a whole text (from the pooler, or the state of an encoder's first or a decoder's last
    token), or each token."""

    adaptive_cutoffs: tuple[Annotated[int, Positive], ...] | None = Field(
        default=None, min_length=1, max_length=MOST_CLUSTERS
    )
    """An adaptive softmax as the head: tokens up to the first cutoff in the order of frequency are predicted at once,
    those behind each cutoff through a cluster of their own; None for one softmax over all."""

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
        return values

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.heads % self.kv_heads:
            raise ConfigError(f"{{at}}heads ({self.heads}) is not a multiple of {{at}}kv_heads ({self.kv_heads})")
        self._check_positions()
        self._check_arrangement()
        if self.norm != "rms" and not self.norm_weight:
            raise ConfigError("{at}norm_weight = false is for {at}norm = 'rms'; a layer norm has a weight and a bias")
        if self.norm_unit_offset and not self.norm_weight:
            raise ConfigError("{at}norm_unit_offset adds to a weight, and {at}norm_weight = false leaves none")
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
        self._check_experts()
        return self

    def _check_experts(self) -> None:
        if self.experts is None:
            return
        named = self.experts.layers
        self._check_layers("experts.layers", named)
        if named is not None and (not named or len(set(named)) < len(named)):
            raise ConfigError("{at}experts.layers must name each of its layers once, and at least one")
        if self.experts.count * self.layers > MOST_PARTS:
            raise ConfigError(
                f"{{at}}experts.count ({self.experts.count}) in {{at}}layers ({self.layers}) is more than {MOST_PARTS:,} "
                "experts; take fewer"
            )

    def _check_layers(self, name: str, named: tuple[int, ...] | None) -> None:
        """Both stacks of an encoder-decoder go by the same numbers."""
        fewest = min(self.layers, self.encoder_layers or self.layers)
        outside = [layer for layer in named or () if not 0 <= layer < fewest]
        if outside:
            where = "" if fewest == self.layers else " in the encoder"
            raise ConfigError(f"{{at}}{name} names layer {outside[0]}, and there are {fewest} layers{where}")

    def _check_positions(self) -> None:
        for name, kind in OF_POSITIONS.items():
            value = getattr(self, name)
            if self.positions != kind and value != type(self).model_fields[name].default:
                raise ConfigError(
                    f"{{at}}{name} ({getattr(value, 'kind', value)}) is for {{at}}positions = {kind!r}, and "
                    f"{{at}}positions is {self.positions!r}; leave it out"
                )
        turned = self.rotary_dim or self.head_dim
        if self.positions == "rope" and turned % 2:
            name = "head_dim" if self.rotary_dim is None else "rotary_dim"
            raise ConfigError(f"{{at}}{name} ({turned}) is odd, and rotary positions turn pairs; make it even")
        if turned > self.head_dim:
            raise ConfigError(f"{{at}}rotary_dim ({turned}) is more than {{at}}head_dim ({self.head_dim}) has")
        if self.positions == "sinusoidal" and self.dim % 2:
            raise ConfigError(f"{{at}}dim ({self.dim}) is odd, and sinusoidal positions come in pairs; make it even")
        if self.relative_distance <= self.relative_buckets // 2:
            raise ConfigError(
                f"{{at}}relative_distance ({self.relative_distance}) must exceed half of {{at}}relative_buckets "
                f"({self.relative_buckets}): each short distance has a bucket of its own"
            )

    def _check_arrangement(self) -> None:
        if self.encoder_layers is not None and self.arrangement != "encoder-decoder":
            raise ConfigError(
                f"{{at}}encoder_layers is for an encoder-decoder, and {{at}}arrangement is {self.arrangement!r}"
            )
        if self.ngrams and self.arrangement != "decoder":
            raise ConfigError(
                f"{{at}}ngrams look back alone and are for a decoder, and {{at}}arrangement is {self.arrangement!r}"
            )
        if self.parallel and self.norm_place == "after":
            raise ConfigError(
                "{at}parallel needs {at}norm_place = 'before': two parts at once have no norm between them"
            )
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
    def causal(self) -> bool:
        """Does each token see only those before it?"""
        return self.arrangement != "encoder"

    @property
    def is_classic_decoder(self) -> bool:
        """A decoder of sequential pre-norm blocks on a residual stream, its heads wholly rotated where they are: what fast
        ways of running a block by hand are written for."""
        return (
            self.arrangement == "decoder"
            and self.norm_place == "before"
            and self.norm != "none"
            and self.residual
            and not self.parallel
            and self.rotary_dim is None
            and self.experts is None
            and self.positions in ("rope", "learned", "sinusoidal", "none")
        )

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
        return self.window if self.window_layers is None or layer in self.window_layers else None


def stretched(config: ModelConfig, scaling: RopeScaling) -> ModelConfig:
    """The same network for texts `factor` times as long. ConfigError where it has no rotary positions, or is stretched."""
    if config.positions != "rope":
        raise ConfigError(f"rope_scaling stretches rotary positions, and this network's are {config.positions}")
    if config.rope_scaling is not None:
        raise ConfigError(f"this network is stretched already (rope_scaling {config.rope_scaling.kind}); leave it so")
    if scaling.factor <= 1:
        raise ConfigError(f"rope_scaling.factor is {scaling.factor:g}; above 1 makes the context longer")
    original = scaling.original_context or config.context
    longer = scaling.but(original_context=original)
    return config.but(context=int(original * scaling.factor), rope_scaling=longer)
