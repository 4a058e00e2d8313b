"""The loss on held-out rows: it depends on the rows alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from objectives.small_texts import bert, sentences, tokenizer

from lmworks.evaluation.held_out import held_out_losses, mean_loss
from lmworks.objectives import MaskedLM, NextSentence, Objective
from lmworks.tokens.sentence_pairs import SentencePairs


@pytest.mark.parametrize("more", [[], [NextSentence()]], ids=["masked", "masked and pairs"])
def test_how_many_rows_go_together_changes_nothing(more: list[Objective], tmp_path: Path):
    """Pitfalls 19 and 35: rows with few masked tokens and rows with many, and a last batch that is smaller."""
    rows, network = SentencePairs(sentences(tmp_path, 5), tokenizer(), 40), bert()
    objective: Objective = MaskedLM.of(tokenizer())
    for one in more:
        objective = objective + one
    losses = {size: list(held_out_losses(network, objective, rows, size=size)) for size in (1, 3, 32)}
    counts = {parts[0][1] for parts in losses[1]}
    assert len(counts) > 1 and len(rows) % 3 and len(losses[32]) == 2, "unequal, or this shows nothing"
    one, *others = (mean_loss(parts) for parts in losses.values())
    assert others == pytest.approx([one, one], rel=1e-5)
