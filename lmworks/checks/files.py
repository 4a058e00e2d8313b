"""Checks of a model's files: tied embeddings (pitfall 15), checksums, finite weights, and that saving loses nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from lmworks.adaptation.adapter_files import CONFIG, WEIGHTS, is_adapter
from lmworks.basics.amounts import counted
from lmworks.basics.files import sha256
from lmworks.checks.probes import as_row, probe_ids, read, whole_copy
from lmworks.checks.result import Difference, NotApplicableError, Outcome, check, type_name
from lmworks.language_model import LanguageModel
from lmworks.loading import fingerprint
from lmworks.models.files.directory import read_safetensors
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.model_folder import FACTS, read_facts, read_json, weight_files
from lmworks.models.files.references import ALIASES, resolve
from lmworks.models.network import evaluating
from lmworks.text.wheels import checksum


@check("files are whole", of="model")
def files(model: LanguageModel) -> Outcome:
    """The weights' files, and their recorded SHA-256."""
    source = model.source
    if source is None:
        raise NotApplicableError("the model was not loaded from a file")
    alias = ALIASES.get(model.reference or "")
    if alias is not None:
        wrong = checksum(source) != alias.member_sha256
        return Outcome(
            f"SHA-256 of {source.name} against the published one",
            [Difference("the file and the published one", wrong, 0, "files", source.name)],
        )
    if source.is_file():
        held = GGUFFile(source)  # refuses a header that asks for more than the file holds
        return Outcome(
            f"{len(held.tensors)} tensors against the length of {source.name}",
            [Difference("the tensors and the file", 0, 0, "tensors")],
            "no SHA-256 is recorded for it",
        )
    parts = [source / WEIGHTS] if is_adapter(source) else weight_files(source)
    count = sum(len(read_safetensors(part)) for part in parts)
    recorded, base = read_facts(source).get("sha256"), _base(source)
    differences = [Difference("the tensors and the files' lengths", 0, 0, "tensors")]
    against = [f"the length of {len(parts)} file{'s' if len(parts) > 1 else ''}"]
    if isinstance(recorded, dict):
        against.append(f"the SHA-256 in {FACTS}")
        changed = [part.name for part in parts if sha256(part) != recorded.get(part.name)]
        differences.append(
            Difference("a file and the one that was saved", len(changed), 0, "files", ", ".join(changed[:3]))
        )
    if base is not None:
        against.append("the base's SHA-256")
        differences.append(
            Difference(
                "the base's SHA-256 and the one it was trained on",
                base[0] != base[1],
                0,
                "files",
                "the base model's weights",
            )
        )
    return Outcome(
        f"{count} tensors against {' and '.join(against)}",
        differences,
        "" if len(against) > 1 else "no SHA-256 is recorded for it",
    )


@check("weights are finite", of="model")
def finite(model: LanguageModel) -> Outcome:
    """Every weight of the network."""
    weights = dict(model.network.named_parameters())
    broken = [name for name, weight in weights.items() if not torch.isfinite(weight).all()]
    return Outcome(
        f"{counted(sum(weight.numel() for weight in weights.values()), 'weight')} in {len(weights)} tensors",
        [Difference("the weights and finite numbers", len(broken), 0, "tensors", ", ".join(broken[:3]))],
    )


@check("tied embeddings stay tied", 15, of="model")
def tie(model: LanguageModel) -> Outcome:
    """Embedding and head, by storage, before and after saving."""
    if not model.config.tied:
        raise NotApplicableError("the head has a matrix of its own")
    whole = whole_copy(model)
    again = _saved(whole)
    untied = [
        name
        for name, one in (("the loaded model", model), ("the merged model", whole), ("the saved model", again))
        if one.network.head_weight.data_ptr() != one.network.embedding.weight.data_ptr()
    ]
    return Outcome(
        "storage of embedding and head, loaded, merged and saved",
        [Difference("embedding and head", len(untied), 0, "models", ", ".join(untied))],
    )


@check("saving loses nothing", 11, of="model")
def round_trip(model: LanguageModel) -> Outcome:
    """Logits before saving and after loading."""
    whole = whole_copy(model)
    tokens = as_row(probe_ids(model), model.network)
    with evaluating(model.network), evaluating(whole.network):
        before, again = read(whole, tokens), _saved(whole)
        after = read(again, tokens)
    apart = (before - after).abs().amax(-1)[0]
    place = int(apart.argmax())
    return Outcome(
        f"logits of {tokens.shape[1]} tokens before saving and after loading",
        [
            Difference(
                "the model before saving and after loading",
                float(apart[place]),
                0,
                f"logits, {type_name(model.network.dtype)}",
                f"token {place}",
            ),
            Difference("its settings before and after", again.config != whole.config, 0, "settings"),
        ],
    )


def _saved(model: LanguageModel) -> LanguageModel:
    """The model written to a temporary directory and loaded from it."""
    with tempfile.TemporaryDirectory() as folder:
        again = LanguageModel.load(model.save(Path(folder) / "model"))
        again.network.to(model.network.device)
        return again


def _base(folder: Path) -> tuple[str, str] | None:
    """An adapter's base: the SHA-256 that it has, and the one recorded; None where there is no record."""
    if not is_adapter(folder):
        return None
    recorded = read_facts(folder).get("base", {}).get("sha256")
    named = read_json(folder / CONFIG).get("base_model_name_or_path")
    return (fingerprint(resolve(named)), recorded) if recorded and named else None
