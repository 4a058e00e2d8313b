"""Claim 17: a tiny run gives a whole finding; its parts against counts by hand."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from lab.whole import whole
from lmworks.lab.bench import recurrent_rival as rival
from lmworks.lab.bench.until_no_gain import best_rate, until_no_gain
from lmworks.lab.experiments import q17_transformers_beat_rnns
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.models.relatives.recurrent import RecurrentNetwork
from lmworks.models.relatives.recurrent_config import RecurrentConfig
from lmworks.objectives import CausalLM
from lmworks.training.loop import DivergedError
from lmworks.training.settings import TrainingConfig

SMALL = {"vocab_size": 16, "dim": 32, "layers": 2, "heads": 2, "context": 24}


def test_a_tiny_run_gives_a_whole_finding(monkeypatch):
    monkeypatch.setattr(q17_transformers_beat_rnns, "RATES", (3e-3, 1e-2))
    tiny = [
        "text=python-reference",
        "steps=2",
        "trial=2",
        "recall_steps=2",
        "every=1",
        "dim=8",
        "layers=1",
        "windows=4",
    ]
    finding = whole(17, tiny)
    assert {one.verdict for one in finding.parts[1:4]} == {"not tested"}
    said = [one for one in finding.measurements if one.name.startswith("symbols said right")]
    assert len(said) == 4 and {one.chance for one in said} == {1 / rival.SYMBOLS}


def test_a_run_ends_when_nothing_is_gained_and_keeps_its_curve():
    """Validations that a network cannot change: three without a gain of a whole step end the run."""
    network = rival.fresh(ModelConfig(**SMALL), 0)
    given = iter([5.0, 4.0, 3.99, 3.98, 3.97, 0.0])
    judged = iter([9.0, 7.0, 8.0, 6.0, 5.0, 0.0])
    config = TrainingConfig(context=24, rows=2, steps=50, evaluate_every=1, patience=3, seed=0)
    learnt = until_no_gain(
        network,
        CausalLM(),
        rival.recall_rows(100, 8, 0),
        config.but(context=64),
        lambda _: next(given),
        lambda _: next(judged),
        0.25,
    )
    assert learnt.stopped and learnt.chosen == [5.0, 4.0, 3.99, 3.98, 3.97]
    assert learnt.losses == [9.0, 7.0, 8.0, 6.0, 5.0] and learnt.best == 5.0
    assert learnt.seconds == sorted(learnt.seconds) and learnt.seconds[0] > 0
    assert learnt.after(learnt.seconds[1]) == 7.0 and learnt.after(0) == 9.0
    assert learnt.seconds_to(7.5) == learnt.seconds[1] and learnt.seconds_to(1) == learnt.seconds[-1]


def test_the_best_rate_is_the_one_of_the_lowest_loss_and_one_that_diverges_is_not():
    def loss(rate):
        if rate > 2:
            raise DivergedError("too much")
        return abs(rate - 2)

    assert best_rate((1, 2, 3), loss) == 2


def test_operations_are_those_that_torch_counts():
    config = ModelConfig(**SMALL)
    network = Network(config).initialise(0)
    network.attention_kernel = "explicit"
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        network(torch.zeros(1, 24, dtype=torch.long))
    # The explicit formula computes all pairs of a row, of which a causal mask leaves (24 + 1) / 2 of 24 keys.
    unseen = 2 * 32 * (2 * 24 - 25)
    assert counted.get_total_flops() / 2 / 24 == rival.operations(config, 24) + unseen


def test_the_lstm_is_the_widest_that_costs_no_more_than_the_transformer():
    config = ModelConfig(**SMALL)
    twin = rival.as_costly(config)
    cells = sum(weight.numel() for weight in RecurrentNetwork(twin).parameters() if weight.ndim == 2)
    assert (
        cells == rival.operations(twin, 24) <= rival.operations(config, 24)
    )  # each matrix is read once a token, if tied
    wider = RecurrentConfig(vocab_size=16, layers=2, context=24, dim=twin.dim + 1)
    assert rival.operations(wider, 24) > rival.operations(config, 24)


def test_each_symbol_of_a_row_comes_again_and_each_seed_has_rows_of_its_own():
    tokens = rival.repeated(40, 8, seed=3)
    assert torch.equal(tokens[:, 8:], tokens[:, :-8]) and len(set(map(tuple, tokens[:, :8].tolist()))) == 40
    assert torch.equal(tokens, rival.repeated(40, 8, seed=3)) and not torch.equal(tokens, rival.repeated(40, 8, seed=4))


class Oracle:
    """Says what came `back` tokens ago."""

    def __init__(self, back: int) -> None:
        self.back = back

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(tokens.roll(self.back - 1, dims=1), rival.SYMBOLS).float()


def test_recall_counts_what_was_said_before_and_nothing_else():
    for distance in q17_transformers_beat_rnns.DISTANCES:
        assert rival.recalled(Oracle(distance), distance, seed=0) == 1
        assert abs(rival.recalled(Oracle(distance + 1), distance, seed=0) - 1 / rival.SYMBOLS) < 0.05
