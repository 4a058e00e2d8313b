"""Next-token distributions of a model at steps of real texts, their entropy, and the p that keeps as much as a k."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lmworks.basics.arrays import Float
from lmworks.basics.errors import DataError
from lmworks.generation.distribution import renormalise
from lmworks.generation.filters.top_k import TOP_K
from lmworks.generation.filters.top_p import TOP_P
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document


@torch.inference_mode()
def distributions(model: LanguageModel, documents: Sequence[Document], steps: int) -> dict[str, list[np.ndarray]]:
    """The next-token distributions at up to `steps` random steps of each document's first 512 tokens."""
    generator = torch.Generator().manual_seed(0)
    rows: dict[str, list[np.ndarray]] = {}
    for document in documents:
        ids = model.tokenizer.encode(document.text[:5000], special=False)[:512]
        if len(ids) < 2:
            continue
        hidden = model.runner.hidden(torch.tensor([ids]))[0]
        places = torch.randperm(len(ids), generator=generator)[:steps]
        rows[document.source] = list(model.runner.logits(hidden[places]).softmax(dim=-1).numpy())
    if not rows:
        raise DataError("no document of the text has two tokens; give a longer text")
    return rows


def entropy(p: Float[np.ndarray, " vocab"]) -> float:
    """In bits."""
    possible = p[p > 0]
    return -float((possible * np.log2(possible)).sum())


def matching_p(rows: Sequence[Sequence[np.ndarray]], top_k: int, most: int = 200) -> float:
    """The p that leaves the mean entropy that top-k leaves, by halving."""
    chosen = [p for each in rows for p in each][:: max(sum(map(len, rows)) // most, 1)]
    wanted = np.mean([entropy(renormalise(TOP_K.applied(p, top_k=top_k))) for p in chosen])
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        left = np.mean([entropy(renormalise(TOP_P.applied(p, top_p=middle))) for p in chosen])
        low, high = (middle, high) if left < wanted else (low, middle)
    return (low + high) / 2
