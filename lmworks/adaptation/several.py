"""Several adapters beside one network, of which each row of a batch uses one by its name, or none.

    put_beside(network, "notes", Path("models/notes"))
    put_beside(network, "code", Path("models/code"))

The base's weights are there once, and are not changed. What cannot be done by a product of low rank beside a matrix is
refused: such an adapter goes on a model by itself (`load`).
"""

from __future__ import annotations

from pathlib import Path

from lmworks.adaptation.adapter_files import BASE_VALUES, CONFIG, is_adapter
from lmworks.adaptation.lora import lora_layers, remove_adapters
from lmworks.adaptation.peft_format import read_adapter
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.adapted import LinearWithAdapters, NamedAdapter, RowChoice, adapted_layers, adapter_names
from lmworks.models.files.model_folder import read_json
from lmworks.models.network import Network


def put_beside(network: Network, name: str, folder: Path) -> None:
    """Put the adapter of a folder beside a network under a name, in place.

    ModelError for a folder that holds no adapter which fits the network, or one of another kind than LoRA; ConfigError
    for a name that is taken, and for a network that cannot have several. Nothing is changed then.
    """
    must_be_beside(folder)
    _must_take(network, name)
    before = {path: one for path, one in adapted_layers(network).items() if isinstance(one, LinearWithAdapters)}
    for path, layer in before.items():
        network.set_submodule(path, layer.base)
    try:
        read_adapter(folder, network)
        fresh = {path: NamedAdapter(layer.updates()) for path, layer in lora_layers(network).items()}
    finally:
        remove_adapters(network)
        for path, layer in before.items():
            network.set_submodule(path, layer)
    chosen = next((one.chosen for one in before.values()), RowChoice())
    for path, adapter in fresh.items():
        layer = before.get(path) or LinearWithAdapters(network.get_submodule(path), chosen)
        layer.add(name, adapter)
        network.set_submodule(path, layer.train(network.training))


def must_be_beside(folder: Path) -> None:
    """ModelError unless the folder holds an adapter that can stand beside others."""
    if not is_adapter(folder):
        raise ModelError(f"{folder} holds no adapter ({CONFIG}); give the folder that lmworks tune or PEFT wrote")
    said = read_json(folder / CONFIG)
    kinds = {
        f"is of type {said.get('peft_type')!r}": said.get("peft_type") != "LORA",
        "is DoRA's, which scales whole rows": bool(said.get("use_dora")),
        "was trained on its base's values in NF4, which the others are not": said.get(BASE_VALUES) is not None,
    }
    for kind, is_so in kinds.items():
        if is_so:
            raise ModelError(f"{folder} {kind}, and several at once are LoRA's; load it by itself, or merge it")


def _must_take(network: Network, name: str) -> None:
    if not name:
        raise ConfigError("the adapter has no name; give it one")
    if network.prompt is not None or any(
        not isinstance(one, LinearWithAdapters) for one in adapted_layers(network).values()
    ):
        raise ConfigError("the model has an adapter on it that all texts use; load its base, and put both beside that")
    if network.config.arrangement == "encoder-decoder":
        raise ConfigError("an encoder-decoder runs with one adapter at a time; load the adapter's folder by itself")
    if name in adapter_names(network):
        raise ConfigError(f"there is an adapter {name!r} already; take another name")
