"""The springs of a network that is about to be trained: on the matrices that change, or that adapters move."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lmworks.adaptation.elastic import Spring
from lmworks.adaptation.fisher import diagonal_fisher
from lmworks.adaptation.frozen import FrozenLinear
from lmworks.adaptation.lora import LoRALinear, adapters_off, lora_layers
from lmworks.basics.errors import ConfigError
from lmworks.basics.files import written_whole
from lmworks.models.network import Network
from lmworks.tokens.batch import Row


def springs_of(network: Network, rows: Sequence[Row], seed: int) -> list[Spring]:
    """Measured on rows of old text; the network is left as it was."""
    layers = list(lora_layers(network).values())
    if not layers:
        matrices = [one for one in network.parameters() if one.requires_grad and one.ndim > 1]
        found = diagonal_fisher(network, rows, matrices, seed)
        rests = [one.detach().float().clone() for one in matrices]
        return [Spring(*spring) for spring in zip(found, matrices, rests, strict=True)]
    with _plain(layers), adapters_off(network):
        weights = [layer.base.weight for layer in layers]
        try:
            for weight in weights:
                weight.requires_grad_(True)
            found = diagonal_fisher(network, rows, weights, seed)
        finally:
            for weight in weights:
                weight.requires_grad_(False)
    return [Spring(stiffness, layer=layer) for stiffness, layer in zip(found, layers, strict=True)]


@contextlib.contextmanager
def _plain(layers: Sequence[LoRALinear]) -> Iterator[None]:
    """Matrices in few bits as plain ones of the same values, which can have gradients, for the length of the block."""
    before = [layer.base for layer in layers]
    try:
        for layer in layers:
            if isinstance(layer.base, FrozenLinear):
                layer.base = layer.base.thawed()
        yield
    finally:
        for layer, base in zip(layers, before, strict=True):
            layer.base = base


def write_springs(springs: Sequence[Spring], path: str) -> None:
    """Write how stiff they are, in bfloat16."""
    tensors = {str(at): one.stiffness.to(torch.bfloat16) for at, one in enumerate(springs)}
    with written_whole(Path(path)) as temporary:
        save_file(tensors, temporary)


def added(springs: Sequence[Spring], path: str, decay: float) -> list[Spring]:
    """Springs, stiffer by `decay` times those of a file: a running sum over tasks, held at where the weights are now
    (online EWC, Schwarz et al. 2018, https://arxiv.org/abs/1805.06370). ConfigError for a file that holds no springs of
    these matrices."""
    try:
        earlier = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{{at}}earlier is {path}, which holds no springs ({error}); give what a run kept") from None
    shapes = [list(one.stiffness.shape) for one in springs]
    if [list(earlier[str(at)].shape) for at in range(len(shapes)) if str(at) in earlier] != shapes:
        raise ConfigError(
            f"{{at}}earlier is {path}, whose springs are of other matrices; take a run of the same model and method"
        )
    return [replace(one, stiffness=one.stiffness + decay * earlier[str(at)].float()) for at, one in enumerate(springs)]
