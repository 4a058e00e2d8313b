"""Shares of a prompt's tokens in an answer: their laws, and captum's figures on the same weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import tiny
import torch

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError
from lmworks.inside.attribution import METHODS, attribute, explain, integral
from lmworks.models.hooks import hooked

PROMPT, ANSWER, OTHER, AWAY = [5, 9, 2, 7, 7, 1], [3, 8], [4, 8], 40
IG = "integrated-gradients"
NETWORKS = [{}, {"family": "gpt2", "positions": "learned", "norm": "layer", "gated": False}]


@pytest.mark.parametrize("settings", NETWORKS, ids=["rotary", "learned positions"])
@pytest.mark.parametrize("instead", [None, OTHER], ids=["alone", "contrastive"])
def test_integrated_gradients_add_up_and_the_value_is_the_log_probability(settings: dict, instead: list[int] | None):
    network = tiny.network(**settings).double()
    found = attribute(network, PROMPT, ANSWER, instead=instead, away=AWAY, method=IG)
    assert abs(found.left) < 0.02 * max(abs(found.value - found.baseline), 1) and abs(float(found.scores.sum())) > 0.01

    def logprob(answer: list[int]) -> float:
        logits = network(torch.tensor([PROMPT + answer]))[0, len(PROMPT) - 1 : -1].log_softmax(dim=-1)
        return float(logits[torch.arange(len(answer)), answer].sum())

    expected = logprob(ANSWER) - (0 if instead is None else logprob(instead))
    assert found.value == pytest.approx(expected, abs=1e-5)


def test_an_integral_is_refined_where_it_is_steep():
    network = tiny.network().double()  # from a zero vector nearly all happens in the first thousandth of the way
    coarse, fine = (attribute(network, PROMPT, ANSWER, method=IG, steps=steps) for steps in (100, 1000))
    assert abs(coarse.left) > 1 and abs(fine.left) < 0.001
    assert abs(fine.value - fine.baseline - float(integral(explain(network, PROMPT, ANSWER), 0, 1, 1000).sum())) > 0.05


@pytest.mark.parametrize(("method", "unit"), [(IG, "gradients"), ("occlusion", "tokens")])
def test_an_explanation_shows_how_far_it_is(method: str, unit: str):
    messages: list[list[Any]] = []
    with progress.sent(messages.append):
        attribute(tiny.network(), PROMPT, ANSWER, instead=OTHER, method=method)
    [begun] = [one for one in messages if one[0] == "task"]
    assert begun[2] == "explaining the answer" and begun[4] == unit
    done = sum(one[2] for one in messages if one[0] == "advance")
    assert (0 < done <= begun[3]) if method == IG else (done == begun[3] == len(PROMPT))


def test_occlusion_is_what_is_lost_without_the_token():
    network = tiny.network()

    def without(embedded: torch.Tensor) -> torch.Tensor:
        return embedded.index_fill(1, torch.tensor([2]), 0)

    ids = torch.tensor([PROMPT + ANSWER[:-1]])
    values = []
    for hooks in ({}, {"embedding": without}):
        with hooked(network, hooks):
            logits = network(ids)[0, len(PROMPT) - 1 :].log_softmax(dim=-1)
        values.append(float(logits[[0, 1], ANSWER].sum()))
    found = attribute(network, PROMPT, ANSWER, method="occlusion")
    assert float(found.scores[2]) == pytest.approx(values[0] - values[1], abs=1e-5)


def test_methods_are_equal_to_captum_on_the_same_weights():
    captum = pytest.importorskip("captum.attr", reason="captum is not installed: pip install captum --no-deps")
    network = tiny.network()
    ids = torch.tensor([PROMPT + ANSWER[:-1]])
    embedded = network.embedding(ids)

    gone = network.embedding(torch.full((1, len(PROMPT)), AWAY))

    def value(prompt: torch.Tensor) -> torch.Tensor:
        tail = embedded[:, len(PROMPT) :].expand(len(prompt), -1, -1)
        with hooked(network, {"embedding": lambda _: torch.cat([prompt, tail], dim=1)}):
            logits = network(ids.expand(len(prompt), -1))[:, len(PROMPT) - 1 :].log_softmax(dim=-1)
        return logits[:, [0, 1], ANSWER].sum(dim=1)

    prompt = embedded[:, : len(PROMPT)]
    theirs = {
        IG: captum.IntegratedGradients(value).attribute(prompt, gone, n_steps=50),
        "gradient-x-input": captum.Saliency(value).attribute(prompt.detach().requires_grad_(), abs=False)
        * (prompt - gone),
        "occlusion": captum.Occlusion(value).attribute(prompt, (1, network.config.dim), baselines=gone)
        / network.config.dim,
    }
    assert set(theirs) == set(METHODS)
    for method, expected in theirs.items():
        if method == IG:
            found = integral(explain(network, PROMPT, ANSWER, away=AWAY), 0, 1, 50).float()
        else:
            found = attribute(network, PROMPT, ANSWER, away=AWAY, method=method).scores
        torch.testing.assert_close(found, expected[0].sum(dim=-1).float(), rtol=1e-5, atol=1e-5, msg=method)


def test_nothing_is_left_behind():
    network = tiny.network().train()
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    attribute(network, PROMPT, ANSWER, method=IG)
    assert network.training and all(weight.equal(before[name]) for name, weight in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_a_network_in_16_bits_is_explained_in_float32(method: str, dtype: torch.dtype):
    network = tiny.network().to(dtype)  # the same weights to the bit: what differed would be how it is computed
    found = attribute(network, PROMPT, ANSWER, away=AWAY, method=method)
    expected = attribute(copy.deepcopy(network).float(), PROMPT, ANSWER, away=AWAY, method=method)
    # To the last bits: some processors' sums depend on where in memory numbers lie. In 16 bits 0.001 would differ.
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-5, atol=1e-5)
    assert found.value == pytest.approx(expected.value, rel=1e-6)
    assert network.dtype == dtype, "the network itself stays as it is"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": []}, "the prompt is empty"),
        ({"answer": []}, "the answer is empty"),
        ({"instead": ANSWER}, "compared with itself"),
        ({"method": "lime"}, "there is no way 'lime'"),
    ],
)
def test_what_cannot_be_explained_is_said(change: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        attribute(tiny.network(), **({"prompt": PROMPT, "answer": ANSWER} | change))


def test_an_encoder_answers_nothing():
    with pytest.raises(ConfigError, match="explained of decoders"):
        explain(tiny.network(family="lmworks", arrangement="encoder"), PROMPT, ANSWER)
