"""Membership: each attack against its formula by hand, the blind classifier, and how many texts a rate needs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny
import torch

from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation.privacy.membership import (
    MembershipScore,
    MembershipTexts,
    area,
    attacks,
    blind,
    caught,
    lira,
    lowest_mean,
    score,
    scored,
)
from lmworks.text.document import Document


def documents(words: str, count: int, seed: int) -> list[Document]:
    numbers = np.random.default_rng(seed)
    return [Document(" ".join(numbers.choice(words.split(), 12)), f"{seed}-{at}") for at in range(count)]


def test_the_scores_of_a_text_are_their_formulas():
    model = tiny.language_model(context=160)
    ids = model.tokenizer.encode("the model reads a folder", special=False)
    counted = [True] * len(ids)
    counted[3] = False
    found = score(model.runner, ids, counted)
    logits = model.logits([ids])[0].double()
    logprobs, z = [], []
    for at in range(1, len(ids)):
        p = logits[at - 1].softmax(0)
        mean = float((p * p.log()).sum())
        deviation = math.sqrt(float((p * p.log() ** 2).sum()) - mean**2)
        if counted[at]:
            logprobs.append(float(p[ids[at]].log()))
            z.append((logprobs[-1] - mean) / deviation)
    assert found.logprob == pytest.approx(np.mean(logprobs), rel=1e-4)
    assert found.lowest == pytest.approx(np.mean(sorted(z)[: int(len(z) * 0.2)]), rel=1e-3)
    assert lowest_mean(np.array([3.0, 1.0])) == 1.0


def test_the_reference_attack_is_what_tuning_gained():
    tuned, base = (
        ([MembershipScore(-1.0, 0.0)], [MembershipScore(-2.0, 0.5)]),
        ([MembershipScore(-3.0, 0.0)], [MembershipScore(-2.5, 0.0)]),
    )
    assert attacks(tuned, base) == {
        "loss": ([-1.0], [-2.0]),
        "min-k%++": ([0.0], [0.5]),
        "reference": ([2.0], [0.5]),
    }
    assert set(attacks(tuned)) == {"loss", "min-k%++"}


def test_lira_is_the_ratio_of_two_gaussians():
    learnt, unseen = [[1.0, 3.0], [5.0, 5.0]], [[0.0, 0.0], [2.0, 4.0]]
    found = lira([2.0, 1.0], learnt, unseen)  # variances 2 / 2 and 2 / 2 around 2, 5 and 0, 3
    assert found == pytest.approx([(0 + 4) / 2, (-16 + 4) / 2])
    with pytest.raises(ConfigError, match="take four or more"):
        lira([2.0], [[1.0]], [[0.0, 1.0]])


def test_members_are_told_where_they_were_learnt_by_heart():
    model = tiny.language_model(context=160)
    pool = documents(" ".join(tiny.WORDS), 16, 0)
    texts = MembershipTexts(pool[:6], pool[6:], 64)
    before = scored(model, texts)
    network = model.network.requires_grad_(True).train()
    for _ in range(15):
        for one in texts.members:
            ids = torch.tensor([model.tokenizer.encode(one.text, special=False)])
            torch.nn.functional.cross_entropy(network(ids)[0, :-1], ids[0, 1:]).backward()
        with torch.no_grad():
            for weight in network.parameters():
                weight.sub_(weight.grad.sign(), alpha=3e-3)
                weight.grad = None
    network.eval().requires_grad_(False)
    assert area("reference", *attacks(scored(model, texts), before)["reference"]).value > 0.9
    assert area("loss", *attacks(before)["loss"]).at_chance


def test_the_blind_classifier_tells_kinds_of_text_and_no_split_of_one_kind():
    one_kind = documents("red sea oak ship rain door lamp milk", 400, 1)
    same = area("by words", *blind(MembershipTexts(one_kind[:200], one_kind[200:], 64)))
    assert same.at_chance and same.n == 400 and same.ideal == 0.5
    other = area("by words", *blind(MembershipTexts(one_kind[:40], documents("rain door ship year date", 40, 2), 64)))
    assert other.value > 0.95
    with pytest.raises(DataError, match="4 members and 40 non-members are too few"):
        blind(MembershipTexts(one_kind[:4], one_kind[40:80], 64))


def test_a_rate_at_one_false_alarm_in_a_hundred_needs_1000_non_members():
    numbers = np.random.default_rng(0)
    members, others = numbers.normal(1, 1, 500).tolist(), numbers.normal(0, 1, 2000).tolist()
    assert caught("told", members, others[:999]) is None
    found = caught("told", members, others)
    assert found.value == pytest.approx(1 - 0.9077, abs=0.04) and found.chance == 0.01  # 1 - Phi(2.326 - 1)
    nothing = caught("told", others[:1000], others[1000:])
    assert nothing.interval[0] <= 0.02 and nothing.value < 0.03
    assert caught("told", [1.0] * 10, [1.0] * 1000).value == 0.0  # equal scores tell nobody
