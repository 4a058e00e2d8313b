"""Checks of a model with adapters: pitfalls 21 and 22."""

from __future__ import annotations

import copy

import torch

from lmworks.adaptation.adapter_files import WEIGHTS, is_adapter
from lmworks.adaptation.lora import LoRALinear, lora_layers, merge_adapters
from lmworks.adaptation.reading import tensors_on
from lmworks.checks.probes import as_row, probe_ids
from lmworks.checks.result import Difference, NotApplicableError, Outcome, check, logits_apart
from lmworks.language_model import LanguageModel
from lmworks.models.adapted import has_adapters
from lmworks.models.files.directory import read_safetensors

NO_ADAPTER = "the model has no adapter"


@check("adapter is loaded whole", 21, of="model")
def loaded_whole(model: LanguageModel) -> Outcome:
    """The adapter's file against what the network holds."""
    if not has_adapters(model.network):
        raise NotApplicableError(NO_ADAPTER)
    if model.source is None or not is_adapter(model.source):
        raise NotApplicableError("the adapter was not loaded from a folder")
    stored, held = read_safetensors(model.source / WEIGHTS), tensors_on(model.network)
    lost = sorted(set(stored) ^ set(held))
    other = [name for name in set(stored) & set(held) if not torch.equal(stored[name].float(), held[name])]
    last = [tensor for name, tensor in held.items() if ".lora_B." in name or ".up." in name]
    silent = bool(last) and not any(tensor.any() for tensor in last)
    return Outcome(
        f"{len(stored)} tensors of {WEIGHTS} against the network",
        [
            Difference("the tensors of the file and of the network", len(lost), 0, "names", ", ".join(lost[:2])),
            Difference(
                "the values of the file and of the network", len(other), 0, "tensors", ", ".join(sorted(other)[:2])
            ),
        ],
        "every matrix that it ends with is zero: the adapter changes nothing" if silent else "",
    )


@check("merged is unmerged", 22, of="model", numbers="both")
def merged(model: LanguageModel) -> Outcome:
    """The adapter beside the weights, and merged into them once and twice."""
    layers = _adapters(model)
    tokens = as_row(probe_ids(model), model.network)
    beside = model.network(tokens)
    with torch.enable_grad():  # the path of training
        trained = model.network(tokens).detach()
    other = copy.deepcopy(model.network)
    original = {path: layer.base.weight.clone() for path, layer in lora_layers(other).items()}
    for layer in lora_layers(other).values():
        layer.merge()
    once = other(tokens)
    for layer in lora_layers(other).values():
        layer.merge()
    twice = other(tokens)
    for layer in lora_layers(other).values():
        layer.unmerge()
    moved = [path for path, layer in lora_layers(other).items() if not torch.equal(layer.base.weight, original[path])]
    plain = merge_adapters(other)(tokens)
    dtype = model.network.dtype
    return Outcome(
        f"{len(layers)} adapted layers: beside, merged, merged twice, unmerged",
        [
            logits_apart("merged and unmerged", once, beside, dtype),
            logits_apart("merged twice and once", twice, once, dtype),
            logits_apart("the plain merged network and the adapter", plain, beside, dtype),
            logits_apart("the adapter in training and in answering", trained, beside, dtype),
            Difference("the weights after unmerging and before merging", len(moved), 0, "layers", ", ".join(moved[:2])),
        ],
    )


def _adapters(model: LanguageModel) -> dict[str, LoRALinear]:
    layers = lora_layers(model.network)
    if not layers:
        raise NotApplicableError(
            "its adapter cannot be merged: no weight does the same" if has_adapters(model.network) else NO_ADAPTER
        )
    return layers
