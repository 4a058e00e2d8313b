"""Claim 17: a tiny run gives a whole finding; its parts against counts by hand."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode
from touched_data import skip_without

from lab.whole import whole
from lmworks.lab.experiments import q17_transformers_beat_rnns as q17
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.models.relatives.recurrent import RecurrentNetwork
from lmworks.models.relatives.recurrent_config import RecurrentConfig

SMALL = {"vocab_size": 16, "dim": 32, "layers": 2, "heads": 2, "context": 24}


def test_a_tiny_run_gives_a_whole_finding(monkeypatch):
    skip_without("multi30k-en-de", "multi30k-validation-en-de")
    monkeypatch.setattr(q17, "STEP_TOKENS", max(q17.LENGTHS))
    tiny = ["text=python-reference", "steps=2", "recall_steps=2", "dim=16", "layers=1", "windows=4", "seeds=2"]
    finding = whole(17, tiny)
    chance = {one.chance for one in finding.measurements if "tokens back" in one.name and not one.difference}
    assert chance == {1 / q17.SYMBOLS}


def test_operations_are_those_that_torch_counts():
    config = ModelConfig(**SMALL)
    network = Network(config).initialise(0)
    network.attention_kernel = "explicit"
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        network(torch.zeros(1, 24, dtype=torch.long))
    # The explicit formula computes all pairs of a row, of which a causal mask leaves (24 + 1) / 2 of 24 keys.
    unseen = 2 * 32 * (2 * 24 - 25)
    assert counted.get_total_flops() / 2 / 24 == q17.operations(config, 24) + unseen


def test_the_lstm_is_the_widest_that_costs_no_more_than_the_transformer():
    config = ModelConfig(**SMALL)
    twin = q17.as_costly(config)
    cells = sum(weight.numel() for weight in RecurrentNetwork(twin).parameters() if weight.ndim == 2)
    assert cells == q17.operations(twin, 24) <= q17.operations(config, 24)  # each matrix is read once a token, if tied
    wider = RecurrentConfig(vocab_size=16, layers=2, context=24, dim=twin.dim + 1)
    assert q17.operations(wider, 24) > q17.operations(config, 24)


def test_each_symbol_of_a_row_comes_again_and_each_seed_has_rows_of_its_own():
    tokens = q17.repeated(40, 8, seed=3)
    assert torch.equal(tokens[:, 8:], tokens[:, :-8]) and len(set(map(tuple, tokens[:, :8].tolist()))) == 40
    assert torch.equal(tokens, q17.repeated(40, 8, seed=3)) and not torch.equal(tokens, q17.repeated(40, 8, seed=4))


class Oracle:
    """Says what came `back` tokens ago."""

    def __init__(self, back: int) -> None:
        self.back = back

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(tokens.roll(self.back - 1, dims=1), q17.SYMBOLS).float()


def test_recall_counts_what_was_said_before_and_nothing_else():
    for distance in q17.DISTANCES:
        assert q17.recalled(Oracle(distance), distance, seed=0) == 1
        assert abs(q17.recalled(Oracle(distance + 1), distance, seed=0) - 1 / q17.SYMBOLS) < 0.05
