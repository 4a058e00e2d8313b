"""The best passages of a search in a better order: a cross-encoder reads the question together with each of them.

It reads the first `DEPTH` alone: more takes longer and makes the order worse (Jacob et al. 2024,
https://arxiv.org/abs/2411.11767). Where it helps depends on the documents, so an index tests it on its own.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lmworks.basics import progress
from lmworks.grounding.passage import Passage, best_first
from lmworks.models.files.references import known

if TYPE_CHECKING:
    from lmworks.language_model import LanguageModel

RERANKER = "reranker"
DEPTH = 5
"""Passages that are compared with the question. Ten find no more on XQuAD, take twice as long, and lose more on
Cranfield (docs/log.md)."""


def at_hand() -> bool:
    """Whether the cross-encoder is on this machine."""
    return any(one.cached for one in known() if one.name == RERANKER)


@functools.cache
def reranker() -> LanguageModel:
    """The cross-encoder, fetched and loaded once; ModelError where it cannot be fetched."""
    from lmworks.loading import load

    return load(RERANKER)


def reranked(query: str, passages: Sequence[Passage], model: LanguageModel) -> list[Passage]:
    """Passages, best first, with the first `DEPTH` in the order of the model's scores, which become theirs; those after
    them keep their order, with scores moved below."""
    first, rest = passages[:DEPTH], passages[DEPTH:]
    texts = list(dict.fromkeys(one.text for one in first))  # twins have one score, to the bit
    with progress.hidden():
        compared = model.scores([(query, text) for text in texts], cut=True)
    scores = dict(zip(texts, compared.tolist(), strict=True))
    ordered = best_first(replace(one, score=scores[one.text]) for one in first)
    moved = ordered[-1].score - rest[0].score if rest else 0.0
    return ordered + [replace(one, score=one.score + moved) for one in rest]
