"""Silent errors of the network: caches, padding, packing, ties, kernels, dropout, hooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmworks.basics.errors import ConfigError
from lmworks.models.attention import attention_pattern
from lmworks.models.cache import Cache
from lmworks.models.config import RopeScaling
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.hooks import hook_points
from lmworks.models.network import Network, evaluating

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
LENGTH = 24  # longer than every window below
KINDS: dict[str, dict[str, Any]] = {
    "rotary": {},
    "window": {"window": 5},
    "window on one layer": {"window": 5, "window_layers": (1,)},
    "yarn": {"rope_scaling": RopeScaling(kind="yarn", factor=4.0, original_context=16)},
    "learned positions": {"positions": "learned", "norm": "layer", "gated": False, "qkv_bias": True},
    "learned positions, window": {"positions": "learned", "window": 5},
    "own": tiny.OWN,
    "relative positions": {"positions": "relative", "relative_buckets": 8, "relative_distance": 12},
    "slopes": {"positions": "alibi"},
    "steeper slopes": {"positions": "alibi", "position_settings": {"flattest": 4.0, "scale": 0.5}},
    "slopes, window on one layer": {"positions": "alibi", "window": 5, "window_layers": (1,)},
    "sines, post-norm": {"positions": "sinusoidal", "norm_place": "after", "embedding_norm": "layer"},
    "experts": {"experts": {"count": 5, "top_k": 2, "hidden_dim": 24}},
    "experts on one layer, a shared one, capacity in training": {
        "experts": {"count": 4, "top_k": 3, "shared_dim": 20, "shared_gate": True, "layers": (1,), "capacity": 0.5}
    },
    "experts in groups, with biases": {
        "experts": {"count": 4, "top_k": 2, "groups": 2, "top_groups": 1, "scores": "sigmoid", "router_bias": True}
        | {"choice_bias": True},
        "feed_forward_bias": True,
    },
    "one narrow state": {"latent": {"rank": 12, "query_rank": 20, "value_dim": 6}, "head_dim": 12}
    | {"rotary_dim": 4, "kv_heads": 4},
    "one narrow state, a window": {
        "latent": {"rank": 12, "value_dim": 16},
        "rotary_dim": 4,
        "kv_heads": 4,
        "window": 5,
    },
    "sinks, a gate cut off and shifted": {"sinks": True, "gate_limit": 0.5, "gate_shift": True, "window": 5}
    | {"activation": "quick_gelu", "window_layers": (1,)},
    "a short convolution": {"convolution": {"layers": (0,), "width": 4, "bias": True}, "qk_norm": True},
    "parallel, one norm without bias": {"parallel": True, "shared_norm": True, "norm": "layer", "norm_bias": False},
    "parallel, partly rotary": {"parallel": True, "rotary_dim": 4, "norm": "layer", "head_bias": True},
}
each_kind = pytest.mark.parametrize("kind", KINDS)
each_windowed = pytest.mark.parametrize(
    "kind", ["rotary", "window", "window on one layer", "learned positions, window"]
)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def in_chunks(
    network: Network,
    tokens: torch.Tensor,
    chunk: int,
    mask: torch.Tensor | None = None,
    cache: Cache | None = None,
) -> torch.Tensor:
    """Logits of a text that is read `chunk` tokens at a time through a cache."""
    cache = cache or network.new_cache(len(tokens), capacity=4)  # small: it must grow on the way
    parts = [
        network(
            tokens[:, start : start + chunk],
            None if mask is None else mask[:, start : start + chunk],
            cache=cache,
        )
        for start in range(0, tokens.shape[1], chunk)
    ]
    assert cache.length >= tokens.shape[1]
    return torch.cat(parts, dim=1)


def padded(rows: list[torch.Tensor], side: str, filler: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of different length as one batch, and which tokens are real."""
    longest = max(map(len, rows))
    tokens = torch.full((len(rows), longest), filler)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for row, text in enumerate(rows):
        place = slice(longest - len(text), None) if side == "left" else slice(0, len(text))
        tokens[row, place], mask[row, place] = text, True
    return tokens, mask


@each_windowed
def test_a_window_shorter_than_the_text_hides_something(kind: str):
    """Pitfall 40, for those below."""
    network, tokens = tiny.network(**KINDS[kind]), tiny.text(1, LENGTH)
    if network.config.window is None:
        return
    open_network = Network(network.config.but(window=None, window_layers=None))
    open_network.load_state_dict(network.state_dict())
    assert torch.allclose(open_network.eval()(tokens)[:, :5], network(tokens)[:, :5], **CLOSE)
    assert not torch.allclose(open_network(tokens)[:, 5:], network(tokens)[:, 5:], rtol=1e-2, atol=1e-2)


@each_kind
@pytest.mark.parametrize("kernel", ["fused", "explicit"])
def test_chunked_logits_equal_uncached_at_every_chunk_size(kind: str, kernel: str):
    """Pitfall 12; a chunk of one is decoding token by token."""
    network, tokens = tiny.network(**KINDS[kind]), tiny.text(2, LENGTH)
    network.attention_kernel = kernel
    whole = network(tokens)
    for chunk in range(1, LENGTH + 1):
        torch.testing.assert_close(in_chunks(network, tokens, chunk), whole, **CLOSE)


@each_kind
def test_a_truncated_cache_forgets_its_padding_too(kind: str):
    network, tokens = tiny.network(**KINDS[kind]), tiny.text(2, LENGTH)
    mask = torch.arange(LENGTH)[None] >= torch.tensor([[3], [0]])
    cache = network.new_cache(2)
    in_chunks(network, tokens, 7, mask, cache)
    cache.truncate(10)
    again = network(tokens[:, 10:], cache=cache)
    for row, padding in enumerate((3, 0)):
        torch.testing.assert_close(again[row], network(tokens[row : row + 1, padding:])[0, 10 - padding :], **CLOSE)


@each_kind
def test_a_truncated_cache_forgets_what_came_after(kind: str):
    """Pitfall 12: read, take back, read something else."""
    network, tokens, others = tiny.network(**KINDS[kind]), tiny.text(2, LENGTH), tiny.text(2, LENGTH, seed=7)
    cache = network.new_cache(2)
    in_chunks(network, tokens, 7, cache=cache)
    for length in (15, 9, 1, 0):
        cache.truncate(length)
        text = torch.cat([tokens[:, :length], others[:, length:]], dim=1)
        again = torch.cat([network(part, cache=cache) for part in others[:, length:].split(5, dim=1)], dim=1)
        torch.testing.assert_close(again, network(text)[:, length:], **CLOSE)
        cache.truncate(length)
        network(tokens[:, length:], cache=cache)


@each_kind
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_cache_with_padding_changes_nothing(kind: str, side: str):
    """Pitfalls 12 and 13 together: prompts of different length, read in chunks, then continued."""
    network, more = tiny.network(**KINDS[kind]), tiny.text(3, 8, seed=5)
    rows = [tiny.text(1, length, seed=length)[0] for length in (13, 6, 9)]
    tokens, mask = padded(rows, side)
    for chunk in (1, 4, 13):
        cache = network.new_cache(3)
        in_chunks(network, tokens, chunk, mask, cache)
        continued = in_chunks(network, more, chunk, cache=cache)
        for row, text in enumerate(rows):
            alone = network(torch.cat([text, more[row]])[None])[0, len(text) :]
            torch.testing.assert_close(continued[row], alone, **CLOSE)


@each_kind
def test_rows_that_leave_the_cache_don_t_change_the_others(kind: str):
    """Pitfall 12, when finished requests leave the batch or beams are reordered."""
    network, more = tiny.network(**KINDS[kind]), tiny.text(2, 5, seed=5)
    rows = [tiny.text(1, length, seed=length)[0] for length in (11, 6, 9)]
    tokens, mask = padded(rows, "left")
    cache = network.new_cache(3)
    in_chunks(network, tokens, 4, mask, cache)
    cache.keep([2, 0])
    continued = in_chunks(network, more, 2, cache=cache)
    for place, row in enumerate((2, 0)):
        alone = network(torch.cat([rows[row], more[place]])[None])[0, len(rows[row]) :]
        torch.testing.assert_close(continued[place], alone, **CLOSE)


@each_kind
def test_a_text_that_joins_a_cache_changes_no_other(kind: str):
    """Pitfalls 12 and 30: a longer one, and a shorter one."""
    network, more = tiny.network(**KINDS[kind]), tiny.text(3, 5, seed=5)
    rows = [tiny.text(1, length, seed=length) for length in (9, 13, 4)]
    cache, *others = (network.new_cache(1) for _ in rows)
    for one, text in zip((cache, *others), rows, strict=True):
        in_chunks(network, text, 4, cache=one)
    for one in others:
        cache.join(one)
    continued = in_chunks(network, more, 2, cache=cache)
    for row, text in enumerate(rows):
        alone = network(torch.cat([text, more[row : row + 1]], dim=1))[0, text.shape[1] :]
        torch.testing.assert_close(continued[row], alone, **CLOSE)


@each_kind
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_change_the_logits_of_real_tokens(kind: str, side: str):
    """Pitfall 13."""
    network = tiny.network(**KINDS[kind])
    rows = [tiny.text(1, length, seed=length)[0] for length in (LENGTH, 1, 9)]
    tokens, mask = padded(rows, side)
    logits = network(tokens, mask)
    assert torch.equal(network(tokens, mask.long()), logits)  # a mask of 0 and 1 is one of False and True
    for row, text in enumerate(rows):
        torch.testing.assert_close(logits[row][mask[row]], network(text[None])[0], **CLOSE)
    short = logits[2][mask[2]]
    assert side == "right" or not torch.allclose(
        network(tokens)[2][mask[2]], short, rtol=1e-3, atol=1e-3
    )  # the mask did something


def test_dynamic_scaling_looks_at_each_row_s_own_length():
    """Pitfall 13: with the longest row's length, a short prompt would change with its company."""
    network = tiny.network(context=8, rope_scaling=RopeScaling(kind="dynamic", factor=2.0))
    rows = [tiny.text(1, length, seed=length)[0] for length in (LENGTH, 12)]
    tokens, mask = padded(rows, "left")
    logits = network(tokens, mask)
    for row, text in enumerate(rows):
        torch.testing.assert_close(logits[row][mask[row]], network(text[None])[0], **CLOSE)


@each_kind
@pytest.mark.parametrize("kernel", ["fused", "explicit"])
def test_padding_is_finite_and_without_influence(kind: str, kernel: str):
    """Pitfall 14: a row of padding only, and other ids in the padding."""
    network = tiny.network(**KINDS[kind])
    network.attention_kernel = kernel
    rows = [tiny.text(1, 10)[0], tiny.text(1, 0)[0], tiny.text(1, 4)[0]]
    zeros, mask = padded(rows, "left", filler=0)
    others, _ = padded(rows, "left", filler=95)
    logits = network(zeros, mask)
    assert torch.isfinite(logits).all() and not mask[1].any()
    torch.testing.assert_close(network(others, mask)[mask], logits[mask], **CLOSE)


@each_kind
def test_packed_documents_equal_separate_ones(kind: str):
    """Pitfall 5: they don't see each other, and positions restart."""
    network = tiny.network(**KINDS[kind])
    texts = [tiny.text(1, length, seed=length)[0] for length in (9, 1, 14)]
    packed = torch.cat(texts)[None]
    documents = torch.repeat_interleave(torch.arange(3), torch.tensor([9, 1, 14]))[None]
    logits = network(packed, documents=documents)[0].split([9, 1, 14])
    for text, part in zip(texts, logits, strict=True):
        torch.testing.assert_close(part, network(text[None])[0], **CLOSE)
    assert not torch.allclose(network(packed)[0, 10:], torch.cat(logits[2:]), rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_a_document_number_that_comes_back_is_another_document():
    """Whoever numbers documents by their source may say it twice; training in tiles goes by positions, which
    restart."""
    network, tokens, sizes = tiny.network(), tiny.text(1, 32), torch.tensor([9, 7, 16])
    back, other = (torch.repeat_interleave(torch.tensor(numbers), sizes)[None] for numbers in ([0, 1, 0], [0, 1, 2]))
    logits = network(tokens, documents=other)
    torch.testing.assert_close(network(tokens, documents=back), logits, rtol=0, atol=0)


@each_kind
@pytest.mark.parametrize("side", ["left", "right"])
def test_packed_documents_with_padding_equal_separate_ones(kind: str, side: str):
    network = tiny.network(**KINDS[kind])
    text = tiny.text(1, 12)[0]
    tokens, mask = padded([text, tiny.text(1, 17)[0]], side)
    documents = torch.zeros_like(tokens)  # padding has the number of its neighbour
    documents[:, -6:] = 1
    logits = network(tokens, mask, documents=documents)[0][mask[0]]
    first = int((documents[0] == 0)[mask[0]].sum())
    expected = torch.cat([network(text[None, :first])[0], network(text[None, first:])[0]])
    torch.testing.assert_close(logits, expected, **CLOSE)


def test_more_text_than_learned_positions_is_an_error():
    network = tiny.network(positions="learned", context=16)
    for arguments in ({}, {"documents": torch.zeros(1, 17, dtype=torch.long)}, {"mask": torch.ones(1, 17)}):
        with pytest.raises(ConfigError, match="17 tokens and the network has learned 16 positions; shorten"):
            network(tiny.text(1, 17), **arguments)
    cache = network.new_cache()
    network(tiny.text(1, 16), cache=cache)
    with pytest.raises(ConfigError, match="17 tokens"):
        network(tiny.text(1, 1), cache=cache)
    with pytest.raises(ConfigError, match="without a cache"):
        network(tiny.text(1, 4), documents=torch.zeros(1, 4, dtype=torch.long), cache=network.new_cache())


def is_tied(network: Network) -> bool:
    return network.head_weight.data_ptr() == network.embedding.weight.data_ptr()


def test_the_tie_holds_by_storage(tmp_path: Path):
    """Pitfall 15: after building, converting, saving, loading and a step of training."""
    network = tiny.network(tied=True)
    assert is_tied(network) and is_tied(network.to(torch.bfloat16)) and is_tied(network.to(torch.float32))
    write_network(tmp_path, network)
    loaded = read_network(tmp_path)
    assert is_tied(loaded) and is_tied(read_network(tmp_path, torch.bfloat16))
    assert len(list(loaded.parameters())) == len({weight.data_ptr() for weight in loaded.parameters()})
    with torch.enable_grad():
        loaded.requires_grad_(True)
        optimiser = torch.optim.SGD(loaded.parameters(), lr=0.1)
        loaded(tiny.text(1, 5)).sum().backward()
        optimiser.step()
    assert is_tied(loaded) and not torch.equal(loaded.head_weight, network.head_weight)
    assert not is_tied(tiny.network(tied=False))


@each_kind
def test_what_kernel_runs_is_known_and_each_equals_the_explicit_formula(kind: str):
    """Pitfall 17."""
    network, tokens = tiny.network(**KINDS[kind]), tiny.text(2, LENGTH)
    assert network.attention_kernel == "fused"
    fused = network(tokens)
    calls = []
    network.attention_kernel = "explicit"
    original = torch.nn.functional.scaled_dot_product_attention
    torch.nn.functional.scaled_dot_product_attention = lambda *args, **kwargs: calls.append(1)  # it must not be asked
    try:
        explicit = network(tokens)
    finally:
        torch.nn.functional.scaled_dot_product_attention = original
    assert not calls
    torch.testing.assert_close(fused, explicit, **CLOSE)


def test_dropout_is_on_in_training_and_off_in_evaluation(tmp_path: Path):
    """Pitfall 18."""
    network, tokens = tiny.network(dropout=0.3), tiny.text(1, LENGTH)
    assert torch.equal(network(tokens), network(tokens))
    network.train()
    assert not torch.allclose(network(tokens), network(tokens), **CLOSE)
    with evaluating(network):
        assert torch.equal(network(tokens), network(tokens))
    assert network.training
    write_network(tmp_path, network)
    loaded = read_network(tmp_path)
    assert not loaded.training and torch.equal(loaded(tokens), loaded(tokens))


@pytest.mark.parametrize("place", ["embedding", "attention pattern", "after each part", None])
def test_dropout_reaches_every_place_that_the_config_names(place: str | None):
    network, tokens = tiny.network(dropout=0.3).train(), tiny.text(1, LENGTH)
    for block in network.blocks:
        if place != "attention pattern":
            block.attention.dropout = 0.0
        if place != "after each part":
            block.dropout.share = 0.0
    if place != "embedding":
        network.dropout.share = 0.0
    assert torch.allclose(network(tokens), network(tokens), **CLOSE) == (place is None)


@pytest.mark.parametrize("labels_of", ["texts", "tokens"])
def test_dropout_reaches_what_a_classifier_reads(labels_of: str):
    network = tiny.network(arrangement="encoder", labels=("a", "b"), labels_of=labels_of, dropout=0.3)
    hidden = network.hidden(tiny.text(2, LENGTH))
    assert torch.equal(network.classify(hidden), network.classify(hidden))
    network.train()
    assert not torch.allclose(network.classify(hidden), network.classify(hidden), **CLOSE)


@each_kind
@pytest.mark.parametrize("kernel", ["fused", "explicit"])
def test_with_every_hook_reading_logits_are_equal_to_the_bit(kind: str, kernel: str):
    network, (tokens, mask) = (
        tiny.network(**KINDS[kind]),
        padded([tiny.text(1, LENGTH)[0], tiny.text(1, 9)[0]], "left"),
    )
    network.attention_kernel = kernel
    for arguments in ((tokens,), (tokens, mask)):
        logits, seen = network.run_with_cache(*arguments)
        assert torch.equal(logits, network(*arguments))
        assert set(seen) == set(hook_points(network))
        assert {"embedding", "final", "blocks.1.attention.pattern", "blocks.1.residual_out"} <= set(seen)
    assert not any(point.functions for point in hook_points(network).values())


@each_kind
def test_what_hooks_read_fits_together(kind: str):
    network, tokens = tiny.network(**KINDS[kind]), tiny.text(2, LENGTH)
    logits, seen = network.run_with_cache(tokens)
    torch.testing.assert_close(network.logits(seen["final"]), logits, rtol=0, atol=0)
    for layer in range(2):
        at = f"blocks.{layer}"
        block, after = network.blocks[layer], network.config.norm_place == "after"
        middle = seen[f"{at}.residual_in"] + seen[f"{at}.attention_output"]
        middle = block.attention_norm(middle) if after else middle
        torch.testing.assert_close(seen[f"{at}.residual_middle"], middle, rtol=0, atol=0)
        out = middle + seen[f"{at}.feed_forward_output"]
        out = block.feed_forward_norm(out) if after else out
        torch.testing.assert_close(seen[f"{at}.residual_out"], out, rtol=0, atol=0)
        if not network.config.convolves(layer):
            pattern = attention_pattern(seen[f"{at}.attention.scores"], block.attention.sinks)
            torch.testing.assert_close(pattern, seen[f"{at}.attention.pattern"], rtol=0, atol=0)


@pytest.mark.parametrize("path", sorted(hook_points(tiny.network(layers=1))))
def test_every_hook_can_change_what_follows(path: str):
    network, tokens = tiny.network(layers=1), tiny.text(1, LENGTH)
    plain = network(tokens)
    changed = network.run_with_hooks(tokens, {path: lambda activation: activation * 0.5 + 0.1})
    assert not torch.allclose(changed, plain, rtol=1e-3, atol=1e-3)
    assert torch.equal(network(tokens), plain)  # and only inside the run


def test_a_pattern_put_back_as_it_was_gives_the_same_logits():
    network, tokens = tiny.network(window=5), tiny.text(1, LENGTH)
    same = network.run_with_hooks(tokens, {"blocks.0.attention.pattern": lambda pattern: pattern.clone()})
    torch.testing.assert_close(same, network(tokens), **CLOSE)


def test_ablating_a_head_equals_taking_its_columns_away():
    network, tokens = tiny.network(), tiny.text(1, LENGTH)

    def ablate(mixed: torch.Tensor) -> torch.Tensor:
        return mixed.index_fill(1, torch.tensor([2]), 0.0)

    ablated = network.run_with_hooks(tokens, {"blocks.1.attention.mixed": ablate})
    network.blocks[1].attention.output.weight[:, 16:24] = 0.0
    torch.testing.assert_close(ablated, network(tokens), **CLOSE)


def test_an_unknown_hook_path_names_near_ones():
    network = tiny.network()
    with pytest.raises(
        ConfigError, match=r"blocks\.9\.attention\.pattern is not a hook point.*blocks\.0\.attention\.pattern"
    ):
        network.run_with_hooks(tiny.text(1, 4), {"blocks.9.attention.pattern": lambda pattern: None})
    with pytest.raises(ZeroDivisionError):
        network.run_with_hooks(tiny.text(1, 4), {"final": lambda final: 1 / 0})
    assert not any(point.functions for point in hook_points(network).values())


@settings(max_examples=25)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.sampled_from(sorted(KINDS)), st.integers(0, 5))
def test_chunks_of_any_sizes_after_any_padding(sizes: list[int], kind: str, padding: int):
    """Pitfalls 12 and 13 as one law."""
    network, tokens = tiny.network(**KINDS[kind]), tiny.text(1, sum(sizes) + padding)
    mask = torch.arange(tokens.shape[1])[None] >= padding
    cache, parts, start = network.new_cache(1, capacity=1), [], 0
    for size in [padding, *sizes] if padding else sizes:
        parts.append(network(tokens[:, start : start + size], mask[:, start : start + size], cache=cache))
        start += size
    torch.testing.assert_close(torch.cat(parts, dim=1)[:, padding:], network(tokens[:, padding:]), **CLOSE)
