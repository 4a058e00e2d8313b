"""What a claim's page says in words agrees with its figures, where a part alone does not hold it to them."""

from __future__ import annotations

import pytest

from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.jobs.planning.parameters import count_parameters
from lmworks.jobs.planning.published import LLAMA_7B
from lmworks.lab import registry, store
from lmworks.lab.verdict import FAILS, HOLDS, OPEN, SAME


def shipped(question: int):
    found = store.stored(question)
    assert found is not None
    return found


@pytest.mark.parametrize("question", registry.experiments())
def test_the_stored_words_are_those_of_the_experiments_file(question):
    found, declared = shipped(question), registry.load(question)
    names = ("claim", "not_true_when", "not_tested", "note")
    assert [getattr(found, one) for one in names] == [getattr(declared, one) for one in names], (
        f"take them over: lmworks lab {question} --recompute --store, and write docs/lab.md again"
    )
    assert found.headline == declared.headlines.get(found.letters, found.headline)


def test_claim_4_names_the_rank_of_each_figure_as_its_parts_hold_at_different_ones():
    found = shipped(4)
    share = {rank: count_parameters(LLAMA_7B, LoRAConfig(rank=rank)) for rank in (8, 64)}
    low, high = (one.adapters / one.base for one in share.values())
    assert found.parts[0].figure is not None and found.parts[0].figure.value == pytest.approx(low)
    assert low < 0.01 < high, "at the rank of the memory the first part does not hold"
    assert "of rank 8 trains" in found.headline and "of rank 64 it takes" in found.headline
    assert "that of rank 64 is above a hundredth" in found.not_true_when


def also(question: int, says: str):
    """The part that was measured besides and says this."""
    [found] = [one for one in shipped(question).also if one.says.startswith(says)]
    assert found.figure is not None
    return found, found.figure.value


def test_claim_2_says_that_other_words_need_the_heads_as_much():
    objects, (_, others) = shipped(2).parts[2].figure, also(2, "all other words suffer more without them")
    assert objects is not None and objects.interval is not None
    low, high = objects.interval
    assert low < others < high
    assert "all other words lose as many bits without them" in shipped(2).not_true_when


def test_claim_18_leaves_open_what_is_open_and_names_the_decay_that_does_more():
    decay, _ = also(18, "decoupled weight decay beats")
    assert decay.verdict == HOLDS and "decoupled weight decay" in shipped(18).not_true_when
    assert "penalties in the loss" in shipped(18).headline


def test_claim_34_calls_open_what_its_figure_leaves_open():
    photos, _ = also(34, "a multimodal model does the vision model's task too")
    assert photos.verdict == OPEN and "tells anything of photos" in shipped(34).headline


def test_claim_9_tells_what_is_and_not_what_it_once_had():
    gap, more = also(9, "after 3.3 times fewer steps, too")
    assert gap.verdict == FAILS and more > 0
    assert "the network that predicts the next token fills gaps better" in shipped(9).not_true_when
    assert "once" not in shipped(9).not_true_when


def test_claim_33_says_that_the_network_of_captions_reads_them_too_often():
    found, apart = shipped(33), "held-out captions, a network for each kind, as "
    nats = {one.name.removeprefix(apart): one.value for one in found.measurements if one.name.startswith(apart)}
    assert nats["much work"] > nats["many examples"] + 0.1
    assert "predicts new ones worse than after half of that" in found.not_true_when
    same, harmed = found.parts[0], found.parts[2:4]
    assert same.verdict == SAME and all(one.verdict == FAILS and one.why for one in harmed)
    labels = found.parts[-1].figure
    assert labels is not None and "some 700" in found.headline and 650 < 256 * labels.value < 750
