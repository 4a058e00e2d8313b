"""LoRA: a frozen matrix W and a trained update of low rank, W + (alpha / rank) B A.

Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685. The network joins query, key and value (and gate and up)
in one matrix; each of them keeps an adapter of its own, as in PEFT, and their A's are stacked so that one product
serves them all.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.adaptation.frozen import FrozenLinear
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.models.adapted import AdaptedLinear, RowGradients, adapted_layers, has_adapters
from lmworks.models.families import family_of
from lmworks.models.families.names import each_name
from lmworks.models.families.sources import NeighbourRows, Rows, rows_of
from lmworks.models.network import Network
from lmworks.models.prompt import TrainedPrompt
from lmworks.models.unread import peek, peeked


@dataclass(frozen=True)
class Projection:
    """One of the projections that a matrix joins."""

    module: str
    """Its path in the model's files: model.layers.0.self_attn.q_proj."""
    rows: slice
    """Its rows in our matrix."""


class LoRALinear(AdaptedLinear):
    """A frozen linear layer with an adapter on some of its parts.

    `down` holds the A's, stacked [parts x rank, inputs], and `up` the B's [rows of the part, rank]. Both are float32
    whatever the layer computes in: bfloat16 would round small steps away.
    """

    finds_row_gradients = True

    def __init__(self, base: nn.Linear | FrozenLinear, parts: list[Projection], rank: int, scale: float) -> None:
        super().__init__()
        self.base, self.parts, self.rank, self.scale = base, parts, rank, scale
        self.rounded_to: str | None = None
        """What rounded the base's values that the adapter was trained on (`nf4.VALUES`); None for those of the base's
        files."""
        device = peek(base, "weight").device if isinstance(base, nn.Linear) else None
        self.down = nn.Parameter(torch.empty(len(parts) * rank, base.in_features, device=device))
        self.up = nn.ParameterList(
            nn.Parameter(torch.zeros(part.rows.stop - part.rows.start, rank, device=device)) for part in parts
        )
        self._unmerged: Tensor | None = None
        self._copies: tuple[Tensor, Tensor] | None = None
        self._copied: tuple[object, ...] = ()

    def initialise(self, generator: torch.Generator) -> None:
        """A uniform as PyTorch's linear layers, B zero: the network starts as it was."""
        if self.down.is_meta:  # it has a shape and no values
            return
        bound = 1 / math.sqrt(self.base.in_features)
        with torch.no_grad():
            fresh = torch.empty(self.down.shape).uniform_(-bound, bound, generator=generator)
            self.down.copy_(fresh)
            for up in self.up:
                up.zero_()

    def base_changed(self) -> None:
        """Forget what was computed of the base's weight, which has other values now."""

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """The layer with its adapters, by ordinary autograd where gradients are wanted."""
        if self.row_gradients is not None and self.enabled and torch.is_grad_enabled():
            made: Tensor = _ByHand.apply(x, self, *self.trained())
            return made.unflatten(0, x.shape[:-1])
        y = self.base(x)
        if not self.enabled or self.merged:
            return y
        if torch.is_grad_enabled():
            return y + self._update(x)
        down, up = self.copies()
        return y + F.linear(F.linear(x, down), up)

    def own(self) -> list[nn.Parameter]:
        """A and the B's."""
        return [self.down, *self.up]

    def forward_by_hand(self, x: Float[Tensor, "rows inputs"]) -> tuple[Float[Tensor, "rows outputs"], Tensor | None]:
        """The product, and A x, which the backward needs."""
        if not self.enabled:
            return self.base.times(x), None
        down, up = self.copies()
        narrow = torch.mm(x, down.T)
        return self.base.times(x).addmm_(narrow, up.T), narrow

    def backward_by_hand(
        self,
        gradient: Float[Tensor, "rows outputs"],
        x: Float[Tensor, "rows inputs"],
        kept: Float[Tensor, "rows parts_rank"] | None,
        to_x: bool = True,
    ) -> tuple[Float[Tensor, "rows inputs"] | None, list[Any]]:
        """The gradient of x, None unless wanted, and those of the adapters, in the order of `trained`; None for each
        where `row_gradients` takes them."""
        if kept is None:  # it was off
            return self.base.times_back(gradient) if to_x else None, []
        down, up = self.copies()
        if self.row_gradients is not None:
            through = torch.mm(gradient, up)
            self._row_by_row(self.row_gradients, gradient, x, kept, through)
            to = self.base.times_back(gradient).addmm_(through, down) if to_x else None
            return to, [None] * len(self.trained())
        joint = torch.mm(kept.T, gradient).T  # [outputs, parts x rank]; each part's block is its own gradient
        through = torch.mm(gradient, up)
        gradients = [torch.mm(through.T, x).to(self.down.dtype)] if self.down.requires_grad else []
        for index, (part, block) in enumerate(zip(self.parts, self.up, strict=True)):
            if block.requires_grad:
                own = joint[part.rows, index * self.rank : (index + 1) * self.rank]
                gradients.append(own.to(block.dtype).mul_(self.scale))
        return self.base.times_back(gradient).addmm_(through, down) if to_x else None, gradients

    def _row_by_row(self, into: RowGradients, gradient: Tensor, x: Tensor, kept: Tensor, through: Tensor) -> None:
        """The adapters' gradients of each row of the batch; as many products as for their sum."""
        gradient, x, kept, through = (one.unflatten(0, (into.rows, -1)) for one in (gradient, x, kept, through))
        if self.down.requires_grad:
            into.take(self.down, torch.bmm(through.mT, x))
        for index, (part, block) in enumerate(zip(self.parts, self.up, strict=True)):
            if block.requires_grad:
                own = kept[..., index * self.rank : (index + 1) * self.rank]
                into.take(block, torch.bmm(gradient[..., part.rows].mT, own).to(block.dtype).mul_(self.scale))

    def _update(self, x: Tensor) -> Tensor:
        """The adapters' share, by ordinary autograd."""
        narrow = F.linear(x, self.down.to(x.dtype)).split(self.rank, dim=-1)
        update = x.new_zeros(*x.shape[:-1], self.base.out_features)
        for part, states, up in zip(self.parts, narrow, self.up, strict=True):
            update[..., part.rows] = F.linear(states, up.to(x.dtype)) * self.scale
        return update

    def train(self, mode: bool = True) -> LoRALinear:
        """Switch between training and evaluation mode; the copies are made again at the next use."""
        self._copies = None
        return super().train(mode)

    @torch.no_grad()
    def copies(self) -> tuple[Float[Tensor, "parts_rank inputs"], Float[Tensor, "outputs parts_rank"]]:
        """A and the block-diagonal, scaled B in the type that the layer computes in.

        Kept between uses in evaluation mode only. In training mode they are made each time: PyTorch's fused AdamW
        does not count its updates in the parameters' versions, so a copy could not know that it is old.
        """
        dtype, device = self._dtype, self.down.device
        state = (self.down._version, *(up._version for up in self.up), dtype, device)
        if self._copies is None or self.training or state != self._copied:
            up = torch.zeros(self.base.out_features, self.down.shape[0], dtype=dtype, device=device)
            for index, (part, block) in enumerate(zip(self.parts, self.up, strict=True)):
                up[part.rows, index * self.rank : (index + 1) * self.rank] = block * self.scale
            self._copies, self._copied = (self.down.to(dtype), up), state
        return self._copies

    @property
    def _dtype(self) -> torch.dtype:
        """What the layer computes in."""
        return self.base.weight.dtype if isinstance(self.base, nn.Linear) else self.base.dtype

    @torch.no_grad()
    def delta(self) -> Float[Tensor, "outputs inputs"]:
        """The whole update (alpha / rank) B A, in float32."""
        update = torch.zeros(self.base.out_features, self.base.in_features, device=self.down.device)
        for rows, down, up in self.updates():
            update[rows] = up @ down
        return update

    @torch.no_grad()
    def updates(self) -> Iterator[tuple[slice, Float[Tensor, "rank inputs"], Float[Tensor, "rows rank"]]]:
        """Of each part: its rows, A and the scaled B."""
        for part, down, up in zip(self.parts, self.down.split(self.rank), self.up, strict=True):
            yield part.rows, down, up * self.scale

    @property
    def merged(self) -> bool:
        """Is the update part of the weight now?"""
        return self._unmerged is not None

    @torch.no_grad()
    def merge(self) -> None:
        """Add the update to the weight; a second call changes nothing. ConfigError for a weight in few bits."""
        if isinstance(self.base, FrozenLinear):
            raise ConfigError("an update does not fit into a weight of few bits; thaw the network first")
        if not self.merged:
            self._unmerged = self.base.weight.detach().clone()
            self.base.weight.copy_(self.base.weight.float() + self.delta())

    @torch.no_grad()
    def unmerge(self) -> None:
        """Put the weight back as it was, to the bit."""
        if self._unmerged is not None:
            assert isinstance(self.base, nn.Linear)
            self.base.weight.copy_(self._unmerged)
            self._unmerged = None


class _ByHand(torch.autograd.Function):
    """A layer's own forward and backward for blocks that autograd runs."""

    @staticmethod
    def forward(context: Any, x: Tensor, layer: LoRALinear, *trained: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        y, kept = layer.forward_by_hand(rows)
        context.save_for_backward(rows, kept)
        context.layer, context.shape = layer, x.shape
        return y

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        to_x, others = context.layer.backward_by_hand(gradient, *context.saved_tensors, context.needs_input_grad[0])
        return (None if to_x is None else to_x.view(context.shape), None, *others)


def adaptable(network: Network) -> dict[str, list[Projection]]:
    """The linear layers of the blocks by our path, with the projections that each joins.

    Routers and the experts that they choose from get no adapters: PEFT knows no layer there, and each expert would see
    only a share of the text.
    """
    layers: dict[str, list[Projection]] = {}
    config = network.config
    for name, source in each_name(family_of(config.family).tensors, config):
        path = name.removesuffix(".weight")
        if (
            "blocks." not in name
            or not name.endswith(".weight")
            or name.endswith("router.weight")
            or ".experts." in name
            or not isinstance(network.get_submodule(path), nn.Linear | FrozenLinear | AdaptedLinear)
        ):
            continue
        if isinstance(source, Rows | NeighbourRows):
            ends = torch.tensor(rows_of(name, config)).cumsum(0).tolist()
            rows = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
            layers[path] = [
                Projection(part.removesuffix(".weight"), row) for part, row in zip(source.names, rows, strict=True)
            ]
        else:
            theirs = source if isinstance(source, str) else source.name
            layer = network.get_submodule(path)
            outputs = layer.base.out_features if isinstance(layer, AdaptedLinear) else layer.out_features
            assert isinstance(outputs, int)
            layers[path] = [Projection(theirs.removesuffix(".weight"), slice(0, outputs))]
    return layers


def add_lora(network: Network, config: LoRAConfig, seed: int = 0, kind: type[LoRALinear] = LoRALinear) -> Network:
    """Freeze the network and put adapters of a kind on it, in place; from here on only they can be trained.

    ConfigError for a target that the model does not have, and for a network that has adapters already.
    """
    must_be_bare(network)
    layers = adaptable(network)
    if not layers:
        raise ConfigError("the network is recurrent, and adapters sit on a transformer's projections; train it whole")
    known = sorted({part.module.rpartition(".")[2] for parts in layers.values() for part in parts})
    unknown = [] if config.targets == "all" else sorted(set(config.targets) - set(known))
    if unknown:
        experts = "; experts get no adapters" if network.config.experts is not None else ""
        raise ConfigError(
            f"{{at}}targets: this model has no projection {unknown[0]}; it has {', '.join(known)}{experts}"
        )
    chosen = {path: [part for part in parts if _wanted(part, config)] for path, parts in layers.items()}
    _check_rank(network, config, chosen)
    for parameter in peeked(network).values():  # none of them is read for that
        parameter.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for path, parts in chosen.items():
        if parts:
            base = network.get_submodule(path)
            assert isinstance(base, nn.Linear | FrozenLinear)
            layer = kind(base, parts, config.rank, config.scale)
            layer.rounded_to = network.rounded_to
            layer.initialise(generator)
            network.set_submodule(path, layer)
    return network


def _wanted(part: Projection, config: LoRAConfig) -> bool:
    return config.targets == "all" or part.module.rpartition(".")[2] in config.targets


def _check_rank(network: Network, config: LoRAConfig, chosen: dict[str, list[Projection]]) -> None:
    """ConfigError for a rank that no matrix has."""
    inputs = {path: network.get_submodule(path).in_features for path in chosen}
    most = max(min(inputs[path], one.rows.stop - one.rows.start) for path, parts in chosen.items() for one in parts)
    if config.rank > most:
        raise ConfigError(
            f"{{at}}rank is {config.rank:,}, and no update of a matrix that gets an adapter here has a rank above "
            f"{most:,}; take a smaller one"
        )


def must_be_bare(network: Network) -> None:
    """ConfigError for a network that has adapters."""
    if has_adapters(network):
        raise ConfigError("the network has adapters already; merge or remove them first")


def lora_layers(network: Network) -> dict[str, LoRALinear]:
    """The layers that have adapters of low rank, by path."""
    return {path: module for path, module in network.named_modules() if isinstance(module, LoRALinear)}


@contextlib.contextmanager
def adapters_off(network: Network) -> Iterator[None]:
    """The network as it was before its adapters, of whatever kind, for the length of the block."""
    switched: list[AdaptedLinear | TrainedPrompt] = [*adapted_layers(network).values()]
    before = [(one, one.enabled) for one in (*switched, network.prompt) if one is not None]
    try:
        for layer, _ in before:
            layer.enabled = False
        yield
    finally:
        for layer, enabled in before:
            layer.enabled = enabled


def merge_adapters(network: Network) -> Network:
    """Add every update to its weight and take the adapters off, in place: a plain network remains. ConfigError, with
    the network as it was, as `must_merge` says."""
    must_merge(network)
    for layer in adapted_layers(network).values():
        layer.merge()
    return _take_off(network)


def must_merge(network: Network) -> None:
    """ConfigError for adapters of which no weight could do the work."""
    if network.prompt is not None:
        raise ConfigError(
            "a trained prompt is read before each text and is no part of a weight, so it cannot be merged; use the "
            "adapter beside its base"
        )
    if network.image_reader is not None:
        raise ConfigError(
            "a reader of images makes vectors beside the network's embeddings and is no part of a weight, so it cannot "
            "be merged; give its base, or use the model as it is"
        )


def remove_adapters(network: Network) -> Network:
    """Take the adapters off, in place: the network is as it was before they came, to the bit, but frozen."""
    for layer in adapted_layers(network).values():
        layer.unmerge()
    network.prompt = network.image_reader = None
    return _take_off(network)


def _take_off(network: Network) -> Network:
    for path, layer in adapted_layers(network).items():
        network.set_submodule(path, layer.base)
    return network
