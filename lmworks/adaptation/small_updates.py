"""Updates that are too small for the type of the weights: how much is lost, and when float32 is written instead.

    merge_keeping(network)              # adapters become weights; float32 if their type would round them away

bfloat16 has 8 bits of precision: a weight of 0.03 moves by at least 0.0001 or not at all, and a short run moves it by
less. What is lost is |written - wanted| / |wanted|, of the difference from the base over all matrices that change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from lmworks.adaptation.lora import LoRALinear, merge_adapters, must_merge
from lmworks.adaptation.merge_settings import MergeSettings
from lmworks.adaptation.merging import merged
from lmworks.basics.arrays import Float
from lmworks.models.adapted import adapted_layers
from lmworks.models.network import Network

MOST_LOST = 0.1
"""Above this share of the update the result is written in float32."""

Change = tuple[Float[Tensor, "..."], Float[Tensor, "..."]]
"""A base's weight, in the type that it has, and what shall become of it, in float32."""


@torch.no_grad()
def share_lost(changes: Iterable[Change]) -> float:
    """The share of an update that is lost where it is written in the base's type; 0 where nothing changes."""
    missed = moved = 0.0
    for base, wanted in changes:
        written = wanted.to(base.dtype).float()
        missed += float((written - wanted).square().sum(dtype=torch.float64))
        moved += float((wanted - base.float()).square().sum(dtype=torch.float64))
    return min(1.0, (missed / moved) ** 0.5) if moved else 0.0  # more where float16 has no such number


def merged_networks(
    base: Network, networks: Sequence[Network], settings: MergeSettings
) -> tuple[dict[str, Tensor], float]:
    """The tensors of networks as one; and the share of what was learnt that the base's type would lose. They are in
    float32 where that is too much, and where all of a network with more digits than the base is kept."""
    before, models = dict(base.state_dict()), [dict(one.state_dict()) for one in networks]
    made = partial(merged, before, models, settings)  # twice: all of it in float32 would take twice the memory
    changed = ((name, one) for name, one in made() if one is not before[name] and one.is_floating_point())
    share = share_lost((before[name], one.float()) for name, one in changed)
    finer = any(torch.promote_types(one.dtype, base.dtype) != base.dtype for one in networks)
    if share > MOST_LOST or (finer and settings.keep == 1):
        return {name: one.float() if one.is_floating_point() else one for name, one in made()}, share
    return {name: one.to(before[name].dtype) for name, one in made()}, share


def merge_keeping(network: Network, say: Callable[[str], None] = lambda line: None) -> Network:
    """Merge adapters in place, as `merge_adapters` does. If the network's type would lose too much of the update, the
    whole network is converted to float32 first, and `say` hears why."""
    must_merge(network)
    layers = [one for one in adapted_layers(network).values() if isinstance(one, LoRALinear)]
    plain = [one for one in layers if isinstance(one.base, nn.Linear)]  # of others `merge_adapters` says why not
    share = share_lost((one.base.weight, one.base.weight.float() + one.delta()) for one in plain)
    if share > MOST_LOST:
        say(f"in float32: {dtype_name(network.dtype)} would lose {share:.0%} of what was learnt")
        network.float()
    return merge_adapters(network)


def dtype_name(dtype: torch.dtype) -> str:
    """What people call a type."""
    return str(dtype).removeprefix("torch.")
