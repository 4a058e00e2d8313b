"""Generative classifiers: naive Bayes equals scikit-learn's, Bayes' rule holds, and what is learnt can be written."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest

from lmworks.basics.errors import ConfigError, DataError
from lmworks.generation.chooser import Chooser
from lmworks.generation.strategies import Sample
from lmworks.models.relatives.generative import GenerativeClassifier
from lmworks.models.relatives.ngram import Ngram
from lmworks.text.sources import read

VOCABULARY = 6
TEXTS = [[0, 1, 2, 5], [0, 1, 1, 5], [3, 4, 3, 5], [4, 3, 5], [4, 4, 2, 5]]
LABELS = ["a", "a", "b", "b", "b"]


def test_naive_bayes_equals_a_hand_computation():
    model = GenerativeClassifier.train([[0, 0, 1], [1, 2]], ["x", "y"], 3, smoothing=0.5)
    expected = [math.log(0.5 * (2.5 / 4.5) * (1.5 / 4.5)), math.log(0.5 * (0.5 / 3.5) * (1.5 / 3.5))]
    assert model.joint([[0, 1]])[0] == pytest.approx(expected, rel=1e-5)
    share = math.exp(expected[0]) / sum(map(math.exp, expected))
    assert model.posterior([0, 1]) == pytest.approx({"x": share, "y": 1 - share}, rel=1e-5)
    assert list(model.posterior([2, 2])) == ["y", "x"]


@pytest.mark.parametrize("smoothing", [0.1, 1.0, 2.5])
def test_naive_bayes_equals_scikit_learn(smoothing):
    reference = pytest.importorskip("sklearn.naive_bayes", reason="scikit-learn is not here; make install brings it")
    draw = np.random.default_rng(0)
    texts = [draw.integers(0, 50, draw.integers(1, 40)).tolist() for _ in range(60)]
    labels = [str(draw.integers(3)) for _ in texts]
    counts = np.stack([np.bincount(text, minlength=50) for text in texts])
    theirs = reference.MultinomialNB(alpha=smoothing).fit(counts[:40], labels[:40])
    ours = GenerativeClassifier.train(texts[:40], labels[:40], 50, smoothing=smoothing)
    assert ours.labels == tuple(theirs.classes_)
    np.testing.assert_allclose(
        ours.joint(texts[40:]), theirs.predict_joint_log_proba(counts[40:]), rtol=1e-5, atol=1e-5
    )


def test_n_grams_of_each_class_see_the_order_of_tokens_and_naive_bayes_does_not():
    texts, labels = [[0, 1], [1, 0]] * 4, ["up", "down"] * 4
    plain = GenerativeClassifier.train(texts, labels, 2)
    ordered = GenerativeClassifier.train(texts, labels, 2, order=2)
    assert plain.posterior([0, 1]) == pytest.approx({"up": 0.5, "down": 0.5})
    assert ordered.posterior([0, 1])["up"] > 0.7
    alone = Ngram.train([[0, 1]] * 4, 2, 2)
    assert ordered.joint([[0, 1]])[0, ordered.labels.index("up")] == pytest.approx(
        math.log(0.5) + alone.score([0, 1]).sum()
    )


@pytest.mark.parametrize("order", [None, 2])
def test_probabilities_of_all_texts_of_a_length_sum_to_one(order):
    model = GenerativeClassifier.train([[0, 1, 2], [2, 2, 0], [1]], ["a", "b", "b"], 3, order=order)
    texts = list(itertools.product(range(3), repeat=3))
    assert sum(math.exp(model.log_probability(text)) for text in texts) == pytest.approx(1, abs=1e-5)
    assert np.exp(model.joint(texts)).sum(0) == pytest.approx([model.prior[label] for label in model.labels], abs=1e-5)


def test_a_new_text_of_a_class_is_written_from_what_that_class_has():
    model = GenerativeClassifier.train(TEXTS, LABELS, VOCABULARY, order=3)
    choose = Chooser(Sample(temperature=0.5, seed=3)).choose
    written = [model.generate("b", 8, choose, stop={5}) for _ in range(20)]
    assert all(5 not in text[:-1] and len(text) <= 8 for text in written)
    told = [next(iter(model.posterior(text))) for text in written]
    assert told.count("b") >= 15 and len({tuple(text) for text in written}) > 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["a", "b"]}, "5 texts and 2 labels"),
        ({"labels": ["a"] * 5}, "one label"),
        ({"texts": [[], [], [1], [2], [3]]}, "class 'a' holds a token"),
        ({"texts": [[0], [1], [2], [3], [6]]}, "id 6"),
        ({"smoothing": 0.0}, "smoothing is 0"),
        ({"order": 0}, "order is 0"),
    ],
)
def test_what_cannot_be_learnt_from_is_said(changes, message):
    given = {"texts": TEXTS, "labels": LABELS, "vocab_size": VOCABULARY} | changes
    with pytest.raises((ConfigError, DataError), match=message):
        GenerativeClassifier.train(given.pop("texts"), given.pop("labels"), given.pop("vocab_size"), **given)
    with pytest.raises(ConfigError, match="no class"):
        GenerativeClassifier.train(TEXTS, LABELS, VOCABULARY).generate("c", 3, Chooser(Sample(seed=1)).choose)


def test_the_handbooks_example_tells_questions_apart_as_it_says():
    try:
        judged = [document.pair for document in read("trec-test").documents]
    except DataError as error:
        pytest.skip(f"TREC is not here ({error}); set LMWORKS_DATA, or connect once and run: lmworks lab 39")
    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "GenerativeClassifier" in code)
    seen: dict = {}
    exec(code, seen)
    told = [next(iter(seen["model"].posterior(seen["ids"](text)))) for text, _ in judged]
    right = sum(ours == label for ours, (_, label) in zip(told, judged, strict=True)) / len(judged)
    assert f"tells {right:.3f} rightly" in page
    assert next(iter(seen["model"].posterior(seen["ids"]("What city has the most people ?")))) == "location"
    assert 0 < len(seen["written"]) <= 30
