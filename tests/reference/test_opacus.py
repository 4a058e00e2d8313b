"""Clipped gradients of LoRA against Opacus on PEFT's model: the same base, adapter and rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from later import Later

from lmworks.adaptation.lora import lora_layers
from lmworks.adaptation.peft_format import read_adapter
from lmworks.models.files.directory import read_network, write_network
from lmworks.objectives import CausalLM
from lmworks.tokens.batch import Example, stack
from lmworks.training.by_hand.fused_block import choose_blocks
from lmworks.training.private.clipping import Clipping

opacus = pytest.importorskip("opacus", reason="pip install opacus")  # first: where it is missing nothing is loaded
transformers, peft = Later("transformers"), Later("peft")

BOUND = 0.5
ROWS = tiny.text(3, 32)


def opacus_sums(base: Path, folder: Path) -> dict[str, torch.Tensor]:
    """Each adapter's sum of clipped gradients by its name in PEFT's file; the adapter goes into the folder."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager")
    settings = {"r": 4, "lora_alpha": 12, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    model = peft.get_peft_model(model, peft.LoraConfig(**settings)).train()
    generator = torch.Generator().manual_seed(5)
    trained = {name: one for name, one in sorted(model.named_parameters()) if one.requires_grad}
    with torch.no_grad():
        for parameter in trained.values():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)
    sampled = opacus.GradSampleModule(model, loss_reduction="sum")
    logits = sampled(ROWS).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ROWS[:, 1:], reduction="none").mean(1)
    losses.sum().backward()
    lengths = sum(one.grad_sample.flatten(1).square().sum(1) for one in trained.values()).sqrt()
    factors = (BOUND / lengths).clamp_max(1.0)
    assert (factors < 1).any()
    return {
        name.replace(".default", ""): torch.einsum("b,b...->...", factors, one.grad_sample)
        for name, one in trained.items()
    }


def test_clipped_gradients_are_those_of_opacus(tmp_path: Path):
    base = tmp_path / "base"
    base.mkdir()
    write_network(base, tiny.network(tied=False))
    wanted = opacus_sums(base, tmp_path / "adapter")
    network = read_adapter(tmp_path / "adapter", read_network(base))
    for layer in lora_layers(network).values():
        for one in layer.own():
            one.requires_grad_(True)
    network.train()
    choose_blocks(network)
    batch = stack([(Example(row, [False] + [True] * (len(row) - 1), "text"),) for row in ROWS.tolist()])
    clipping = Clipping(network, CausalLM(), BOUND)
    assert clipping.layers is not None
    found = dict(zip(map(id, clipping.trained), clipping.of([batch]).sums, strict=True))
    seen = 0
    for layer in lora_layers(network).values():
        down = found[id(layer.down)].split(layer.rank)
        for part, a, up in zip(layer.parts, down, layer.up, strict=True):
            for name, ours in ((f"{part.module}.lora_A.weight", a), (f"{part.module}.lora_B.weight", found[id(up)])):
                theirs = next(one for key, one in wanted.items() if key.endswith(name))
                torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
                seen += 1
    assert seen == len(wanted)
