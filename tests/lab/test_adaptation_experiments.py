"""The experiments about adapting run with tiny settings; their parts against what is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lab.whole import whole
from lmworks.lab.bench.directions import kept, random_directions
from lmworks.lab.bench.known_source import Source, cross_entropy, divergence, entropy
from lmworks.lab.bench.second_texts import FULL, HEARD, Scores, TwoTexts, beside_the_way_back, rehearsed
from lmworks.lab.bench.small_network import small_network
from lmworks.text import registry
from lmworks.training.settings import TrainingConfig

SMALL = ["dim=32", "steps=2", "later=2", "windows=4"]
TINY = {
    4: [*SMALL, "rounds=2"],
    14: [*SMALL, "known=256"],
    15: ["text=python-reference", "dim=32", "narrow=16", "steps=2", "taught=2", "windows=4"],
    29: ["dim=16", "steps=2", "lengths=[1,2]", "judged=4", "pairs=5", "symbols=8"],
    35: SMALL,
}


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "other.txt"
    path.write_text("\n\n".join(f"{number} 0101 1100 {number * 7919 % 1000} 2x3" * 20 for number in range(30)))
    return str(path)


# Of claim 4 the planner takes seconds, which counts models of 65 and 70 billion parameters, and so do six processes.
@pytest.mark.parametrize("question", [pytest.param(one, marks=pytest.mark.slow) if one == 4 else one for one in TINY])
def test_a_tiny_run_gives_a_whole_finding(question, other, small_decoder):
    texts = [] if question == 15 else ["old=python-reference", f"new={other}"]
    tuned = [f"model={small_decoder}"] if question == 4 else []
    whole(question, [*texts, *tuned, *TINY[question]])


@pytest.mark.slow
def test_a_tiny_run_on_paragraphs_gives_a_whole_finding(minilm):
    for name in ("xquad-en", "wikitext2"):
        if not registry.available(name):
            pytest.skip(f"{name} is not here; set LMWORKS_DATA, or connect once and run: lmworks lab 28")
    whole(28, ["dimensions=8", "every=[4,8]", "others=20"])


def test_divergence_is_what_cross_entropy_has_in_excess_of_the_entropy():
    one, another = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5])
    assert divergence(one, another) == pytest.approx(1.0) and entropy(one) == pytest.approx(1.0)
    assert cross_entropy(one, another) == pytest.approx(2.0)


def test_a_source_draws_by_its_probabilities():
    source = Source.drawn(4, seed=0)
    text = source.text(20_000, seed=1).numpy()
    after = text[1:][text[:-1] == 2]
    assert np.bincount(after, minlength=4) / len(after) == pytest.approx(source.following[2], abs=0.02)


def test_the_way_back_is_compared_at_equal_gain():
    before, whole_way = Scores([2.0, 2.0], [3.0, 3.0]), Scores([2.4, 2.4], [1.0, 1.0])
    half = Scores([2.1], [2.0])
    back = [before, half, whole_way]
    assert beside_the_way_back(before, whole_way, back) == pytest.approx(0)
    assert beside_the_way_back(before, Scores([2.05], [2.0]), back) == pytest.approx(0.05)
    assert beside_the_way_back(before, Scores([2.3], [1.5]), back) == pytest.approx(-0.05)  # between two points


@pytest.fixture(scope="module")
def texts(other):
    return TwoTexts.read("python-reference", other, 4)


def test_the_way_back_ends_at_both_networks_and_the_router_takes_the_nearer_one(texts):
    base = small_network(0, dim=16, context=64)
    tuned = texts.second(base, 6, seed=0).tuned(FULL)
    back = texts.back(base, tuned)
    assert back[0] == texts.scores(base) and back[-1] == texts.scores(tuned) and back[0] != back[2] != back[-1]
    routed = texts.routed(base, tuned)
    assert len(routed.old) == 4 and set(routed.old) <= {*back[0].old, *back[-1].old}
    (first, _), (second, _) = texts.bits(base), texts.bits(tuned)
    nearer = second[:, :HEARD].mean(1) < first[:, :HEARD].mean(1)
    assert routed.old == [(back[-1] if one else back[0]).old[at] for at, one in enumerate(nearer)]


def test_a_share_of_each_steps_rows_is_of_the_old_text(texts):
    config = TrainingConfig(context=64, steps=3, rows=8)
    new, old = texts.new.train[:100], torch.full((100,), 7)
    batches = rehearsed(new, old, 0.25, config).drawn
    assert len(batches) == 3
    assert all(one.tokens.shape == (8, 64) and (one.tokens[6:] == 7).all() for one in batches)
    assert not any((one.tokens[:6] == 7).any() for one in batches)


def test_all_directions_keep_all_variance_and_random_ones_their_share():
    vectors = torch.randn(400, 16, generator=torch.Generator().manual_seed(0))
    assert kept(torch.eye(16), vectors) == pytest.approx(1.0)
    assert kept(random_directions(16, 4, seed=1), vectors) == pytest.approx(0.25, abs=0.05)
