"""What an embedding begins as in `lmworks train`: random, a file's word vectors, GloVe of the text; frozen or tuned."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from lmworks.basics.errors import ConfigError, DataError, Stopped
from lmworks.jobs.train import PretrainResult, pretrain
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.loading import load
from lmworks.models.relatives.vectors import Vectors
from lmworks.objectives import CausalLM

DIM = 16
NAMES = tuple(dict.fromkeys(tiny.WORDS))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a text of few words, and a file with a vector for each of them in the GloVe format."""
    (tmp_path / "notes").mkdir()
    for number in range(12):
        words = [tiny.WORDS[(number * (place + 1) + place) % len(tiny.WORDS)] for place in range(60)]
        (tmp_path / "notes" / f"{number}.txt").write_text(f"{number}: " + " ".join(words))
    drawn = np.random.default_rng(0).normal(size=(len(NAMES), DIM))
    lines = [f"{word} {' '.join(map(str, row))}\n" for word, row in zip(NAMES, drawn.tolist(), strict=True)]
    (tmp_path / "vectors.txt").write_text("".join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(
    out: str = "out", *, resume: bool = False, steps: int = 4, tied: bool = False, **embedding: Any
) -> PretrainResult:
    recipe = TrainRecipe(
        data={"text": "notes", "held_out": 0.2},
        tokenizer={"kind": "word", "vocab_size": 30},
        model={"dim": DIM, "layers": 1, "heads": 2, "context": 16, "tied": tied},
        embedding=embedding,
        training={"context": 16, "rows": 2, "steps": steps, "learning_rate": 1e-2, "checkpoint_every": 2},
        dtype="float32",
    )
    return pretrain(recipe, out, resume=resume)


def rows(result: PretrainResult) -> torch.Tensor:
    return result.model.network.embedding.weight.detach()


def row_of(result: PretrainResult, word: str) -> torch.Tensor:
    (token,) = result.model.tokenizer.encode(f" {word}", special=False)
    return rows(result)[token]


@pytest.mark.parametrize("source", ["random", "vectors.txt", "glove"])
def test_a_frozen_embedding_stays_to_the_bit_and_a_tuned_one_moves(source: str, here: Path):
    """Pitfall 23: whatever the number of steps, with the rest of the network trained."""
    short, long = make("short", source=source, frozen=True), make("long", source=source, frozen=True, steps=12)
    assert torch.equal(rows(short), rows(long))
    assert not torch.equal(short.model.network.head_weight, long.model.network.head_weight)
    assert torch.equal(load("long").network.embedding.weight, rows(long))
    groups = json.loads(Path("long/log.jsonl").read_text().splitlines()[0])["groups"]
    assert not any("embedding.weight" in group["names"] for group in groups)
    assert not torch.equal(rows(make("tuned", source=source, steps=12)), rows(long))


def test_a_files_vectors_are_where_its_words_are(here: Path):
    """Shifted and scaled, so that what stays is their angle to one another around the mean."""
    result = make(source="vectors.txt", frozen=True)
    lines = dict(line.split(" ", 1) for line in Path("vectors.txt").read_text().splitlines())
    known = [word for word in NAMES if len(result.model.tokenizer.encode(f" {word}", special=False)) == 1]
    theirs = torch.tensor([[float(one) for one in lines[word].split()] for word in known])
    ours = torch.stack([row_of(result, word) for word in known])
    together = torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1]
    assert together > 0.999
    assert result.facts["embedding"] == {
        "source": "vectors.txt",
        "frozen": True,
        "found": result.facts["embedding"]["found"],
        "rows": 30,
    }
    assert result.facts["embedding"]["found"] >= len(known) > 10


def test_glove_of_the_text_finds_its_words(here: Path):
    result = make(source="glove", glove={"epochs": 3, "min_count": 1})
    assert result.facts["embedding"]["found"] > 10
    assert result.recipe.embedding.glove.dim == DIM


class Interrupted(CausalLM):
    """Ctrl-C in the third step."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.seen = 0

    def __call__(self, network: Any, batch: Any) -> Any:
        self.seen += 1
        if self.seen == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return super().__call__(network, batch)


def test_a_resumed_run_has_the_vectors_that_it_was_started_with(here: Path, monkeypatch: pytest.MonkeyPatch):
    """Pitfall 20: a frozen embedding is in no checkpoint, and the file has changed in the meantime."""
    straight = make("straight", source="vectors.txt", frozen=True)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("lmworks.objectives.kinds.causal.CausalLM", Interrupted)
        make("cut", source="vectors.txt", frozen=True)
    Vectors(NAMES, np.ones((len(NAMES), DIM), np.float32)).save("other.safetensors")
    Path("other.safetensors").replace("vectors.txt")
    make("cut", resume=True, source="vectors.txt", frozen=True)
    assert Path("cut/model.safetensors").read_bytes() == Path("straight/model.safetensors").read_bytes()
    assert rows(straight).std() > 0


WRONG = {
    "a file that is not there": ({"source": "nowhere.txt"}, DataError, "nowhere.txt does not exist"),
    "another width": ({"source": "wide.txt"}, ConfigError, "the vectors have 3 numbers and the network is 16 wide"),
    "no word in common": ({"source": "foreign.txt"}, DataError, "none of the 30 tokens"),
    "a tied head that is frozen": ({"frozen": True, "tied": True}, ConfigError, "set model.tied = false"),
    "another width of GloVe": (
        {"source": "glove", "glove": {"dim": 8}},
        ConfigError,
        r"embedding.glove.dim \(8\) is not model.dim \(16\)",
    ),
    "an unknown key": ({"freeze": True}, ConfigError, "did you mean embedding.frozen"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_is_one_sentence(what: str, here: Path):
    Path("wide.txt").write_text("the 1 2 3\nmodel 4 5 6\n")
    Path("foreign.txt").write_text("".join(f"слово{at} {' '.join(['1', '2'] * 8)}\n" for at in range(3)))
    changes, kind, sentence = WRONG[what]
    with pytest.raises(kind, match=sentence) as caught:
        make(**changes)
    assert "\n" not in str(caught.value) and not Path("out").exists()
