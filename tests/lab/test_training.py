"""Networks of the lab are trained by the workshop's loop: what is drawn, what is said when it ends early."""

from __future__ import annotations

import os
import signal

import pytest
import torch
import torch.nn.functional as F

from lmworks.basics.errors import ConfigError, Stopped
from lmworks.lab.bench.small_network import byte_text, random_windows, small_network, train
from lmworks.lab.bench.training import DrawnRows, fit
from lmworks.objectives import CausalLM
from lmworks.tokens.rows import Rows
from lmworks.training.optimiser import trainable
from lmworks.training.optimisers.adamw import adamw
from lmworks.training.settings import TrainingConfig
from lmworks.training.step import DivergedError

CONFIG = TrainingConfig(steps=6, rows=4, learning_rate=3e-3, warmup=0.2, seed=3)


@pytest.fixture(scope="module")
def text() -> torch.Tensor:
    return byte_text("python-reference").train


def test_training_is_what_the_plain_loop_does(text: torch.Tensor):
    """Random windows by the seed, AdamW, the schedule, the clip: written out once more."""
    made = train(small_network(1, dim=32, context=24), text, CONFIG)
    plain = small_network(1, dim=32, context=24).train()
    optimiser, generator = adamw(trainable(plain), CONFIG), torch.Generator().manual_seed(CONFIG.seed)
    for step in range(6):
        starts = torch.randint(len(text) - 24, (4,), generator=generator)
        rows = text[starts[:, None] + torch.arange(25)]
        loss = F.cross_entropy(plain(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), CONFIG.clip)
        for group in optimiser.param_groups:
            group["lr"] = CONFIG.learning_rate_at(step, 6)
        optimiser.step()
    assert not made.training
    for name, weight in plain.state_dict().items():
        torch.testing.assert_close(made.state_dict()[name], weight, rtol=1e-3, atol=1e-4)


def test_drawn_batches_are_read_once_in_their_order(text: torch.Tensor):
    rows = random_windows(text, 24, CONFIG)
    assert len(rows) == rows.batches(4) == 6
    assert [rows.batch(places) for places in rows.order(4, 0, 9)] == rows.drawn
    again = random_windows(text, 24, CONFIG)
    assert all(torch.equal(one.tokens, other.tokens) for one, other in zip(rows.drawn, again.drawn, strict=True))
    assert torch.equal(rows.drawn[0].labels[:, :-1], rows.drawn[0].tokens[:, 1:]) and rows.drawn[0].supervised == 96
    with pytest.raises(ConfigError, match=r"give training\.steps"):
        random_windows(text, 24, CONFIG.but(steps=None))


def test_a_network_that_diverges_is_said_without_a_folder_that_is_gone(text: torch.Tensor):
    network = small_network(0, dim=16, context=24)
    network.embedding.weight.data[:] = float("nan")
    with pytest.raises(DivergedError) as told:
        train(network, text, CONFIG)
    assert str(told.value).startswith("a network of the experiment diverged (seed 3): step 1: the loss is nan")
    assert "checkpoint" not in str(told.value)


class Interrupting(DrawnRows):
    """Ctrl-C comes while the second batch is read."""

    def batch(self, places):
        if list(places) == [1]:
            os.kill(os.getpid(), signal.SIGINT)
        return super().batch(places)


def test_a_row_is_as_wide_as_it_was_drawn(text: torch.Tensor):
    assert random_windows(text, 24, CONFIG).width(CONFIG.context) == 24


def test_ctrl_c_ends_a_training_and_promises_no_resume(text: torch.Tensor):
    rows: Rows = Interrupting(random_windows(text, 24, CONFIG).drawn)
    with pytest.raises(Stopped) as told:
        fit(small_network(0, dim=16, context=24), CausalLM(), rows, CONFIG)
    assert str(told.value).startswith("stopped after step 2 of 6 of a network's training")
    assert "--resume" not in str(told.value)
