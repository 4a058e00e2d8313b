"""lmworks compress: a directory that is smaller, complete, measured, and can be loaded, adapted and saved as any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import torch

import lmworks as lm
from lmworks.adaptation.lora import LoRAConfig, add_lora, lora_layers, merge_adapters
from lmworks.adaptation.peft_format import write_adapter
from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.cli import main
from lmworks.jobs.compress import compress

WIDE = {"dim": 64, "hidden_dim": 96, "layers": 3}


@pytest.fixture
def text(tmp_path: Path) -> str:
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.txt").write_text(f"{' '.join(tiny.WORDS[number:])} {number}.\n" * 12)
    return str(folder)


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(tiny.language_model(seed=6, **WIDE).save(tmp_path / "model"))


@pytest.mark.parametrize("bits", [4, 8])
def test_it_is_smaller_measured_and_loads(bits: int, model: str, text: str, tmp_path: Path):
    made = compress(model, tmp_path / "small", bits=bits, text=text)
    assert made.folder == tmp_path / "small" and made.bytes_after < made.bytes_before * (0.55 if bits == 8 else 0.45)
    assert made.before.n == made.after.n == made.change.n > 5 and made.change.interval is not None
    assert made.change.value == pytest.approx(made.after.value - made.before.value)
    facts = json.loads((tmp_path / "small" / "lmworks.json").read_text())
    assert facts["compressed"] == {"bits": bits, "embedding_bits": None} and facts["bytes_after"] == made.bytes_after
    assert [one["name"] for one in facts["measurements"]] == [made.before.name, made.after.name, made.change.name]
    small, whole = lm.load(tmp_path / "small"), lm.load(model)
    assert small.network.dtype == torch.bfloat16 and small.config == whole.config
    assert small.generate("the model", max_new_tokens=5).tokens
    assert small.tokenizer.encode("a page") == whole.tokenizer.encode("a page")


def test_four_bits_change_more_than_eight(model: str, text: str, tmp_path: Path):
    four, eight = (compress(model, tmp_path / str(bits), bits=bits, text=text) for bits in (4, 8))
    assert abs(eight.change.value) < abs(four.change.value)


def test_an_adapter_trains_on_it_and_it_saves_whole(model: str, text: str, tmp_path: Path):
    small = lm.load(compress(model, tmp_path / "small", text=text).folder, dtype="float32")
    before = small.logits([[1, 2, 3]])
    add_lora(small.network, LoRAConfig(rank=2))
    loss = torch.nn.functional.cross_entropy(small.network(torch.tensor([[1, 2, 3]]))[0, :-1], torch.tensor([2, 3]))
    loss.backward()
    assert all(one.grad is not None for layer in lora_layers(small.network).values() for one in layer.trained())
    merge_adapters(small.network)
    whole = lm.load(small.save(tmp_path / "whole"))
    assert torch.equal(whole.logits([[1, 2, 3]]), before)
    assert "quantization_config" not in json.loads((tmp_path / "whole" / "config.json").read_text())


def test_an_adapter_is_merged_into_what_is_written(model: str, text: str, tmp_path: Path):
    adapted = lm.load(model)
    add_lora(adapted.network, LoRAConfig(rank=2))
    for layer in lora_layers(adapted.network).values():
        for one in layer.trained():
            one.data = torch.full_like(one, 0.05)
    (tmp_path / "adapter").mkdir()
    write_adapter(tmp_path / "adapter", adapted.network, model)
    adapted.write_tokenizer(tmp_path / "adapter")
    made = compress(tmp_path / "adapter", tmp_path / "small", bits=8, text=text)
    assert made.merged and made.bytes_before > (Path(model) / "model.safetensors").stat().st_size
    ids = [[1, 2, 3, 4]]
    away = (lm.load(made.folder).logits(ids) - adapted.logits(ids)).std() / adapted.logits(ids).std()
    assert away < 0.1 < (lm.load(model).logits(ids) - adapted.logits(ids)).std() / adapted.logits(ids).std()


def test_what_cannot_be_is_refused_and_nothing_is_written(model: str, text: str, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.doc").write_text("mine")
    with pytest.raises(ModelError, match="is not a model directory"):
        compress(model, tmp_path / "mine", text=text)
    with pytest.raises(ConfigError, match="is the model itself"):
        compress(model, model, text=text)
    with pytest.raises(ConfigError, match="tokens is -5; measure on at least 1"):
        compress(model, tmp_path / "small", text=text, tokens=-5)
    with pytest.raises(ConfigError, match="3 bits are not written here; known are 4 and 8"):
        compress(model, tmp_path / "small", bits=3, text=text)
    both = {"family": "lmworks", "arrangement": "encoder-decoder", "positions": "relative"}
    translator = tiny.language_model(seed=4, **both).save(tmp_path / "translator")
    with pytest.raises(ConfigError, match="is an encoder-decoder"):
        compress(translator, tmp_path / "small", text=text)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "model", "text", "translator"]


def test_an_earlier_result_stays_where_the_work_fails(
    model: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    compress(model, tmp_path / "small", bits=8, text=text)
    kept = (tmp_path / "small" / "model.safetensors").read_bytes()

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lmworks.models.files.directory.write_safetensors", full)
    with pytest.raises(Exception, match="the disk is full"):
        compress(model, tmp_path / "small", bits=4, text=text)
    assert (tmp_path / "small" / "model.safetensors").read_bytes() == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "small", "text"]


def test_where_wikitext_cannot_be_had_the_drift_from_the_model_is_measured(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("LMWORKS_DATA", "")
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path / "empty-cache"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there: a machine without a network
    monkeypatch.setattr("sys.argv", ["lmworks", "compress", model, "--bits", "4", "--out", str(tmp_path / "small")])
    with pytest.raises(SystemExit, match="0"):
        main()
    told = capsys.readouterr()
    assert "drift from the model" in told.out and "wikitext2 is not on this machine" in told.err
    [kept] = json.loads((tmp_path / "small" / "lmworks.json").read_text())["measurements"]
    made = compress(model, tmp_path / "eight", bits=8)
    assert made.drift is not None and 0 < made.drift.value < kept["value"] and kept["unit"] == "bits/token"
    assert made.before is made.after is made.change is made.verdict is None
    with pytest.raises(DataError, match="arc-easy"):  # a text that somebody names is not replaced
        compress(model, tmp_path / "other", text="arc-easy")
