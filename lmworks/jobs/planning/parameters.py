"""Parameters by part, counted on the network itself: built without memory, one block for all that are alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch

from lmworks.adaptation.lora import LoRAConfig, add_lora
from lmworks.models.config import ModelConfig
from lmworks.models.experts import expert_layers
from lmworks.models.network import Network
from lmworks.training.optimiser import trainable


@dataclass(frozen=True)
class Parameters:
    """How many numbers a network holds."""

    embedding: int
    """Tokens, positions, segments, n-grams."""
    attention: int
    feed_forward: int
    norms: int
    head: int
    """Of tokens, 0 where it uses the embedding's matrix; pooler and classifier."""
    adapters: int
    layers: int
    """Blocks; of an encoder-decoder those of both sides."""
    matrices: int
    """Of attention and feed_forward: what is quantised and what adapters sit on."""
    largest: int
    """The largest matrix of a block."""
    idle: int = 0
    """Of experts that a token is not sent to."""
    of_source: int = 0
    """Of matrices, those that an encoder-decoder multiplies with a source's tokens."""
    adapters_of_source: int = 0

    @property
    def base(self) -> int:
        """All without adapters."""
        return self.embedding + self.attention + self.feed_forward + self.norms + self.head

    @property
    def active(self) -> int:
        """Those that one token uses."""
        return self.base - self.idle

    @property
    def block(self) -> int:
        """One block, norms included, adapters not."""
        return (self.base - self.embedding - self.head) // self.layers

    def by_part(self) -> dict[str, int]:
        """The parts that are not empty, by name; "all" is the network's, without adapters."""
        parts = {
            "embedding": self.embedding,
            "attention": self.attention,
            "feed-forward": self.feed_forward,
            "norms": self.norms,
            "head": self.head,
            "all": self.base,
            "adapters": self.adapters,
        }
        parts |= {"used by one token": self.active + self.adapters} if self.idle else {}
        return {name: count for name, count in parts.items() if count}


def head_matrices(config: ModelConfig) -> tuple[int, int]:
    """Numbers of the matrices that give logits, and the most logits that one of them gives. One matrix, but for an
    adaptive softmax."""
    if config.adaptive_cutoffs is None:
        return config.vocab_size * config.dim, config.vocab_size
    starts = config.adaptive_cutoffs
    sizes = [end - start for start, end in zip(starts, (*starts[1:], config.vocab_size), strict=True)]
    shortlist = starts[0] + len(starts)
    clusters = sum(config.cluster_dim(number) * (config.dim + size) for number, size in enumerate(sizes, 1))
    return shortlist * config.dim + clusters, max(shortlist, *sizes)


def single_block(config: ModelConfig, experts: bool = True, convolves: bool = False) -> Network:
    """The network with one block only (on either side), on the meta device: shapes without values. A block with experts
    where the config has some, unless told otherwise, and with attention where it has short convolutions."""
    kept = config.experts.but(layers=None) if config.experts is not None and experts else None
    mixes = config.convolution.but(layers=(0,)) if config.convolution is not None and convolves else None
    alone = config.but(window_layers=None, rope_layers=None, experts=kept, convolution=mixes)
    sides = 1 if config.arrangement == "encoder-decoder" else None
    with torch.device("meta"):
        return Network(alone.but(layers=1, encoder_layers=sides))


def count_parameters(config: ModelConfig, lora: LoRAConfig | None = None) -> Parameters:
    """Count a network, with adapters where `lora` is given; ConfigError for a target that the model does not have,
    and for a rank that no matrix has."""
    with_experts = sum(map(config.has_experts, range(config.layers)))
    counts = dict.fromkeys(("embedding", "attention", "feed_forward", "norms", "head"), 0)
    matrices = adapters = largest = of_source = adapters_of_source = 0
    encoder = config.encoder().layers if config.arrangement == "encoder-decoder" else 0
    alike = Counter((config.has_experts(layer), config.convolves(layer)) for layer in range(config.layers))
    for (experts, convolves), layers in sorted(alike.items()):
        network = single_block(config, experts, convolves)
        times = {"blocks.": layers, "encoder.blocks.": encoder}
        for name, parameter in network.named_parameters():
            count = parameter.numel() * next((of for stack, of in times.items() if name.startswith(stack)), 0)
            counts[_part(name)] += count
            if count and parameter.ndim == 2:
                matrices += count
                largest = max(largest, parameter.numel())
                of_source += count if _reads_source(name) else 0
        if lora is not None:
            add_lora(network, lora)
            for name, parameter in trainable(network).items():
                count = parameter.numel() * (encoder if name.startswith("encoder.") else layers)
                adapters += count
                adapters_of_source += count if _reads_source(name) else 0
        encoder = 0  # counted once
    for name, parameter in single_block(config).named_parameters():
        if not name.startswith(("blocks.", "encoder.blocks.")):
            counts[_part(name)] += parameter.numel()
    return Parameters(
        **counts,
        adapters=adapters,
        layers=config.layers + (config.encoder().layers if config.arrangement == "encoder-decoder" else 0),
        matrices=matrices,
        largest=largest,
        idle=with_experts * sum(layer.idle for _, layer in expert_layers(single_block(config))),
        of_source=of_source,
        adapters_of_source=adapters_of_source,
    )


def _reads_source(name: str) -> bool:
    """Is it a matrix that an encoder-decoder multiplies with the tokens of a source?"""
    return name.startswith("encoder.") or ".cross_attention.kv." in name


def _part(name: str) -> str:
    """The part that a parameter of this path belongs to."""
    if "attention." in name:
        return "norms" if "_norm." in name else "attention"
    if ".feed_forward." in name:
        return "feed_forward"
    if "norm." in name:
        return "norms"
    return "head" if name.startswith(("head", "pooler", "classifier")) else "embedding"
