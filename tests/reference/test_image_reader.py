"""Images in a text: transformers' own network, given the same vectors in the place of tokens' embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from lmworks.models.files.directory import write_network
from lmworks.models.image_reader import ImageLayers, ImageReader

transformers = pytest.importorskip("transformers", reason="the extra dev is not installed")

KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "gemma": {"scale_embedding": True, "norm_unit_offset": True, "tied": True, "activation": "gelu_tanh"},
}


@torch.no_grad()
@pytest.mark.parametrize("family", KINDS)
def test_logits_are_those_of_transformers_for_the_same_embeddings(family: str, tmp_path: Path):
    network = tiny.network(seed=1, family=family, **KINDS[family])
    write_network(tmp_path, network)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    torch.manual_seed(0)
    reader = ImageReader(ImageLayers(10, 6, 3, 32), 96)
    states, text = torch.randn(2, 10), tiny.text(2, 5)
    network.image_reader = reader
    ids = torch.tensor(reader.remember(states))
    ours = network(torch.cat([text[:, :2], ids, text[:, 2:]], dim=1))
    known = theirs.get_input_embeddings()(text)
    vectors = reader.layers(states)
    embedded = torch.cat([known[:, :2], vectors, known[:, 2:]], dim=1)
    torch.testing.assert_close(ours, theirs(inputs_embeds=embedded).logits, rtol=0, atol=1e-5)
