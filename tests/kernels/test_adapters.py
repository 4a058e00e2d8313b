"""Adapters on the compiled path: beside PyTorch's, as steps and in whole networks, and what is seen of their state."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("numba")

import tiny
from adaptation.adapted import randomise_adapters
from frames import Bench, address, numbers
from test_engine import ALIKE, KINDS, SHAPE, WHOLE, apart, hold_keys_and_values

import lmworks as lm
from lmworks.adaptation.bottleneck import BottleneckLinear, add_bottlenecks
from lmworks.adaptation.bottleneck_config import BottleneckConfig
from lmworks.adaptation.dora import DoRALinear
from lmworks.adaptation.lora import LoRALinear, Projection, adapters_off, add_lora, lora_layers, merge_adapters
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.peft_format import write_adapter
from lmworks.basics import progress
from lmworks.basics.errors import ModelError
from lmworks.generation.engine import Engine
from lmworks.kernels import CompiledRunner, compiled, unavailable, uncovered
from lmworks.kernels.adapters import PackedAdapters, pack_adapters
from lmworks.kernels.frame import ACTIVATED, Field
from lmworks.kernels.operations.bottleneck import bottleneck_step
from lmworks.kernels.operations.matrix import multiply
from lmworks.kernels.packing import pack, quantised, unpacked
from lmworks.kernels.run.network import CompiledNetwork
from lmworks.models.config import ExpertSettings
from lmworks.models.linear import Linear
from lmworks.models.network import Network, evaluating
from lmworks.models.torch_runner import TorchRunner

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

DECODERS = [kind for kind in KINDS if kind not in WHOLE]


def adapted(
    kind: str,
    targets: object = None,
    rank: int = 5,
    size: float = 0.2,
    of: type[LoRALinear] = LoRALinear,
    **others: object,
) -> Network:
    """A network with adapters whose updates are not zero, all of it frozen: on what PEFT calls so, or on each matrix
    as a whole but those of experts."""
    network = tiny.network(**(SHAPE | KINDS[kind] | others))
    if targets is not None:
        add_lora(network, LoRAConfig(rank=rank, alpha=8, targets=targets), kind=of)  # type: ignore[arg-type]
    else:
        for path, base in list(network.named_modules()):
            if isinstance(base, Linear) and ".experts." not in path:
                layer = of(base, [Projection(path, slice(0, base.out_features))], rank, 1.6)
                network.set_submodule(path, layer)
    return randomise_adapters(network, size=size).requires_grad_(False)


def both(network: Network, bits: int = 8) -> tuple[Network, CompiledNetwork]:
    """A network that holds in float32 exactly the weights and adapters that its tape holds, and the tape."""
    engine = compiled(network, bits)
    same = copy.deepcopy(network)
    for path, module in same.named_modules():
        name = f"{path.removesuffix('.base')}.weight"
        if isinstance(module, Linear) and name in engine.weights.matrices:
            module.weight.copy_(unpacked(engine.weights.matrix(name)))
    same.embedding.weight.copy_(unpacked(engine.weights.matrix("embedding.weight")))
    hold_keys_and_values(same, engine)
    return same, engine


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("tokens", [1, 3, 4, 23])
@pytest.mark.parametrize("outliers", [(), (0, 49, 95)])
@pytest.mark.parametrize("rank", [1, 8, 40])
@torch.no_grad()
def test_a_matrix_with_an_adapter(bits: int, tokens: int, outliers: tuple[int, ...], rank: int):
    """Two of three ranges of rows have updates, one of them a thousand times the other; every fourth token has none."""
    base = Linear(96, 80, bias=False)
    layer = LoRALinear(base, [Projection("v", slice(64, 80)), Projection("q", slice(0, 32))], rank, 2.0).requires_grad_(
        False
    )
    layer.down.copy_(numbers(2 * rank, 96, seed=4) * 0.01)
    for number, up in enumerate(layer.up):
        up.copy_(numbers(*up.shape, seed=5 + number) * (1000 if number else 1))
    weight = pack(quantised("m", base.weight, bits), bits, outliers)
    adapters = PackedAdapters(weight.blocks, [None, pack_adapters("m", layer, [None], outliers)[None]])
    bench = Bench(tokens, 96, after=adapters.numbers)
    used = torch.arange(tokens) % 4 != 3
    bench.put(Field.ADAPTERS, 2 * used.long())
    x, bias, output = numbers(tokens, 96, seed=1), numbers(80, seed=2), numbers(tokens, 80, seed=3)
    x[:, outliers] *= 50
    x = bench.quantise(x, outliers)
    added = torch.zeros(tokens, 80)
    for rows, down, up in layer.updates():
        added[:, rows] = used[:, None] * (x @ down.T @ up.T)
    plain = F.linear(x, unpacked(weight), bias) + output
    bench.run(
        bottleneck_step(adapters, bench.scales.ctypes.data, bench.scales.strides[0]),
        multiply(weight, address(output), 320, address(bias), True, adapters.for_matrix),
    )
    for rows, _, _ in layer.updates():  # D has 8 bits, U bfloat16
        assert apart(output[:, rows] - plain[:, rows], added[:, rows]) < 0.02
    for places in ((slice(None), slice(32, 64)), (~used,)):
        torch.testing.assert_close(output[places], plain[places], rtol=1e-5, atol=1e-5 + 1e-4 * len(outliers))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("tokens", [1, 3, 23])
@pytest.mark.parametrize("biased", [False, True])
@torch.no_grad()
def test_a_matrix_whose_rows_an_adapter_scales(bits: int, tokens: int, biased: bool):
    """Beside one that scales none, and one that scales others; every fourth token has none of them."""
    base = Linear(96, 80, bias=biased)
    parts = {"dora": slice(0, 48), "other": slice(32, 80)}
    layers = {
        name: DoRALinear(base, [Projection("q", rows)], 5, 2.0).requires_grad_(False) for name, rows in parts.items()
    } | {"lora": LoRALinear(base, [Projection("q", slice(16, 64))], 5, 2.0).requires_grad_(False)}
    for seed, layer in enumerate(layers.values()):
        for number, one in enumerate(layer.own()):
            one.copy_(numbers(*one.shape, seed=10 * seed + number))
    weight = pack(quantised("m", base.weight, bits), bits, ())
    packed = [pack_adapters("m", layer, [None], ())[None] for layer in layers.values()]
    adapters = PackedAdapters(weight.blocks, packed)
    bench = Bench(tokens, 96, after=adapters.numbers)
    used = torch.arange(tokens) % 4
    bench.put(Field.ADAPTERS, used)
    x, output = bench.quantise(numbers(tokens, 96, seed=1)), numbers(tokens, 80, seed=3)
    bias = None if base.bias is None else base.bias.detach()
    product, expected = F.linear(x, unpacked(weight)), torch.empty(tokens, 80)
    for token, number in enumerate(used.tolist()):
        row = product[token].clone()
        if number:
            layer = list(layers.values())[number - 1]
            for rows, down, up in layer.updates():
                row[rows] += x[token] @ down.T @ up.T
            gain = layer.gain()
            row = row if gain is None else row * gain
        expected[token] = row if bias is None else row + bias
    expected += output
    plain = used == 0
    bench.run(
        bottleneck_step(adapters, bench.scales.ctypes.data, bench.scales.strides[0]),
        multiply(weight, address(output), 320, 0 if bias is None else address(bias), True, adapters.for_matrix),
    )
    torch.testing.assert_close(output[plain], expected[plain], rtol=1e-5, atol=1e-4)
    assert apart(output, expected) < 0.02  # D has 8 bits, U bfloat16
    for number, rows in ((1, slice(48, 80)), (2, slice(0, 32))):  # what it leaves alone
        of = used == number
        torch.testing.assert_close(output[of, rows], expected[of, rows], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "granite", "olmo2", "bert"])
@torch.no_grad()
def test_hidden_states_under_scaled_rows_are_those_of_the_network(kind: str):
    network = adapted(kind, of=DoRALinear)
    for layer in lora_layers(network).values():  # lengths as after some training: each near its row's own
        assert isinstance(layer, DoRALinear)
        for part, magnitude in zip(layer.parts, layer.magnitude, strict=True):
            magnitude.copy_((1 + magnitude) * layer.base.weight[part.rows].norm(dim=1))
    same, engine = both(network)
    tokens = tiny.text(2, 60)
    expected = same.hidden(tokens)
    assert apart(engine.hidden(tokens, None, None), expected) < 0.06
    for layer in lora_layers(same).values():
        assert isinstance(layer, DoRALinear)
        for part, magnitude in zip(layer.parts, layer.magnitude, strict=True):
            magnitude.copy_(layer.base.weight[part.rows].norm(dim=1))
    assert apart(same.hidden(tokens), expected) > 0.1  # the lengths matter


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("tokens", [1, 3, 23])
@pytest.mark.parametrize("activation", ACTIVATED)
@torch.no_grad()
def test_a_matrix_with_a_bottleneck_after_it(bits: int, tokens: int, activation: Any):
    """Beside one of another size and activation, and one of LoRA; every fourth token has none of them."""
    outliers, other = (0, 49, 95), ACTIVATED[ACTIVATED.index(activation) - 1]
    base = Linear(96, 80, bias=activation in ("gelu", "silu"))
    layers = {
        number: BottleneckLinear(base, BottleneckConfig(size=size, activation=kind)).requires_grad_(False)
        for number, size, kind in ((1, 5, activation), (3, 37, other))
    } | {2: LoRALinear(base, [Projection("q", slice(16, 64))], 5, 2.0).requires_grad_(False)}
    for seed, layer in layers.items():
        for number, one in enumerate(layer.own()):
            one.copy_(0.3 * numbers(*one.shape, seed=10 * seed + number))
    weight = pack(quantised("m", base.weight, bits), bits, outliers)
    packed = [pack_adapters("m", layers[number], [None], outliers)[None] for number in (1, 2, 3)]
    adapters = PackedAdapters(weight.blocks, packed)
    bench = Bench(tokens, 96, after=adapters.numbers)
    used = torch.arange(tokens) % 4
    bench.put(Field.ADAPTERS, used)
    x, output = numbers(tokens, 96, seed=1), numbers(tokens, 80, seed=3)
    x[:, outliers] *= 5
    x = bench.quantise(x, outliers)
    bias = None if base.bias is None else base.bias.detach()
    plain = F.linear(x, unpacked(weight), bias) + output
    expected = plain.clone()
    for token, number in enumerate(used.tolist()):
        if number:
            expected[token] += layers[number](x[token]) - base(x[token])
    bench.run(
        bottleneck_step(adapters, bench.scales.ctypes.data, bench.scales.strides[0]),
        multiply(weight, address(output), 320, 0 if bias is None else address(bias), True, adapters.for_matrix),
    )
    torch.testing.assert_close(output[used == 0], plain[used == 0], rtol=1e-5, atol=1e-3)
    for number in (1, 2, 3):  # what each adds; D has 8 bits, U bfloat16
        of = used == number
        if of.any():
            assert apart(output[of] - plain[of], expected[of] - plain[of]) < 0.02, number


def test_every_activation_of_a_bottleneck_is_packed():
    assert set(ACTIVATED) == set(get_args(BottleneckConfig.model_fields["activation"].annotation))


def narrowed(kind: str, **settings: Any) -> Network:
    """A network with bottlenecks as after some training, all of it frozen."""
    config = BottleneckConfig(size=settings.pop("size", 21), **settings)
    network = add_bottlenecks(tiny.network(**(SHAPE | KINDS[kind])), config)
    return randomise_adapters(network).requires_grad_(False)


@pytest.mark.parametrize(
    "kind", ["llama", "gpt2", "gemma2", "granite", "olmo2", "bert", "gptj", "post-norm", "deepseek"]
)
@torch.no_grad()
def test_hidden_states_under_bottlenecks_are_those_of_the_network(kind: str):
    """Wherever a part's result goes: added at once, after a norm, or beside the other part's."""
    network = narrowed(kind)
    assert uncovered(network) is None
    same, engine = both(network)
    tokens, mask = tiny.text(2, 90), torch.ones(2, 90, dtype=torch.bool)
    mask[1, :30] = False
    expected = same.hidden(tokens, mask)
    assert apart(engine.hidden(tokens, mask, None)[mask], expected[mask]) < 0.06
    with adapters_off(same):
        assert apart(same.hidden(tokens, mask)[mask], expected[mask]) > 0.2


@pytest.mark.parametrize("style", ["houlsby", "pfeiffer"])
@pytest.mark.parametrize("activation", ACTIVATED)
@torch.no_grad()
def test_a_bottleneck_writes_as_it_reads_to_the_bit(style: str, activation: str):
    network = narrowed("llama", style=style, activation=activation)
    tokens, runner = tiny.text(1, 150), CompiledRunner(network, 8)
    whole = runner.hidden(tokens)
    cache = runner.new_cache(1)
    parts = [runner.hidden(part, cache=cache) for part in tokens.split([70, 1, 1, 77, 1], dim=1)]
    assert torch.equal(torch.cat(parts, dim=1), whole)
    assert apart(whole, both(network)[0].hidden(tokens)) < 0.06
    with adapters_off(network):
        assert runner.stands()
        base = tiny.network(**SHAPE).requires_grad_(False)
        assert torch.equal(runner.hidden(tokens), compiled(base, 8).hidden(tokens, None, None))


@torch.no_grad()
def test_bottlenecks_of_both_stacks():
    network = tiny.network(**(SHAPE | {"arrangement": "encoder-decoder"}))
    randomise_adapters(add_bottlenecks(network, BottleneckConfig(size=9))).requires_grad_(False)
    same, engine = both(network)
    source, written = tiny.text(2, 20, seed=1), tiny.text(2, 15)
    cache = engine.new_cache(2, memory=engine.encode(source.numpy(), None))
    made, expected = engine.hidden(written, None, cache), same.hidden(written, memory=same.encode(source))
    assert apart(made, expected) < 0.12
    for path in ("encoder.blocks.0.feed_forward.down", "blocks.1.attention.output"):
        same.get_submodule(path).enabled = False
        assert apart(made, same.hidden(written, memory=same.encode(source))) > 0.15, path
        same.get_submodule(path).enabled = True


@pytest.mark.parametrize("broken", ["narrow.weight", "narrow.bias", "widen.weight", "widen.bias"])
@torch.no_grad()
def test_a_bottleneck_that_is_not_finite_is_refused(broken: str):
    network = narrowed("llama")
    network.get_parameter(f"blocks.1.feed_forward.down.{broken}").view(-1)[3] = float("nan")
    with pytest.raises(ModelError, match=r"blocks.1.feed_forward.down's adapter holds values that are not finite"):
        compiled(network)


def test_scaled_rows_of_latent_attention_run_in_pytorch():
    """Its matrix of keys and values is multiplied head by head, and of keys the rows are inputs there."""
    network = adapted("deepseek", of=DoRALinear)
    assert "no factors of rows for blocks.0.attention.expand" in str(uncovered(network))


@pytest.mark.parametrize("targets", ["all", "some"])
@pytest.mark.parametrize("kind", ALIKE)
@torch.no_grad()
def test_hidden_states_are_those_of_the_network(kind: str, targets: str):
    network = adapted(kind)
    if targets == "some":  # none of the others
        for path, layer in lora_layers(network).items():
            if not path.endswith(("qkv", "down")):
                network.set_submodule(path, layer.base)
    same, engine = both(network)
    tokens, mask = tiny.text(2, 90), torch.ones(2, 90, dtype=torch.bool)
    mask[1, :30] = False
    expected = same.hidden(tokens, mask)
    assert apart(engine.hidden(tokens, mask, None)[mask], expected[mask]) < 0.06
    with adapters_off(same):
        assert apart(same.hidden(tokens, mask)[mask], expected[mask]) > 0.2


@torch.no_grad()
def test_adapters_of_both_stacks_and_between_them():
    network = adapted("llama", arrangement="encoder-decoder")
    same, engine = both(network)
    source, written = tiny.text(2, 20, seed=1), tiny.text(2, 15)

    def states(on: bool) -> tuple[torch.Tensor, torch.Tensor]:
        engine.use_adapters(on)
        cache = engine.new_cache(2, memory=engine.encode(source.numpy(), None))
        return engine.hidden(written, None, cache), same.hidden(written, memory=same.encode(source))

    adapted_states, expected = states(on=True)
    with adapters_off(same):
        plain_states, plain = states(on=False)
    assert apart(adapted_states, expected) < 0.12 < 0.4 < apart(plain, expected)
    assert apart(plain_states, plain) < 0.12
    for path in ("encoder.blocks.0.attention.qkv", "blocks.1.cross_attention.kv", "blocks.1.cross_attention.query"):
        layer = lora_layers(same)[path]
        layer.enabled = False
        assert apart(adapted_states, same.hidden(written, memory=same.encode(source))) > 0.15, path
        layer.enabled = True


@torch.no_grad()
def test_parts_of_a_joined_matrix():
    network = adapted("llama", ("q_proj", "v_proj", "up_proj"), rank=3)
    same, engine = both(network)
    tokens = tiny.text(1, 40)
    assert apart(engine.hidden(tokens, None, None), same.hidden(tokens)) < 0.06


@pytest.mark.parametrize("kind", DECODERS)
@torch.no_grad()
def test_a_cache_changes_nothing_to_the_bit(kind: str):
    tokens, runner = tiny.text(1, 150), CompiledRunner(adapted(kind))
    whole = runner.hidden(tokens)
    cache = runner.new_cache(1)
    parts = [runner.hidden(part, cache=cache) for part in tokens.split([70, 1, 1, 77, 1], dim=1)]
    assert torch.equal(torch.cat(parts, dim=1), whole)
    assert np.array_equal(runner.next_logits(tokens, runner.new_cache(1)), runner.logits(whole)[:, -1])


@torch.no_grad()
def test_switched_off_it_is_its_base_to_the_bit_and_comes_back():
    network = adapted("llama", "all")
    plain = tiny.network(**SHAPE).requires_grad_(False)
    plain.load_state_dict(
        {name.replace(".base.", "."): one for name, one in network.state_dict().items()}, strict=False
    )
    base, runner, tokens = compiled(plain), CompiledRunner(network), tiny.text(2, 30)
    on = runner.hidden(tokens)
    with adapters_off(network):
        assert runner.stands()
        assert torch.equal(runner.hidden(tokens), base.hidden(tokens, None, None))
    assert torch.equal(runner.hidden(tokens), on) and not torch.equal(on, base.hidden(tokens, None, None))
    next(iter(lora_layers(network).values())).enabled = False
    assert not runner.stands()


@torch.no_grad()
def test_a_text_that_is_under_way_sees_the_switch_as_well():
    network, tokens = adapted("llama", "all"), tiny.text(1, 30)
    plain, runner = TorchRunner(copy.deepcopy(network)), CompiledRunner(network, 8)
    fast, slow = runner.new_cache(1), plain.new_cache(1)

    def step() -> None:
        """The same in PyTorch, each token in its own state."""
        at = fast.length
        states = [one.hidden(tokens[:, at : at + 5], cache=cache) for one, cache in ((runner, fast), (plain, slow))]
        assert apart(*states) < 0.06

    step()
    with adapters_off(network), adapters_off(plain.network):
        step()
        runner.hidden(tokens)  # another text
    step()
    assert runner.compiled.weights.adapted


@pytest.mark.parametrize("what", ["adapter", "all"])
def test_weights_that_a_fused_optimiser_changed_are_seen(what: str):
    """It does not count that in their versions."""
    network = adapted("llama", "all")
    runner, tokens = CompiledRunner(network), tiny.text(1, 30)
    changed = [one for name, one in network.named_parameters() if what == "all" or "down" in name or "up" in name]
    network.train()
    for one in changed:
        one.requires_grad_(True)
    optimiser = torch.optim.AdamW(changed, lr=0.1, fused=True)
    network.logits(network.hidden(tokens)).square().mean().backward()
    optimiser.step()
    network.eval().requires_grad_(False)
    assert not runner.stands(fresh=False) and not runner.stands()


def test_measuring_in_between_is_no_training():
    network = adapted("llama", "all").train()
    runner = CompiledRunner(network)
    with evaluating(network):
        assert runner.stands()
    assert network.training and runner.stands()


@torch.no_grad()
def test_kept_beginnings_go_with_the_switch():
    """An answer under other adapters does not begin with pages of these."""
    model = tiny.language_model(**SHAPE)
    add_lora(model.network, LoRAConfig(rank=4))
    randomise_adapters(model.network).requires_grad_(False)
    model.runner = CompiledRunner(model.network)
    prompt = tiny.text(1, 140)[0].tolist()
    alone = {}
    for on in (True, False):
        with contextlib.nullcontext() if on else adapters_off(model.network):
            alone[on] = model.generate(prompt, max_new_tokens=8).tokens
    with Engine(model) as engine:

        def ask() -> tuple[list[int], int]:
            handle = engine.submit(prompt, max_new_tokens=8)
            return handle.answer().tokens, handle.sequence.reused

        assert ask() == (alone[True], 0) and ask() == (alone[True], 128)
        with adapters_off(model.network):
            assert ask() == (alone[False], 0)
        assert ask() == (alone[True], 0) and alone[True] != alone[False]


@torch.no_grad()
def test_whatever_changes_an_adapter_is_seen():
    changes = {
        "down": lambda layer: layer.down.mul_(2),
        "up": lambda layer: layer.up[1].mul_(2),
        "trained": lambda layer: layer.up[0].requires_grad_(True),
        "scale": lambda layer: setattr(layer, "scale", 3.0),
        "merged": lambda layer: layer.merge(),
        "back": lambda layer: (layer.merge(), layer.unmerge()),
        "another": lambda layer: setattr(layer, "down", torch.nn.Parameter(2 * layer.down, requires_grad=False)),
    }
    for name, change in changes.items():
        network = adapted("llama", "all")
        runner = CompiledRunner(network)
        assert runner.stands()
        change(lora_layers(network)["blocks.1.attention.qkv"])
        assert not runner.stands(), name
    network = adapted("llama", "all")
    runner = CompiledRunner(network)
    merge_adapters(network)
    assert not runner.stands()


@torch.no_grad()
def test_adapters_on_what_is_not_packed_run_in_pytorch(monkeypatch: pytest.MonkeyPatch):
    """The gate of a shared expert, which LoRA on every projection has one on."""
    monkeypatch.setattr(progress, "_said", set())
    experts = ExpertSettings(count=4, top_k=2, shared_dim=64, shared_gate=True)
    shape, tokens = SHAPE | {"family": "qwen2_moe", "experts": experts}, tiny.text(1, 9)
    lora = LoRAConfig(rank=4, alpha=8)
    network = randomise_adapters(add_lora(tiny.network(**shape), lora)).requires_grad_(False)
    assert "one is on blocks.0.feed_forward.shared_gate" in str(uncovered(network))
    runner = CompiledRunner(tiny.network(**shape).requires_grad_(False), 8)
    with pytest.warns(UserWarning, match=r"PyTorch runs the network from here on.* one is on blocks\.0\.feed_forward"):
        runner.take_adapters(lambda: randomise_adapters(add_lora(runner.network, lora)).requires_grad_(False))
    assert torch.equal(runner.hidden(tokens), network.hidden(tokens))


def test_what_is_not_packed_says_why():
    network = adapted("llama", "all")
    lora_layers(network)["blocks.1.feed_forward.up"].merge()
    assert "are part of their weights now" in str(uncovered(network))
    network = adapted("llama", "all")
    for broken in ("down", "up"):
        network = adapted("llama", "all")
        layer = lora_layers(network)["blocks.1.feed_forward.up"]
        (layer.down if broken == "down" else layer.up[1])[1, 1] = float("nan")
        with pytest.raises(ModelError, match=r"blocks.1.feed_forward.up's adapter holds values that are not finite"):
            compiled(network)


def test_an_adapter_that_does_nothing_changes_nothing_to_the_bit():
    network = tiny.network(**SHAPE)
    plain = compiled(copy.deepcopy(network).requires_grad_(False))
    fresh = compiled(add_lora(network, LoRAConfig(rank=8)).requires_grad_(False))  # U is zero
    tokens = tiny.text(1, 50)
    assert torch.equal(fresh.hidden(tokens, None, None), plain.hidden(tokens, None, None))
    assert fresh.bytes > plain.bytes


@torch.no_grad()
def test_the_real_model_with_an_adapter_from_a_folder(smollm2_path: Path, tmp_path: Path):
    """Loaded as `lmworks build` leaves it: compiled, and as near to float32 as the base."""
    model = lm.load("smollm2", dtype="float32")
    text = model.tokenizer.encode(Path(__file__).read_text(encoding="utf-8"))[:200]
    plain = model.logits([text])[0].log_softmax(-1)
    randomise_adapters(add_lora(model.network, LoRAConfig()), size=0.05)
    (tmp_path / "adapter").mkdir()
    write_adapter(tmp_path / "adapter", model.network, "smollm2")
    model.write_tokenizer(tmp_path / "adapter")
    wanted = model.logits([text])[0].log_softmax(-1)
    fast = lm.load(tmp_path / "adapter")
    assert isinstance(fast.runner, CompiledRunner) and fast.source == tmp_path / "adapter"
    logits = fast.logits([text])[0].log_softmax(-1)

    def divergence(other: torch.Tensor) -> float:
        return float((wanted.exp() * (wanted - other)).sum(-1).mean())

    assert divergence(logits) < 0.005 < 0.1 < divergence(plain)
    cold = lm.load(tmp_path / "adapter", compress="none")
    assert cold.runner.name == "PyTorch"
    prompt = "The history of the"
    answer = fast.generate(prompt, max_new_tokens=30)
    assert (
        answer.tokens
        == lm.load(tmp_path / "adapter", base="smollm2", compress="int4").generate(prompt, max_new_tokens=30).tokens
    )


@torch.no_grad()
def test_a_files_bits_are_taken_only_where_the_weights_are_still_the_files(smollm2_path: Path):
    """Merged weights are nobody's groups: they are rounded anew, and not taken for those without the adapter."""
    model = lm.load("smollm2")
    read = model.runner.compiled
    model.choose_runner()
    again = model.runner.compiled
    assert read is not again
    for name, packed in read.weights.matrices.items():
        assert np.array_equal(packed.data, again.weights.matrix(name).data), name
    assert all(np.array_equal(one, again.weights.vectors[name]) for name, one in read.weights.vectors.items())
    layer = add_lora(model.network, LoRAConfig(targets=("q_proj",))).blocks[3].attention.qkv
    assert isinstance(layer, LoRALinear)
    layer.up[0].fill_(0.5)
    merge_adapters(model.network).requires_grad_(False)
    model.choose_runner()
    merged = model.runner.compiled
    name = "blocks.3.attention.qkv.weight"
    for other, packed in read.weights.matrices.items():
        assert np.array_equal(packed.data, merged.weights.matrix(other).data) == (other != name)
    weight = model.network.get_parameter(name).float()
    assert (
        apart(unpacked(merged.weights.matrix(name)), weight) < 0.1 < apart(unpacked(read.weights.matrix(name)), weight)
    )
