"""ModelConfig: every choice that shapes a network, each with its meaning below it."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError

# A config comes from outside: sizes are bounded so that none can ask for more memory than its weights have.
Positive = Field(gt=0, le=100_000_000)
MOST_LAYERS = 10_000


class RopeScaling(Config):
    """How rotary frequencies are stretched to read further than the network was trained for."""

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


class ModelConfig(Config):
    """Every choice that shapes a network."""

    family: str = "llama"
    """The public architecture whose names its files use: llama, mistral, qwen2, qwen3, gemma, gpt2."""

    vocab_size: int = Positive
    """Rows of the embedding; at least the tokenizer's largest id + 1."""

    dim: int = Positive
    """Width of the residual stream."""

    layers: int = Field(gt=0, le=MOST_LAYERS)
    """Number of blocks."""

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

    positions: Literal["rope", "learned", "none"] = "rope"
    """How the network knows the order of tokens: rotary, a learned embedding, or not at all."""

    rope_theta: float = Field(default=10_000.0, gt=0)
    """Base of the rotary frequencies."""

    rope_scaling: RopeScaling | None = None
    """How rotary frequencies are stretched; None for not at all."""

    norm: Literal["rms", "layer"] = "rms"
    """Root-mean-square norm without bias, or layer norm with bias; both before each part (pre-norm)."""

    norm_eps: float = Field(default=1e-5, gt=0)
    """Added to the variance before the root."""

    norm_unit_offset: bool = False
    """The norm multiplies by 1 + weight (Gemma) and not by weight."""

    activation: Literal["silu", "gelu", "gelu_tanh", "relu"] = "silu"
    """The feed-forward's non-linearity; gelu is exact, gelu_tanh its tanh approximation."""

    gated: bool = True
    """The feed-forward multiplies activation(gate) with a second projection (SwiGLU and relatives)."""

    qkv_bias: bool = False
    """Biases on query, key and value projections."""

    output_bias: bool = False
    """Bias on the attention's output projection."""

    feed_forward_bias: bool = False
    """Biases in the feed-forward."""

    qk_norm: bool = False
    """An RMS norm over each head of query and key, before the rotation (Qwen3)."""

    window: int | None = Field(default=None, gt=0)
    """Each token sees this many tokens back, itself included; None for the whole context."""

    window_layers: tuple[int, ...] | None = None
    """The layers that use the window; None for all."""

    scale_embedding: bool = False
    """Multiply embeddings by the root of dim (Gemma)."""

    tied: bool = True
    """The head uses the embedding's own matrix."""

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
        if self.positions == "rope" and self.head_dim % 2:
            raise ConfigError(f"{{at}}head_dim ({self.head_dim}) is odd, and rotary positions turn pairs; make it even")
        outside = [layer for layer in self.window_layers or () if not 0 <= layer < self.layers]
        if outside:
            raise ConfigError(f"{{at}}window_layers names layer {outside[0]}, and there are {self.layers} layers")
        return self

    def window_of(self, layer: int) -> int | None:
        """The window that one layer uses; None for the whole context."""
        return self.window if self.window_layers is None or layer in self.window_layers else None
