"""Figures of answers beside references: their intervals over few texts and over many."""

from __future__ import annotations

import numpy as np
import pytest

from lmworks.evaluation.answers import likeness

WORDS = [
    "the",
    "cat",
    "a",
    "dog",
    "sat",
    "ran",
    "home",
    "on",
    "mat",
    "with",
    "old",
    "rain",
    "house",
    "and",
    "sleeps",
    "again",
]


def texts(count: int, seed: int = 0) -> tuple[list[str], list[str], list[str]]:
    """Answers of which each word is the reference's in four of five cases, references and sources."""
    draw = np.random.default_rng(seed)
    references = [draw.choice(WORDS, 12).tolist() for _ in range(count)]
    answers = [[word if draw.random() < 0.8 else str(draw.choice(WORDS)) for word in one] for one in references]
    sides = [[" ".join(one) for one in side] for side in (answers, references, references)]
    return sides[0], sides[1], sides[2]


@pytest.mark.parametrize("figure", ["bleu", "chrf"])
def test_figures_of_a_corpus_over_few_texts_hold_that_of_many(figure):
    """Resampling holds it in about 76 of 100 samples of four texts."""
    pytest.importorskip("sacrebleu")
    [truth] = likeness(*texts(2000, seed=1), [figure])
    held = 0
    for seed in range(200):
        [found] = likeness(*texts(4, seed), [figure])
        low, high = found.interval
        assert 0 <= low <= found.value <= high <= 100
        held += low <= truth.value <= high
    assert held / 200 > 0.88


def test_one_text_has_no_interval_and_many_are_resampled():
    pytest.importorskip("sacrebleu")
    [alone] = likeness(*texts(1), ["bleu"])
    assert alone.interval is None
    [few], [many] = likeness(*texts(29), ["bleu"]), likeness(*texts(30), ["bleu"])
    width = [one.interval[1] - one.interval[0] for one in (few, many)]
    assert width[0] == pytest.approx(width[1], rel=0.5)
