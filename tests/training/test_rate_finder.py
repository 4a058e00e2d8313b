"""The range test: rates rise evenly by their logarithm, and the suggestion lies where the loss falls."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from training.runs import CONFIG, network, rows

from lmworks.basics.errors import ConfigError
from lmworks.models.network import Network
from lmworks.objectives import CausalLM, Loss
from lmworks.tokens.batch import Batch
from lmworks.training.rate_finder import find_rate


def test_the_suggestion_is_where_the_loss_falls_fastest():
    curve = find_rate(network(dropout=0.0), CausalLM(), rows(), CONFIG, low=1e-5, high=10.0, steps=60)
    factors = [right / left for left, right in pairwise(curve.rates)]
    assert curve.rates[0] == pytest.approx(1e-5) and factors == pytest.approx([factors[0]] * len(factors))
    assert curve.suggestion is not None and curve.rates[0] < curve.suggestion < curve.lowest < 10
    slopes = [after - before for before, after in pairwise(curve.smoothed)]
    assert slopes[curve.rates.index(curve.suggestion)] == min(slopes) < 0
    assert curve.losses[0] == pytest.approx(curve.smoothed[0])
    assert len(curve.rates) < 60  # it ends where the loss has risen again
    assert find_rate(network(dropout=0.0), CausalLM(), rows(), CONFIG, low=1e-5, high=10.0, steps=60) == curve


class Exploding(CausalLM):
    """No number any more from the fifth step on."""

    seen = 0

    def __call__(self, network: Network, batch: Batch) -> Loss:
        loss = super().__call__(network, batch)
        self.seen += 1
        if self.seen > 4 * CONFIG.accumulate:
            loss.total.data.fill_(math.nan)
        return loss


def test_a_loss_that_is_no_number_ends_the_test_and_what_came_before_stays():
    curve = find_rate(network(), Exploding(), rows(), CONFIG, steps=20)
    assert len(curve.rates) == 4 and all(map(math.isfinite, curve.losses))


@pytest.mark.parametrize("wrong", [{"low": 0.0}, {"low": 2.0}, {"steps": 9}, {"high": 1e-9}])
def test_a_range_in_which_nothing_could_be_seen_is_refused(wrong: dict):
    with pytest.raises(ConfigError, match="a range test needs"):
        find_rate(network(), CausalLM(), rows(), CONFIG, **wrong)
