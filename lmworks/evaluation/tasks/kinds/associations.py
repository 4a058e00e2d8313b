"""Tests of what lies nearer to what, by the vectors of a model or of words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lmworks.evaluation.bias.association import strengths, vectors_of
from lmworks.evaluation.tasks.asked import AskedTask
from lmworks.evaluation.tasks.declaration import Association
from lmworks.evaluation.tasks.kind import Kind, Measured
from lmworks.evaluation.tasks.scores import ItemScores
from lmworks.generation.continuations import Reading


def _scored(model: Measured, asked: AskedTask, left: Sequence[Association], reading: Reading) -> Iterator[ItemScores]:
    """The texts of all tests are put into vectors once."""
    vectors = vectors_of(model, [text for one in left for text in one.texts])
    for one in left:
        yield ItemScores(one.name, one.group, strengths(vectors, one))


def _judged(item: Association, found: ItemScores) -> ItemScores:
    return replace(found, group=item.group)


ASSOCIATIONS = Kind("associations", Association, _scored, _judged, of_words=True)
