"""Two processes make the run of one: same losses, gradients, parameters; whatever each of them holds."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from training.runs import CONFIG, Interfering, logged, network, rows
from training.together import Ranks, together

from lmworks.basics.errors import ConfigError, DataError, LmworksError, ModelError, Stopped
from lmworks.models.network import Network
from lmworks.objectives import L1, L2, CausalLM, Loss, Objective
from lmworks.objectives.distillation import Distillation
from lmworks.objectives.predicting import predictions_by
from lmworks.tokens.batch import Batch, batches
from lmworks.training import loop, sharding
from lmworks.training.distributed import Processes
from lmworks.training.loop import DivergedError, TrainingResult, train
from lmworks.training.ranks import ALONE
from lmworks.training.sharding import whole
from lmworks.training.step import accumulate

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
each_way = pytest.mark.parametrize("way", ["ddp", "fsdp"])

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


@pytest.mark.parametrize(
    ("way", "optimiser", "accumulate"),
    [("ddp", "adamw", 3), ("ddp", "muon", 4), ("fsdp", "adamw", 4), ("fsdp", "muon", 3)],
)
def test_two_ranks_make_the_run_of_one(accumulate: int, optimiser: str, way: str, tmp_path: Path):
    """Pitfall 19: rows of 3 to 31 tokens, so ranks have unequal shares, some of them none. Of 3 micro-batches each is
    divided, of 4 each rank has two."""
    changes = {"distribution": way, "optimiser": optimiser, "accumulate": accumulate, "clip": 0.3}
    alone = make(ALONE, tmp_path / "one", changes)
    same(of_two(tmp_path / "two", changes), alone)
    for line, expected in zip(logged(tmp_path / "two"), logged(tmp_path / "one"), strict=True):
        assert line == pytest.approx(expected, rel=1e-4)
    assert min(line["gradient_norm"] for line in logged(tmp_path / "two")) > 0.3  # clipping is tested too


def test_rows_that_three_ranks_hold_unevenly(tmp_path: Path):
    """Query, key and value share a matrix of 32 rows: 11, 11 and 10 of them are in one place, and Muon needs all."""
    changes = {"distribution": "fsdp", "optimiser": "muon"}
    alone = make(ALONE, tmp_path / "one", changes)
    for made in together(make, tmp_path / "three", changes, size=3):
        same(made, alone)


def drawn(ranks: Ranks) -> list[float]:
    ranks.seed(3)
    return torch.rand(4).tolist()


def test_each_rank_drops_out_other_places():
    first, second = together(drawn)
    assert first == drawn(ALONE) and not set(first) & set(second)


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


def taught(ranks: Ranks, folder: Path, way: str) -> Made:
    teacher = tiny.network(1, dim=32, layers=1)
    objective = Distillation(predictions_by(teacher), states=0.5, width=32)
    return make(ranks, folder, {"distribution": way}, objective=objective)


@each_way
def test_a_map_to_a_wider_teachers_states_is_trained_by_both(way: str, tmp_path: Path):
    alone = taught(ALONE, tmp_path / "one", way)
    for made in together(taught, tmp_path / "two", way):
        same(made, alone)


class Signalled(Interfering):
    """Rank 1 gets SIGTERM in its fifth step."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__(13 if ranks.rank else -1, lambda model: os.kill(os.getpid(), signal.SIGTERM))


def stopped_and_resumed(ranks: Ranks, folder: Path, changes: dict[str, Any], more: dict[str, Any]) -> Any:
    with pytest.raises(Stopped) as caught:
        make(ranks, folder, changes, objective=Signalled(ranks), **more)
    return str(caught.value), make(ranks, folder, changes, resume=True, **more)


@pytest.mark.parametrize(("way", "optimiser"), [("ddp", "muon"), ("fsdp", "adamw"), ("fsdp", "muon")])
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


@pytest.mark.parametrize(
    ("way", "optimiser", "first"),
    [("ddp", "adamw", 2), ("ddp", "muon", 1), ("fsdp", "adamw", 1), ("fsdp", "muon", 2), ("fsdp", "adamw", 2)],
)
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


def test_a_checkpoint_goes_on_in_another_distribution(tmp_path: Path):
    optimiser = "muon"
    straight = make(ALONE, tmp_path / "straight", {"optimiser": optimiser})
    for first, second in (("ddp", "fsdp"), ("fsdp", "ddp")):
        with pytest.raises(Stopped):
            of_two(
                tmp_path / first, {"optimiser": optimiser, "distribution": first}, objective=Interfering(12, _interrupt)
            )
        result, parameters = of_two(tmp_path / first, {"optimiser": optimiser, "distribution": second}, resume=True)
        assert result.losses == pytest.approx(straight[0].losses[5:], rel=1e-5)
        torch.testing.assert_close(parameters, straight[1], **CLOSE)


def _interrupt(model: Network) -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("size", [2, 3, 4, 6, 12])
@pytest.mark.parametrize("rows_and_micro", [(2, 6), (12, 1), (1, 12), (4, 3)], ids=str)
def test_each_row_of_a_step_is_on_one_rank_and_all_have_as_many(rows_and_micro: tuple[int, int], size: int):
    config = CONFIG.but(rows=rows_and_micro[0], accumulate=rows_and_micro[1])
    step = [(0, list(range(config.rows * one, config.rows * (one + 1)))) for one in range(config.accumulate)]
    shares = []
    for rank in range(size):
        ranks = Processes(rank, size, torch.device("cpu"))
        ranks.check(config)
        micro = list(ranks.share(config, step))
        assert len(micro) == ranks.micro_batches(config) and all(counts for *_, counts in micro)
        shares.append([row for _, places, _ in micro for row in places])
    assert {len(share) for share in shares} == {12 // size}
    assert sorted(row for share in shares for row in share) == [*range(12)]


def judged(ranks: Ranks, folder: Path, changes: dict[str, Any], given: list[float]) -> Any:
    """Rank 0 is given validation losses, the other one says something else; the embedding at each of them too."""
    losses, kept = iter(given), []

    def validate(part: Network) -> float:
        with torch.inference_mode():
            part.hidden(torch.tensor([[1, 2, 3]]))
        kept.append(whole(next(part.parameters()).detach()).clone())
        return next(losses) if ranks.first else float(len(kept))

    result, parameters = make(ranks, folder, changes, validate=validate)
    return result, kept, parameters["embedding.weight"]


@each_way
def test_patience_goes_back_to_the_best_by_what_rank_0_measures(way: str, tmp_path: Path):
    changes = {"distribution": way, "evaluate_every": 2, "patience": 2, "optimiser": "muon"}
    for result, kept, embedding in together(judged, tmp_path, changes, [2.0, 1.0, 1.5, 1.2]):
        assert result.validation == [(2, 2.0), (4, 1.0), (6, 1.5), (8, 1.2)] and result.best_step == 4
        assert torch.equal(embedding, kept[1]) and not torch.equal(kept[1], kept[3])


class Broken(CausalLM):
    """The gradient of rank 1 is too long, or not a number, in one of its micro-batches."""

    def __init__(self, ranks: Ranks, factor: float, at: int) -> None:
        super().__init__()
        self.at, self.factor, self.seen = at if ranks.rank else -1, factor, 0

    def __call__(self, model: Network, batch: Batch) -> Loss:
        self.seen += 1
        loss = super().__call__(model, batch)
        if self.seen == self.at:
            loss.total.register_hook(lambda gradient: gradient * self.factor)
        return loss


def broken(ranks: Ranks, folder: Path, changes: dict[str, Any], factor: float, at: int) -> Any:
    return make(ranks, folder, changes, objective=Broken(ranks, factor, at))[0]


@each_way
def test_a_gradient_that_is_not_a_number_on_one_rank_stops_all_at_the_last_good_step(way: str, tmp_path: Path):
    for error in together(broken, tmp_path, {"distribution": way, "accumulate": 2}, float("nan"), 9):
        assert isinstance(error, DivergedError) and str(error).startswith("step 9: the loss is")
    result, _ = make(ALONE, tmp_path, {"distribution": way, "accumulate": 2}, resume=True)
    assert result.steps == 9 and len(result.losses) == 1


@each_way
def test_a_spike_of_one_rank_is_left_out_by_all(way: str, tmp_path: Path):
    changes = {"distribution": way, "steps": 24, "skip_spikes": 20.0, "clip": 1e9}
    for result in together(broken, tmp_path, changes, 1e4, 65):
        assert result.skipped == 1 and len(result.losses) == 24
    assert [line["step"] for line in logged(tmp_path) if line.get("skipped")] == [21]


def clocked(ranks: Ranks, folder: Path, changes: dict[str, Any]) -> Any:
    """Each rank has a clock of its own, and rank 1's is five times as fast."""
    now = iter(range(10_000))
    loop.time = SimpleNamespace(monotonic=lambda: next(now) * (0.5 if ranks.rank else 0.1))  # type: ignore[attr-defined]
    return make(ranks, folder, changes)[0]


def test_the_clock_of_a_run_is_one_clock(tmp_path: Path):
    steps = [result.steps for result in together(clocked, tmp_path, {"steps": None, "max_seconds": 1.0})]
    assert steps in ([10, 10], [11, 11])  # a step reads the clock twice; sums of 0.1


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "rows": (
        {"rows": 3, "accumulate": 1},
        "3 rows (training.rows 3 x training.accumulate 1), which 2 processes cannot",
    ),
    "compiled": ({"compile": True, "distribution": "fsdp"}, "training.compile does not go with"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_two_ranks_cannot_do_is_one_sentence_on_both(what: str, tmp_path: Path):
    changes, sentence = WRONG[what]
    for error in together(make, tmp_path, changes):
        assert isinstance(error, ConfigError) and sentence in str(error) and "\n" not in str(error)
    assert not list(tmp_path.iterdir())


DIFFERENT = [{"training": {"steps": 3}, "source": "a"}, {"training": {"steps": 4}, "source": "a"}]


def disagreeing(ranks: Ranks) -> None:
    ranks.agree(lambda: DIFFERENT[ranks.rank])


def failing(ranks: Ranks, where: int) -> None:
    def work() -> None:
        if ranks.rank == where:
            raise DataError("it cannot be read")

    ranks.together(work)


def test_a_mistake_of_one_rank_is_a_sentence_of_all():
    for error in together(disagreeing):
        assert isinstance(error, ConfigError) and "training.steps is 3 on rank 0 and 4 on rank 1" in str(error)
    for where, sentence in ((0, "it cannot be read"), (1, "on rank 1: it cannot be read")):
        assert [(type(error), str(error)) for error in together(failing, where)] == [(DataError, sentence)] * 2


def dying(ranks: Ranks, folder: Path, changes: dict[str, Any], deaths: int) -> Any:
    """Rank 0 dies at that rename of a checkpoint's files or folder; with 0, rank 1 dies in its fifth step."""
    renames = 0

    def die(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal renames
        if event == "os.rename" and "checkpoint" in os.fspath(arguments[0]):
            renames += 1
            if ranks.first and renames == deaths:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)
    at = 13 if ranks.rank and not deaths else -1
    return make(ranks, folder, changes, objective=Interfering(at, lambda model: os.kill(os.getpid(), signal.SIGKILL)))


WHEN = ["in a step", "while it saves", "between the two renames"]


@each_way
@pytest.mark.parametrize("when", WHEN)
def test_where_a_rank_dies_the_others_end_and_the_checkpoint_is_whole(when: str, way: str, tmp_path: Path):
    changes = {"distribution": way, "checkpoint_every": 2}
    # Rank 0 renames (the table of parts,) state.json, the earlier folder where there is one, and the folder.
    deaths = {"ddp": [0, 3, 5], "fsdp": [0, 4, 7]}[way][WHEN.index(when)]
    results = together(dying, tmp_path, changes, deaths)
    assert sum(result is None for result in results) == 1
    (error,) = (result for result in results if result is not None)
    assert isinstance(error, LmworksError) and "another rank is gone" in str(error) and "\n" not in str(error)
    result, _ = make(ALONE, tmp_path, changes, resume=True)
    assert result.steps == 9 and len(result.losses) == (5 if deaths == 0 else 7)


@pytest.mark.parametrize("damage", ["a part is cut off", "a part is gone", "the table of parts is cut off"])
def test_a_damaged_checkpoint_in_parts_is_one_sentence(damage: str, tmp_path: Path):
    of_two(tmp_path, {"distribution": "fsdp", "steps": 4})
    place = tmp_path / "checkpoint" / (".metadata" if "table" in damage else "__1_0.distcp")
    if "gone" in damage:
        place.unlink()
    else:
        place.write_bytes(place.read_bytes()[: place.stat().st_size // 2])
    with pytest.raises(ModelError, match=r"checkpoint is damaged \(.*\); remove it") as caught:
        make(ALONE, tmp_path, {"distribution": "fsdp"}, resume=True)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_whose_metadata_is_code_is_not_obeyed(tmp_path: Path):
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "obeyed",))

    (tmp_path / ".metadata").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(
        ModelError, match=r"is damaged \(its metadata names pathlib.Path.touch, which no checkpoint needs\)"
    ):
        sharding.read_parts(tmp_path, "parameters", {})
    assert not (tmp_path / "obeyed").exists()
