"""The names of a network's tensors beside those of a public file: which there are, layer by layer, by the config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from lmworks.models.config import ModelConfig
from lmworks.models.families.sources import Chosen, Named, NeighbourRows, OfExperts, Rows, Said, Source
from lmworks.models.vision.config import ImageConfig


def each_name(table: Mapping[str, Source], config: ModelConfig) -> Iterator[tuple[str, Named]]:
    """Our tensor names with theirs, layer by layer and expert by expert, without those that this config lacks."""
    for ours, theirs in table.items():
        if not _absent(ours, config):
            layers = (config.encoder_layers or config.layers) if ours.startswith("encoder.") else config.layers
            named = _chosen(theirs, config)
            for layer in range(layers) if "{i}" in ours else (0,):
                if ".attention_norm." in ours and layer == 0 and not config.first_norm:
                    continue
                if "feed_forward." in ours and not _in_layer(ours, config, layer):
                    continue
                if ".attention." in ours and (_part_of_attention(ours) in CONVOLUTION) is not config.convolves(layer):
                    continue
                at_layer = ours.replace("{i}", str(layer)), _numbered(named, "{i}", layer)
                if "{e}" not in ours:
                    yield at_layer
                    continue
                assert config.experts is not None
                for expert in range(config.experts.count):
                    yield at_layer[0].replace("{e}", str(expert)), _numbered(at_layer[1], "{e}", expert)


def _chosen(source: Source, config: ModelConfig) -> Named:
    if isinstance(source, Chosen):
        return source.then if source.by(config) else source.otherwise
    return source


def _in_layer(name: str, config: ModelConfig, layer: int) -> bool:
    """Has the feed-forward of this layer, which may be one of experts, the tensor?"""
    part = name.partition("feed_forward.")[2]
    experts = config.experts if config.has_experts(layer) else None
    if part.startswith("activation."):
        return config.activation == "xielu" and experts is None
    if experts is None:
        return part.startswith(("up.", "down."))
    return (
        part == "router.weight"
        or (part == "router.bias" and experts.router_bias)
        or (part == "router.choice_bias" and experts.choice_bias)
        or (part == "router.lifts" and experts.bias_rate > 0)
        or part.startswith("experts.")
        or (part.startswith("shared.") and experts.shared_dim > 0)
        or (part.startswith("shared_gate.") and experts.shared_gate)
    )


def _numbered(source: Named, place: str, number: int) -> Named:
    """The names with the number of a layer or an expert in its place."""
    if isinstance(source, Rows | NeighbourRows):
        return replace(source, names=tuple(name.replace(place, str(number)) for name in source.names))
    if isinstance(source, OfExperts) and place == "{e}":
        return replace(source, expert=number)
    if isinstance(source, Said):
        return Said(source.replace(place, str(number)))
    if not isinstance(source, str):
        return replace(source, name=source.name.replace(place, str(number)))
    return source.replace(place, str(number))


def _absent(name: str, config: ModelConfig) -> bool:
    name = name.removeprefix("encoder.") if config.arrangement == "encoder-decoder" else name
    return (
        name.startswith("encoder.")
        or (".cross_" in name and config.arrangement != "encoder-decoder")
        or (name in ("norm.weight", "norm.bias") and config.norm_place == "after")
        or _absent_norm(name, config)
        or _absent_attention(name, config)
        or _absent_head(name, config)
        or (name.startswith("ngram_embedding.") and not config.ngrams)
        or _absent_position(name, config)
        or (name.startswith("embedding_projection.") and config.embedding_dim is None)
        or (name.startswith("segment.") and not config.segments)
        or _absent_of_images(name, config)
        or (name.endswith((".qkv.bias", ".query.bias", ".kv.bias")) and not config.qkv_bias)
        or (name.endswith("attention.output.bias") and not config.output_bias)
        or (".feed_forward." in name and name.endswith((".up.bias", ".down.bias")) and not config.feed_forward_bias)
    )


def _absent_of_images(name: str, config: ModelConfig) -> bool:
    """Does the name belong to a part that this network, or one that reads no images, has not?"""
    if not isinstance(config, ImageConfig):
        return name.startswith(("patches.", "pool."))
    return (
        (name == "patches.projection.bias" and not config.patch_bias)
        or (name == "patches.class_token" and not config.class_token)
        or (name.startswith("pool.") and config.image_state != "attention")
    )


def _absent_position(name: str, config: ModelConfig) -> bool:
    """Does the name belong to another positional encoding than the config's?"""
    from lmworks.models.positions.encoding import encoding_of, encodings  # these load torch

    part, _, weight = name.partition(".")
    own = encoding_of(config)
    return part in {one.part_name for one in encodings().values()} and (
        part != own.part_name or weight not in own.weights
    )


LATENT = ("query_down", "query_down_norm", "query_up", "latent", "latent_norm", "expand")
"""The parts of latent attention beside the one that all kinds of attention have."""

CONVOLUTION = ("inward", "kernel", "kernel_bias", "outward")
"""The parts of a short convolution."""


def _part_of_attention(name: str) -> str:
    return name.partition(".attention.")[2].partition(".")[0]


def _absent_attention(name: str, config: ModelConfig) -> bool:
    """Does the name belong to another kind of attention than the config's?"""
    part, kind = _part_of_attention(name), name.rpartition(".")[2]
    if part in CONVOLUTION:
        return config.convolution is None or (kind in ("bias", "kernel_bias") and not config.convolution.bias)
    if part == "qkv":
        return config.latent is not None
    if part not in LATENT:
        return part == "sinks" and not config.sinks
    return (
        config.latent is None
        or (part.startswith("query_down") and config.latent.query_rank is None)
        or (kind == "bias" and not config.qkv_bias)
    )


def _absent_norm(name: str, config: ModelConfig) -> bool:
    if name.endswith(("query_norm.weight", "key_norm.weight")):
        return not config.qk_norm or not config.norm_weight
    if name.startswith("embedding_norm."):
        return config.embedding_norm != "layer" or (name.endswith("bias") and not config.norm_bias)
    if ("_result_norm." in name and config.norm_place != "both") or (
        ".feed_forward_norm." in name and config.shared_norm
    ):
        return True
    return (name.endswith("norm.bias") and (config.norm != "layer" or not config.norm_bias)) or (
        name.endswith("norm.weight") and (not config.norm_weight or config.norm == "none")
    )


def _absent_head(name: str, config: ModelConfig) -> bool:
    return (
        (name == "head.weight" and (config.tied or config.adaptive_cutoffs is not None))
        or (name in ("head.rank", "head.shortlist.weight") and config.adaptive_cutoffs is None)
        or (name.startswith("head.clusters.") and int(name.split(".")[2]) >= len(config.adaptive_cutoffs or ()))
        or (name.startswith("head_transform.") and not config.head_transform)
        or (name == "head_transform.dense.bias" and not config.head_transform_bias)
        or (name == "head_bias" and not config.head_bias)
        or (name.startswith("pooler.") and not config.pooler)
        or (name.startswith("classifier.") and not config.labels)
    )
