"""A network on its tape beside the same network in PyTorch: every choice of the config, caches, padding, refusals."""

from __future__ import annotations

import copy
import os
import random
import re

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("numba")

from tiny import network, text

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.kernels import CompiledRunner, compiled, unavailable, uncovered
from lmworks.kernels.outliers import MOST
from lmworks.kernels.packing import unpacked
from lmworks.kernels.pages import Page
from lmworks.kernels.run.weights import is_multiplied
from lmworks.models.config import ExpertSettings, ModelConfig, RopeScaling
from lmworks.models.convolution_settings import ConvolutionSettings
from lmworks.models.hooks import hooked
from lmworks.models.latent_attention import LatentAttention
from lmworks.models.latent_settings import LatentSettings
from lmworks.models.network import Network
from lmworks.models.torch_runner import TorchRunner

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

from lmworks.kernels.run import network as module
from lmworks.kernels.run import placing
from lmworks.kernels.run.network import CompiledNetwork

SHAPE = {"dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "context": 256}
ALL_OF_EXPERTS: dict[str, object] = {
    "experts": ExpertSettings(
        count=12,
        top_k=3,
        scores="sigmoid",
        choice_bias=True,
        groups=4,
        top_groups=2,
        router_bias=True,
        shared_dim=64,
        shared_gate=True,
        layers=(1,),
    ),
    "activation": "quick_gelu",
    "gate_limit": 0.5,
    "gate_shift": True,
    "feed_forward_bias": True,
    "sinks": True,
    "window": 70,
}
KINDS: dict[str, dict[str, object]] = {
    "llama": {},
    "gpt2": {
        "norm": "layer",
        "qkv_bias": True,
        "output_bias": True,
        "feed_forward_bias": True,
        "activation": "gelu_tanh",
    }
    | {"gated": False, "positions": "learned", "position_offset": 2},
    "gemma": {
        "norm_unit_offset": True,
        "scale_embedding": True,
        "activation": "gelu",
        "head_dim": 48,
        "logit_cap": 4.0,
    },
    "qwen3 with windows": {"qk_norm": True, "window": 20, "window_layers": (1,), "tied": False, "vocab_size": 101},
    "gpt_neox": {"parallel": True, "rotary_dim": 16, "head_dim": 32, "kv_heads": 1, "norm": "layer"},
    "gptj": {"parallel": True, "shared_norm": True, "norm": "layer", "norm_bias": False, "gated": False}
    | {"rotary_dim": 16, "head_dim": 32, "kv_heads": 4, "head_bias": True, "tied": False},
    "gpt_neo": {"norm": "layer", "gated": False, "positions": "learned", "attention_scale": 0.5, "window": 20}
    | {"window_layers": (1,), "output_bias": True},
    "bloom": {"positions": "alibi", "norm": "layer", "embedding_norm": "layer", "gated": False, "window": 80}
    | {"window_layers": (1,)},
    "own": {"norm_weight": False, "attention_scale": 0.4, "activation": "relu_squared", "gated": False, "qk_norm": True}
    | {
        "embedding_norm": "rms",
        "scale_embedding": True,
        "head_scale": 0.3,
        "head_bias": True,
        "positions": "sinusoidal",
    },
    "gemma2": {"norm_place": "both", "norm_unit_offset": True, "attention_cap": 0.5, "logit_cap": 0.5}
    | {"window": 20, "window_layers": (0,), "scale_embedding": True},
    "gemma3": {"norm_place": "both", "norm_unit_offset": True, "qk_norm": True, "window": 20, "window_layers": (0,)}
    | {"window_theta": 50.0, "rope_scaling": RopeScaling(kind="linear", factor=4.0)},
    "granite": {
        "norm_eps": 0.05,
        "embedding_scale": 3.0,
        "residual_scale": 0.22,
        "head_scale": 0.2,
        "attention_scale": 0.1,
    },
    "granite with sines": {"residual_scale": 0.5, "positions": "sinusoidal", "embedding_norm": "rms"},
    "olmo2": {"norm_place": "result", "qk_norm": True, "qk_norm_over": "row", "residual_scale": 0.7},
    "olmo": {"norm": "layer", "norm_weight": False, "norm_bias": False},
    "cohere2": {"norm": "layer", "norm_bias": False, "parallel": True, "shared_norm": True, "rope_layers": (0,)},
    "nemotron": {"norm": "layer", "norm_unit_offset": True, "gated": False, "activation": "relu_squared"},
    "hunyuan": {"qk_norm": True, "qk_norm_after": True},
    "post-norm": {"norm_place": "after", "activation": "relu", "positions": "none"},
    "bert": {"arrangement": "encoder", "norm_place": "after", "norm": "layer", "positions": "learned", "segments": 2}
    | {"embedding_norm": "layer", "activation": "gelu", "gated": False, "head_transform": True},
    "bloom, both ways": {"positions": "alibi", "arrangement": "encoder", "norm": "layer", "gated": False},
    "mpnet": {"arrangement": "encoder", "norm_place": "after", "norm": "layer", "positions": "learned_relative"}
    | {"embedding_norm": "layer", "gated": False, "relative_buckets": 8, "relative_distance": 20},
    "electra": {"arrangement": "encoder", "norm_place": "after", "norm": "layer", "positions": "learned", "segments": 2}
    | {"embedding_norm": "layer", "embedding_dim": 32, "activation": "gelu", "gated": False}
    | {"head_transform": True},
    "modernbert": {"arrangement": "encoder", "norm": "layer", "norm_bias": False, "embedding_norm": "layer"}
    | {"first_norm": False, "window": 9, "window_layers": (1,), "window_theta": 50.0, "activation": "gelu"},
    "narrow embeddings": {"embedding_dim": 32, "tied": False, "embedding_norm": "rms", "positions": "sinusoidal"},
    "relative": {"positions": "relative", "window": 70, "window_layers": (1,), "relative_distance": 70},
    "gpt_oss without experts": {"sinks": True, "window": 20, "window_layers": (0,), "activation": "quick_gelu"}
    | {"gate_limit": 0.5, "gate_shift": True},
    "sinks, both ways": {"sinks": True, "arrangement": "encoder"},
    "experts": {"experts": ExpertSettings(count=6, top_k=2), "tied": False},
    "experts with all that they may have": ALL_OF_EXPERTS | {"tied": False},
    "deepseek": {"latent": LatentSettings(rank=64, query_rank=96, value_dim=32), "head_dim": 48, "rotary_dim": 16}
    | {
        "kv_heads": 4,
        "attention_scale": 0.06,
        "rope_scaling": RopeScaling(kind="yarn", factor=4.0, original_context=32),
    }
    | {"qkv_bias": True, "output_bias": True},
    "deepseek with plain queries": {"latent": LatentSettings(rank=32, value_dim=48), "head_dim": 96, "rotary_dim": 64}
    | {"heads": 2, "kv_heads": 2, "window": 70, "window_layers": (1,), "rope_layers": (0,)},
    "latent attention beside": {"latent": LatentSettings(rank=96, query_rank=224, value_dim=16), "parallel": True}
    | {"head_dim": 48, "rotary_dim": 16, "heads": 18, "kv_heads": 18, "sinks": True, "attention_cap": 2.0},
    "latent attention between norms": {"latent": LatentSettings(rank=64, value_dim=64), "norm_place": "both"}
    | {"head_dim": 64, "rotary_dim": 32, "kv_heads": 4},
    "lfm2": {"convolution": ConvolutionSettings(layers=(0, 2)), "layers": 3, "qk_norm": True},
    "lfm2 ending with attention": {"convolution": ConvolutionSettings(layers=(0,), width=7, bias=True)},
    "wide convolutions after norms": {"convolution": ConvolutionSettings(layers=(1,), width=64), "norm_place": "after"},
    "convolutions beside": {"convolution": ConvolutionSettings(layers=(0, 1), bias=True), "parallel": True},
    "convolutions between norms": {"convolution": ConvolutionSettings(layers=(1,)), "norm_place": "both"},
    "apertus": {"qk_norm": True, "activation": "xielu", "gated": False},
    "quick": {"activation": "quick_gelu"},
    "linear": {"rope_scaling": RopeScaling(kind="linear", factor=4.0)},
    "dynamic": {"rope_scaling": RopeScaling(kind="dynamic", factor=4.0, original_context=32)},
    "yarn": {"rope_scaling": RopeScaling(kind="yarn", factor=4.0, original_context=32)},
    "llama3": {"rope_scaling": RopeScaling(kind="llama3", factor=4.0, original_context=32)},
}
ALIKE = [kind for kind, settings in KINDS.items() if "experts" not in settings]
"""Those whose hidden states are near to PyTorch's whatever the text; where others might be chosen,
test_compiled_experts.py compares what the same experts make."""
WHOLE = [kind for kind, settings in KINDS.items() if settings.get("arrangement") == "encoder" or kind == "dynamic"]
"""Those whose texts are read at once."""
KEYS_VALUES = "keys", "values"
"""What latent attention's matrix is packed as."""
ERROR = 0.04
"""Relative error of hidden states that activations in 8 bits leave in these random networks; 0.01 to 0.037 are seen."""


@pytest.fixture(autouse=True)
def scattered_outliers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random networks have none: here each matrix has some of its own, from none to as many as there is room for."""

    def scattered(network: Network, *_: object) -> dict[str, tuple[int, ...]]:
        chosen = {}
        for name, weight in network.named_parameters():
            if is_multiplied(name) and not name.endswith("attention.output.weight"):
                if ".experts." in name and name.endswith("down.weight"):
                    continue
                if "attention.expand" in name:
                    continue
                # These read what was rounded once.
                layer = re.sub(r"\.(experts\.\d+|shared)\.up\.|(?<=n)\.(latent|query_down)\.", ".", name)
                if network.config.latent is not None and network.config.latent.query_rank is None:
                    layer = layer.replace(".query_up.", ".")
                draws = random.Random(layer)
                chosen[name] = tuple(sorted(draws.sample(range(weight.shape[1]), draws.randint(0, MOST))))
        return chosen

    monkeypatch.setattr("lmworks.kernels.packer.outliers", scattered)


def both(kind: str, bits: int = 8) -> tuple[Network, CompiledNetwork]:
    """A network of this kind beside its tape."""
    return beside_its_tape(network(**(SHAPE | KINDS[kind])).requires_grad_(False), bits)


def beside_its_tape(plain: Network, bits: int = 8) -> tuple[Network, CompiledNetwork]:
    """A network that holds in float32 exactly the weights that its tape holds, and the tape."""
    engine = compiled(plain, bits)
    same = copy.deepcopy(plain)
    for name, weight in same.named_parameters():
        if name in engine.weights.matrices:
            weight.copy_(unpacked(engine.weights.matrices[name]))
    hold_keys_and_values(same, engine)
    return same, engine


def hold_keys_and_values(same: Network, engine: CompiledNetwork) -> None:
    """Put what the tape makes keys and values of latent states with into one matrix."""
    for name, one in same.named_modules():
        if isinstance(one, LatentAttention):
            keys, values = (unpacked(engine.weights.matrix(f"{name}.expand.{part}.weight")) for part in KEYS_VALUES)
            every = keys.view(one.heads, one.rank, -1).mT, values.view(one.heads, -1, one.rank)
            getattr(one.expand, "base", one.expand).weight.copy_(torch.cat(every, 1).flatten(0, 1))


def running(kind: str, bits: int = 8) -> CompiledRunner:
    """A network's runner."""
    return CompiledRunner(network(**(SHAPE | KINDS[kind])).requires_grad_(False), bits)


def apart(one: Tensor, other: Tensor) -> float:
    """Relative to the other's size."""
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("kind", ALIKE)
@torch.no_grad()
def test_hidden_states_and_logits_are_those_of_the_network(kind: str):
    same, engine = both(kind)
    tokens, mask = text(2, 90), torch.ones(2, 90, dtype=torch.bool)
    mask[1, :30] = False  # padding on the left
    hidden, expected = engine.hidden(tokens, mask, None), same.hidden(tokens, mask)
    assert apart(hidden[mask], expected[mask]) < ERROR
    assert not hidden[~mask].any()
    if engine.has_head:
        logits = engine.logits(expected)
        assert apart(logits, same.logits(expected)) < 0.02
        assert logits.shape[-1] == same.config.vocab_size


@torch.no_grad()
def test_segments_of_a_pair_are_added_and_more_of_them_run_in_pytorch():
    same, engine = both("bert")
    tokens, mask = text(2, 90), torch.ones(2, 90, dtype=torch.bool)
    mask[1, :30] = False
    segments = (torch.arange(90) > torch.tensor([[20], [50]])).long()
    hidden, expected = engine.hidden(tokens, mask, None, segments), same.hidden(tokens, mask, segments=segments)
    assert apart(hidden[mask], expected[mask]) < ERROR < apart(same.hidden(tokens, mask)[mask], expected[mask])
    assert torch.equal(engine.hidden(tokens, mask, None), engine.hidden(tokens, mask, None, 0 * segments))
    three = CompiledRunner(network(**(SHAPE | KINDS["bert"] | {"segments": 3})).requires_grad_(False), 8)
    for chosen in (2 * segments, segments):
        plain = three.network.hidden(tokens, segments=chosen)
        exact = torch.equal(three.hidden(tokens, segments=chosen), plain)
        assert exact is (int(chosen.max()) == 2)
    with pytest.raises(ConfigError, match="segment"):
        three.hidden(tokens, segments=3 * segments)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WHOLE])
@torch.no_grad()
def test_a_cache_changes_nothing_to_the_bit(kind: str):
    """In chunks and token by token, past the border of a page, and after what came behind was forgotten."""
    plain, tokens = running(kind), text(1, 150)
    whole = plain.hidden(tokens)
    cache = plain.new_cache(1)
    parts = [plain.hidden(part, cache=cache) for part in tokens.split([70, 1, 1, 77, 1], dim=1)]
    assert torch.equal(torch.cat(parts, dim=1), whole)
    cache.truncate(60)
    assert torch.equal(plain.hidden(tokens[:, 60:], cache=cache), whole[:, 60:])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WHOLE])
@torch.no_grad()
def test_network_and_head_in_one_run_give_the_logits_of_two_to_the_bit(kind: str):
    plain, tokens = running(kind), text(3, 70)
    mask = torch.ones(3, 66, dtype=torch.bool)
    mask[1, :30] = False
    one, two = plain.new_cache(3), plain.new_cache(3)
    for cache in (one, two):
        plain.hidden(tokens[:, :66], mask, cache=cache)
    for at in range(66, 70):
        step = tokens[:, at : at + 1]
        expected = plain.logits(plain.hidden(step, cache=two))[:, -1]
        assert np.array_equal(plain.next_logits(step, one), expected)
    assert one.length == two.length == 70


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WHOLE])
@pytest.mark.parametrize("at_once", [module.AT_ONCE, 32])
@torch.no_grad()
def test_prompts_of_which_the_last_token_alone_goes_to_the_end(
    kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch
):
    """Taken in by parts, in one run or in several, rows of different lengths: the same logits to the bit, and what
    comes behind them finds the same keys and values."""
    plain, tokens = running(kind), text(3, 90)
    mask = torch.ones(3, 90, dtype=torch.bool)
    mask[1, :41], mask[2, :79] = False, False
    one, two = plain.new_cache(3), plain.new_cache(3)
    expected = plain.logits(plain.hidden(tokens[:, :89], mask[:, :89], cache=two)[:, -1])
    behind = plain.logits(plain.hidden(tokens[:, 89:], cache=two)[:, -1])
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    plain.read(tokens[:, :20], one, mask[:, :20])
    plain.read(tokens[:, 20:50], one, mask[:, 20:50])
    assert np.array_equal(plain.next_logits(tokens[:, 50:89], one, mask[:, 50:89]), expected)
    assert np.array_equal(plain.next_logits(tokens[:, 89:], one), behind)
    assert one.length == two.length and one.sizes == two.sizes == [90, 49, 11]


@torch.no_grad()
def test_a_row_that_ends_with_padding_has_no_next_token():
    runner, mask = running("llama"), torch.ones(2, 9, dtype=torch.bool)
    mask[1, 7:] = False
    for plain in (runner, runner.plain):
        with pytest.raises(ConfigError, match="put the padding on the left"):
            plain.next_logits(text(2, 9), plain.new_cache(2), mask)


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("window", [20, 70])
@torch.no_grad()
def test_tokens_read_at_once_see_their_own_windows(window: int, count: int):
    """Where the edge of a window goes from one page to the next between them."""
    made = network(**(SHAPE | {"window": window, "context": 256})).requires_grad_(False)
    plain, tokens = CompiledRunner(made, 8), text(1, 200)
    for past in range(60, 150):
        one, two = plain.new_cache(1), plain.new_cache(1)
        for cache in (one, two):
            plain.read(tokens[:, :past], cache)
        together = plain.hidden(tokens[:, past : past + count], cache=one)[:, -1]
        *others, last = tokens[:, past : past + count].split(1, dim=1)
        for other in others:
            plain.read(other, two)
        assert torch.equal(together, plain.hidden(last, cache=two)[:, 0]), past


def test_pages_are_shared_within_one_text_and_in_bounded_memory(monkeypatch: pytest.MonkeyPatch):
    """Of several texts a thread might get the long one alone; results are the same either way."""
    _, engine = both("llama")
    monkeypatch.setattr(engine.workspace.team, "threads", 2)
    assert engine._placing.shared_pages(1, [4], 4000) == 63
    assert engine._placing.shared_pages(3, [4, 1, 1], 4000) == engine._placing.shared_pages(40, [200], 4000) == 1
    monkeypatch.setattr(placing, "MOST_PARTS", engine._placing._part_bytes(4, 62))
    assert engine._placing.shared_pages(1, [4], 4000) == 1 and engine._placing.shared_pages(1, [1], 4000) == 63


@torch.no_grad()
def test_a_page_that_there_is_no_memory_for_leaves_the_cache_as_it_was(monkeypatch: pytest.MonkeyPatch):
    plain, tokens = running("llama"), text(2, 65)
    caches = plain.new_cache(2), plain.new_cache(2)
    for cache in caches:
        plain.read(tokens[:, :64], cache)
    made: list[int] = []

    def page(size: int) -> Page:
        made.append(size)
        if len(made) > 1:  # the second row's
            raise MemoryError
        return Page(size)

    with monkeypatch.context() as short:
        short.setattr("lmworks.kernels.pages.Page", page)
        with pytest.raises(MemoryError):
            plain.next_logits(tokens[:, 64:], caches[0])
    again, expected = (plain.next_logits(tokens[:, 64:], cache) for cache in caches)
    assert np.array_equal(again, expected)


@torch.no_grad()
def test_a_token_does_not_depend_on_its_neighbours_to_the_bit():
    _, engine = both("llama")
    tokens, mask = text(20, 40), torch.ones(20, 40, dtype=torch.bool)
    mask[1, :17] = mask[3, 30:] = False
    together = engine.hidden(tokens, mask, None)
    for row in (0, 1, 3, 19):
        alone = engine.hidden(tokens[row : row + 1, mask[row]], None, None)
        assert torch.equal(together[row, mask[row]], alone[0])
        assert torch.equal(engine.logits(together[row, mask[row]]), engine.logits(alone[0]))


@torch.no_grad()
def test_texts_longer_than_a_run_are_read_in_several(monkeypatch: pytest.MonkeyPatch):
    _, engine = both("qwen3 with windows")
    tokens = text(3, 90, 96)
    whole = engine.hidden(tokens, None, None)
    monkeypatch.setattr(module, "AT_ONCE", 32)
    assert torch.equal(engine.hidden(tokens, None, None), whole)


@pytest.mark.parametrize("beginning", [1, 16, 17, 60, 70])
@torch.no_grad()
def test_rows_that_part_early_copy_no_more_of_a_page_than_they_share(beginning: int):
    runner = running("llama")
    cache = runner.new_cache(1)
    whole = text(1, 75)
    runner.read(whole.numpy(), cache)
    cache.cut([75 - beginning])
    cache.keep([0, 0])
    new = [[5, 6], [7, 8]]
    logits = runner.next_logits(np.array(new), cache)
    for row, more in enumerate(new):
        alone = np.array([[*whole[0, :beginning].tolist(), *more]])
        assert np.array_equal(logits[row], runner.next_logits(alone, runner.new_cache(1))[0]), row
    copied, shared = cache.pages[0][beginning // 64].data, cache.pages[1][beginning // 64].data
    held = -(-(beginning % 64 + 2) // 16) * 16
    for one in copied.reshape(-1, 64 * 2 * SHAPE["head_dim"]):
        assert not one[held * 2 * SHAPE["head_dim"] :].any()
    if held < 64 and beginning < 64:
        assert any(one[held * 2 * SHAPE["head_dim"] :].any() for one in shared.reshape(-1, 128 * SHAPE["head_dim"]))


@torch.no_grad()
def test_rows_that_leave_or_become_more_keep_their_text():
    """Beams: a row twice shares its pages until the two go on differently."""
    plain, tokens = running("llama"), text(3, 90)
    cache = plain.new_cache(3)
    plain.hidden(tokens[:, :88], cache=cache)
    held = cache.bytes
    cache.keep([2, 2, 0])
    assert cache.bytes < held
    parts = [
        plain.hidden(torch.tensor([[7], [8], [9]]), cache=cache),
        plain.hidden(torch.tensor([[1], [2], [3]]), cache=cache),
    ]
    for row, (source, new) in enumerate([(2, [7, 1]), (2, [8, 2]), (0, [9, 3])]):
        alone = plain.hidden(torch.cat([tokens[source, :88], torch.tensor(new)])[None])
        assert torch.equal(torch.cat(parts, dim=1)[row], alone[0, 88:])


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:the network is not what was compiled")
def test_a_network_that_is_not_what_was_compiled_runs_in_pytorch():
    """Hooks, changed weights; whoever calls the network gets PyTorch in any case."""
    runner, tokens = running("llama"), text(1, 30)
    plain = runner.network
    expected, fast = plain(tokens), runner.logits(runner.hidden(tokens))
    assert not torch.equal(fast, expected)
    before = runner.weights_version
    with hooked(plain, {"blocks.0.residual_out": lambda activation: None}):
        assert torch.equal(runner.logits(runner.hidden(tokens)), expected)
        assert before != runner.weights_version
    assert torch.equal(runner.logits(runner.hidden(tokens)), fast)
    assert isinstance(copy.deepcopy(runner), TorchRunner)
    plain.blocks[0].feed_forward.down.weight.mul_(2)  # the tape holds the old ones
    before = runner.weights_version
    changed = runner.logits(runner.hidden(tokens))
    assert not torch.equal(changed, fast) and torch.equal(plain(tokens), changed)
    assert before != runner.weights_version and not runner.own_threads()


def test_a_network_that_is_trained_while_a_stream_is_open_is_no_more_the_compiled_one():
    """Fused optimisers change weights without counting it, so that the training itself is what is noticed."""
    from tiny import language_model

    model = language_model(**SHAPE)
    model.runner = CompiledRunner(model.network.eval().requires_grad_(False), 8)
    stream = model.stream("the model reads", max_new_tokens=8)
    next(stream)
    model.network.train()
    model.network.eval()
    stream.close()
    assert not model.runner.stands()


def test_greedy_answers_are_equal_from_run_to_run():
    from tiny import language_model

    from lmworks.models.network import evaluating

    model = language_model(**SHAPE)
    model.network.requires_grad_(False)
    with evaluating(model.network):
        model.runner = CompiledRunner(model.network, 8)
    answers = {tuple(model.generate("the model reads", max_new_tokens=40).tokens) for _ in range(20)}
    assert len(answers) == 1


OF_LATENT: dict[str, object] = {"rotary_dim": 16, "head_dim": 48, "kv_heads": 4}
REFUSED: list[tuple[dict[str, object], str]] = [
    ({"head_dim": 24}, "head_dim is 24"),
    ({"dim": 80}, "dim is 80"),
    ({"rotary_dim": 8}, "rotary_dim is 8"),
    ({"residual": False}, "residual"),
    ({"norm": "none"}, "norm is none"),
    ({"arrangement": "encoder-decoder", "norm_place": "both"}, "to a source in pre-norm and post-norm blocks"),
    ({"arrangement": "encoder-decoder", "parallel": True}, "to a source in pre-norm and post-norm blocks"),
    (OF_LATENT | {"latent": {"rank": 48, "value_dim": 16}}, "latent.rank is 48"),
    (OF_LATENT | {"latent": {"rank": 32, "query_rank": 48, "value_dim": 16}}, "latent.query_rank is 48"),
    (OF_LATENT | {"latent": {"rank": 32, "value_dim": 24}}, "latent.value_dim is 24"),
    (OF_LATENT | {"latent": {"rank": 32, "value_dim": 16}} | {"head_dim": 32}, "head_dim - rotary_dim is 16"),
    (OF_LATENT | {"latent": {"rank": 32, "value_dim": 16}} | {"heads": 3, "kv_heads": 3}, "value_dim is 48"),
    ({"tied": False, "adaptive_cutoffs": (20,)}, "adaptive"),
    ({"arrangement": "encoder", "embedding_dim": 128}, "embedding_dim is wider"),
    ({"arrangement": "encoder", "embedding_dim": 48}, "embedding_dim is 48"),
    ({"arrangement": "encoder", "embedding_dim": 32, "residual_scale": 0.5}, "embeddings are narrow"),
    ({"ngrams": (50,)}, "n-gram"),
    ({"norm_place": "after", "residual_scale": 0.5}, "scales no part"),
    ({"qk_norm": True, "qk_norm_over": "row", "qk_norm_after": True}, "before the rotation"),
    ({"qk_norm": True, "qk_norm_over": "row", "kv_heads": 1}, "kv_heads x head_dim is 16"),
]
ELSEWHERE = {  # the shape, and what the tape leaves to PyTorch or never sees
    *("family", "dim", "layers", "heads", "head_dim", "hidden_dim", "context", "vocab_size", "position_settings"),
    *("pooler", "pooler_activation", "labels", "labels_of", "classifier_transform", "text_state", "dropout"),
    *("rope_theta", "waves_include_end"),  # in tables that PyTorch makes
    "head_transform_bias",  # of a head that PyTorch runs
    *("encoder_layers", "adaptive_divisor"),  # test_compiled_sources.py, and of what is refused
}


def test_every_choice_of_a_config_is_tried_refused_or_none_of_the_kernels():
    tried = {name for settings in (*KINDS.values(), *(settings for settings, _ in REFUSED)) for name in settings}
    assert set(ModelConfig.model_fields) - tried - ELSEWHERE == set()


@pytest.mark.parametrize(("settings", "named"), REFUSED)
def test_what_the_tape_does_not_cover_is_one_sentence(settings: dict[str, object], named: str):
    plain = network(**(SHAPE | settings)).requires_grad_(False)
    reason = uncovered(plain)
    assert reason is not None and named in reason
    with pytest.raises(ConfigError, match=named):
        compiled(plain)


@torch.no_grad()
def test_narrow_embeddings_that_are_tied_make_no_logits_without_a_transform():
    plain = network(**(SHAPE | KINDS["electra"] | {"head_transform": False})).requires_grad_(False)
    runner = CompiledRunner(plain, 8)
    states = runner.hidden(text(1, 9))
    assert apart(states, plain.hidden(text(1, 9))) < ERROR
    for one in (plain, runner):
        with pytest.raises(ConfigError, match="the network makes no logits"):
            one.logits(states)


def test_weights_that_can_be_trained_are_not_compiled():
    assert "trained" in str(uncovered(network(**SHAPE)))


@pytest.mark.parametrize(("kind", "name"), [("gpt2", "blocks.1.attention.qkv.bias"), ("gemma2", "norm.weight")])
@pytest.mark.parametrize("place", [0, 64])
@torch.no_grad()
def test_a_number_that_is_none_shows_in_scores_and_under_caps(kind: str, name: str, place: int):
    """Of a query or a key, which softmax sees alone, and of a state before logits that are capped."""
    made = network(**(SHAPE | KINDS[kind])).requires_grad_(False)
    made.get_parameter(name)[place % made.get_parameter(name).numel()] = torch.nan
    plain = CompiledRunner(made, 8)
    assert np.isnan(plain.next_logits(text(1, 70), plain.new_cache(1))).any()


def test_nan_in_the_weights_is_named():
    plain = network(**SHAPE).requires_grad_(False)
    plain.blocks[1].attention.output.weight[3, 5] = float("nan")
    with pytest.raises(ModelError, match=r"blocks\.1\.attention\.output\.weight"):
        compiled(plain)


@torch.no_grad()
def test_ids_without_a_row_are_an_error():
    _, engine = both("llama")
    with pytest.raises(ConfigError, match="vocabulary has 96"):
        engine.hidden(torch.tensor([[1, 96]]), None, None)


def test_more_weights_than_memory_are_said_before_they_are_packed(monkeypatch: pytest.MonkeyPatch):
    from lmworks.kernels import coverage

    monkeypatch.setattr(coverage, "available_bytes", lambda: 1000)
    with pytest.raises(ConfigError, match="GB of memory are free"):
        compiled(network(**SHAPE).requires_grad_(False))


def test_a_child_process_has_threads_of_its_own():
    """Fork: the parent's threads are not there, and nobody waits for them."""
    import multiprocessing

    _, engine = both("llama")
    with torch.no_grad():
        expected = engine.hidden(text(1, 20), None, None)
        context = multiprocessing.get_context("fork")
        receiving, sending = context.Pipe(duplex=False)
        child = context.Process(target=_read_in_child, args=(engine, sending))
        child.start()
        assert receiving.poll(60)
        states, threads = receiving.recv()
        assert torch.equal(torch.tensor(states), expected) and threads == engine.workspace.team.threads
        child.join()


def _read_in_child(engine: CompiledNetwork, sending) -> None:
    os.environ["LMWORKS_THREADS"] = "64"  # more cores than its parent had: the memory is for as many threads as that
    with torch.no_grad():
        states = engine.hidden(text(1, 20), None, None).tolist()
    sending.send((states, engine.workspace.team.threads))
