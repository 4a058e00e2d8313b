"""ExpertSettings: the experts of a mixture, and the router that chooses among them."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError

MOST_EXPERTS = 1024


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
    """The weights of the chosen experts sum to 1, which is a softmax over the chosen alone (Mixtral); False leaves them
    as they came out of all."""

    scale: float = Field(default=1.0, gt=0)
    """What the weights of the chosen experts are multiplied by (DeepSeek-V3: 2.5); at top_k, normalised weights are 1
    each on average, and the layer is as loud as a feed-forward as wide as its chosen experts."""

    shared_dim: int = Field(default=0, ge=0, le=100_000_000)
    """Width of an expert that every token is sent to as well; 0 for none. Several shared ones are one that is as
    wide."""

    shared_gate: bool = False
    """A learned gate for each token on the shared expert's result (Qwen2-MoE)."""

    layers: tuple[int, ...] | None = None
    """The layers that have experts, of an encoder-decoder in both stacks; None for all. The others keep a feed-forward
    of the network's hidden_dim."""

    capacity: float | None = Field(default=None, gt=0)
    """In training an expert computes at most this many times an even share of a micro-batch's rows, the first in the
    order of the text, and drops the rest; None to drop nothing. Tokens of a micro-batch then compete for places, also
    those of different documents; in evaluation and generation nothing is ever dropped."""

    bias_rate: float = Field(default=0.0, ge=0, lt=1)
    """Balance by a bias on the scores that says who is chosen and nothing else: after each step it moves by this
    towards experts with less load (Wang et al. 2024; DeepSeek-V3 takes 0.001). 0 for no bias."""

    @model_validator(mode="after")
    def _can_choose(self) -> Self:
        if self.top_k > self.count:
            raise ConfigError(
                f"{{at}}top_k ({self.top_k}) is more than {{at}}count ({self.count}) experts; choose fewer"
            )
        if self.shared_gate and not self.shared_dim:
            raise ConfigError("{at}shared_gate is a gate on a shared expert, and {at}shared_dim = 0 leaves none")
        return self
