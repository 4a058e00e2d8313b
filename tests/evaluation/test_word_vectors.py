"""Word vectors judged: similarity, analogies and neighbours by hand; what has no vector is left out and counted."""

from __future__ import annotations

import numpy as np
import pytest

from lmworks.basics.errors import DataError
from lmworks.evaluation import word_vectors
from lmworks.evaluation.word_vectors import (
    analogies,
    neighbours_of_one_kind,
    read_analogies,
    read_pairs,
    similarity,
)
from lmworks.models.relatives.vectors import Vectors
from lmworks.text import registry

MAN, ROYAL, WOMAN, PARIS = np.eye(4, dtype=np.float32)
ROYALS = Vectors(
    ("man", "woman", "king", "queen", "paris"), np.stack([MAN, WOMAN, MAN + ROYAL, 9 * (WOMAN + ROYAL), PARIS])
)


def test_similarity_is_the_rank_correlation_of_cosines_whatever_the_lengths():
    pairs = [("king", "queen", 8.0), ("man", "king", 9.0), ("man", "woman", 1.0), ("king", "paris", 1.0)]
    found = similarity(ROYALS, [*pairs, ("king", "yeti", 5.0)])  # cosines 0.5, 0.71, 0, 0
    assert (found.value, found.n, found.chance) == (pytest.approx(1), 4, 0)
    assert similarity(ROYALS, [(a, b, -score) for a, b, score in pairs]).value == pytest.approx(-1)
    with pytest.raises(DataError, match="1 of 2 pairs have vectors"):
        similarity(ROYALS, [("king", "queen", 8.0), ("yeti", "king", 1.0)])


def test_an_analogy_is_right_where_the_fourth_word_is_the_closest_of_the_others(monkeypatch):
    questions = [
        ("man", "king", "woman", "queen"),
        ("woman", "queen", "man", "king"),
        ("man", "king", "woman", "paris"),
        ("man", "king", "woman", "yeti"),
    ]
    whole = analogies(ROYALS, questions)
    assert (whole.value, whole.n, whole.chance) == (pytest.approx(2 / 3), 3, 1 / 5)
    generator, words = np.random.default_rng(0), tuple(map(str, range(30)))
    others = Vectors(words, generator.normal(size=(30, 4)).astype(np.float32))
    drawn = [tuple(generator.choice(words, 3, replace=False)) for _ in range(20)]
    assert analogies(others, [(*asked, others.analogy(*asked)[0][0]) for asked in drawn]).value == 1
    monkeypatch.setattr(word_vectors, "BLOCK", 2)
    assert analogies(ROYALS, questions) == whole
    with pytest.raises(DataError, match="none of 1 analogies"):
        analogies(ROYALS, questions[3:])


def test_neighbours_of_one_kind_are_counted_among_words_that_have_a_kind():
    kinds = {"man": 0, "king": 0, "woman": 1, "queen": 1, "yeti": 1}
    found = neighbours_of_one_kind(ROYALS, kinds, count=1)
    assert (found.value, found.n, found.chance) == (pytest.approx(1), 4, pytest.approx(1 / 3))
    assert neighbours_of_one_kind(ROYALS, kinds | {"king": 1, "woman": 0}, count=1).value == 0
    with pytest.raises(DataError, match="1 of 1 words"):
        neighbours_of_one_kind(ROYALS, {"man": 0}, count=1)


def test_random_vectors_are_at_chance():
    generator = np.random.default_rng(0)
    words = tuple(map(str, range(400)))
    found = neighbours_of_one_kind(
        Vectors(words, generator.normal(size=(400, 20)).astype(np.float32)), {word: int(word) % 2 for word in words}
    )
    assert found.value == pytest.approx(found.chance, abs=0.03)


def test_files_are_read_in_lower_case_and_a_wrong_line_is_named(tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text(": capitals\nAthens Greece Oslo Norway\n")
    assert read_analogies(path) == [("athens", "greece", "oslo", "norway")]
    path.write_text(": capitals\nAthens Greece Oslo Norway\n: gram1-adverb\ncalm calmly slow slowly\n")
    assert len(read_analogies(path)) == 2 and read_analogies(path, "gram") == [("calm", "calmly", "slow", "slowly")]
    path.write_text(": capitals\nAthens Greece Oslo Norway\n")
    with pytest.raises(DataError, match=r"questions\.txt: line 1 is not two words and a number"):
        read_pairs(path)
    path.write_text("Cup\tMug\t8.5\n\ncup drink x\n")
    with pytest.raises(DataError, match="line 3 is not two words"):
        read_pairs(path)
    with pytest.raises(DataError, match="line 1 has 3 words; an analogy has four"):
        read_analogies(path)
    path.write_text("Cup\tMug\t8.5\n")
    assert read_pairs(path) == [("cup", "mug", 8.5)]


@pytest.mark.parametrize(
    ("read", "name", "count"),
    [(read_pairs, "men", 3000), (read_pairs, "wordsim353", 353), (read_analogies, "google-analogies", 19544)],
)
def test_the_registered_sets_are_whole(read, name, count):
    if not registry.available(name):
        pytest.skip(f"{name} is not here; set LMWORKS_DATA, or connect once and run: lmworks lab 10")
    assert len(read(name)) == count
