"""Texts whose classes a model is asked for, in two halves."""

from __future__ import annotations

from collections import Counter
from itertools import compress

import pytest

from lmworks.evaluation.prompts.examples import mixed
from lmworks.lab.bench.asked_classes import ClassSet, first_halves


@pytest.mark.parametrize("classes", [2, 4])
def test_both_halves_have_the_classes_in_the_same_proportions(classes: int):
    texts = mixed([(f"text {number}", str(number % classes)) for number in range(10 * classes)], seed=0)
    sets = [ClassSet("one", texts, []), ClassSet("two", texts[: 4 * classes], [])]
    labels = [label for one in sets for _, label in one.judged]
    first = first_halves(sets)
    others = [not one for one in first]
    assert Counter(compress(labels, first)) == Counter(compress(labels, others))
