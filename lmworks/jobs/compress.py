"""A model in fewer bits: written in a public format, read back, and measured against what it was.

    result = compress("models/notes", "models/notes-4bit", bits=4)
    print(result.change, result.bytes_before, result.bytes_after)

Quality is measured before and after on the same text, with the model as `lmworks.load` gives it; the change has an
interval. Where WikiText-2 cannot be had, and no other text is named, the drift from the model is measured instead, on
texts that the model itself writes. The directory is complete, figures included, or not there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lmworks.adaptation.adapter_files import CONFIG, WEIGHTS, is_adapter
from lmworks.adaptation.lora import merge_adapters, must_merge
from lmworks.adaptation.old_text import own_texts
from lmworks.basics import progress
from lmworks.basics.arguments import checked
from lmworks.basics.files import as_reference, directory_written_whole
from lmworks.evaluation.drift import drift
from lmworks.evaluation.likelihood import Change, change, measure
from lmworks.evaluation.measurement import Measurement
from lmworks.grounding.beside import carry_index
from lmworks.jobs.build_text import documents_if_had
from lmworks.jobs.runs import say_replaced
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.models.adapted import has_adapters
from lmworks.models.files.compressed import Compression, check_bits
from lmworks.models.files.directory import write_network
from lmworks.models.files.model_folder import read_json, refuse_foreign_files, weight_files, write_facts
from lmworks.models.files.references import must_be_somewhere, must_not_replace, resolve
from lmworks.text.document import Document
from lmworks.text.sources import read

TEXT, TOKENS = "wikitext2", 8_192


@dataclass(frozen=True)
class Compressed:
    """What was written, and what it cost."""

    folder: Path
    text: str
    bytes_before: int
    """Of the weights' files, an adapter's base included."""
    bytes_after: int
    merged: bool
    """Adapters were merged into the weights."""
    before: Measurement | None = None
    """Bits per byte of the text; None, as the next three, where the text cannot be had."""
    after: Measurement | None = None
    change: Measurement | None = None
    verdict: Change | None = None
    drift: Measurement | None = None
    """How far the predictions moved, on texts that the model wrote; None where there is a text."""

    @property
    def measurements(self) -> list[Measurement]:
        """All figures."""
        return [one for one in (self.before, self.after, self.change, self.drift) if one is not None]


@checked
def compress(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    bits: int = 4,
    embedding_bits: int | None = None,
    text: str | os.PathLike[str] = TEXT,
    tokens: int = TOKENS,
    base: str | os.PathLike[str] | None = None,
) -> Compressed:
    """Write a model directory with the matrices in `bits` (4 or 8); measure the change on about `tokens` of `text`.

    Embedding and head (unless `embedding_bits` says otherwise), norms and biases are kept in bfloat16, or in float16
    where the model is. Adapters are merged. ConfigError for a model that is no decoder, or that the format has no place
    for; ModelError naming a weight that is not finite.
    """
    check_bits(bits, embedding_bits)
    base = as_reference(base)
    folder = Path(out) if out is not None else Path("models") / f"{_name(str(model))}-{bits}bit"
    refuse_foreign_files(folder)
    must_not_replace(folder, model, base)
    say_replaced(folder)
    must_be_somewhere(str(model))  # before a text is fetched
    documents: list[Document] | None
    if text == TEXT:
        documents = documents_if_had(text)
    else:
        reading = read(as_reference(text))
        documents, text = reading.documents, reading.name
    loaded = load(model, base=base, compress="none")
    loaded.must_converse()
    must_merge(loaded.network)  # before anything is measured
    kept = torch.float16 if loaded.network.dtype == torch.float16 else torch.bfloat16
    compression = Compression(bits, embedding_bits, kept)
    cost = _measured_before(loaded, documents, text, tokens)
    bytes_before = sum(file.stat().st_size for file in _files(str(model), base))
    loaded = load(model, base=base, dtype="float32")  # what a GGUF holds exactly, before it is rounded again
    merged = has_adapters(loaded.network)
    if merged:
        merge_adapters(loaded.network)
    with directory_written_whole(folder) as temporary:
        write_network(temporary, loaded.network, compression=compression)
        loaded.write_tokenizer(temporary)
        loaded.write_beside(temporary)
        made = load(temporary, compress="none")  # as before: what the weights lost, not what runs them
        figures = cost(made)
        bytes_after = sum(file.stat().st_size for file in weight_files(temporary))
        result = Compressed(folder, text, bytes_before, bytes_after, merged, **figures)
        write_facts(temporary, _facts(loaded, compression, result) | carry_index(loaded.source, temporary))
    return result


def _measured_before(
    model: LanguageModel, documents: list[Document] | None, text: str, tokens: int
) -> Callable[[LanguageModel], dict[str, Any]]:
    """Measure a model on a text, or let it write texts where there is none (it is kept then); what is returned gives
    the fields of Compressed that say how another model differs from it."""
    if documents is None:
        progress.note(
            f"{text} is not on this machine and cannot be fetched, so what is measured is the drift from the model, on "
            "texts that it writes itself; --text FILE measures on a text of yours"
        )
        written = own_texts(model)
        return lambda made: {"drift": drift(made, written, model.logits)}
    before = measure(model, documents, f"{text} before", tokens=tokens)

    def compared(made: LanguageModel) -> dict[str, Any]:
        after = measure(made, documents, f"{text} after", tokens=tokens)
        moved, verdict = change(before, after, text)
        told = {"before": before.bits_per_byte(f"{text} before"), "after": after.bits_per_byte(f"{text} after")}
        return told | {"change": moved, "verdict": verdict}

    return compared


def _facts(model: LanguageModel, compression: Compression, result: Compressed) -> dict[str, Any]:
    return {
        "source": model.reference,
        "compressed": {"bits": compression.bits, "embedding_bits": compression.embedding_bits},
        "bytes_before": result.bytes_before,
        "bytes_after": result.bytes_after,
        "measurements": [one.to_json() for one in result.measurements],
    }


def _files(reference: str, base: str | None) -> list[Path]:
    """The files that the weights come from, an adapter's base included."""
    path = resolve(reference)
    if path.is_file():
        return [path]
    if is_adapter(path):
        named = base or read_json(path / CONFIG)["base_model_name_or_path"]
        return [path / WEIGHTS, *_files(str(named), None)]
    return weight_files(path)


def _name(reference: str) -> str:
    return Path(reference).name.removeprefix("hf:").removesuffix(".gguf") or "model"
