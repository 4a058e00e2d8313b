"""Our own architecture, for networks that no public one describes: every choice of ModelConfig, under its own name.

`lmworks train` makes such networks; lmworks reads them, other programs do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.config import MOST_CLUSTERS, ModelConfig
from lmworks.models.families.sources import Source
from lmworks.models.families.tables import Family

ARCHITECTURE = "LmworksForCausalLM"
BLOCK = [
    f"{part}.{kind}"
    for part in (
        "attention_norm",
        "attention.qkv",
        "attention.query_norm",
        "attention.key_norm",
        "attention.output",
        "attention_result_norm",
        "cross_norm",
        "cross_attention.query",
        "cross_attention.kv",
        "cross_attention.output",
        "feed_forward_norm",
        "feed_forward.up",
        "feed_forward.down",
        "feed_forward_result_norm",
    )
    for kind in ("weight", "bias")
    if not part.startswith("attention.") or not part.endswith("_norm") or kind == "weight"
]
ACTIVATION = ["feed_forward.activation.above", "feed_forward.activation.below"]
CONVOLUTION = [
    "attention.kernel",
    "attention.kernel_bias",
    *(f"attention.{part}.{kind}" for part in ("inward", "outward") for kind in ("weight", "bias")),
]
LATENT = [
    "attention.sinks",
    *(f"attention.{part}.weight" for part in ("query_down_norm", "query_up", "latent_norm", "expand")),
    *(f"attention.{part}.{kind}" for part in ("query_down", "latent") for kind in ("weight", "bias")),
]
EXPERTS = [
    "feed_forward.router.weight",
    "feed_forward.router.bias",
    "feed_forward.router.choice_bias",
    "feed_forward.router.lifts",
    "feed_forward.shared_gate.weight",
    *(
        f"feed_forward.{part}.{matrix}.{kind}"
        for part in ("experts.{e}", "shared")
        for matrix in ("up", "down")
        for kind in ("weight", "bias")
    ),
]
STACK = [
    "segment.weight",
    "embedding_norm.weight",
    "embedding_norm.bias",
    "embedding_projection.weight",
    "embedding_projection.bias",
    *(f"blocks.{{i}}.{name}" for name in (*BLOCK, *CONVOLUTION, *LATENT, *ACTIVATION, *EXPERTS)),
    "norm.weight",
    "norm.bias",
]
NAMES = [  # and those of the positional encodings
    "embedding.weight",
    "ngram_embedding.weight",
    "ngram_embedding.keys",
    *(f"head_transform.{part}.{kind}" for part in ("dense", "norm") for kind in ("weight", "bias")),
    *(f"{part}.{kind}" for part in ("pooler", "classifier") for kind in ("weight", "bias")),
    "head_bias",
    "head.weight",
    "head.rank",
    "head.shortlist.weight",
    *(f"head.clusters.{number}.{part}.weight" for number in range(MOST_CLUSTERS) for part in ("down", "up")),
]


class _Table(Mapping[str, Source]):
    """Every tensor under its own name. Read when it is first needed: the positional encodings load torch."""

    @cached_property
    def _names(self) -> dict[str, Source]:
        from lmworks.models.positions.encoding import encodings

        places = sorted({f"{one.part_name}.{weight}" for one in encodings().values() for weight in one.weights})
        stack = [*places, *STACK]
        encoder = [f"encoder.{name}" for name in stack if ".cross_" not in name]
        return {name: name for name in (*NAMES, *stack, *encoder)}

    def __getitem__(self, name: str) -> Source:
        return self._names[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Own(Family):
    """config.json holds ModelConfig as it is."""

    def config_from(self, theirs: Mapping[str, Any]) -> ModelConfig:
        settings = {
            key: value for key, value in theirs.items() if key not in ("architectures", "model_type", "torch_dtype")
        }
        try:
            return ModelConfig(**{**settings, "family": self.name})
        except ConfigError as error:
            raise ModelError(f"config.json: {error}") from None

    def config_to(self, config: ModelConfig) -> dict[str, Any]:
        return {"architectures": [self.architecture], "model_type": self.name} | config.model_dump(mode="json")


OWN = _Own(name="lmworks", architecture=ARCHITECTURE, settings={}, tensors=_Table())
