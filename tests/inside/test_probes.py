"""Sparse probes: they find the numbers that tell, control labels mean nothing, and padding changes no state."""

from __future__ import annotations

import pytest
import tiny
import torch

from lmworks.basics.errors import ConfigError
from lmworks.evaluation.probing import probe
from lmworks.inside.probes import control_labels, sparse_probe, states

TEXTS = [[5, 9, 2], [7, 30, 4, 8, 1, 3], [6]]
PAIRS = [(f"{word} {end} {number}", word) for number in range(12) for word in ("good", "model") for end in "ab"]


@pytest.mark.parametrize("arrangement", ["decoder", "encoder"])
def test_a_state_is_the_mean_over_the_texts_own_tokens(arrangement: str):
    network = tiny.network(family="lmworks", arrangement=arrangement)
    found = states(network, TEXTS)
    assert found.shape == (network.config.layers + 1, 3, network.config.dim)
    for at, text in enumerate(TEXTS):
        _, seen = network.run_with_cache(torch.tensor([text]))
        torch.testing.assert_close(found[0, at], seen["blocks.0.residual_in"][0].mean(dim=0), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found[2, at], seen["blocks.1.residual_out"][0].mean(dim=0), rtol=1e-5, atol=1e-5)


def test_a_probe_finds_the_numbers_that_tell_the_classes():
    classes = torch.arange(90) % 3
    x = torch.randn(90, 20, generator=torch.Generator().manual_seed(1))
    x[:, 4] += 5 * (classes == 1)
    x[:, 11] += 9 * (classes == 2)
    fitted = sparse_probe(x[:60], classes[:60], 2)
    assert fitted.units == (11, 4)
    assert (fitted.tells(x[60:]) == classes[60:]).float().mean() > 0.9
    assert len(sparse_probe(x, classes, 99).units) == 20


def test_control_labels_follow_the_word_alone_and_are_as_frequent():
    words, classes = [f"w{at % 400}" for at in range(800)], [int(at % 4 == 0) for at in range(800)]
    dealt = control_labels(words, classes, seed=1)
    assert dealt[:400] == dealt[400:] and dealt != control_labels(words, classes, seed=2)
    assert 0.18 < sum(dealt) / 800 < 0.32


def test_classes_that_are_there_are_told_better_than_control_labels():
    model = tiny.language_model(context=160)
    found = probe(model, PAIRS, units=4)
    assert [one.layer for one in found] == [0, 1, 2] and all(len(one.units) == 4 for one in found)
    first = found[0]
    assert first.right.n == 16 and first.right.value > 0.9 and first.right.chance == pytest.approx(0.5, abs=0.13)
    assert first.selectivity.value == pytest.approx(first.right.value - first.control.value)
    noisy = [(text, label) for (text, _), (_, label) in zip(PAIRS, PAIRS[::-1][5:] + PAIRS[:5], strict=True)]
    assert probe(model, noisy, units=4)[0].right.value < 0.9


def test_what_cannot_be_probed_is_one_sentence():
    model = tiny.language_model(context=160)
    with pytest.raises(ConfigError, match="a probe of 0 numbers of a state and 48 texts; give 1 or more"):
        probe(model, PAIRS, units=0)
    with pytest.raises(ConfigError, match="29 texts; give 1 or more, and 30 texts or more"):
        probe(model, PAIRS[:29])
    with pytest.raises(ConfigError, match="a probe reads texts of 1 to 128 tokens"):
        states(tiny.network(), [[1] * 129])
    with pytest.raises(ConfigError, match="this network has two"):
        states(tiny.network(family="lmworks", arrangement="encoder-decoder"), TEXTS)
