"""Faithfulness of an attribution: a ranking against its reverse and a random one."""

from __future__ import annotations

import pytest
import tiny

from lmworks.basics.errors import ConfigError
from lmworks.evaluation.faithfulness import measure
from lmworks.inside.attribution import Attribution

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
