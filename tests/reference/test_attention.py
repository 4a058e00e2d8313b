"""Attention, rotation and norms against PyTorch and transformers, and the formula in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lmworks.models.attention import attend, attend_in_tiles, attention_pattern, attention_scores
from lmworks.models.config import ModelConfig
from lmworks.models.masks import Visibility, visibility
from lmworks.models.norm import RMSNorm
from lmworks.models.positions.rope import rotation
from lmworks.models.rotation import rotate

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
HEADS = {"a key for each head": 4, "grouped": 2, "one key for all": 1}
SEQ = 11
REAL = torch.ones(2, SEQ, dtype=torch.bool)
REAL[0, :4] = False
DOCUMENTS = torch.tensor([[0] * 5 + [1] * 6, [0] * SEQ])
MASKS = {
    "causal": visibility(SEQ, SEQ, None),
    "every key": Visibility(None, causal=False),
    "window": visibility(SEQ, SEQ, 3),
    "last queries": visibility(4, SEQ, None),
    "last queries, window": visibility(4, SEQ, 3),
    "one query": visibility(1, SEQ, None),
    "left padding": visibility(SEQ, SEQ, None, REAL),
    "packed documents": visibility(SEQ, SEQ, None, None, DOCUMENTS),
    "window, padding, documents": visibility(SEQ, SEQ, 3, REAL, DOCUMENTS),
}


def formula(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """softmax(Q K^T / sqrt(d)) V in float64, one head, query and batch row after the other."""
    result = torch.zeros_like(query, dtype=torch.float64)
    for row in range(query.shape[0]):
        for head in range(query.shape[1]):
            shared = head // (query.shape[1] // key.shape[1])
            for place in range(query.shape[2]):
                keys, values = key[row, shared].double(), value[row, shared].double()
                scores = keys @ query[row, head, place].double() / query.shape[-1] ** 0.5
                weights = scores.exp() * seen[row, 0, place]
                result[row, head, place] = weights @ values / weights.sum()
    return result


def inputs(queries: int, kv_heads: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((2, 4, queries, 8), (2, kv_heads, SEQ, 8), (2, kv_heads, SEQ, 8))
    query, key, value = (torch.randn(shape, generator=generator) for shape in shapes)
    return query, key, value


@pytest.mark.parametrize("kernel", ["fused", "explicit"])
@pytest.mark.parametrize("kv_heads", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("mask", MASKS)
def test_each_kernel_equals_the_formula(mask: str, kv_heads: int, kernel: str):
    queries = {"last queries": 4, "last queries, window": 4, "one query": 1}.get(mask, SEQ)
    sees = MASKS[mask]
    query, key, value = inputs(queries, kv_heads)
    seen = sees.dense(queries, SEQ, query.device).expand(2, 1, queries, SEQ)
    mixed = attend(query, key, value, sees, kernel)
    torch.testing.assert_close(mixed.double(), formula(query, key, value, seen), **CLOSE)
    everything = torch.ones(2, 1, queries, SEQ)
    if mask not in ("every key", "one query"):  # pitfall 40: the mask did hide something
        assert not torch.allclose(mixed.double(), formula(query, key, value, everything), **CLOSE)


@pytest.mark.parametrize("past", [0, 5])
@pytest.mark.parametrize("queries", [1, 64, 150])
def test_tiles_equal_the_formula(queries: int, past: int):
    """On processors that multiply bfloat16 prompts are read in tiles; here on any, in float32."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(2, heads, size, 8, generator=generator)
        for heads, size in ((4, queries), (2, past + queries), (2, past + queries))
    )
    seen = torch.ones(2, 1, queries, past + queries, dtype=torch.bool).tril(past)
    torch.testing.assert_close(attend_in_tiles(query, key, value).double(), formula(query, key, value, seen), **CLOSE)


@pytest.mark.parametrize("kv_heads", HEADS.values(), ids=HEADS)
def test_the_explicit_formula_equals_scaled_dot_product_attention(kv_heads: int):
    query, key, value = inputs(SEQ, kv_heads)
    theirs = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(attend(query, key, value, MASKS["causal"], "explicit"), theirs, **CLOSE)


def test_a_pattern_sums_to_one_and_hides_what_is_not_seen():
    query, key, _ = inputs(SEQ, 2)
    pattern = attention_pattern(attention_scores(query, key, MASKS["window, padding, documents"]))
    torch.testing.assert_close(pattern.sum(-1), torch.ones(2, 4, SEQ), **CLOSE)
    seen = MASKS["window, padding, documents"].dense(SEQ, SEQ, query.device)
    assert (pattern.masked_select(~seen.expand_as(pattern)) == 0).all()


def test_visibility_by_definition():
    """Each entry of the mask against the sentence that defines it."""
    window, queries = 3, 6
    mask = visibility(queries, SEQ, window, REAL, DOCUMENTS).mask
    assert mask is not None
    for row in range(2):
        for place in range(queries):
            query = SEQ - queries + place
            for key in range(SEQ):
                plain = key <= query and query - key < window
                same = DOCUMENTS[row, key] == DOCUMENTS[row, query]
                assert mask[row, 0, place, key] == ((plain and same and REAL[row, key]) or key == query)


def test_rotation_equals_transformers():
    modeling = pytest.importorskip("transformers.models.llama.modeling_llama", reason="pip install 'lmworks[dev]'")
    from transformers import LlamaConfig

    config = ModelConfig(vocab_size=8, dim=64, layers=1, heads=4, context=64, rope_theta=500.0)
    theirs = modeling.LlamaRotaryEmbedding(
        LlamaConfig(
            hidden_size=64,
            num_attention_heads=4,
            rope_parameters={"rope_type": "default", "rope_theta": 500.0},
        )
    )
    query, key = torch.randn(2, 4, 30, 16), torch.randn(2, 2, 30, 16)
    positions = torch.stack([torch.arange(30), torch.arange(30) + 17])
    expected = modeling.apply_rotary_pos_emb(query, key, *theirs(query, positions))
    turn = rotation(config, positions, torch.float32)
    torch.testing.assert_close(rotate(query, turn), expected[0], **CLOSE)
    torch.testing.assert_close(rotate(key, turn), expected[1], **CLOSE)
    assert not torch.allclose(rotate(query, turn)[0], query[0], **CLOSE)


def test_scores_of_rotated_vectors_depend_on_distance_only():
    config = ModelConfig(vocab_size=8, dim=64, layers=1, heads=4, context=4096)
    query, key = torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)

    def score(at: int, back: int) -> float:
        turned = [
            rotate(x, rotation(config, torch.tensor([[place]]), torch.float32))
            for x, place in ((query, at), (key, at - back))
        ]
        return float((turned[0] * turned[1]).sum())

    assert score(50, 7) == pytest.approx(score(1050, 7), abs=1e-3)
    assert abs(score(50, 7) - score(50, 20)) > 1e-2


@pytest.mark.parametrize("unit_offset", [False, True])
def test_rms_norm_equals_transformers(unit_offset: bool):
    if unit_offset:
        theirs = pytest.importorskip("transformers.models.gemma.modeling_gemma").GemmaRMSNorm(32, eps=1e-3)
    else:
        theirs = pytest.importorskip("transformers.models.llama.modeling_llama").LlamaRMSNorm(32, eps=1e-3)
    ours = RMSNorm(32, 1e-3, unit_offset)
    with torch.no_grad():
        ours.weight.normal_()
        theirs.weight.copy_(ours.weight)
    x = torch.randn(2, 5, 32) * 0.1
    torch.testing.assert_close(ours(x), theirs(x), **CLOSE)
    torch.testing.assert_close(RMSNorm(32, 1e-3)(x), F.rms_norm(x, (32,), eps=1e-3), **CLOSE)
