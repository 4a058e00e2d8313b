"""The models that come as 8-bit ONNX files against transformers with the same weights, in float32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lmworks.models.files.directory import read_network
from lmworks.models.files.model_folder import read_json
from lmworks.models.files.references import resolve

transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
onnx = pytest.importorskip("onnx", reason="pip install 'lmworks[dev]'")

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def dequantised(path: Path) -> dict[str, torch.Tensor]:
    """The file's weights, read by the onnx package and named by where the graph uses them."""
    graph = onnx.load(path).graph
    held = {one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).copy()) for one in graph.initializer}
    weights = {name: one for name, one in held.items() if one.dtype == torch.float32 and "_scale" not in name}
    for node in graph.node:
        for name in node.input:
            if name.endswith("_quantized") and name in held:
                base = name.removesuffix("_quantized")
                weight = (held[name].float() - held[f"{base}_zero_point"].float()) * held[f"{base}_scale"]
                if node.op_type == "MatMulInteger":
                    weight, base = weight.T, node.name.strip("/").rpartition("/")[0].replace("/", ".") + ".weight"
                weights[base] = weight.contiguous()
    return weights


def test_the_embedder_is_transformers_bert_model(bge_small: Path):
    folder = bge_small
    config = transformers.BertConfig(**read_json(folder / "config.json"), attn_implementation="eager")
    theirs = transformers.BertModel(config, add_pooling_layer=False).eval()
    theirs.load_state_dict(dequantised(folder / "model.onnx"))
    tokens = torch.randint(1000, 30000, (2, 40), generator=torch.Generator().manual_seed(0))
    real = torch.ones_like(tokens)
    real[1, 30:] = 0
    with torch.no_grad():
        expected = theirs(tokens, attention_mask=real).last_hidden_state
        hidden = read_network(folder).hidden(tokens, real)
    torch.testing.assert_close(hidden[0], expected[0], **CLOSE)
    torch.testing.assert_close(hidden[1, :30], expected[1, :30], **CLOSE)


def test_the_cross_encoder_is_transformers_classifier(reranker: str):
    folder = resolve(reranker)
    config = transformers.BertConfig(**read_json(folder / "config.json"), attn_implementation="eager")
    theirs = transformers.BertForSequenceClassification(config).eval()
    theirs.load_state_dict(dequantised(folder / "model.onnx"))
    tokens = torch.randint(1000, 30000, (3, 40), generator=torch.Generator().manual_seed(1))
    segments = (torch.arange(40) > torch.tensor([[5], [12], [20]])).long()
    network = read_network(folder)
    with torch.no_grad():
        expected = theirs(tokens, token_type_ids=segments).logits
        scores = network.classify(network.hidden(tokens, segments=segments))
    torch.testing.assert_close(scores, expected, **CLOSE)
    assert not torch.allclose(network.classify(network.hidden(tokens)), expected, **CLOSE)
