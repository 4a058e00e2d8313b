"""Vectors of a folder of images or texts, in a folder of their own, and what of it is nearest to some words.

    made = embed("models/emoji-clip", "photos", "photos.vectors")
    for one in search("photos.vectors", "a red apple", k=3):
        print(one.score, one.source)

A model of images and texts (a CLIP) finds images by words, by an image's path, or by a text; a model of texts finds
texts. Images are read one at a time, so that a set may be larger than the memory.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.amounts import counted
from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.basics.files import directory_written_whole, must_be_elsewhere, must_be_writable, write_json
from lmworks.encoding.fitting import FittingImages
from lmworks.language_model import LanguageModel
from lmworks.loading import identity, load, reads_images_ahead
from lmworks.models.files.directory import read_safetensors, write_safetensors
from lmworks.models.files.model_folder import read_json
from lmworks.text.document import Document
from lmworks.text.images.decoding import SUFFIXES
from lmworks.text.images.reading import Images
from lmworks.text.sources import Reading, Skipped, read
from lmworks.vision_model import VisionModel

FACTS, VECTORS = "vectors.json", "vectors.safetensors"
AT_ONCE = 64
SHOWN = 200
"""Characters of a text that are kept beside its vector."""


@dataclass(frozen=True)
class Embedded:
    """What was made."""

    folder: Path
    count: int
    dim: int
    summary: str
    """What was read, and how much was left out."""
    skipped: tuple[Skipped, ...]
    """What was left out, and why."""
    cut: int
    """Texts that have more tokens than the model reads, of which only the beginning is embedded."""
    by_words: bool
    """Whether it can be searched by words, and not by an image alone."""


@dataclass(frozen=True)
class Near:
    """Something that is like what was asked for."""

    score: float
    """The cosine, from -1 to 1."""
    source: str
    text: str
    """An image's caption, or how a text begins."""


def embed(model: str, reference: str, out: str | Path) -> Embedded:
    """Write a vector for each image (or text, where the model reads texts alone) of a reference into the folder `out`.

    An image has one vector, whatever the number of its captions; what cannot be read is left out and named. DataError
    where there is none, ConfigError where `out` holds something else."""
    folder = Path(out)
    if folder.exists() and not (folder / FACTS).is_file():
        raise ConfigError(f"{folder} is no folder of vectors, and would be replaced; give one that does not exist yet")
    must_be_elsewhere(folder)
    must_be_writable(folder)
    sees = reads_images_ahead(model)
    if sees:
        _must_hold_an_image(model, reference)
    texts = _texts(model, reference) if sees is False else None
    reader = load(model)
    images = FittingImages(reference, reader.preprocessing) if isinstance(reader, VisionModel) else None
    if images is None and texts is None:  # only the model's files said what it reads
        texts = _texts(model, reference)
    rows, kept, cut = [], [], 0
    with progress.task(f"embedding {reference}", unit="images" if images else "texts") as advance, progress.hidden():
        for part in _batched(texts.documents if texts is not None else images or ()):
            rows.append(_vectors(reader, part))
            cut += 0 if images else reader.too_long([one.text for one in part], prompt="passage")
            begun = [textwrap.shorten(one.text, SHOWN, placeholder="...") for one in part]
            kept += [{"source": one.source, "text": text} for one, text in zip(part, begun, strict=True)]
            advance(len(part))
    if not kept:
        raise _none(model, reference, images) if images else DataError(f"there is nothing to embed: {reference}")
    vectors = torch.cat(rows)
    kind = "images" if images is not None else "texts"
    facts = {"model": model, "identity": identity(model), "of": kind, "reference": reference, "items": kept}
    with directory_written_whole(folder) as temporary:
        write_safetensors(temporary / VECTORS, {"vectors": vectors})
        write_json(temporary / FACTS, facts)
    summary = images.counted() if images else f"{len(kept):,} texts"
    if cut:
        summary += f", {cut:,} of them longer than {model} reads, and cut there"
    skipped = tuple(images.skipped if images else texts.skipped if texts else ())
    summary += f"; {len(skipped):,} skipped" if skipped else ""
    if images and (others := images.others):
        kinds = ", ".join(kind or "no suffix" for kind, _ in others.most_common(5))
        summary += f"; not images, and not read here: {counted(others.total(), 'other file')} ({kinds})"
    by_words = not isinstance(reader, VisionModel) or reader.reads_texts
    return Embedded(folder, len(kept), vectors.shape[1], summary, skipped, cut, by_words)


def _must_hold_an_image(model: str, reference: str) -> None:
    """DataError where `embed` will find none; the first that can be decoded is enough."""
    images = Images(reference)
    if next(iter(images), None) is None:
        raise _none(model, reference, images)


def _none(model: str, reference: str, images: Images) -> DataError:
    return DataError(
        f"{model} reads images, and {reference} holds none that can be read ({images.summary()}); for texts give what "
        "reads them, such as minilm"
    )


def _texts(model: str, reference: str) -> Reading:
    """The texts of a reference. ConfigError where it holds images and nothing else."""
    if _holds_images_alone(reference):
        raise ConfigError(
            f"{model} reads texts and {reference} holds images; give a model that reads images, a CLIP say"
        )
    with progress.hidden():
        return read(reference)


def search(folder: str | Path, query: str, k: int = 5, say: Callable[[str], None] = lambda line: None) -> list[Near]:
    """The `k` nearest to some words, or to an image whose path is given (of a model that reads images), the nearest
    first; says where only the beginning of the words is read. ModelError where the model is not the one that made the
    vectors."""
    if k < 1:
        raise ConfigError(f"k is {k}; ask for at least 1")
    folder = Path(folder)
    facts = read_json(folder / FACTS)
    vectors = read_safetensors(folder / VECTORS).get("vectors")
    items: Any = facts.get("items")
    if vectors is None or not _fit(items, vectors) or not facts.keys() >= {"model", "identity"}:
        raise DataError(f"{folder} is damaged: its vectors and its list do not fit; make it anew with lmworks embed")
    model = load(str(facts["model"]))
    if identity(str(facts["model"])) != facts["identity"]:
        raise ModelError(f"{facts['model']} has changed since {folder} was made; make it anew with lmworks embed")
    shown = isinstance(model, VisionModel) and Path(query).suffix.lower() in SUFFIXES
    if isinstance(model, VisionModel) and not shown and not model.reads_texts:
        raise ConfigError(f"{facts['model']} reads images alone; search {folder} by the path of an image")
    asked = model.embed(images=[query]) if shown else model.embed([query], cut=True, prompt="query")
    if not shown and model.too_long([query], prompt="query"):
        say(f"cut            the query is longer than {facts['model']} reads; its beginning is searched for")
    unit = torch.nn.functional.normalize(vectors.float(), dim=-1)
    cosines = unit @ torch.nn.functional.normalize(asked[0].float(), dim=0)
    best = cosines.topk(min(k, len(cosines)))
    return [
        Near(score, items[at]["source"], items[at]["text"])
        for score, at in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def _fit(items: Any, vectors: Tensor) -> bool:
    """Whether a list is that of these vectors: what each stands for."""
    if not isinstance(items, list) or vectors.dim() != 2 or len(items) != len(vectors):
        return False
    return all(isinstance(one, dict) and one.keys() >= {"source", "text"} for one in items)


def _holds_images_alone(reference: str) -> bool:
    """Whether it is an image, or a folder whose files (below it, too) are images and nothing else."""
    files = [Path(reference)] if Path(reference).is_file() else Path(reference).rglob("*")
    suffixes = {one.suffix.lower() for one in files if one.is_file()}
    return bool(suffixes) and suffixes <= SUFFIXES


def _batched(documents: Iterable[Document]) -> Iterator[Sequence[Document]]:
    source = iter(documents)
    while part := list(islice(source, AT_ONCE)):
        yield part


def _vectors(model: LanguageModel, part: Sequence[Document]) -> Any:
    if isinstance(model, VisionModel):
        return model.embed(images=[one.image for one in part])
    return model.embed([one.text for one in part], cut=True, prompt="passage")
