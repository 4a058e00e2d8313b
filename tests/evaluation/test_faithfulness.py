"""Faithfulness of an attribution: a ranking against its reverse and a random one."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import tiny
import torch

from lmworks.basics.errors import ConfigError
from lmworks.evaluation.faithfulness import SHARES, beside_random, measure
from lmworks.inside.attribution import Attribution, attribute, explain

AWAY = 40


ITEMS = [([5, 9, 11, 7, 7, 1], [3]), ([11, 2, 8, 30, 6, 1], [3]), ([4, 2, 8, 11, 6, 1], [3])]


def test_occlusion_beats_a_random_ranking_and_its_reverse_is_beaten(monkeypatch: pytest.MonkeyPatch):
    network = tiny.network()
    found = {one.name: one for one in measure(network, ITEMS, "occlusion", away=AWAY)}
    assert len(found) == 4 and all(one.difference and one.n == 3 for one in found.values())
    replaced = found["comprehensiveness beside a random ranking, occlusion, tokens replaced"]
    forward = Attribution.ranking
    monkeypatch.setattr(Attribution, "ranking", lambda self: forward(self)[::-1])
    reverse = {one.name: one for one in measure(network, ITEMS, "occlusion", away=AWAY)}
    assert reverse[replaced.name].value < replaced.value
    assert replaced.value > 0 > reverse[replaced.name].value


def test_too_little_to_measure_is_said():
    for items in (ITEMS[:1], [([5], [3]), ([5, 6], [3])]):
        with pytest.raises(ConfigError, match="at least two prompts, of at least two tokens"):
            measure(tiny.network(), items, "occlusion", away=AWAY)


def by_loop(found: Attribution, ranking: list[int]) -> tuple[float, float]:
    """Comprehensiveness and sufficiency of a ranking, one pass for each text."""
    explained = explain(tiny.network(), found.prompt_ids, found.answer_ids, found.instead_ids, found.away)

    def nats(there: set[int]) -> float:
        present = torch.tensor([[float(at in there) for at in range(len(ranking))]])
        return float(explained(present).detach())

    every = set(range(len(ranking)))
    firsts = [set(ranking[: math.ceil(share * len(ranking))]) for share in SHARES]
    without, alone = ([nats(one) for one in sets] for sets in ([every - one for one in firsts], firsts))
    return tuple(nats(every) - sum(values) / len(SHARES) for values in (without, alone))


@pytest.mark.parametrize("instead", [None, [8]], ids=["an answer", "one answer and not another"])
def test_one_attribution_beside_many_random_rankings_is_a_loop_over_them(instead):
    found = attribute(tiny.network(), [*ITEMS[0][0], 12, 40, 2], [3], instead=instead, away=AWAY)
    told = beside_random(tiny.network(), found, rankings=30, seed=5)
    draw, places = random.Random(5), list(range(9))
    chosen = by_loop(found, found.ranking())
    others = [by_loop(found, draw.sample(places, 9)) for _ in range(30)]
    for at, (one, better) in enumerate(((told.comprehensiveness, 1), (told.sufficiency, -1))):
        theirs = [other[at] for other in others]
        assert one.value == pytest.approx(chosen[at], abs=1e-6)
        assert one.by_chance == pytest.approx(sum(theirs) / 30, abs=1e-6)
        beaten = [0.5 if abs(chosen[at] - it) < 1e-7 else float(better * (chosen[at] - it) > 0) for it in theirs]
        assert one.beaten == pytest.approx(sum(beaten) / 30) and one.rankings == 30


def test_a_ranking_beats_what_its_reverse_is_beaten_by():
    found = attribute(tiny.network(), [5, 9, 11, 7, 7, 1, 12, 40, 2], [3], away=AWAY)
    forward = beside_random(tiny.network(), found).comprehensiveness
    reverse = beside_random(tiny.network(), replace(found, scores=-found.scores)).comprehensiveness
    assert forward.rankings == 100 and forward.beaten > 0.9 and reverse.beaten < 0.1


def test_what_an_improbable_answer_loses_differs_between_rankings():
    """Nearly all of its probability goes by any ranking; of its log-probability some take more."""
    found = attribute(tiny.network(), [5, 9, 11, 7, 7, 1, 12, 40, 2], [3, 8, 1, 30, 12, 9], away=AWAY)
    assert found.value < -20
    told = beside_random(tiny.network(), found).comprehensiveness
    assert told.value - told.by_chance > 0.2 and told.beaten > 0.9


def test_rankings_of_one_token_do_not_differ():
    found = attribute(tiny.network(), [5], [3], away=AWAY)
    with pytest.raises(ConfigError, match="the prompt has one token, which can be ranked in one way"):
        beside_random(tiny.network(), found)


def test_an_attribution_in_16_bits_is_judged_in_float32():
    network = tiny.network().to(torch.bfloat16)
    found = attribute(network, ITEMS[0][0], [3], away=AWAY)
    told = beside_random(network, found).comprehensiveness
    assert told.value == pytest.approx(beside_random(network.float(), found).comprehensiveness.value, rel=1e-5)
