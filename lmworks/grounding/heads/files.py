"""The files of a reader: its adapters and classifier, and a card that says what they are and were made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.files import write_json
from lmworks.grounding.heads.reading import Classifier, SpanReader
from lmworks.grounding.heads.recipe import LABELS, Card, ReaderBase, reading_config
from lmworks.kernels.choice import embedder_for, embedder_of_kept
from lmworks.kernels.keeping import Keeper
from lmworks.language_model import LanguageModel
from lmworks.loading import fingerprint, load_tokenizer
from lmworks.models.files.model_folder import read_config, read_json, weight_files
from lmworks.models.files.references import resolve
from lmworks.models.later_network import LaterNetwork
from lmworks.models.runner import Runner

if TYPE_CHECKING:  # a reader whose packed weights are kept needs no PyTorch
    from torch import Tensor

    from lmworks.models.network import Network

WEIGHTS, CARD = "reader.safetensors", "reader.json"


def trained_tensors(network: Network) -> dict[str, Tensor]:
    """What was trained: adapters and classifier, by their names in the network."""
    from lmworks.adaptation.lora import lora_layers

    learnt = tuple(f"{path}.{part}" for path in lora_layers(network) for part in ("down", "up."))
    return {
        name: parameter for name, parameter in network.named_parameters() if name.startswith((*learnt, "classifier."))
    }


def write_reader(folder: Path, network: Network, card: Card) -> None:
    """Both files, the weights in 16 bits."""
    import torch

    from lmworks.models.files.directory import write_safetensors

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
    import torch

    from lmworks.grounding.heads.network import add_adapters, reading_network

    _must_be_base(folder, card, base.source)
    recipe = card.recipe
    network = reading_network(base.network, torch.float32)
    add_adapters(network, recipe.rank, recipe.rank, recipe.lowest, recipe.seed)
    return filled(network, folder / WEIGHTS)


def filled(network: Network, file: Path) -> Network:
    """A network with what was trained from a file, adapters merged; ModelError where that is of another network."""
    import torch

    from lmworks.adaptation.lora import merge_adapters
    from lmworks.models.files.directory import read_safetensors

    places, tensors = trained_tensors(network), read_safetensors(file)
    if {name: place.shape for name, place in places.items()} != {name: one.shape for name, one in tensors.items()}:
        raise _foreign(file)
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(tensors[name])
    return merge_adapters(network).requires_grad_(False).eval()


def classifier_of(network: Network) -> Classifier:
    """What makes the scores of a network that reads."""
    assert network.classifier is not None and network.classifier.bias is not None  # reading_network made it
    weight, bias = (one.detach().float().cpu().numpy() for one in (network.classifier.weight, network.classifier.bias))
    return Classifier(weight, bias)


def read_reader(folder: Path) -> SpanReader:
    """The reader that a folder holds, compiled in 8 bits where the kernels can, else by PyTorch; without PyTorch where
    its packed weights are kept."""
    card = read_card(folder)
    source = resolve(card.base.reference)
    _must_be_base(folder, card, source)

    def build() -> Network:
        return read_network(folder, LanguageModel.load(card.base.reference, compress="none"), card)

    config = reading_config(read_config(source))
    later = LaterNetwork(config, build)
    keeper = Keeper(source, [source / "config.json", *weight_files(source), folder / WEIGHTS, folder / CARD])
    runner: Runner | None = embedder_of_kept(later, keeper) or embedder_for(later.network, keeper)
    if runner is None:
        from lmworks.models.torch_runner import TorchRunner

        runner = TorchRunner(later.network)
    classifier = _classifier(folder / WEIGHTS, config.dim)
    return SpanReader(runner, classifier, load_tokenizer(card.base.reference), card.calibration)


def _classifier(file: Path, dim: int) -> Classifier:
    """That of a reader's file; ModelError where there is none for states of this width."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as held:
            named = (held.get_tensor(f"classifier.{one}").astype(np.float32) for one in Classifier._fields)
            found = Classifier(*named)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} cannot be read ({error}); install lmworks again") from None
    if found.weight.shape != (len(LABELS), dim) or found.bias.shape != (len(LABELS),):
        raise _foreign(file)
    return found


def _must_be_base(folder: Path, card: Card, source: Path | None) -> None:
    """ModelError where a folder's reader was trained on other weights than those of `source`."""
    if source is None or fingerprint(source) != card.base.sha256:
        raise ModelError(
            f"{folder / WEIGHTS} was trained on other weights than {card.base.reference} holds (their SHA-256 "
            f"differs); train it on these (python -m lmworks.grounding.heads.train), or fetch {card.base.reference} "
            "again"
        )


def _foreign(file: Path) -> ModelError:
    return ModelError(f"{file} and {file.with_suffix('.json')} do not belong together; install lmworks again")
