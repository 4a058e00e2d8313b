"""The logit lens and activation patching, beside forward passes written out here."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch

from lmworks.basics.errors import ConfigError
from lmworks.inside.lens import logit_lens
from lmworks.inside.patching import difference, log_probability, patch
from lmworks.models.hooks import hooked

CLEAN, CORRUPT = [5, 9, 2, 7, 30], [5, 9, 61, 7, 30]


def test_the_last_stage_of_a_lens_is_what_the_network_says():
    network, tokens = tiny.network(), tiny.text(2, 6)
    said = logit_lens(network, tokens)
    assert said.shape == (3, 2, 96)
    torch.testing.assert_close(said[-1], network(tokens)[:, -1].log_softmax(dim=-1).detach())
    _, seen = network.run_with_cache(tokens)
    middle = network.logits(network.norm(seen["blocks.0.residual_out"][:, -1])).log_softmax(dim=-1)
    torch.testing.assert_close(said[1], middle.detach())


@pytest.mark.parametrize("place", ["residual_in", "attention_output", "heads"])
@pytest.mark.parametrize("noising", [False, True], ids=["denoising", "noising"])
def test_patching_is_a_pass_with_one_activation_of_the_other_text(place: str, noising: bool):
    network, metric = tiny.network(), difference(8, 3)
    found = patch(network, CLEAN, CORRUPT, metric, place=place, noising=noising)
    taken, given = (CLEAN, CORRUPT) if noising else (CORRUPT, CLEAN)
    path = "blocks.1.attention.mixed" if place == "heads" else f"blocks.1.{place}"
    _, seen = network.run_with_cache(torch.tensor([given]))

    def put(activation: torch.Tensor) -> torch.Tensor:
        changed = activation.clone()
        changed[:, 2] = seen[path][:, 2]
        return changed

    def figure(text: list[int], hooks: dict | None = None) -> float:
        with hooked(network, hooks or {}):
            return float(metric(network(torch.tensor([text]))[:, -1]).detach())

    expected = (figure(taken, {path: put}) - figure(taken)) / (figure(given) - figure(taken))
    assert float(found[1, 2]) == pytest.approx(expected, abs=1e-4)
    assert found.shape == (2, network.config.heads if place == "heads" else len(CLEAN))


def test_the_stream_at_the_changed_token_carries_all_of_it_at_first():
    found = patch(tiny.network(), CLEAN, CORRUPT, difference(8, 3))
    assert float(found[0, 2]) == pytest.approx(1, abs=1e-5)
    assert float(found[0, [0, 1, 3, 4]].abs().max()) < 1e-5


def test_what_one_answer_alone_loses_can_be_patched():
    network = tiny.network()
    ends = [float(network(torch.tensor([text]))[0, -1].log_softmax(-1)[8].detach()) for text in (CLEAN, CORRUPT)]
    logits = network(torch.tensor([CLEAN, CORRUPT]))[:, -1].detach()
    assert log_probability(8)(logits).tolist() == pytest.approx(ends, abs=1e-5)
    found = patch(network, CLEAN, CORRUPT, log_probability(8))
    assert float(found[0, 2]) == pytest.approx(1, abs=1e-4) and float(found[0, 3].abs()) < 1e-4


@pytest.mark.parametrize(
    ("corrupt", "more", "message"),
    [
        (CORRUPT[:-1], {}, "5 and 4 tokens"),
        (CLEAN, {}, "the same figure"),
        (CORRUPT, {"place": "stream"}, "no place 'stream'"),
    ],
)
def test_what_cannot_be_patched_is_said(corrupt: list[int], more: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        patch(tiny.network(), CLEAN, corrupt, difference(8, 3), **more)


def test_a_network_in_16_bits_is_patched_in_float32():
    network = tiny.network().to(torch.bfloat16)
    found = patch(network, CLEAN, CORRUPT, difference(8, 3))
    assert found.equal(patch(copy.deepcopy(network).float(), CLEAN, CORRUPT, difference(8, 3)))
    assert network.dtype == torch.bfloat16


def test_an_encoder_has_no_lens():
    with pytest.raises(ConfigError, match="a lens reads the stream of a decoder"):
        logit_lens(tiny.network(family="lmworks", arrangement="encoder"), tiny.text(1, 4))


def test_texts_longer_than_the_network_reads_are_refused():
    text = tiny.text(1, 129)[0].tolist()
    with pytest.raises(ConfigError, match="have 129 tokens and the model reads 128"):
        patch(tiny.network(), text, [1, *text[1:]], difference(8, 3))
