"""What a claim's page says in words agrees with its figures, where a part alone does not hold it to them."""

from __future__ import annotations

import pytest

from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.jobs.planning.parameters import count_parameters
from lmworks.jobs.planning.published import LLAMA_7B
from lmworks.lab import registry, store


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
