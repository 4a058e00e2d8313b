"""A model as one file for another program: GGUF, which llama.cpp loads; or a ResNet or ViT with torchvision's names.

exported = export("smollm2", "smollm2.gguf", kind="q8_0")
exported = export("smollm2", "smollm2.gguf", kind="q4_k_m", text="wikitext2")    # rounded by what counts on the text
exported = export("models/vit", "models/vit-torchvision", to="torchvision")

A GGUF file is read back before it counts: its config and its tokenizer must be those of the model.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmworks.adaptation.lora import merge_adapters
from lmworks.basics.arguments import checked
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.files import as_reference, must_be_writable, regular, says_why, written_whole
from lmworks.evaluation.likelihood import Likelihood, change, measure
from lmworks.evaluation.measurement import Measurement
from lmworks.grounding.beside import index_beside
from lmworks.jobs.export_torchvision import write_torchvision
from lmworks.jobs.importance import importance
from lmworks.language_model import LanguageModel
from lmworks.loading import load, network_path
from lmworks.models.adapted import has_adapters
from lmworks.models.families.torchvision import opened
from lmworks.models.files.gguf_config import gguf_config
from lmworks.models.files.gguf_file import GGUFFile, parts_of
from lmworks.models.files.gguf_kinds import Kind
from lmworks.models.files.gguf_pieces_writing import file_name
from lmworks.models.files.gguf_vocabulary import gguf_tokenizer
from lmworks.models.files.gguf_vocabulary_writing import vocabulary_entries
from lmworks.models.files.gguf_writing import (
    INSTEAD,
    KINDS,
    each_part,
    exported_config,
    kind_of,
    learned_entries,
    network_entries,
    network_tensors,
    write_gguf,
)
from lmworks.models.files.references import must_not_replace
from lmworks.text.sources import must_be_somewhere, read
from lmworks.text.splits import Split, split

FORMATS = ("gguf", "torchvision")
TOKENS = 20_000
"""Of a text that is looked at, and of what is measured."""
SHARES = (0.1, 0.25, 0.5)
"""Of a text that is held out to measure on: a larger one where the text is short."""
ENOUGH = 4
"""Segments that are measured on, where a share of the text holds them."""
PROBES = (
    "Hello, world! It's 2024-05-17; don't, we'll, THEY'RE, can’t",
    "  a  b   c    \n a\n\n  b\t \r\n x",
    "0 12 345 6789 3.14159 1e-10 ½ ² ٣٤٥",
    "def f(x: int) -> int:\n    if x > 0:\n\t\treturn x ** 2  # square\n",
    "Straße naïve e\u0301 日本語、漢字 Привет שלום नमस्ते 👩‍👩‍👧‍👦 🇩🇪",
)
"""Texts that the tokenizer of the file must turn into the same ids."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    file: Path
    bytes: int
    kind: str
    merged: bool
    """Adapters were merged into the weights."""
    unquantised: tuple[str, ...]
    """Matrices that stay float16, as their rows are not whole groups of 32."""
    index: str | None
    """Where the model's index stays: such a file has no place for it."""
    before: Measurement | None = None
    """Bits per byte of the part of the text that was held out, under the model; None without a text."""
    after: Measurement | None = None
    """The same under the file."""
    change: Measurement | None = None
    opened: str | None = None
    """The expression that makes torchvision's network for these weights; None of a GGUF file."""


@checked
def export(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    to: str = "gguf",
    kind: str | None = None,
    text: str | os.PathLike[str] | None = None,
    tokens: int | None = None,
    base: str | os.PathLike[str] | None = None,
) -> Exported:
    """Write a model as a GGUF file of one of `KINDS` (f16 unless given); adapters are merged into the weights.

    A ResNet or ViT is written `to="torchvision"` as a folder, whose weights have torchvision's names and their own
    type; `kind` and `text` are not for it.
    With a `text`, K-quants are rounded by what counts on nine tenths of it, of a short one down to half, and what the
    file costs is measured on the rest; both on up to `tokens` tokens (20,000 unless given).
    An earlier GGUF file of that name is replaced once the new one is complete. ModelError where llama.cpp has no such
    network or tokenizer, where a weight is not finite, or where another kind of file has that name.
    """
    if to not in FORMATS:
        raise ConfigError(f"{to!r} is not a format that lmworks exports to; known are {', '.join(FORMATS)}")
    if to == "torchvision":
        if kind is not None or text is not None or tokens is not None:
            raise ConfigError("weights are written for torchvision as they are; leave type, text and tokens out")
        return _for_torchvision(model, out, base)
    if tokens is not None and text is None:
        raise ConfigError("tokens is how much of a text is read; give text too, or leave tokens out")
    tokens = tokens or TOKENS
    kind = kind or "f16"
    if kind not in KINDS:
        raise ConfigError(f"{kind!r} is not a type of GGUF file that is written here; known are {', '.join(KINDS)}")
    file = Path(out) if out is not None else Path("models") / f"{_name(str(model))}-{kind}.gguf"
    refuse_other_files(file)
    text = as_reference(text)
    if text is not None:
        must_be_somewhere(text)
    loaded = load(model, base=base, dtype="float32")
    if loaded.source is not None and _is_of(file, loaded.source):
        raise ModelError(f"{file} is the model itself; give another name with --out")
    if _is_of(file, network_path(str(model), as_reference(base))):
        raise ModelError(
            f"{file} is the base of {model}, which it cannot be used without; give another name with --out"
        )
    if loaded.config.arrangement == "encoder":
        raise ModelError(f"{model} is an encoder, and only what writes is exported as GGUF here; use its directory")
    loaded.must_write()
    merged = has_adapters(loaded.network)
    if merged:
        merge_adapters(loaded.network)
    parts, before = (None, None) if text is None else _held_out(loaded, text, tokens)
    counts = None if parts is None or KINDS[kind] not in INSTEAD else importance(loaded, parts.train, tokens)
    entries = network_entries(loaded.config) | learned_entries(loaded.network)
    entries |= vocabulary_entries(loaded.tokenizer, loaded.config.vocab_size)
    entries["general.name"] = file_name(loaded.tokenizer, entries, _name(str(model)))
    tensors = network_tensors(loaded.network)
    with written_whole(file) as temporary:
        write_gguf(temporary, entries, tensors, KINDS[kind], counts)
        check_same(GGUFFile(temporary), loaded)
    left = [
        name
        for name, weight in tensors.items()
        if kind != "f16" and each_part(weight)[0].ndim > 1 and kind_of(name, weight, KINDS[kind]) == Kind.F16
    ]
    index, _ = index_beside(loaded.source)
    measured: dict[str, Any] = {}
    if parts is not None and before is not None:
        made = load(file, dtype="float32")  # what the weights lost, not what runs them
        after = measure(made, parts.held_out, f"{text} after", tokens=tokens)
        measured = {
            "before": before.bits_per_byte(f"{text} before"),
            "after": after.bits_per_byte(f"{text} after"),
            "change": change(before, after, str(text))[0],
        }
    place = index.place if index else None
    return Exported(file, file.stat().st_size, kind, merged, tuple(left), index=place, **measured)


def _is_of(file: Path, model: Path) -> bool:
    """Is it what a model is read from, or one of its parts where it was split?"""
    return file.exists() and any(file.samefile(one) for one in parts_of(model))


def _held_out(model: LanguageModel, text: str, tokens: int) -> tuple[Split, Likelihood]:
    """The text in two parts, and how well the model predicts the one that is held out. Of a short text more is held
    out, as one segment alone does not tell how sure a figure is."""
    documents = read(text).documents
    for share in SHARES:
        parts = split(documents, share)
        found = measure(model, parts.held_out, f"{text} before", tokens=tokens)
        if len(found.bits) >= ENOUGH or found.tokens >= tokens:
            break
    return parts, found


def _for_torchvision(
    model: str | os.PathLike[str], out: str | os.PathLike[str] | None, base: str | os.PathLike[str] | None
) -> Exported:
    folder = Path(out) if out is not None else Path("models") / f"{Path(model).stem}-torchvision"
    must_not_replace(folder, model, base)
    loaded = load(model, base=base)
    merged = has_adapters(loaded.network)
    if merged:
        merge_adapters(loaded.network)
    file = write_torchvision(loaded, folder)
    kind = str(loaded.network.dtype).removeprefix("torch.")
    return Exported(file, file.stat().st_size, kind, merged, (), None, opened=opened(loaded.network.config))


def refuse_other_files(file: Path) -> None:
    """ModelError where the name does not end in .gguf, or another kind of file or a folder has it."""
    if file.suffix.lower() != ".gguf":
        raise ModelError(f"{file} does not end in .gguf, by which such files are known; give --out NAME.gguf")
    if file.is_dir():
        raise ModelError(f"{file} is a directory; give another name")
    must_be_writable(file)
    if file.exists():
        with says_why(file), regular(file).open("rb") as there:
            if there.read(4) != b"GGUF":
                raise ModelError(f"{file} is no GGUF file and would be replaced; give another name")


def check_same(file: GGUFFile, model: LanguageModel) -> None:
    """ModelError where the file reads back as another network or another tokenizer than the model's."""
    expected, found = exported_config(model.config), gguf_config(file)
    differing = [name for name in type(found).model_fields if getattr(found, name) != getattr(expected, name)]
    if differing:
        name = differing[0]
        raise ModelError(
            f"the file would read back with {name} = {getattr(found, name)!r} and not {getattr(expected, name)!r}; a "
            "GGUF file cannot say that of this network: use the model directory"
        )
    tokenizer, back = model.tokenizer, gguf_tokenizer(file)
    same = {f"the ids of {text!r}": (tokenizer.encode(text), back.encode(text)) for text in PROBES} | {
        "the tokens that end an answer": (tokenizer.stop_ids, back.stop_ids),
        "the chat template": (tokenizer.chat_template, back.chat_template),
    }
    for what, (ours, theirs) in same.items():
        if ours != theirs:
            raise ModelError(
                f"the tokenizer of {tokenizer.name} does not come back from a GGUF file: {what} differ; use the model "
                "directory"
            )


def _name(reference: str) -> str:
    name = Path(reference).name.removeprefix("hf:")
    return name.removesuffix(".gguf") or "model"
