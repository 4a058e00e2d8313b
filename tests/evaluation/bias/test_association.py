"""WEAT: by hand, against the formulas of the original code, and with real word vectors where they are here."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import tiny

import lmworks as lm
from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation.bias import weat
from lmworks.evaluation.bias.association import association, strengths, vectors_of
from lmworks.evaluation.tasks.declaration import Association, Question
from lmworks.evaluation.tasks.find import find
from lmworks.evaluation.tasks.scores import ItemScores
from lmworks.models.relatives.vectors import Vectors

TEST = Association(
    "weat#small",
    (("he", "man", "Bob"), ("she", "woman", "Eve")),
    (("job", "pay"), ("home", "tea")),
    ("men", "women", "work", "home"),
    "small",
)


def vectors(seed: int = 0) -> Vectors:
    words = [one.lower() for one in TEST.texts]
    return Vectors(tuple(words), np.random.default_rng(seed).normal(size=(len(words), 5)).astype(np.float32))


def of_the_original(found: Vectors) -> tuple[float, float]:
    """Effect and p as sentbias' weat.py (May et al. 2019) computes them, word by word."""

    def cosine(one, other):
        a, b = found[one.lower()].astype(float), found[other.lower()].astype(float)
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    near, far = TEST.attributes
    s = {
        word: np.mean([cosine(word, a) for a in near]) - np.mean([cosine(word, b) for b in far])
        for word in (*TEST.targets[0], *TEST.targets[1])
    }
    first, second = TEST.targets
    spread = np.std(list(s.values()), ddof=1)
    effect = (np.mean([s[x] for x in first]) - np.mean([s[y] for y in second])) / spread
    seen = sum(s[x] for x in first) - sum(s[y] for y in second)
    every = [
        sum(s[x] for x in chosen) - sum(s[y] for y in s if y not in chosen)
        for chosen in itertools.combinations(s, len(first))
    ]
    return effect, np.mean([one >= seen - 1e-12 for one in every])


@pytest.mark.parametrize("seed", range(4))
def test_effect_and_exact_probability_are_those_of_the_original_code(seed):
    made = vectors(seed)
    found = association(*strengths(vectors_of(made, TEST.texts), TEST).values())
    effect, probability = of_the_original(made)
    assert found.effect == pytest.approx(effect) and found.probability == pytest.approx(probability)
    assert found.exact and found.ways == 20 and found.n == 6
    assert found.interval[0] <= found.effect <= found.interval[1]


def test_by_hand():
    """s is 3, 1 and -1, -3: means 2 and -2, standard deviation sqrt(20 / 3); 1 of 6 ways is as large."""
    found = association([3.0, 1.0], [-1.0, -3.0])
    assert found.effect == pytest.approx(4 / (20 / 3) ** 0.5) and found.probability == pytest.approx(1 / 6)


@pytest.mark.parametrize("apart", [0.0, 1.0, 2.5])
def test_the_interval_of_few_targets_holds_the_effect_as_often_as_it_says(apart: float):
    """Resampling holds it in 91, 86 and 85 % of samples of 8 targets a set."""
    draw, held = np.random.default_rng(4), 0
    for _ in range(400):
        found = association(draw.normal(apart, 1, 8), draw.normal(0, 1, 8))
        held += found.interval[0] <= apart / (1 + apart**2 / 4) ** 0.5 <= found.interval[1]
        assert -2 <= found.interval[0] <= found.effect <= found.interval[1] <= 2
    assert 0.93 <= held / 400 <= 0.985


def test_a_sample_counts_what_was_seen_and_is_near_the_exact_probability(monkeypatch):
    draw = np.random.default_rng(3)
    first, second = draw.normal(size=8) + 0.4, draw.normal(size=8)
    exact = association(first, second)
    monkeypatch.setattr("lmworks.evaluation.bias.association.ENUMERATED", 100)
    sampled = association(first, second)
    assert exact.exact and not sampled.exact and sampled.effect == exact.effect
    assert sampled.probability == pytest.approx(exact.probability, abs=0.01)
    assert association(draw.normal(size=40) + 9, draw.normal(size=40)).probability == 1 / 20_001  # never 0


def test_words_without_vectors_are_left_out_and_too_few_are_told():
    some = vectors()
    fewer = Vectors(some.words[1:], some.matrix[1:])
    assert len(strengths(vectors_of(fewer, TEST.texts), TEST)["first"]) == 2
    none = Vectors(some.words[2:], some.matrix[2:])
    with pytest.raises(DataError, match="weat#small: 1 of men have a vector, too few; take vectors of more words"):
        strengths(vectors_of(none, TEST.texts), TEST)
    with pytest.raises(DataError, match="equally near to both sets"):
        association([0.5, 0.5], [0.5, 0.5])


def test_word_vectors_and_models_are_measured_as_a_task(monkeypatch):
    monkeypatch.setattr(weat, "tests", lambda kind: (TEST,))
    task = replace(weat.WEAT, items=lambda: (TEST,))
    [of_words] = lm.evaluate(vectors(), tasks=[task])
    assert of_words.name == "weat, small: men against women, work against home"
    assert of_words.value == pytest.approx(of_the_original(vectors())[0]) and of_words.n == 6 and of_words.ideal == 0
    several = [replace(TEST, name=f"weat#{name}", group=name) for name in "abc"]
    monkeypatch.setattr(weat, "tests", lambda kind: several)
    scores = {"first": [3.0, 1.0, 2.0, 2.5], "second": [-1.0, -3.0, -2.0, 0.0]}
    told = weat.effects("weat", [ItemScores(one.name, one.group, scores) for one in several])
    assert [one.remark for one in told] == ["p 0.014 of all 70 ways, Holm 0.043"] * 3
    monkeypatch.setattr(weat, "tests", lambda kind: (TEST,))
    model = tiny.language_model(seed=4)
    [of_model] = lm.evaluate(model, tasks=[task])
    vectors_by_model = {one: vector.numpy() for one, vector in zip(TEST.texts, model.embed(TEST.texts), strict=True)}
    assert of_model.value == pytest.approx(association(*strengths(vectors_by_model, TEST).values()).effect, abs=1e-4)
    with pytest.raises(ConfigError, match="word vectors answer no questions, and crows-pairs asks some; take weat"):
        lm.evaluate(vectors(), tasks=[replace(find("crows-pairs"), items=lambda: (Question("q", "Who?", ("Ann",)),))])
