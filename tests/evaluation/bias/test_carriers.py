"""Which words carry a choice: the shares add up by role, and those of a pair differ in what is due to gender."""

from __future__ import annotations

import pytest
import tiny

from lmworks.basics.errors import ConfigError
from lmworks.evaluation.bias.carriers import ROLES, by_role, carriers
from lmworks.evaluation.bias.winobias import sentence

ITEMS = [
    sentence(f"{at}-{side}", f"[The {one}] met the {other} as [{pronoun}] left.", "type 1", side)
    for at, (one, other) in enumerate([("guard", "nurse"), ("cook", "baker")])
    for side, pronoun in (("pro", "he"), ("anti", "she"))
]


def test_each_tokens_share_goes_to_the_word_that_it_ends_in():
    pieces = ("The", " guard", " met", " the", " nur", "se", " as", " he", " left.", " ‘", "He", "’ refers to the")
    scores, sizes = list(map(float, range(1, 13))), [len(one.encode()) for one in pieces]
    found = by_role(ITEMS[0], scores, sizes)
    assert found == dict(zip(ROLES, (8.0, 11.0, 2.0, 5.0 + 6.0, 78.0 - 8 - 11 - 2 - 11), strict=True))
    before = by_role(ITEMS[0], [1.0, *scores], [0, *sizes])  # a special token before the text
    assert before == found | {"the rest": found["the rest"] + 1}


def test_what_words_carry_towards_the_stereotype_is_the_difference_of_both_sentences():
    model = tiny.language_model(seed=4, context=128)
    told = {one.name: one for one in carriers(model, ITEMS, "gradient-x-input")}
    assert len(told) == 2 * len(ROLES)
    by_hand = []
    for item in ITEMS:
        (prompt, right), (_, other) = item.asked
        scores = model.attribute(prompt, right, instead=other, method="gradient-x-input").scores.tolist()
        by_hand.append(by_role(item, scores, [1] * len(prompt.encode())))
    for role in ROLES:
        pro, anti = (sum(one[role] for one in by_hand[at::2]) / 2 for at in (0, 1))
        assert told[f"{role}, towards the stereotype"].value == pytest.approx(pro - anti, rel=1e-4, abs=1e-6)
        assert told[f"{role}, towards the right one"].value == pytest.approx((pro + anti) / 2, rel=1e-4, abs=1e-6)
    assert told["the pronoun, towards the stereotype"].n == 4 and told["the rest, towards the right one"].ideal is None
    with pytest.raises(ConfigError, match="of one side only; give as many with the stereotype as against it"):
        carriers(model, ITEMS[::2])
