"""R@k: equal to its definition, at chance where the model says nothing, and with its interval by families."""

from __future__ import annotations

import numpy as np
import pytest

from lmworks.evaluation.retrieval import found, retrieval


def test_what_is_found_is_what_stands_among_the_first():
    similar = np.random.default_rng(0).normal(size=(40, 40))
    right = np.eye(40, dtype=bool)
    for k in (1, 5):
        order = np.argsort(-similar, axis=1)[:, :k]
        np.testing.assert_array_equal(found(similar, right, k), (order == np.arange(40)[:, None]).any(axis=1))


def test_a_model_that_says_the_same_of_all_is_at_chance():
    assert found(np.zeros((8, 8)), np.eye(8, dtype=bool), 1) == pytest.approx(np.full(8, 1 / 8))
    assert found(np.ones((8, 8)), np.eye(8, dtype=bool), 5) == pytest.approx(np.full(8, 5 / 8))
    (figure, *_) = retrieval("x", [np.ones((8, 8))], [list("abcdefgh")], [list("abcdefgh")])
    assert figure.at_chance and figure.value == pytest.approx(figure.chance)


def test_captions_that_are_equal_are_all_right():
    similar = np.array([[0.1, 0.9, 0.0], [0.9, 0.1, 0.0], [0.0, 0.0, 0.5]])
    words, image = (one for one in retrieval("x", [similar], [["a", "a", "b"]], [["a", "a", "b"]], ks=(1,)))
    assert words.value == image.value == 1


def test_chance_counts_every_image_of_a_shared_caption():
    shared = ["a frog"] * 12 + ["a ship"] * 13 + ["a lily"]
    right = np.asarray(shared)[:, None] == np.asarray(shared)[None, :]
    shuffled = np.random.default_rng(0).random((4_000, 26)).argsort(axis=1)
    for k in (1, 5):
        told = found(np.zeros((26, 26)), right, k)
        for query in (0, 12, 25):  # by definition: whether one of its images is among the first k of a random order
            counted = right[query][shuffled[:, :k]].any(axis=1).mean()
            assert told[query] == pytest.approx(counted, abs=0.03)
    figures = retrieval("x", [np.zeros((26, 26))], [shared], [[str(at) for at in range(26)]])
    assert figures[0].chance == pytest.approx((12 * 12 + 13 * 13 + 1) / 26**2)
    assert all(one.at_chance for one in figures)


def test_each_direction_has_its_own_queries():
    similar = np.array([[1.0, 2.0], [0.0, 3.0]])  # image 0 is nearer to caption 1; caption 0 is nearest to image 0
    words, image = retrieval("x", [similar], [["a", "b"]], [["a", "b"]], ks=(1,))
    assert words.name == "x: words find the image, R@1" and words.value == 1
    assert image.name == "x: the image finds words, R@1" and image.value == 0.5


def test_several_sets_of_candidates_are_searched_apart_and_counted_together():
    figures = retrieval("x", [np.eye(4), np.eye(2)], [list("abcd"), list("ab")], [list("abcd"), list("ab")])
    assert {one.n for one in figures} == {6} and all(one.value == 1 for one in figures)
    assert figures[0].chance == pytest.approx((4 / 4 + 2 / 2) / 6)


def test_siblings_make_the_interval_wider():
    rng = np.random.default_rng(0)
    hit = np.repeat(rng.random(20) < 0.5, 3)  # whole families are found, or not
    similar = np.where(np.eye(60, dtype=bool), np.where(hit, 2.0, -2.0)[:, None], rng.random((60, 60)))
    names = [str(at) for at in range(60)]

    def width(families):
        (figure,) = [
            one for one in retrieval("x", [similar], [names], [families], ks=(1,)) if "image finds" in one.name
        ]
        return figure.interval[1] - figure.interval[0]

    assert width([str(at // 3) for at in range(60)]) > 1.4 * width(names)


def test_nothing_found_of_few_families_is_no_proof_that_nothing_can_be():
    missed = np.where(np.eye(20, dtype=bool), -1.0, np.random.default_rng(0).random((20, 20)))
    names = [str(at) for at in range(20)]
    (figure, *_) = retrieval("x", [missed], [names], [names], ks=(1,))
    assert figure.value == 0 and figure.interval == pytest.approx((0, 0.161), abs=1e-3)  # Wilson's, for 0 of 20
    assert figure.at_chance
