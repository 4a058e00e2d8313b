"""The files of a reader: its adapters and classifier, and a card that says what they are and were made of."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lmworks.adaptation.lora import lora_layers, merge_adapters
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.files import write_json
from lmworks.grounding.heads.network import add_adapters, reading_network
from lmworks.grounding.heads.reading import SpanReader
from lmworks.grounding.heads.recipe import Card, ReaderBase
from lmworks.language_model import LanguageModel
from lmworks.loading import fingerprint
from lmworks.models.files.directory import read_safetensors, write_safetensors
from lmworks.models.files.model_folder import read_json
from lmworks.models.network import Network
from lmworks.models.torch_runner import TorchRunner

WEIGHTS, CARD = "reader.safetensors", "reader.json"


def trained_tensors(network: Network) -> dict[str, Tensor]:
    """What was trained: adapters and classifier, by their names in the network."""
    learnt = tuple(f"{path}.{part}" for path in lora_layers(network) for part in ("down", "up."))
    return {
        name: parameter for name, parameter in network.named_parameters() if name.startswith((*learnt, "classifier."))
    }


def write_reader(folder: Path, network: Network, card: Card) -> None:
    """Both files, the weights in 16 bits."""
    tensors = {name: tensor.to(torch.float16) for name, tensor in trained_tensors(network).items()}
    write_safetensors(folder / WEIGHTS, tensors)
    write_card(folder, card)


def write_card(folder: Path, card: Card) -> None:
    """The card alone."""
    write_json(folder / CARD, card.model_dump(mode="json"))


def read_card(folder: Path) -> Card:
    """The card of a folder; ModelError where it is damaged."""
    try:
        return Card(**read_json(folder / CARD))
    except ConfigError as error:
        raise ModelError(f"{folder / CARD}: {error}") from None


def base_of(model: LanguageModel) -> ReaderBase:
    """What a card says of its base."""
    assert model.source is not None and model.reference is not None
    return ReaderBase(reference=model.reference, sha256=fingerprint(model.source))


def read_network(folder: Path, base: LanguageModel, card: Card) -> Network:
    """The base's trunk with the reader's weights; ModelError where they are not for this base."""
    if base_of(base).sha256 != card.base.sha256:
        raise ModelError(
            f"{folder / WEIGHTS} was trained on other weights than {base.reference} holds (their SHA-256 differs); "
            f"train it on these (python -m lmworks.grounding.heads.train), or fetch {card.base.reference} again"
        )
    recipe = card.recipe
    network = reading_network(base.network, torch.float32)
    add_adapters(network, recipe.rank, recipe.rank, recipe.lowest, recipe.seed)
    return filled(network, folder / WEIGHTS)


def filled(network: Network, file: Path) -> Network:
    """A network with what was trained from a file, adapters merged; ModelError where that is of another network."""
    places, tensors = trained_tensors(network), read_safetensors(file)
    if {name: place.shape for name, place in places.items()} != {name: one.shape for name, one in tensors.items()}:
        raise ModelError(f"{file} and {file.with_suffix('.json')} do not belong together; install lmworks again")
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(tensors[name])
    return merge_adapters(network).requires_grad_(False).eval()


def read_reader(folder: Path) -> SpanReader:
    """The reader that a folder holds. PyTorch runs it: the passages of a question take it little longer than compiled
    kernels, which take seconds to load; and every reader gives the same answers."""
    card = read_card(folder)
    base = LanguageModel.load(card.base.reference, compress="none")
    network = read_network(folder, base, card)
    return SpanReader(TorchRunner(network), base.tokenizer, card.calibration)
