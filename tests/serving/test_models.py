"""Several models on one server: loaded when they are named, once; put away when idle or when memory is short."""

from __future__ import annotations

import errno
import gc
import json
import math
import os
import re
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.language_model import LanguageModel
from lmworks.loading import facts_of, load
from lmworks.models.convolution_settings import ConvolutionSettings
from lmworks.models.latent_settings import LatentSettings
from lmworks.serving import models as serving_models
from lmworks.serving.models import ServedModel, ServedModels
from lmworks.serving.opening import Foretold, Opening, several
from lmworks.serving.service import Service
from lmworks.serving.settings import ServerLimits
from serving.live import ENDLESS, Live, running, small


class Shelf:
    """Tiny models by name, and how often each was loaded."""

    def __init__(self, *names: str, **how: Any) -> None:
        self.made: Counter[str] = Counter()
        self.weights: dict[str, Any] = {}
        self.may_load = threading.Event()
        self.may_load.set()
        self.limits = ServerLimits(seats=4, queue=20)
        served = [ServedModel({name: 512}, self._maker(name), needs=100) for name in names]
        self.models = ServedModels(served, limits=self.limits, **how)

    def _maker(self, name: str) -> Callable[[], Service]:
        def make() -> Service:
            assert self.may_load.wait(60)
            self.made[name] += 1
            model = small(layers=1)
            self.weights[name] = weakref.ref(model.network)
            return Service(model, name=name, limits=self.limits)

        return make


def ask(live: Live, name: str | None, tokens: int = 2, **more: Any) -> Any:
    # Drawn, one answer in some hundred would end before its last token.
    return live.post("/v1/completions", prompt="a", model=name, max_tokens=tokens, **({"temperature": 0} | more))


def loaded(live: Live) -> list[str]:
    return [one["id"] for one in live.http.get("/v1/models").json()["data"] if one["loaded"]]


def until(live: Live, *names: str) -> None:
    """Ask until just these are loaded; a test that hangs here has failed."""
    for _ in range(20_000):
        if loaded(live) == list(names):
            return
    raise AssertionError(f"{loaded(live)} are loaded, and not {names}")


def test_a_model_is_loaded_when_it_is_first_named_and_models_says_so():
    shelf = Shelf("a", "b")
    with running(shelf.models) as live:
        listed = live.http.get("/v1/models").json()["data"]
        assert [(one["id"], one["loaded"], one["max_model_len"]) for one in listed] == [
            ("a", False, 512),
            ("b", False, 512),
        ]
        assert not shelf.made
        answer = ask(live, "b")
        assert answer.status_code == 200 and answer.json()["model"] == "b"
        assert loaded(live) == ["b"] and live.http.get("/v1/models/b").json()["loaded"]
        assert ask(live, None).json()["model"] == "a"  # the first, where none is named
        for path in ("/tokenize", "/v1/inspect", "/v1/embeddings"):
            body = {"input": "x"} if path == "/v1/embeddings" else {"prompt": "x"}
            assert live.post(path, model="b", **body).status_code == 200, path
        assert live.http.get("/tokenizer_info", params={"model": "b"}).status_code == 200
        assert shelf.made == {"a": 1, "b": 1}
        metrics = live.http.get("/metrics").text
        assert all(f'lmworks:generation_tokens_total{{model_name="{name}"}} 2.0' in metrics for name in "ab")


def test_a_name_that_is_not_known_is_a_404_that_lists_those_that_are():
    shelf = Shelf("a", "b")
    with running(shelf.models) as live:
        for answer in (ask(live, "c"), live.http.get("/v1/models/c"), live.post("/tokenize", model="c", prompt="x")):
            error = answer.json()["error"]
            assert answer.status_code == 404 and error["code"] == "model_not_found"
            assert error["message"] == "there is no model 'c'; there is a and b"
        assert not shelf.made


def test_first_requests_at_once_load_a_model_once():
    shelf = Shelf("a", "b")
    shelf.may_load.clear()
    with running(shelf.models) as live:
        answers: list[int] = []
        threads = [threading.Thread(target=lambda: answers.append(ask(live, "a").status_code)) for _ in range(6)]
        for thread in threads:
            thread.start()
        while shelf.models.all[0].waiting < 6:
            assert live.http.get("/health").status_code == 200  # nobody else waits for it
        shelf.may_load.set()
        for thread in threads:
            thread.join(60)
        assert answers == [200] * 6 and shelf.made == {"a": 1}


def test_memory_for_one_holds_one_and_an_answer_that_is_written_is_not_cut_off():
    shelf = Shelf("a", "b", memory=150)
    with running(shelf.models) as live:
        body = {"prompt": "a", "model": "a", "stream": True, **ENDLESS}
        with live.http.stream("POST", "/v1/completions", json=body) as stream:
            lines = stream.iter_lines()
            next(lines)
            other = threading.Thread(target=lambda: others.append(ask(live, "b").json()["model"]))
            others: list[str] = []
            other.start()
            while not shelf.models.all[0].leaving:
                assert not others
            assert loaded(live) == []  # who asks for it now waits for it to be loaded again
            last = [line for line in lines if line][-2:]
        assert json.loads(last[0].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
        assert last[1] == "data: [DONE]"
        other.join(60)
        assert others == ["b"] and loaded(live) == ["b"]
        gc.collect()
        assert shelf.weights["a"]() is None, "the weights of a model that was put away are still held"
        assert ask(live, "a").status_code == 200 and loaded(live) == ["a"]
        assert shelf.made == {"a": 2, "b": 1}


def test_the_one_that_was_used_longest_ago_makes_room():
    shelf = Shelf("a", "b", "c", memory=200)
    with running(shelf.models) as live:
        for name in ("a", "b", "a", "c"):
            assert ask(live, name).status_code == 200
        assert loaded(live) == ["a", "c"]


def test_a_model_that_nobody_uses_is_put_away():
    shelf = Shelf("a", "b", idle=0)
    with running(shelf.models) as live:
        assert ask(live, "a", 40).status_code == 200
        until(live)
        first = shelf.weights["a"]
        assert ask(live, "a").status_code == 200 and shelf.made == {"a": 2}
        assert first() is None, "the weights of a model that was put away are still held"


def test_a_model_whose_askers_left_while_it_was_loaded_is_put_away():
    shelf = Shelf("a", "b", idle=0)
    shelf.models.limits = ServerLimits(seats=4, queue=20, seconds=0.05)
    shelf.may_load.clear()
    with running(shelf.models) as live:
        assert ask(live, "a").status_code == 504
        shelf.may_load.set()
        while shelf.models.all[0].loading is not None:
            assert live.http.get("/health").status_code == 200
        until(live)


def test_what_the_machine_lacks_counts_too(monkeypatch: pytest.MonkeyPatch):
    shelf = Shelf("a", "b")
    with running(shelf.models) as live:
        assert ask(live, "a").status_code == 200
        monkeypatch.setattr(serving_models, "available_bytes", lambda: 100 if loaded_now(shelf) == 0 else 50)
        assert ask(live, "b").status_code == 200 and loaded(live) == ["b"]


def loaded_now(shelf: Shelf) -> int:
    return len(shelf.models.loaded)


def test_a_model_that_cannot_be_loaded_is_a_503_that_says_why():
    def make() -> Service:
        raise ModelError("its file is damaged; fetch it again")

    models = ServedModels([ServedModel({"a": 512}, make), Shelf("b").models.all[0]])
    with running(models) as live:
        for _ in range(2):
            answer = ask(live, "a")
            assert answer.status_code == 503 and answer.json()["error"]["code"] == "model_not_loaded"
            assert answer.json()["error"]["message"] == "a cannot be loaded: its file is damaged; fetch it again"
        assert ask(live, "b").status_code == 200


def test_a_model_for_which_there_is_no_memory_is_such_a_503_and_any_other_fault_is_none():
    def make() -> Service:
        raise faults.pop()

    faults: list[Exception] = [
        ValueError("a fault of ours"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
        MemoryError(),
    ]
    with running(ServedModels([ServedModel({"a": 512}, make)])) as live:
        for _ in range(3):
            answer = ask(live, "a")
            assert answer.status_code == 503 and answer.json()["error"]["code"] == "model_not_loaded"
            assert answer.json()["error"]["message"].startswith("a cannot be loaded: there is no memory for it; ask")
        assert ask(live, "a").status_code == 500


@pytest.mark.parametrize("bound", ["memory", "idle"])
def test_a_bound_that_is_none_is_refused(bound: str):
    with pytest.raises(ConfigError, match=f"{bound} is nan; it should be 0 or more"):
        Shelf("a", **{bound: math.nan})


def test_two_models_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="two models are called a; leave one of them out"):
        Shelf("a", "a")


def test_texts_are_foretold_what_a_cache_keeps_of_them(tmp_path: Path):
    """A state and its rotated part, and the state once more, of latent attention; a convolution hands on one part."""
    latent = LatentSettings(rank=64, value_dim=32)
    shape = {"heads": 4, "kv_heads": 4, "head_dim": 48, "rotary_dim": 16, "family": "lmworks"}
    kinds: dict[str, dict[str, Any]] = {"latent": shape | {"latent": latent}}
    kinds["convolution"] = {"convolution": ConvolutionSettings(layers=(0,)), "family": "lmworks"}
    for name, kind in kinds.items():
        tiny.language_model(**({"dim": 64, "hidden_dim": 96} | kind)).save(tmp_path / name)
    of_latent, of_convolution = (Foretold.of(str(tmp_path / name)) for name in kinds)
    assert of_latent.text == 2 * 2 * (64 + 16 + 64) * of_latent.longest
    numbers = of_convolution.footprint.config.cached_numbers
    assert of_convolution.text == 2 * numbers * of_convolution.longest


def test_several_references_are_foretold_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    folders = [str(tmp_path / name) for name in ("a", "b")]
    for folder in folders:
        small(layers=1).save(folder)
    vectors = tiny.embedder(tmp_path / "vectors")
    monkeypatch.setattr(LanguageModel, "load", None)  # nothing is loaded
    with progress.shown():
        models = several(folders, Opening(embedder=vectors), memory=None, idle=300)
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"lmworks: the weights of {folders[0]} take 0.2 MB of memory, and the keys and values")
    assert len(said) == 3
    monkeypatch.undo()
    assert models.names == {folders[0]: 512, folders[1]: 512, vectors: 256} and not models.loaded
    with running(models) as live:
        assert live.post("/v1/embeddings", input="x").json()["model"] == vectors
        assert ask(live, folders[1]).status_code == 200 and loaded(live) == [folders[1], vectors]
    too_much = r"all models together may take 0\.0 MB; give more --memory, or "
    with progress.shown(), pytest.raises(ModelError, match=too_much):
        several(folders, Opening(), memory=10, idle=300)


def test_what_cannot_be_loaded_is_told_before_a_request_asks_for_it(tmp_path: Path):
    """In the words of loading it, and by lmworks models too."""
    for name in ("cut off", "no tokenizer"):
        small(layers=1).save(tmp_path / name)
    weights = tmp_path / "cut off" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (tmp_path / "no tokenizer" / "tokenizer.json").unlink()
    for name, words in (("cut off", "ends 100 bytes early"), ("no tokenizer", "has no tokenizer.json")):
        folder = str(tmp_path / name)
        with pytest.raises(ModelError, match=words) as loading:
            load(folder)
        with progress.shown(), pytest.raises(ModelError, match=re.escape(str(loading.value))):
            several([folder, folder], Opening(), memory=None, idle=300)
        way = facts_of(folder).way
        assert way.refused and way.how == f"refused: {loading.value}"


def test_several_share_what_is_free_unless_more_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    small(layers=1).save(tmp_path / "a")
    monkeypatch.setattr("lmworks.serving.opening.available_bytes", lambda: 10**9)
    with progress.shown():
        assert several([str(tmp_path / "a")], Opening(), memory=None, idle=300).memory == 8 * 10**8
