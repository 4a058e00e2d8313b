"""The loop: runs that end well, and runs that end badly and leave something whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from adaptation.adapted import adapted
from safetensors.torch import load_file
from training.runs import CONFIG, Interfering, logged, network, rows, run, saved

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, DataError, LmworksError, ModelError
from lmworks.models.files.directory import read_safetensors, write_safetensors
from lmworks.models.network import Network
from lmworks.objectives import CausalLM, Loss
from lmworks.tokens.batch import Batch, Example, Row, batches, pack
from lmworks.training.by_hand.fused_block import use_fused_blocks
from lmworks.training.checkpoint import State, diverged, load_checkpoint, save_checkpoint
from lmworks.training.loop import DivergedError, steps_of, train
from lmworks.training.optimiser import make_optimiser, trainable
from lmworks.training.settings import TrainingConfig


def phrases() -> list[Row]:
    """Two short texts to learn by heart."""
    texts = [[7, 3, 9, 3, 1, 20, 4], [8, 30, 11, 2, 60, 5]]
    return pack([Example(tokens, [False] + [True] * (len(tokens) - 1), "phrase") for tokens in texts], 16)


@pytest.mark.parametrize("what", ["all weights", "adapters", "adapters, fused"])
def test_a_small_text_is_learnt_by_heart(what: str, tmp_path: Path):
    model = tiny.network(dim=32) if what == "all weights" else adapted(rank=8)
    assert "fused" not in what or use_fused_blocks(model)
    settings = TrainingConfig(context=16, rows=1, steps=60, learning_rate=3e-2 if "adapters" in what else 1e-2)
    result = train(model, CausalLM(), phrases(), settings, tmp_path)
    assert result.losses[0] > 4 and result.losses[-1] < 1 and len(result.losses) == result.steps == 60
    assert result.tokens == 60 * 11 and not model.training


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_no_run_waits_for_the_import_of_torchs_compiler(
    optimiser: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It takes 2 s, and torch.optim's own steps import it."""
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)  # an import fails
    run(tmp_path, steps=2, optimiser=optimiser)
    run(tmp_path, steps=3, optimiser=optimiser, resume=True)


def test_a_network_that_is_frozen_is_one_sentence(tmp_path: Path):
    frozen = adapted().requires_grad_(False).eval()
    with pytest.raises(ConfigError, match="all its weights are frozen"):
        train(frozen, CausalLM(), phrases(), TrainingConfig(context=16, rows=1, steps=2), tmp_path)
    assert not frozen.training and not list(tmp_path.iterdir())


def test_progress_ends_with_the_last_step_however_wide_the_batches_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    settings = TrainingConfig(context=64, rows=1, steps=3, learning_rate=1e-3)  # rows of 16
    with progress.shown():
        train(tiny.network(dim=32), CausalLM(), phrases(), settings, tmp_path)
    (line,) = [one for one in capsys.readouterr().err.splitlines() if "100 %" in one]
    assert "step 3/3" in line


def test_the_loss_of_a_step_is_the_mean_over_its_tokens(tmp_path: Path):
    first = run(tmp_path, dropout=0.0).losses[0]
    log = logged(tmp_path)
    order = list(batches(rows(), CONFIG.rows, CONFIG.seed, epoch=0))[: CONFIG.accumulate]
    losses = [CausalLM()(network(dropout=0.0), batch) for batch in order]
    assert first == pytest.approx(sum(one.total.item() for one in losses) / sum(one.count for one in losses), rel=1e-6)
    assert log[0]["tokens"] == sum(one.count for one in losses)


def test_epochs_say_how_many_steps_there_are():
    assert steps_of(TrainingConfig(rows=2, epochs=3.0), 7) == 12
    assert steps_of(TrainingConfig(rows=2, accumulate=4, epochs=2.0), 7) == 2
    assert steps_of(TrainingConfig(rows=2, accumulate=4, epochs=0.1), 7) == 1
    assert steps_of(TrainingConfig(steps=5, epochs=100), 7) == 5


def test_nothing_to_train_on_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match="nothing to train on"):
        train(network(), CausalLM(), [], CONFIG, tmp_path)


class Exploding(Interfering):
    """From one micro-batch on, the loss is not a number, or its gradient is infinite."""

    def __init__(self, at: int, how: str) -> None:
        super().__init__(
            at, lambda model: self.good.update({name: value.clone() for name, value in model.named_parameters()})
        )
        self.good: dict[str, torch.Tensor] = {}
        self.how = how

    def __call__(self, model: Network, batch: Batch) -> Loss:
        loss = super().__call__(model, batch)
        if self.seen <= self.at:
            return loss
        factor = torch.nan if self.how == "loss" else 1.0
        total = loss.total * factor
        if self.how == "gradient":
            total.register_hook(lambda gradient: gradient * torch.inf)
        return Loss(total, loss.count)


@pytest.mark.parametrize("how", ["loss", "gradient"])
@pytest.mark.parametrize("step", [0, 5])
def test_a_run_that_diverges_stops_and_keeps_the_last_good_step(step: int, how: str, tmp_path: Path):
    exploding = Exploding(3 * step, how)
    with pytest.raises(DivergedError) as caught:
        run(tmp_path, exploding)
    sentence = str(caught.value)
    assert sentence.startswith(f"step {step + 1}: the loss is") and "--set training.learning_rate=0.003" in sentence
    assert "\n" not in sentence and str(tmp_path / "checkpoint") in sentence
    kept = load_file(tmp_path / "checkpoint" / "parameters.safetensors")
    assert set(kept) == set(exploding.good)
    assert all(torch.equal(kept[name], good) and torch.isfinite(good).all() for name, good in exploding.good.items())
    assert json.loads((tmp_path / "checkpoint" / "state.json").read_text())["step"] == step
    assert diverged(tmp_path / "checkpoint") and len(logged(tmp_path)) == step
    run(tmp_path, resume=True)  # with the cause removed it goes on from there, and the log is complete
    assert not diverged(tmp_path / "checkpoint")
    assert [line["step"] for line in logged(tmp_path)] == [*range(9)]
    assert "groups" in json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from training.runs import run

folder, deaths, renames = sys.argv[1], int(sys.argv[2]), 0

def die(event, arguments):
    global renames
    if event == "os.rename" and "checkpoint" in os.fspath(arguments[0]):
        renames += 1
        # A checkpoint renames its state.json and then itself; from the second on, the earlier one first.
        if renames == deaths:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
run(Path(folder))
"""


@pytest.mark.parametrize("deaths", [3, 5], ids=["while it is written", "between the two renames"])
def test_a_run_killed_while_it_saves_goes_on_from_the_earlier_checkpoint(deaths: int, tmp_path: Path):
    script = KILLED.format(tests=str(Path(tiny.__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "killed"), str(deaths)],
        capture_output=True,
        check=False,
        cwd=Path(tiny.__file__).parent.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    resumed = run(tmp_path / "killed", resume=True)
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == ["checkpoint", "log.jsonl"]
    assert len(resumed.losses) == 5  # from step 4: the checkpoint of step 8 was never whole
    straight = run(tmp_path / "straight")
    assert resumed.losses == straight.losses[4:]
    assert saved(tmp_path / "killed") == saved(tmp_path / "straight")


@pytest.mark.parametrize("file", ["parameters.safetensors", "optimiser.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut off", "gone"])
def test_a_damaged_checkpoint_is_one_sentence(file: str, damage: str, tmp_path: Path):
    run(tmp_path, steps=4)
    place = tmp_path / "checkpoint" / file
    if damage == "gone":
        place.unlink()
    else:
        place.write_bytes(place.read_bytes()[:-10])
    with pytest.raises(ModelError) as caught:
        run(tmp_path, resume=True)
    assert str(place) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        '{"step": 4}',
        '{"step": 4, "tokens": 9, "more": 1}',
        '{"step": "some", "tokens": 9}',
        '{"step": -1, "tokens": 9}',
    ],
)
def test_a_checkpoint_with_a_foreign_state_is_one_sentence(content: str, tmp_path: Path):
    run(tmp_path, steps=4)
    (tmp_path / "checkpoint" / "state.json").write_text(content)
    with pytest.raises(ModelError, match="is damaged"):
        run(tmp_path, resume=True)


def test_a_weight_that_a_checkpoint_has_no_state_of_begins_from_what_was_loaded(tmp_path: Path):
    old, new = (tiny.network().to(torch.bfloat16) for _ in range(2))
    with torch.no_grad():
        new.norm.weight.fill_(3.0)
    save_checkpoint(tmp_path / "checkpoint", trainable(old), make_optimiser(old, CONFIG), State(step=1, tokens=9))
    file = tmp_path / "checkpoint" / "optimiser.safetensors"
    write_safetensors(file, {k: v for k, v in read_safetensors(file).items() if not k.startswith("norm.weight/")})
    optimiser = make_optimiser(new, CONFIG)
    load_checkpoint(tmp_path / "checkpoint", trainable(new), optimiser)
    new.norm.weight.grad = torch.zeros_like(new.norm.weight)
    optimiser.step()
    torch.testing.assert_close(new.norm.weight, old.norm.weight)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="there is no run to resume"):
        run(tmp_path, resume=True)
    run(tmp_path, steps=4)
    with pytest.raises(ModelError, match=r"differ in .*resume with the recipe and model"):
        train(tiny.network(tied=False), CausalLM(), rows(), CONFIG, tmp_path, resume=True)
    with pytest.raises(ModelError, match=r"has the shape \[96, 16\], and this run needs \[96, 32\]"):
        train(tiny.network(layers=1), CausalLM(), rows(), CONFIG, tmp_path, resume=True)


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run(tmp_path, steps=4)
    before = saved(tmp_path)

    def full(*arguments: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lmworks.training.checkpoint.write_safetensors", full)
    with pytest.raises(LmworksError, match="the disk is full"):
        run(tmp_path, steps=4)
    assert saved(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "log.jsonl"]


def test_a_run_in_a_thread_leaves_signals_alone(tmp_path: Path):
    before, done = signal.getsignal(signal.SIGINT), []
    thread = threading.Thread(target=lambda: done.append(run(tmp_path, steps=2)))
    thread.start()
    thread.join()
    assert done[0].steps == 2 and signal.getsignal(signal.SIGINT) is before


def test_signals_are_as_before_when_a_run_is_over(tmp_path: Path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run(tmp_path, steps=2)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path):
    def twice(model: Network) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    objective = Interfering(4, twice)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, objective)
    assert objective.seen == 4 and not (tmp_path / "checkpoint").exists()


def test_validations_are_reported_as_they_come_and_a_report_that_raises_ends_the_run(tmp_path: Path):
    class Hopeless(Exception):
        pass

    heard: list[tuple[float, float]] = []

    def report(done: float, loss: float) -> None:
        heard.append((done, loss))
        if len(heard) == 2:
            raise Hopeless

    losses = iter([3.0, 2.5, 2.0])
    with pytest.raises(Hopeless):
        run(tmp_path, evaluate_every=3, validate=lambda network: next(losses), report=report)
    assert heard == [(3 / 9, 3.0), (6 / 9, 2.5)]
    assert [line["step"] for line in logged(tmp_path)] == [0, 1, 2, 2, 3, 4, 5, 5]  # a validation has a line of its own
    heard[:] = [(0, 0)] * 2
    run(tmp_path, evaluate_every=3, validate=lambda network: 1.0, report=report)
    assert heard[2:] == [(3 / 9, 1.0), (6 / 9, 1.0), (1.0, 1.0)]


@pytest.mark.parametrize("patience", [2, 20])
def test_a_run_that_was_over_when_it_was_killed_still_goes_back_to_its_best(tmp_path, patience):
    """Between its last checkpoint and its result: with patience used up, and with patience left."""
    from training.runs import run

    def figures():
        yield from (3.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0)

    straight, resumed = figures(), figures()
    settings = {"evaluate_every": 1, "patience": patience, "steps": 6}
    first = run(tmp_path, validate=lambda network: next(straight), **settings)
    log = logged(tmp_path)
    again = run(tmp_path, validate=lambda network: next(resumed), resume=True, **settings)
    assert (again.best_step, again.steps) == (first.best_step, first.steps) and first.best_step == 2
    steps = [(line["step"], "validation_loss" in line) for line in logged(tmp_path)]
    assert steps == [(line["step"], "validation_loss" in line) for line in log]


@pytest.mark.parametrize("patience", [None, 1, 20])
def test_a_validation_that_fails_at_the_end_takes_no_training_with_it(patience: int | None, tmp_path: Path):
    """Long runs have no checkpoint after their last step but this one."""

    def figures(last: float | None) -> Callable[[Network], float]:
        left = iter([3.0, 1.0, last])

        def validate(network: Network) -> float:
            if (figure := next(left)) is None:
                raise DataError("no row is fit")
            return figure

        return validate

    settings = {"evaluate_every": 3, "patience": patience, "checkpoint_every": 100}
    straight = run(tmp_path / "straight", validate=figures(2.0), **settings)
    with pytest.raises(DataError, match="no row is fit"):
        run(tmp_path / "failed", validate=figures(None), **settings)
    again = run(tmp_path / "failed", validate=lambda network: 2.0, resume=True, **settings)
    assert (again.steps, again.best_step) == (9, None if patience is None else 6)
    assert again.validation == straight.validation[-1:] == [(9, 2.0)]
    assert logged(tmp_path / "failed") == logged(tmp_path / "straight")
    assert saved(tmp_path / "failed") == saved(tmp_path / "straight")
