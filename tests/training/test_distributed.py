"""Two processes make the run of one: same losses, gradients, parameters; whatever each of them holds."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from training.runs import CONFIG, Interfering, logged, network, rows
from training.together import Ranks, of_all, together

from lmworks.basics.errors import ConfigError, LmworksError, ModelError, Stopped
from lmworks.models.network import Network
from lmworks.objectives import L1, L2, CausalLM, Objective
from lmworks.tokens.batch import Batch, batches
from lmworks.training.loop import DivergedError, TrainingResult, train
from lmworks.training.ranks import ALONE
from lmworks.training.sharding import whole
from lmworks.training.step import accumulate

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
each_way = pytest.mark.parametrize("way", ["ddp", "fsdp"])
each_optimiser = pytest.mark.parametrize("optimiser", ["adamw", "muon"])

Made = tuple[TrainingResult, dict[str, torch.Tensor]]


def make(
    ranks: Ranks,
    folder: Path,
    changes: dict[str, Any],
    *,
    objective: Objective | None = None,
    resume: bool = False,
    dropout: float = 0.0,
    dtype: torch.dtype = torch.float32,
    **more: Any,
) -> Made:
    """A run of nine steps or what is left of it; its result and the parameters."""
    begun = network(50 * resume + ranks.rank, dropout).to(dtype)  # ranks begin with rank 0's weights
    objective = objective or CausalLM()
    result = train(begun, objective, rows(), CONFIG.but(**changes), folder, resume=resume, ranks=ranks, **more)
    return result, {name: parameter.detach() for name, parameter in begun.named_parameters()}


def of_two(*arguments: Any, **more: Any) -> Made:
    """What both ranks of a run made."""
    results = together(_made, arguments, more)
    for result in results:
        if isinstance(result, LmworksError):
            raise result
    (first, parameters), (other, others) = results
    assert first.losses == other.losses and first.validation == other.validation
    assert all(torch.equal(parameters[name], others[name]) for name in parameters)
    return first, parameters


def _made(ranks: Ranks, arguments: Any, more: Any) -> Made:
    return make(ranks, *arguments, **more)


def same(made: Made, expected: Made) -> None:
    assert made[0].losses == pytest.approx(expected[0].losses, rel=1e-5)
    assert made[0].tokens == expected[0].tokens
    torch.testing.assert_close(made[1], expected[1], **CLOSE)


@each_way
@each_optimiser
@pytest.mark.parametrize("accumulate", [3, 4], ids=["rows are shared", "micro-batches are shared"])
def test_two_ranks_make_the_run_of_one(accumulate: int, optimiser: str, way: str, tmp_path: Path):
    """Pitfall 19: rows of 3 to 31 tokens, so ranks have unequal shares, some of them none."""
    changes = {"distribution": way, "optimiser": optimiser, "accumulate": accumulate, "clip": 0.3}
    alone = make(ALONE, tmp_path / "one", changes)
    same(of_two(tmp_path / "two", changes), alone)
    for line, expected in zip(logged(tmp_path / "two"), logged(tmp_path / "one"), strict=True):
        assert line == pytest.approx(expected, rel=1e-4)
    assert min(line["gradient_norm"] for line in logged(tmp_path / "two")) > 0.3  # clipping is tested too


def gradients(ranks: Ranks, objective: Objective, way: str) -> tuple[float, int, list[torch.Tensor]]:
    """Those of four micro-batches, of which each rank has two."""
    micro = list(batches(rows(), 2, seed=0, epoch=0))[ranks.rank :: ranks.size]
    begun = network(dropout=0.0)
    with ranks.holding(begun, CONFIG.but(distribution=way)) as part:
        mean, count = accumulate(part, objective, micro, ranks)
        return mean, count, [whole(parameter.grad) for parameter in part.parameters()]


@each_way
def test_the_gradient_of_a_step_is_that_of_all_its_rows(way: str):
    objective = CausalLM(label_smoothing=0.1, z_loss=0.01) + L2(0.3) + L1(0.02)
    mean, count, expected = gradients(ALONE, objective, way)
    for other_mean, other_count, found in together(gradients, objective, way):
        assert other_mean == pytest.approx(mean, rel=1e-6) and other_count == count
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


class Signalled(Interfering):
    """Rank 1 gets SIGTERM in its fifth step."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__(13 if ranks.rank else -1, lambda model: os.kill(os.getpid(), signal.SIGTERM))


def stopped_and_resumed(ranks: Ranks, folder: Path, changes: dict[str, Any], more: dict[str, Any]) -> Any:
    with pytest.raises(Stopped) as caught:
        make(ranks, folder, changes, objective=Signalled(ranks), **more)
    return str(caught.value), make(ranks, folder, changes, resume=True, **more)


@each_way
@each_optimiser
def test_a_signal_to_one_rank_stops_all_and_they_go_on_as_if_it_had_not_come(optimiser: str, way: str, tmp_path: Path):
    """Pitfalls 20 and 25, to the bit: dropout, masters of bfloat16 weights, random state of each rank."""
    changes = {"distribution": way, "optimiser": optimiser}
    more = {"dropout": 0.1, "dtype": torch.bfloat16}
    straight, parameters = of_two(tmp_path / "straight", changes, **more)
    for sentence, (resumed, others) in together(stopped_and_resumed, tmp_path / "cut", changes, more):
        assert sentence.startswith("stopped after step 5 of 9")
        assert resumed.losses == straight.losses[5:]
        assert all(torch.equal(others[name], one) for name, one in parameters.items())
    assert logged(tmp_path / "cut") == logged(tmp_path / "straight")


@each_way
@each_optimiser
@pytest.mark.parametrize("first", [1, 2])
def test_a_checkpoint_goes_on_with_another_number_of_ranks(first: int, optimiser: str, way: str, tmp_path: Path):
    changes = {"distribution": way, "optimiser": optimiser}
    straight = make(ALONE, tmp_path / "straight", changes)
    cut = CONFIG.checkpoint_every  # as if it had been stopped there: nine steps are planned
    interrupted = Interfering(cut * 3, _interrupt)
    runs = [
        lambda **more: make(ALONE, tmp_path / "cut", changes, **more),
        lambda **more: of_two(tmp_path / "cut", changes, **more),
    ]
    with pytest.raises(Stopped):
        runs[first - 1](objective=interrupted)
    result, parameters = runs[2 - first](resume=True)
    assert len(result.losses) == 9 - cut - 1 and (tmp_path / "cut/checkpoint/.metadata").exists() == (
        way == "fsdp" and first == 1
    )
    assert result.losses == pytest.approx(straight[0].losses[cut + 1 :], rel=1e-5)
    torch.testing.assert_close(parameters, straight[1], **CLOSE)


def _interrupt(model: Network) -> None:
    os.kill(os.getpid(), signal.SIGINT)
