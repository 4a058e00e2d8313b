"""An encoder's vectors in fewer dimensions: fitted on texts, saved beside its weights, and measured.

    result = reduce("minilm", 128, text="notes/", out="models/minilm-128")
    print(result.neighbours, result.kept)

What is saved is the encoder with one linear layer more, so that whatever takes an encoder takes it: an index
(`lmworks index notes --embedder models/minilm-128`), a server, `model.embed`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement
from lmworks.grounding.chunks import chunks_of
from lmworks.jobs.runs import say_replaced
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.models.files.model_folder import refuse_foreign_files
from lmworks.models.files.references import must_not_replace
from lmworks.text.document import Document
from lmworks.text.sources import must_be_somewhere, read

LONGEST, MOST = 160, 5_000
"""Tokens of a chunk, as an index cuts them, and how many chunks are read at most."""
EVERY = 5
"""One chunk of this many is held out, to measure with."""
NEAREST = 10


@dataclass(frozen=True)
class Reduced:
    """What was written, and what it cost."""

    folder: Path
    text: str
    fitted_on: int
    """Chunks."""
    kept: Measurement
    """The share of these chunks' variance."""
    neighbours: Measurement
    """Of a held-out chunk's nearest ten, the share that still are its nearest ten."""


def reduce(
    model: str | os.PathLike[str],
    dimensions: int,
    text: str,
    out: str | os.PathLike[str] | None = None,
    *,
    whiten: bool = False,
) -> Reduced:
    """Write an encoder whose vectors have this many dimensions: the principal components of a text's chunks, or with
    `whiten` each divided by its standard deviation. ConfigError for a model that is no encoder, for more dimensions
    than it has, and for a text with fewer chunks than dimensions."""
    if dimensions < 1:
        raise ConfigError(f"dimensions is {dimensions}; give at least 1")
    folder = Path(out) if out is not None else Path("models") / f"{Path(str(model)).name}-{dimensions}"
    refuse_foreign_files(folder)
    must_not_replace(folder, model)
    say_replaced(folder)
    must_be_somewhere(text)
    loaded = load(model, compress="none")
    if loaded.config.arrangement != "encoder":
        raise ConfigError(f"{model} is no encoder; fewer dimensions are for what makes vectors, such as minilm")
    if dimensions >= loaded.vector_dim:
        raise ConfigError(f"dimensions is {dimensions}; {model} makes {loaded.vector_dim}, give fewer")
    reading = read(text)
    pieces = _pieces(loaded, reading.documents)
    held_out = pieces[::EVERY]
    before = loaded.embed(held_out, prompt="passage", cut=True)
    fitted = [one for at, one in enumerate(pieces) if at % EVERY]
    share = loaded.reduce(fitted, dimensions, whiten=whiten)
    after = loaded.embed(held_out, prompt="passage", cut=True)
    result = _result(folder, reading.name, len(fitted), share, before, after)
    figures = [result.kept.to_json(), result.neighbours.to_json()]
    facts = {"dimensions": dimensions, "whiten": whiten, "fitted_on": {"text": result.text, "chunks": len(fitted)}}
    loaded.save(folder, {"reduced": facts, "measurements": figures})
    return result


def _pieces(model: LanguageModel, documents: Sequence[Document]) -> list[str]:
    def count(texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in model.tokenizer.encode_batch(list(texts), special=False)] if texts else []

    pieces = [one.whole for document in documents for one in chunks_of(document, count, LONGEST)]
    step = -(-len(pieces) // MOST)
    return pieces[:: max(step, 1)]


def _result(
    folder: Path,
    text: str,
    fitted_on: int,
    kept: float,
    before: Float[Tensor, "texts dim"],
    after: Float[Tensor, "texts dimensions"],
) -> Reduced:
    near = min(NEAREST, len(before) - 1)
    same = [
        len(set(one) & set(other)) / near
        for one, other in zip(*(_nearest(x, near) for x in (before, after)), strict=True)
    ]
    value, interval = statistics.mean(same, bounds=(0, 1))
    share = Measurement(name="variance of what it was fitted on", value=kept, n=fitted_on, ideal=1)
    neighbours = Measurement(
        name=f"the nearest {near} that stay",
        value=value,
        interval=interval,
        n=len(same),
        chance=near / max(len(same) - 1, 1),
        ideal=1,
    )
    return Reduced(folder, text, fitted_on, share, neighbours)


def _nearest(vectors: Float[Tensor, "texts dim"], count: int) -> list[list[int]]:
    alike = torch.nn.functional.normalize(vectors, dim=-1)
    alike = alike @ alike.T
    return alike.fill_diagonal_(-torch.inf).topk(count).indices.tolist()
