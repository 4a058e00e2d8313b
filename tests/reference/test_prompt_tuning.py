"""Prompt tuning against PEFT: one file on one base gives equal logits in both, whoever wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

from lmworks.adaptation.prompt_config import PromptConfig
from lmworks.adaptation.prompt_tuning import add_prompt, write_prompt
from lmworks.adaptation.reading import put_adapter
from lmworks.models.files.directory import read_network
from reference.test_lora import CLOSE, FAMILIES, logits, on_disk, peft, theirs

each_family = pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
GEMMA2 = {
    "family": "gemma2",
    "norm_unit_offset": True,
    "norm_place": "both",
    "activation": "gelu_tanh",
    "scale_embedding": True,
}


def base_of(folder: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(FAMILIES, "gemma2", GEMMA2)
    return on_disk(folder, family)


@each_family
def test_peft_loads_what_we_write(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    base, tokens = base_of(tmp_path / "base", family, monkeypatch), tiny.text(2, 20)
    network = add_prompt(read_network(base), PromptConfig(length=6), seed=3)
    (tmp_path / "adapter").mkdir()
    write_prompt(tmp_path / "adapter", network, str(base))
    model = peft.PeftModel.from_pretrained(theirs(base), tmp_path / "adapter").eval()
    torch.testing.assert_close(logits(model, tokens)[:, 6:], logits(network, tokens), **CLOSE)
    assert (logits(network, tokens) - logits(theirs(base), tokens)).abs().max() > 0.1


@each_family
def test_we_load_what_peft_writes(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    base, tokens = base_of(tmp_path / "base", family, monkeypatch), tiny.text(2, 20)
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    model = peft.get_peft_model(theirs(base), config).eval()
    model.save_pretrained(tmp_path / "adapter")
    network = put_adapter(tmp_path / "adapter", read_network(base))
    torch.testing.assert_close(logits(network, tokens), logits(model, tokens)[:, 5:], **CLOSE)
    assert (logits(network, tokens) - logits(theirs(base), tokens)).abs().max() > 0.1


def test_the_gradient_is_pefts(tmp_path: Path):
    base, tokens = on_disk(tmp_path / "base", "llama"), tiny.text(2, 20)
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    model = peft.get_peft_model(theirs(base), config).train()
    model.save_pretrained(tmp_path / "adapter")
    network = put_adapter(tmp_path / "adapter", read_network(base)).train()
    model(input_ids=tokens).logits[:, 5:].logsumexp(-1).sum().backward()
    network(tokens).logsumexp(-1).sum().backward()
    [wanted] = [one.grad for one in model.parameters() if one.grad is not None]
    torch.testing.assert_close(network.prompt.vectors.grad, wanted, rtol=1e-4, atol=1e-4)
