"""Linear layers with adapters, as those who run a network see them; files of adaptation/ make and train them.

A layer has one adapter that every row of a batch uses, or several by name (`LinearWithAdapters`), of which each row
uses one, or none.
"""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.models.named_prompts import NamedPrompts
from lmworks.models.runner import no_adapter, prompt_alone
from lmworks.models.unread import peeked

Update = tuple[slice, Float[Tensor, "rank inputs"], Float[Tensor, "rows rank"]]
"""Some rows, D and U."""


class LowRank(NamedTuple):
    """What an adapter makes of a layer: g (W x + U D x) + bias."""

    updates: list[Update]
    gain: Float[Tensor, " outputs"] | None = None
    """g, a factor for each row (DoRA); None where all are 1."""


class Narrowed(NamedTuple):
    """What a bottleneck makes of a layer's result y: y + U a(D y + d) + u."""

    down: Float[Tensor, "size outputs"]
    down_bias: Float[Tensor, " size"]
    up: Float[Tensor, "outputs size"]
    up_bias: Float[Tensor, " outputs"]
    activation: str
    """a, by the names of configs."""


Effect = LowRank | Narrowed
"""What one adapter makes of a layer."""


class RowGradients:
    """The gradients that each row of a batch has by itself, as layers find them on the way back."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.found: dict[nn.Parameter, Tensor] = {}
        """Of each parameter [rows, *shape]."""

    def take(self, parameter: nn.Parameter, gradients: Tensor) -> None:
        """Those of a parameter, [rows, *shape], from one place where it is used; places add up."""
        before = self.found.get(parameter)
        self.found[parameter] = gradients.to(parameter.dtype) if before is None else before + gradients


class AdaptedLinear(nn.Module, ABC):
    """A frozen linear layer and what is trained beside it."""

    base: Any
    """A linear layer, or one that keeps its weight in few bits."""
    enabled: bool = True
    """Off, the layer is its base."""
    scale: float = 1.0
    """Multiplied into U by `updates`."""
    row_gradients: RowGradients | None = None
    """Where the gradients of each row of the batch go, in place of their sum; None for the sum."""
    finds_row_gradients: bool = False
    """Can it do so?"""
    scales_rows: bool = False
    """Has an adapter on it a factor for each row?"""

    @property
    def merged(self) -> bool:
        """Is the adapter part of the base's weight now?"""
        return False

    @abstractmethod
    def own(self) -> list[nn.Parameter]:
        """The adapter's parameters."""

    def trained(self) -> list[nn.Parameter]:
        """Those of its own that require gradients, in the order of the gradients of `backward_by_hand`; none while
        they are off."""
        return [one for one in self.own() if one.requires_grad and self.enabled]

    @property
    def by_hand(self) -> bool:
        """Do `forward_by_hand` and `backward_by_hand` compute what the layer does? Not while adapters are merged."""
        return not self.merged and not any(one.requires_grad for one in self.base.parameters())

    def updates(self) -> Iterator[Update]:
        """Of each range of rows to which U D x is added: the rows, D and U."""
        return iter(())

    def gain(self) -> Float[Tensor, " outputs"] | None:
        """The factor of each row; None where all are 1."""
        return None

    @abstractmethod
    def merge(self) -> None:
        """Make the adapter part of the weight; a second call changes nothing. ConfigError where it cannot be."""

    def unmerge(self) -> None:
        """Put the weight back as it was, to the bit."""

    def names(self) -> Sequence[str | None]:
        """Those of its adapters; None is the name of the one that every row uses."""
        return [None]

    def effect(self, name: str | None = None) -> Effect:
        """What the adapter of a name does."""
        return LowRank(list(self.updates()), self.gain())

    def named(self) -> NamedAdapter:
        """A copy of its adapter that can be one of several."""
        made = self.effect()
        assert isinstance(made, LowRank)
        return LowRankAdapter(made)


class RowChoice(threading.local):
    """Which adapter each row of the batch uses that a thread computes; all layers of a network share it."""

    names: tuple[str | None, ...] = ()

    def __reduce__(self) -> Any:
        """The layers of a copied network share one of their own."""
        return RowChoice, ()


class NamedAdapter(nn.Module, ABC):
    """One of several adapters of a layer, frozen."""

    scales_rows: bool = False
    """As of AdaptedLinear."""

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "*batch inputs"], y: Float[Tensor, "*batch outputs"], bias: Tensor | None
    ) -> Float[Tensor, "*batch outputs"]:
        """The layer's result for x, where its base gives y, of which `bias` is a part."""

    @abstractmethod
    def effect(self) -> Effect:
        """The same in matrices, for what runs no Python."""

    @property
    def size(self) -> int:
        """How many numbers were trained."""
        return sum(one.numel() for one in self.parameters())


class LowRankAdapter(NamedAdapter):
    """LoRA's or DoRA's."""

    def __init__(self, made: LowRank) -> None:
        super().__init__()
        self.rows = [rows for rows, _, _ in made.updates]
        self.down, self.up = (
            nn.ParameterList(_frozen(one) for one in each)
            for each in ([down for _, down, _ in made.updates], [up for _, _, up in made.updates])
        )
        self.gain = None if made.gain is None else _frozen(made.gain)
        self.scales_rows = made.gain is not None
        self._copies: tuple[tuple[object, ...], Tensor, Tensor] | None = None

    def effect(self) -> LowRank:
        """Of each range of rows: the rows, D and U; and the factors."""
        return LowRank(list(zip(self.rows, self.down, self.up, strict=True)), self.gain)

    @property
    def size(self) -> int:
        """Rows that have no update have no factor of their own."""
        factors = 0 if self.gain is None else sum(map(len, self.up))
        return sum(one.numel() for one in (*self.down, *self.up)) + factors

    def forward(
        self, x: Float[Tensor, "*batch inputs"], y: Float[Tensor, "*batch outputs"], bias: Tensor | None
    ) -> Float[Tensor, "*batch outputs"]:
        """g (W x + U D x) + bias; U D x is zero in the rows that it leaves alone."""
        state = (x.dtype, *(one._version for one in (*self.down, *self.up)))
        if self._copies is None or self._copies[0] != state:
            down = torch.cat([one.to(x.dtype) for one in self.down])
            up, done = x.new_zeros(y.shape[-1], len(down)), 0
            for rows, part in zip(self.rows, self.up, strict=True):
                up[rows, done : done + part.shape[1]] = part.to(x.dtype)
                done += part.shape[1]
            self._copies = state, down, up
        _, down, up = self._copies
        update = F.linear(F.linear(x, down), up)
        if self.gain is None:
            return y + update
        gain = self.gain.to(x.dtype)
        return (y + update) * gain if bias is None else (y - bias + update) * gain + bias


def _frozen(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone(), requires_grad=False)


class LinearWithAdapters(AdaptedLinear):
    """A frozen linear layer with several adapters by name; each row of a batch uses the one that `chosen` says."""

    by_hand = False

    def __init__(self, base: Any, chosen: RowChoice) -> None:
        super().__init__()
        self.base, self.chosen = base, chosen
        self.added: list[str] = []
        self.every = nn.ModuleList()
        """The adapters of these names."""

    def named(self) -> NamedAdapter:
        """ConfigError: it has several."""
        raise ConfigError("several adapters stand beside one weight, and each has a name already")

    def add(self, name: str, adapter: NamedAdapter) -> None:
        """One more."""
        self.added.append(name)
        self.every.append(adapter)
        self.scales_rows = self.scales_rows or adapter.scales_rows

    def adapter(self, name: str) -> NamedAdapter:
        """The one of a name."""
        found = self.every[self.added.index(name)]
        assert isinstance(found, NamedAdapter)
        return found

    def forward(self, x: Float[Tensor, "batch seq inputs"]) -> Float[Tensor, "batch seq outputs"]:
        """The layer, each row with its adapter."""
        y: Tensor = self.base(x)
        names = self.chosen.names
        if not self.enabled or not any(names):
            return y
        assert len(names) == len(x), "a name for each row of the batch"
        for name in dict.fromkeys(one for one in names if one is not None):
            if name in self.added:
                at = [row for row, one in enumerate(names) if one == name]
                y[at] = self.adapter(name)(x[at], y[at], self.base.bias)
        return y

    def own(self) -> list[nn.Parameter]:
        """Those of all adapters."""
        return [*self.every.parameters()]

    def merge(self) -> None:
        """ConfigError: it cannot be."""
        raise ConfigError("several adapters stand beside one weight; load one of them by itself to merge it")

    def names(self) -> Sequence[str | None]:
        """Those of all."""
        return self.added

    def effect(self, name: str | None = None) -> Effect:
        """What the one of a name does."""
        assert name is not None
        return self.adapter(name).effect()


def adapted_layers(network: nn.Module) -> dict[str, AdaptedLinear]:
    """The layers that have adapters, by path."""
    return {path: module for path, module in network.named_modules() if isinstance(module, AdaptedLinear)}


def has_adapters(network: nn.Module) -> bool:
    """Is anything trained beside the network's own weights: adapters on layers, prompts, or a reader of images?"""
    beside = (getattr(network, name, None) for name in ("prompt", "prompts", "image_reader"))
    return any(one is not None for one in beside) or bool(adapted_layers(network))


def own_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """A network's parameters by the names that they have without adapters, whose own are left out; some may be
    placeholders (unread.py)."""
    adapted = adapted_layers(network)
    found = {}
    for name, parameter in peeked(network).items():
        if name.startswith("prompt."):
            continue
        layer = next((path for path in adapted if name.startswith(f"{path}.")), None)
        if layer is None:
            found[name] = parameter
        elif name.startswith(f"{layer}.base."):
            found[layer + name.removeprefix(f"{layer}.base")] = parameter
    return found


def prompt_ids(network: nn.Module) -> dict[str, list[int]]:
    """What texts begin with that name one of the network's prompts, by these names."""
    prompts: NamedPrompts | None = getattr(network, "prompts", None)
    return {} if prompts is None else prompts.ids


def adapter_names(network: nn.Module) -> list[str]:
    """The adapters that texts can name: those that rows can, and prompts."""
    return [*row_adapters(network), *prompt_ids(network)]


def row_adapters(network: nn.Module) -> list[str]:
    """The adapters that rows can name."""
    every = (one.names() for one in adapted_layers(network).values())
    return list(dict.fromkeys(name for names in every for name in names if name is not None))


def adapter_sizes(network: nn.Module) -> dict[str, int]:
    """How many numbers each of the adapters holds that texts can name."""
    sizes = dict.fromkeys(row_adapters(network), 0)
    for layer in adapted_layers(network).values():
        if isinstance(layer, LinearWithAdapters):
            for name in layer.added:
                sizes[name] += layer.adapter(name).size
    prompts: NamedPrompts | None = getattr(network, "prompts", None)
    width = 0 if prompts is None else int(network.config.embedding_width)  # type: ignore[arg-type, union-attr]
    return sizes | {name: len(ids) * width for name, ids in prompt_ids(network).items()}


@contextlib.contextmanager
def rows_adapted(network: nn.Module, adapters: Sequence[str | None]) -> Iterator[None]:
    """Each row of a batch with its adapter, for the length of the block. ConfigError for a name that is none."""
    if not any(adapters):
        yield
        return
    known = row_adapters(network)
    for name in adapters:
        if name is not None and name not in known:
            raise prompt_alone(name) if name in prompt_ids(network) else no_adapter(name, known)
    layers = (one for one in adapted_layers(network).values() if isinstance(one, LinearWithAdapters))
    chosen = next(layers).chosen
    before, chosen.names = chosen.names, tuple(adapters)
    try:
        yield
    finally:
        chosen.names = before
