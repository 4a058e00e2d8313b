"""`lmworks train` by two processes: the model of one process, prepared once, said once; and what can be wrong."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from training.together import Ranks, together

from jobs.training.test_pretraining import OWN, here, make, recipe
from lmworks.basics.errors import ConfigError, DataError, LmworksError
from lmworks.jobs import runs
from lmworks.jobs.build import build
from lmworks.jobs.train import PretrainResult, _prepare
from lmworks.loading import load
from lmworks.training.launch import launch

__all__ = ["here"]

TOML = """
dtype = "float32"
data = {text = "notes", held_out = 0.2}
tokenizer = {kind = "character", byte_fallback = false}
model = {dim = 32, layers = 2, heads = 2, context = 32}
training = {context = 32, rows = 4, steps = 12, learning_rate = 1e-2, checkpoint_every = 4}
sample = {prompt = "the", max_new_tokens = 20}
"""


def in_folder(ranks: Ranks, folder: Path, out: str, changes: dict[str, Any]) -> tuple[float, list[float], float]:
    os.chdir(folder)
    result = make(out, **changes)
    return result.validation_loss, result.training.losses, result.bits_per_byte.value


@pytest.mark.parametrize(("rows", "way"), [("stream", "fsdp"), ("documents", "ddp")])
def test_two_processes_make_the_model_of_one(rows: str, way: str, here: Path):
    """With everything on: n-grams, Muon, recomputing, validation on the way, unequal documents."""
    changes = {
        "data": {"text": "notes", "held_out": 0.2, "rows": rows},
        "model": {**OWN, "dim": 32, "layers": 2, "heads": 2, "context": 32},
        "ngrams": {"longest": 2},
        "training": recipe().training.model_dump()
        | {
            "distribution": way,
            "optimiser": "muon",
            "evaluate_every": 4,
            "recompute": True,
            "accumulate": 2,
            "rows": 2,
        },
    }
    alone = make("one", **changes)
    for loss, losses, bits in together(in_folder, here, "two", changes):
        assert losses == pytest.approx(alone.training.losses, rel=1e-5)
        assert loss == pytest.approx(alone.validation_loss, rel=1e-5)
        assert bits == pytest.approx(alone.bits_per_byte.value, rel=1e-5)
    text, facts = Path("notes/0.txt").read_text(), json.loads(Path("two/lmworks.json").read_text())
    assert load("two").score(text).bits == pytest.approx(load("one").score(text).bits, rel=1e-5)
    assert facts["processes"] == 2 and not Path("two.run").exists()
    steps = [json.loads(line).get("step") for line in Path("two/log.jsonl").read_text().splitlines()]
    assert steps == [json.loads(line).get("step") for line in Path("one/log.jsonl").read_text().splitlines()]


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "lmworks"]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def test_torchrun_prints_what_one_process_prints(here: Path):
    Path("small.toml").write_text(TOML)
    alone = make("one").facts
    done = torchrun("train", "small.toml", "--out", "two", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["validation_loss"] == pytest.approx(alone["validation_loss"], rel=1e-5)
    assert facts["data"] == alone["data"] and facts["folder"] == "two"
    assert (
        done.stderr.count("held out 3 documents") == done.stderr.count("2 blocks x 32") == 1
        and "Warning" not in done.stderr
    )


def processes(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lmworks", "train", *arguments, "--processes", "2"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_verb_starts_its_processes_itself_and_an_error_of_theirs_is_one_sentence(here: Path):
    """Below which torchrun would print its own report."""
    Path("small.toml").write_text(TOML)
    done = processes("small.toml", "--out", "two", "--json", "--set", "training.steps=3")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["processes"] == 2 and done.stderr.count("2 blocks x 32") == 1
    refused = processes("small.toml", "--out", "three", "--set", "training.rows=3")
    assert refused.returncode == 1 and refused.stdout == ""
    assert refused.stderr.count("\n") == 1 and "which 2 processes cannot share evenly" in refused.stderr
    assert processes("small.toml", "--set", "depht=3").stderr.count("lmworks:") == 1


def test_what_a_rank_alone_can_say_is_shown(here: Path):
    """Rank 0 dies of a signal; the others say that it went away."""
    Path("sitecustomize.py").write_text(
        "import os, sys\n"
        "if os.environ.get('RANK') == '0': os.kill(os.getpid(), 9)\n"
        "if os.environ.get('RANK') == '1': sys.exit('rank 0 went away')\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here), *sys.path])}
    code = "import sys; from lmworks.training.launch import launch; sys.exit(launch(2, ['models']))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (1, 137) and "rank 0 went away" in done.stderr


@pytest.mark.parametrize(
    ("number", "started", "words"), [(0, {}, "give a number"), (2, {"WORLD_SIZE": "2"}, "torchrun has")]
)
def test_processes_that_make_no_sense_are_refused(
    number: int, started: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
):
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=words):
        launch(number, ["models"])


def test_build_says_that_it_is_done_by_one_process(here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(LmworksError, match="lmworks build is done by one process, and 2 were started"):
        build("notes")
    assert [path.name for path in here.iterdir()] == ["notes"]


def elsewhere(ranks: Ranks, folder: Path, out: str, changes: list[dict[str, Any]]) -> PretrainResult:
    """Each rank in a folder of its own, as on machines that share no disk: `out` may name another place on each."""
    os.chdir(folder / str(ranks.rank))
    return make(out, **changes[ranks.rank])


OWN_DISK = "/proc/self/cwd/out"  # one name, and another folder for each process
each_its_disk = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs Linux' /proc")
OTHER = {"training": {**recipe().training.model_dump(), "steps": 9}}
DISAGREEING: dict[str, tuple[str, list[dict[str, Any]], str]] = {
    "another recipe": (OWN_DISK, [{}, OTHER], "training.steps is 12 on rank 0 and 9 on rank 1"),
    "another folder": ("out", [{}, {}], "the output folder is"),
    "no shared disk": (OWN_DISK, [{}, {}], "on rank 1: out.run/tokenizer"),
}


ENDS = {"data": {"hold_out": "end"}}  # which does not depend on what the text says


def prepare(folder: Path, text: str) -> Path:
    """What a disk that is not shared may hold of an earlier run, packed from this text; the run's folder."""
    (folder / "notes").mkdir(parents=True)
    for number in range(12):
        (folder / "notes" / f"{number}.txt").write_text(f"{number}: {'how words follow ' * 20}{text}")
    with contextlib.chdir(folder):
        _prepare(recipe(**ENDS), Path("out"), Path("out.run"), False, 0.0, lambda line: None)
    return folder / "out.run"


@each_its_disk
def test_another_text_on_a_disk_that_is_not_shared(here: Path):
    prepare(here / "0", "how")
    shutil.rmtree(here / "0" / "out.run")
    prepare(here / "1", "who")  # as long, and the same letters make the same tokenizer
    for error in together(elsewhere, here, OWN_DISK, [ENDS, ENDS]):
        assert isinstance(error, ConfigError) and "disagree: the packed text is [" in str(error)


@each_its_disk
def test_a_shard_that_one_rank_sees_cut_off(here: Path):
    prepare(here / "0", "how")
    shutil.rmtree(here / "0" / "out.run")
    shard = prepare(here / "1", "how") / "train" / "00000.bin"
    shard.write_bytes(shard.read_bytes()[:-1])
    for error in together(elsewhere, here, OWN_DISK, [ENDS, ENDS]):
        assert isinstance(error, DataError) and str(error).startswith("on rank 1: ") and "cut off" in str(error)


def another_code(ranks: Ranks, folder: Path) -> None:
    if ranks.rank:
        runs.__file__ = str(folder / "checkout" / "jobs/runs.py")
    os.chdir(folder)
    make("two")


def test_another_checkout_of_the_code(here: Path):
    shutil.copytree(Path(runs.__file__).parent, here / "checkout", ignore=shutil.ignore_patterns("__pycache__"))
    with (here / "checkout" / "loading.py").open("a") as file:
        file.write("# changed\n")
    for error in together(another_code, here):
        assert isinstance(error, ConfigError) and "the source code of lmworks is '" in str(error)
    assert not list(here.glob("two*"))


@each_its_disk
@pytest.mark.parametrize("what", DISAGREEING)
def test_processes_that_disagree_end_with_a_sentence_each(what: str, here: Path):
    out, changes, sentence = DISAGREEING[what]
    for rank in "01":
        Path(rank).mkdir()
        Path(rank, "notes").symlink_to(here / "notes")
    for error in together(elsewhere, here, out, changes):
        assert isinstance(error, LmworksError) and sentence in str(error).replace("/proc/self/cwd/", ""), error
        assert "\n" not in str(error)
    assert not list(here.glob("*/out"))
