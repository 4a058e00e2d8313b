"""Adapters of every kind that a method declares, by what their folder says of itself.

put_adapter(Path("models/notes"), network)     # LoRA, DoRA, a bottleneck, a prompt: lmworks' or PEFT's
tensors_on(network)                            # what is trained beside its weights, by the names in such a folder
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from lmworks.adaptation.adapter_files import CONFIG, TYPE
from lmworks.adaptation.declaration import Adapter
from lmworks.adaptation.methods import METHODS
from lmworks.basics.errors import ModelError
from lmworks.models.files.model_folder import read_json
from lmworks.models.network import Network


def put_adapter(folder: Path, network: Network) -> Network:
    """Put the adapter of a folder on a network, in place.

    ModelError for a kind that no method declares, and where the files do not fit the network: an adapter is loaded
    whole, or the network stays without one.
    """
    said = read_json(folder / CONFIG).get(TYPE)
    known = {one.type: one for one in _adapters()}
    if said not in known:
        raise ModelError(f"{folder / CONFIG}: adapters of type {said!r} are not known; {', '.join(known)} are")
    return known[said].read(folder, network)


def tensors_on(network: Network) -> dict[str, Tensor]:
    """The tensors of a network's adapter, or reader of images, by the names that its file has; empty for a network
    without one."""
    if network.image_reader is not None:
        return dict(network.image_reader.layers.state_dict())
    return next((found for one in _adapters() if (found := one.tensors(network))), {})


def _adapters() -> list[Adapter]:
    return [method.adapter for method in METHODS.values() if method.adapter is not None]
