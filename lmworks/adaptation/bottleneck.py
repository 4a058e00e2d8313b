"""Bottleneck adapters: a narrow layer after a frozen one, whose result is added.

    y = W x + b;    y + widen(activation(narrow(y)))

After the last layer of attention and of the feed-forward (Houlsby et al. 2019, https://arxiv.org/abs/1902.00751), or of
the feed-forward alone (Pfeiffer et al. 2020, https://arxiv.org/abs/2005.00247). What they add is no linear function of
x, so that no weight can take it over: such an adapter is never merged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.adaptation.adapter_files import BOTTLENECK, CONFIG, WEIGHTS, fill, write_files
from lmworks.adaptation.bottleneck_config import BottleneckConfig
from lmworks.adaptation.frozen import FrozenLinear
from lmworks.adaptation.lora import must_be_bare, remove_adapters
from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.adapted import AdaptedLinear, Effect, NamedAdapter, Narrowed, adapted_layers
from lmworks.models.block import Block
from lmworks.models.feed_forward import ACTIVATIONS, DERIVATIVES
from lmworks.models.files.directory import read_safetensors
from lmworks.models.files.model_folder import read_json
from lmworks.models.network import Network

TYPE = BOTTLENECK
"""What adapter_config.json calls it."""
SPREAD = 0.01
"""Of the first values of the narrow layer, as Houlsby et al. have them."""


class BottleneckLinear(AdaptedLinear):
    """A frozen linear layer with a bottleneck after it, in float32 whatever the layer computes in."""

    def __init__(self, base: nn.Linear | FrozenLinear, config: BottleneckConfig) -> None:
        super().__init__()
        self.base, self.config = base, config
        device = base.weight.device if isinstance(base, nn.Linear) else None
        self.narrow = nn.Linear(base.out_features, config.size, device=device, dtype=torch.float32)
        self.widen = nn.Linear(config.size, base.out_features, device=device, dtype=torch.float32)
        self.activation, self.derivative = ACTIVATIONS[config.activation], DERIVATIVES[config.activation]

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Small values that narrow, and zero where it widens: the network starts as it was."""
        if not self.narrow.weight.is_meta:
            self.narrow.weight.copy_(SPREAD * torch.randn(self.narrow.weight.shape, generator=generator))
            for zero in (self.narrow.bias, self.widen.weight, self.widen.bias):
                zero.zero_()

    def own(self) -> list[nn.Parameter]:
        """Weights and biases, the narrow layer's first."""
        return [*self.narrow.parameters(), *self.widen.parameters()]

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """The layer with its bottleneck, by ordinary autograd."""
        y: Tensor = self.base(x)
        if not self.enabled:
            return y
        return after(y, self.narrow, self.widen, self.activation)

    def forward_by_hand(self, x: Float[Tensor, "rows inputs"]) -> tuple[Float[Tensor, "rows outputs"], Tensor | None]:
        """The layer's result, and what the base gave, which the backward needs."""
        y = self.base.times(x)
        if not self.enabled:
            return y, None
        narrow, narrow_bias, widen, widen_bias = (one.detach().to(y.dtype) for one in self.own())
        inner = self.activation(F.linear(y, narrow, narrow_bias))
        return F.linear(inner, widen, widen_bias).add_(y), y

    def backward_by_hand(
        self,
        gradient: Float[Tensor, "rows outputs"],
        x: Float[Tensor, "rows inputs"],
        kept: Float[Tensor, "rows outputs"] | None,
        to_x: bool = True,
    ) -> tuple[Float[Tensor, "rows inputs"] | None, list[Tensor]]:
        """The gradient of x, None unless wanted, and those of the adapter, in the order of `trained`."""
        if kept is None:  # it was off
            return self.base.times_back(gradient) if to_x else None, []
        narrow, narrow_bias, widen, _ = (one.detach().to(kept.dtype) for one in self.own())
        inner = F.linear(kept, narrow, narrow_bias)
        to_inner = self.derivative(gradient @ widen, inner)
        made = (
            *(lambda: to_inner.T @ kept, lambda: to_inner.sum(0, dtype=torch.float32)),
            *(lambda: gradient.T @ self.activation(inner), lambda: gradient.sum(0, dtype=torch.float32)),
        )
        gradients = [make().to(one.dtype) for make, one in zip(made, self.own(), strict=True) if one.requires_grad]
        result = self.base.times_back(gradient + to_inner @ narrow) if to_x else None
        return result, gradients

    def effect(self, name: str | None = None) -> Effect:
        """What the bottleneck does."""
        return _effect(self.narrow, self.widen, self.config.activation)

    def named(self) -> NamedAdapter:
        """A copy of the bottleneck that can be one of several."""
        return NamedBottleneck(self)

    def merge(self) -> None:
        """ConfigError: it cannot be."""
        raise ConfigError(
            "a bottleneck adapter goes through an activation, which no weight can do, so it cannot be merged; use the "
            "adapter beside its base"
        )


class NamedBottleneck(NamedAdapter):
    """One of several bottlenecks after a layer."""

    def __init__(self, of: BottleneckLinear) -> None:
        super().__init__()
        self.narrow, self.widen = (copy.deepcopy(one).requires_grad_(False) for one in (of.narrow, of.widen))
        self.activation, self.called = of.activation, of.config.activation

    def effect(self) -> Effect:
        """What the bottleneck does."""
        return _effect(self.narrow, self.widen, self.called)

    def forward(
        self, x: Float[Tensor, "*batch inputs"], y: Float[Tensor, "*batch outputs"], bias: Tensor | None
    ) -> Float[Tensor, "*batch outputs"]:
        """What the base gives, and what the bottleneck makes of it."""
        return after(y, self.narrow, self.widen, self.activation)


def _effect(narrow: nn.Linear, widen: nn.Linear, activation: str) -> Narrowed:
    into, out = ((one.weight.detach(), one.bias.detach()) for one in (narrow, widen))
    return Narrowed(*into, *out, activation)


def after(
    y: Float[Tensor, "*batch outputs"], narrow: nn.Linear, widen: nn.Linear, activation: Callable[[Tensor], Tensor]
) -> Float[Tensor, "*batch outputs"]:
    """A layer's result with a bottleneck after it, in the type of the result."""
    weights = (one.to(y.dtype) for one in (narrow.weight, narrow.bias, widen.weight, widen.bias))
    into, into_bias, out, out_bias = weights
    return y + F.linear(activation(F.linear(y, into, into_bias)), out, out_bias)


def add_bottlenecks(network: Network, config: BottleneckConfig, seed: int = 0) -> Network:
    """Freeze the network and put bottlenecks into its blocks, in place; from here on only they can be trained.

    ConfigError for a network without blocks of attention and one feed-forward, for one that has adapters, and for a
    size that does not narrow.
    """
    must_be_bare(network)
    paths = [
        f"{path}.{part}"
        for path, block in network.named_modules()
        if isinstance(block, Block)
        for part in (
            ("feed_forward.down",) if config.style == "pfeiffer" else ("attention.output", "feed_forward.down")
        )
    ]
    missing = [path for path in paths if not _has_linear(network, path)]
    if missing or not paths:
        what = f"has no linear layer {missing[0]}" if missing else "has no blocks"
        raise ConfigError(
            f"{{at}}style: bottlenecks stand after attention and after a dense feed-forward, and this network {what}; "
            "take lora"
        )
    width = min(int(network.get_submodule(path).out_features) for path in paths)  # type: ignore[arg-type]
    if config.size >= width:
        raise ConfigError(
            f"{{at}}size is {config.size:,}, and a bottleneck is narrower than the layer that it stands after, which "
            f"is {width:,} wide here; take a smaller one"
        )
    network.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for path in paths:
        base = network.get_submodule(path)
        assert isinstance(base, nn.Linear | FrozenLinear)
        layer = BottleneckLinear(base, config)
        layer.initialise(generator)
        network.set_submodule(path, layer.train(network.training))
    return network


def _has_linear(network: Network, path: str) -> bool:
    try:
        return isinstance(network.get_submodule(path), nn.Linear | FrozenLinear)
    except AttributeError:
        return False


def bottlenecks(network: Network) -> dict[str, BottleneckLinear]:
    """The layers that have one, by path."""
    return {path: one for path, one in adapted_layers(network).items() if isinstance(one, BottleneckLinear)}


def bottleneck_tensors(network: Network) -> dict[str, Tensor]:
    """Their parameters by the names that the file has; views, so that they can be written to."""
    return {
        f"{path}.{name}": parameter.detach()
        for path, layer in bottlenecks(network).items()
        for name, parameter in layer.named_parameters()
        if not name.startswith("base.")
    }


def write_bottlenecks(folder: Path, network: Network, base: str) -> None:
    """Write them into an existing folder; `base` says which model they belong to."""
    layers = bottlenecks(network)
    if not layers:
        raise ConfigError("the network has no bottlenecks to save")
    config = next(iter(layers.values())).config
    write_files(folder, TYPE, base, config.model_dump(mode="json"), bottleneck_tensors(network))


def read_bottlenecks(folder: Path, network: Network) -> Network:
    """Put the bottlenecks of a folder on a network, in place. ModelError where the files do not fit it."""
    settings = read_json(folder / CONFIG)
    tensors = read_safetensors(folder / WEIGHTS)
    try:
        config = BottleneckConfig(**{key: settings[key] for key in BottleneckConfig.model_fields if key in settings})
        _check_size(folder, config.size, tensors)
        add_bottlenecks(network, config)
    except ConfigError as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from None
    try:
        fill(folder, bottleneck_tensors(network), tensors)
    except ModelError:
        remove_adapters(network)
        raise
    return network


def _check_size(folder: Path, size: int, tensors: dict[str, Tensor]) -> None:
    """ModelError where the weights have another size than the settings say, before anything of that size is made."""
    for name, tensor in tensors.items():
        if name.endswith("narrow.weight") and len(tensor) != size:
            raise ModelError(
                f"{folder / WEIGHTS}: {name} has {len(tensor)} rows, and {CONFIG} says size = {size}; "
                "the two files do not belong together"
            )
