"""Several adapters on one network: each row of a batch names the one that it uses, or none.

    put_beside(network, "notes", Path("models/notes"))
    put_beside(network, "code", Path("models/code"))

The base's weights are held once and do not change. An adapter that cannot be applied row by row is refused; load it on
a model of its own (`load`).
"""

from __future__ import annotations

from pathlib import Path

from lmworks.adaptation.adapter_files import BASE_VALUES, CONFIG, NF4_GRID, TYPE, must_be_adapter
from lmworks.adaptation.bottleneck import TYPE as BOTTLENECK
from lmworks.adaptation.lora import remove_adapters
from lmworks.adaptation.nf4 import VALUES
from lmworks.adaptation.prompt_tuning import TYPE as PROMPT
from lmworks.adaptation.reading import put_adapter
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.adapted import LinearWithAdapters, RowChoice, adapted_layers, adapter_names
from lmworks.models.files.model_folder import read_json
from lmworks.models.named_prompts import NamedPrompts
from lmworks.models.network import Network

BESIDE = ("LORA", BOTTLENECK, PROMPT)
"""The types of adapters that can stand beside others; DoRA is of type LORA too."""


def put_beside(network: Network, name: str, folder: Path) -> None:
    """Put the adapter in a folder beside a network, in place, under a name.

    ModelError where the folder holds no adapter, or one that does not fit the network or cannot stand beside others;
    ConfigError for a name that is taken, and for a network that cannot have several. Then nothing has changed.
    """
    must_be_beside(folder)
    _must_take(network, name)
    _must_be_trained_on(folder, network)
    if read_json(folder / CONFIG).get(TYPE) == PROMPT and (
        network.image_reader is not None or network.config.embedding_norm is not None
    ):
        reads = "reads images" if network.image_reader is not None else "norms its embeddings"
        raise ConfigError(f"the model {reads}, and a trained prompt stands beside none that does; load it by itself")
    before = {path: one for path, one in adapted_layers(network).items() if isinstance(one, LinearWithAdapters)}
    prompts, network.prompts = network.prompts, None
    for path, layer in before.items():
        network.set_submodule(path, layer.base)
    try:
        put_adapter(folder, network)
        vectors = None if network.prompt is None else network.before_texts(network.prompt)
        fresh = {path: layer.named() for path, layer in adapted_layers(network).items()}
    finally:
        remove_adapters(network)
        for path, layer in before.items():
            network.set_submodule(path, layer)
        network.prompts = prompts
    if vectors is not None:
        network.prompts = prompts or NamedPrompts(network.config.vocab_size)
        network.prompts.add(name, vectors)
    chosen = next((one.chosen for one in before.values()), RowChoice())
    for path, adapter in fresh.items():
        layer = before.get(path) or LinearWithAdapters(network.get_submodule(path), chosen)
        layer.add(name, adapter)
        network.set_submodule(path, layer.train(network.training))


def must_be_beside(folder: Path) -> None:
    """ModelError unless the folder holds an adapter that can stand beside others."""
    must_be_adapter(folder)
    if (kind := read_json(folder / CONFIG).get(TYPE)) not in BESIDE:
        raise ModelError(
            f"{folder / CONFIG}: an adapter of type {kind!r} cannot stand beside others, as {', '.join(BESIDE)} can; "
            "load it by itself"
        )


def _must_be_trained_on(folder: Path, network: Network) -> None:
    """ModelError for an adapter that was trained on other values of the network's weights: it would answer worse, and
    nothing would show it."""
    rounded, here = (one == VALUES for one in (read_json(folder / CONFIG).get(BASE_VALUES), network.rounded_to))
    if rounded and not here:
        raise ModelError(
            f"{folder} was trained on its base's values in NF4, and this base has those of its files; load the base on "
            f"them (lm.load(MODEL, grid='{NF4_GRID}')), or the adapter by itself"
        )
    if here and not rounded:
        raise ModelError(
            f"{folder} was trained on the values of its base's files, and this base is rounded to NF4; load the base "
            "as it is"
        )


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
