"""Activation patching: which places of a network carry what tells two texts apart.

found = patch(network, clean, corrupt, difference(answer, other))     # [layers, seq]
found = patch(network, clean, corrupt, difference(answer, other), place="heads")      # [layers, heads]

The corrupt text is read with one activation of the clean text put in, one place after another. 1 says that this place
alone gives the clean text's figure back, 0 that it changes nothing: what suffices. With `noising` the clean text is
read with an activation of the corrupt one, and 1 says that the figure is lost with it: what is needed. The two differ
where a network keeps something twice (Heimersheim and Nanda 2024, https://arxiv.org/abs/2404.15255); try several
corrupt texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.models.full_precision import in_full_precision
from lmworks.models.hooks import HookFunction, hooked
from lmworks.models.network import Network, evaluating

ROWS = 16
"""Rows that the network reads together."""
Metric = Callable[[Float[Tensor, "rows vocab"]], Float[Tensor, " rows"]]
"""A figure for the logits after a text's last token."""
Place = Literal["residual_in", "residual_middle", "attention_output", "feed_forward_output", "heads"]
"""What is put in: the stream before or inside a block, or what attention, feed-forward or single heads add."""


def difference(answer: int, other: int) -> Metric:
    """How much larger the logit of one token is than that of another."""
    return lambda logits: logits[:, answer] - logits[:, other]


def log_probability(answer: int) -> Metric:
    """The log-probability of one token."""
    return lambda logits: logits.log_softmax(dim=-1)[:, answer]


@torch.no_grad()
def patch(
    network: Network,
    clean: Sequence[int],
    corrupt: Sequence[int],
    metric: Metric,
    *,
    place: Place = "residual_in",
    noising: bool = False,
) -> Float[Tensor, "layers places"]:
    """The share of the difference between the two texts that each place carries: layers by tokens, or by heads. A
    network in 16 bits is copied into float32.

    ConfigError where the texts are not equally long, are longer than the network reads, or do not differ in what the
    metric measures.
    """
    if place not in get_args(Place):
        raise ConfigError(f"there is no place {place!r} to patch; there are {', '.join(get_args(Place))}")
    if network.config.arrangement != "decoder":
        raise ConfigError(f"the network is an {network.config.arrangement}, and patching reads a decoder")
    if len(clean) != len(corrupt):
        raise ConfigError(
            f"the texts have {len(clean)} and {len(corrupt)} tokens; change words for others of as many tokens"
        )
    if len(clean) > network.longest:
        raise ConfigError(f"the texts have {len(clean):,} tokens and the model reads {network.longest:,}; shorten them")
    taken, given = (list(corrupt), list(clean)) if not noising else (list(clean), list(corrupt))
    network = in_full_precision(network)
    with evaluating(network):
        sources, ends = _activations(network, given, place), _ends(network, [given, taken], metric)
        whole = float(ends[0] - ends[1])
        if abs(whole) < 1e-6 * max(1.0, float(ends.abs().max())):
            raise ConfigError("the two texts have the same figure; give a corrupt text that changes it")
        layers = [
            torch.cat([metric(logits) for logits in _patched(network, taken, layer, place, source)])
            for layer, source in enumerate(sources)
        ]
    return (torch.stack(layers) - ends[1]) / whole


def _path(layer: int, place: Place) -> str:
    return f"blocks.{layer}.attention.mixed" if place == "heads" else f"blocks.{layer}.{place}"


def _activations(network: Network, ids: list[int], place: Place) -> list[Tensor]:
    """By layer, the activation of a text: [seq, dim], or [heads, seq, head_dim]."""
    seen: dict[int, Tensor] = {}

    def reader(layer: int) -> HookFunction:
        def read(activation: Tensor) -> None:
            seen[layer] = activation[0].clone()

        return read

    layers = range(network.config.layers)
    with hooked(network, {_path(layer, place): reader(layer) for layer in layers}):
        network.hidden(torch.tensor([ids], device=network.device))
    return [seen[layer] for layer in layers]


def _ends(network: Network, texts: list[list[int]], metric: Metric) -> Float[Tensor, " texts"]:
    hidden = network.hidden(torch.tensor(texts, device=network.device))
    return metric(network.logits(hidden[:, -1]))


def _patched(network: Network, ids: list[int], layer: int, place: Place, source: Tensor) -> Iterator[Tensor]:
    """Logits after a text into which another text's activation of one layer is put, [rows, vocab]: one row for each
    token, or for each head."""
    for places in torch.arange(len(source)).split(ROWS):
        rows = torch.arange(len(places))

        def put(activation: Tensor, rows: Tensor = rows, places: Tensor = places) -> Tensor:
            changed = activation.clone()
            changed[rows, places] = source[places].to(changed.dtype)
            return changed

        with hooked(network, {_path(layer, place): put}):
            hidden = network.hidden(torch.tensor([ids] * len(places), device=network.device))
        yield network.logits(hidden[:, -1])
