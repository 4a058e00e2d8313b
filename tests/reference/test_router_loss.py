"""The loss that levels the load of experts, against transformers'."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from objectives.test_routing import heard, network, packed

from lmworks.models.files.directory import write_network
from lmworks.objectives import CausalLM, LoadBalance
from lmworks.tokens.batch import Batch

transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_balance_equals_transformers_layer_by_layer(top_k: int):
    """Padding is in neither of the two."""
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    model, batch = network(top_k=top_k, normalised=top_k > 1), packed()
    theirs = [load_balancing_loss_func((logits,), 4, top_k) for logits in heard(model, batch)]
    loss = (CausalLM() + LoadBalance(0.3))(model, batch)
    real = int((batch.documents >= 0).sum())
    assert loss.counts == (batch.supervised, real) and real < batch.tokens.numel()
    torch.testing.assert_close(loss.others[0].mean, 0.3 * torch.stack(theirs).mean(), **CLOSE)


def test_balance_equals_what_a_mixtral_model_adds_to_its_loss(tmp_path: Path):
    """One layer: over several transformers levels their mean, and we each."""
    model = tiny.network(layers=1, family="mixtral", experts={"count": 5}).train()
    write_network(tmp_path, model)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    batch = packed(3)
    mask = (batch.documents >= 0).long()
    out = theirs(batch.tokens, attention_mask=mask, output_router_logits=True)
    plain = Batch(batch.tokens, batch.labels, batch.positions, mask - 1)  # one document a row, as there
    ours = (CausalLM() + LoadBalance(1.0))(model, plain)
    torch.testing.assert_close(ours.others[0].mean, out.aux_loss, **CLOSE)
