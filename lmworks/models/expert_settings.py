"""ExpertSettings: the experts of a mixture, and the router that chooses among them."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError

MOST_EXPERTS = 1024


class ExpertSettings(Config):
    """Many feed-forwards in place of one, of which a router chooses a few for each token (mixture of experts)."""

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

    router_bias: bool = False
    """A learned bias on the router's logits (gpt-oss)."""

    choice_bias: bool = False
    """A bias on the scores that a file brings, which says who is chosen and nothing else; it is not trained
    (DeepSeek-V3: e_score_correction_bias, what its `bias_rate` came to)."""

    groups: int = Field(default=1, gt=0)
    """Groups of neighbouring experts, of which a token is sent to `top_groups` alone (DeepSeek-V3)."""

    top_groups: int | None = Field(default=None, gt=0)
    """The groups with the highest sum of their two best scores that a token's experts are chosen from; None for all."""

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
        if (self.groups == 1) is not (self.top_groups is None):
            raise ConfigError("{at}groups and {at}top_groups belong together; give both or leave both out")
        if self.top_groups is not None:
            within = self.count // self.groups
            if self.count % self.groups or within < 2 or self.top_groups > self.groups:
                raise ConfigError(
                    f"{{at}}count ({self.count}) must be a multiple of {{at}}groups ({self.groups}), with two experts "
                    f"in each or more, and {{at}}top_groups ({self.top_groups}) no more than these"
                )
            if self.top_k > within * self.top_groups:
                raise ConfigError(
                    f"{{at}}top_k ({self.top_k}) is more than the {within * self.top_groups} experts of "
                    f"{{at}}top_groups ({self.top_groups}); choose fewer"
                )
        if self.shared_gate and not self.shared_dim:
            raise ConfigError("{at}shared_gate is a gate on a shared expert, and {at}shared_dim = 0 leaves none")
        return self
