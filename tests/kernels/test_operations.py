"""Each operation of a tape beside PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("numba")

from lmworks.kernels.coverage import unavailable

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

from frames import Bench, address, numbers

from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Step
from lmworks.kernels.operations.activate import ACTIVATIONS, Activate
from lmworks.kernels.operations.attend import Attend
from lmworks.kernels.operations.convolve import Convolve
from lmworks.kernels.operations.embed import embed_step
from lmworks.kernels.operations.hand import Hand
from lmworks.kernels.operations.heads import Heads
from lmworks.kernels.operations.matrix import multiply
from lmworks.kernels.operations.mix import Mix
from lmworks.kernels.operations.norm import Norm
from lmworks.kernels.operations.position import Position
from lmworks.kernels.operations.quantise import Quantise
from lmworks.kernels.packed import aligned
from lmworks.kernels.packing import pack, quantised, unpacked
from lmworks.kernels.run.buffers import _values
from lmworks.models.attention import attend
from lmworks.models.feed_forward import XIELU, activation_of
from lmworks.models.masks import visibility
from lmworks.models.rotation import rotate


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("rows", [48, 50])
def test_packed_weights_are_those_that_were_quantised(bits: int, rows: int):
    groups = quantised("m", numbers(rows, 96), bits)
    assert torch.equal(unpacked(pack(groups, bits)), groups.weights())


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 8, 31])
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("outliers", [(), (0, 3, 31, 49, 82, 95)])
def test_a_matrix(bits: int, tokens: int, adds: bool, outliers: tuple[int, ...]):
    bench = Bench(tokens, 96)
    weight = pack(quantised("m", numbers(50, 96), bits), bits, outliers)
    x, bias, output = numbers(tokens, 96, seed=1), numbers(64, seed=2), numbers(tokens, 64, seed=3)
    x[:, outliers] *= 50
    x = bench.quantise(x, outliers)
    expected = F.linear(x, unpacked(weight), bias[:50]) + (output[:, :50] if adds else 0)
    bench.run(multiply(weight, address(output), 256, address(bias), adds))
    torch.testing.assert_close(output[:, :50], expected, rtol=1e-5, atol=1e-5 + 1e-4 * len(outliers))


@pytest.mark.parametrize("bits", [4, 8])
def test_a_product_does_not_depend_on_how_many_tokens_there_are_to_the_bit(bits: int):
    columns, most = 288, 85  # 9 groups: tiles take 8 at a time, and 64 tokens
    weight = pack(quantised("m", numbers(50, columns), bits), bits, (3, 49))
    x, together = numbers(most, columns, seed=1), []
    for tokens in (*range(1, 25), 64, most):
        bench, output = Bench(tokens, columns), torch.zeros(tokens, 64)
        bench.quantise(x[:tokens].clone(), (3, 49))
        bench.run(multiply(weight, address(output), 256))
        together.append(output)
    for output in together:
        assert torch.equal(output, together[-1][: len(output)])


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 8, 16])
def test_the_largest_numbers_do_not_overflow(bits: int, tokens: int):
    """Values of 127, and codes of 255, whose products do not fit the 16 bits of AVX2, or of 15, of which sixteen do."""
    bench = Bench(tokens, 64)
    weight = torch.full((16, 64), 3.0)
    weight[:, ::32] = 0
    packed = pack(quantised("m", weight, bits), bits)
    x, output = bench.quantise(torch.full((tokens, 64), -2.0)), torch.zeros(tokens, 16)
    bench.run(multiply(packed, address(output), 64))
    torch.testing.assert_close(output, F.linear(x, unpacked(packed)), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("centred", [False, True])
def test_norms(centred: bool, adds: bool):
    tokens, dim, eps = 5, 96, 0.1  # an eps that shows
    bench = Bench(tokens, dim)
    x, weight, bias, before = (numbers(*shape, seed=at) for at, shape in enumerate([(5, 96), (96,), (96,), (5, 96)]))
    x, kept = x + 0.3, before.clone()
    bench.run(
        Norm.step(
            weight=address(weight),
            bias=address(bias) if centred else 0,
            dim=dim,
            eps=eps,
            centred=centred,
            source=address(x),
            kept=address(kept),
            stride=dim * 4,
            adds=adds,
            outliers=bench.table(),
        )
    )
    expected = F.layer_norm(x, (dim,), weight, bias, eps) if centred else F.rms_norm(x, (dim,), weight, eps)
    torch.testing.assert_close(kept, before + expected if adds else expected, rtol=1e-5, atol=1e-5)
    assert bench.near(expected)


def test_quantised_activations_multiplied_by_a_number():
    bench, x = Bench(3, 64), numbers(3, 64)
    x[1, :32] = 0
    bench.run(Quantise.step(source=address(x), source_stride=256, width=64, factor=1.7, outliers=bench.table()))
    assert bench.near(1.7 * x)


@pytest.mark.parametrize("place", [0, 7, 15, 16, 31])
@pytest.mark.parametrize("fault", [math.nan, -math.nan])
def test_one_number_that_is_none_shows_in_its_group_alone(place: int, fault: float):
    bench, x = Bench(1, 64), numbers(1, 64)
    x[0, place] = fault
    bench.run(Quantise.step(source=address(x), source_stride=256, width=64, factor=1.0, outliers=bench.table()))
    assert bench.read()[0].isnan().tolist() == [True] * 32 + [False] * 32


@pytest.mark.parametrize("operation", [Quantise, Activate, Norm])
def test_outliers_stand_beside_their_groups_which_lose_nothing_by_them(operation: type[Operands]):
    """At both ends of a vector, two in a group, and a group without any."""
    bench, outliers, x, weight = Bench(2, 96), [1, 15, 16, 95], numbers(2, 96), torch.ones(96)
    weight[outliers] = torch.tensor([500.0, -300.0, 40.0, -70.0])
    inner, large = torch.cat([x, weight.expand(2, 96)], dim=1), x * weight
    relu = list(ACTIVATIONS).index("relu")
    operands, expected = {
        Quantise: ({"source": address(large), "source_stride": 384, "width": 96, "factor": 1.0}, x * weight),
        Activate: (
            {"input": address(inner), "input_stride": 768, "width": 96, "kind": relu, "gated": 1, "rows": 0}
            | {"limit": math.inf, "shift": 0.0, "above": 0.0, "below": 0.0},
            x.relu() * weight,
        ),
        Norm: (
            {
                "weight": address(weight),
                "bias": 0,
                "dim": 96,
                "eps": 0.0,
                "centred": 0,
                "source": address(x),
                "kept": 0,
                "stride": 384,
                "adds": 0,
            },
            F.rms_norm(x, (96,), weight, 0.0),
        ),
    }[operation]
    bench.run(operation.step(**operands, outliers=bench.table(outliers)))
    torch.testing.assert_close(torch.from_numpy(bench.apart[:, :4]), expected[:, outliers], rtol=1e-5, atol=1e-5)
    expected[:, outliers] = 0
    assert bench.near(expected)


def activated(
    bench: Bench, name: str, x: torch.Tensor, width: int, gated: bool = False, limit: float = math.inf, shift: float = 0
) -> Step:
    """The step that activates x for a matrix without outliers; of what is learned, above is 1.5 and below 0.7."""
    kind = list(ACTIVATIONS).index(name)
    where = {"input": address(x), "input_stride": 4 * x.shape[1], "width": width, "outliers": bench.table(), "rows": 0}
    return Activate.step(**where, kind=kind, gated=gated, limit=limit, shift=shift, above=1.5, below=0.7)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("gated", [False, True])
def test_activations(name: str, gated: bool):
    bench, inner = Bench(2, 512), numbers(2, 1024, scale=2.0)
    inner[:, :256] = -inner[
        :, :256
    ].abs()  # groups whose results are small, and so their steps: gelu's two forms differ there
    bench.run(activated(bench, name, inner, 512, gated))
    function = activation_of(name)
    if isinstance(function, XIELU):  # numbers whose softplus is 1.5, and 0.2 beside its half
        function.above.data, function.below.data = (torch.tensor([one]).expm1().log() for one in (1.5, 0.2))
    with torch.no_grad():
        assert bench.near(function(inner[:, :512]) * (inner[:, 512:] if gated else 1))


def test_a_gate_is_cut_off_and_what_it_multiplies_is_kept_within_and_shifted():
    bench, inner = Bench(2, 64), numbers(2, 128, scale=2.0)
    inner[0, 5], inner[1, 70] = torch.nan, torch.nan
    bench.run(activated(bench, "quick_gelu", inner, 64, gated=True, limit=1.5, shift=1.0))
    gate, up = inner.chunk(2, dim=1)
    gate, up = gate.clamp(max=1.5), up.clamp(-1.5, 1.5) + 1
    found, expected = bench.read(), gate * torch.sigmoid(1.702 * gate) * up
    assert found[0, :32].isnan().all() and found[1, :32].isnan().all()
    torch.testing.assert_close(found[:, 32:], expected[:, 32:], rtol=0, atol=0.51 * 4 / 127)


@pytest.mark.parametrize("bits", [4, 8])
def test_embeddings(bits: int):
    bench, stream = Bench(3, 64), torch.zeros(3, 64)
    table = pack(quantised("m", numbers(50, 64), bits), bits)
    ids, places, positions = torch.tensor([0, 17, 49]), numbers(40, 64), torch.tensor([0, 5, 30])
    for field, array in ((Field.STREAM, stream), (Field.IDS, ids), (Field.PLACES, positions)):
        bench.put(field, array)
    bench.run(embed_step(table, 2.0), Position.step(table=address(places[2:]), dim=64))
    torch.testing.assert_close(stream, 2 * unpacked(table)[ids] + places[positions + 2])


HEADS = [
    *((4, 4, 16, None, False), (4, 2, 48, None, False), (6, 2, 64, 70, False), (5, 1, 32, None, False)),
    *((16, 1, 32, 9, False), (16, 1, 32, 9, True), (6, 2, 64, 70, True), (6, 2, 80, 70, False)),
]
"""Query heads, key heads, width, window, is it to both sides: groups of 1, 2, 3, 5 and 16."""


@pytest.mark.parametrize(("heads", "kv_heads", "width", "window", "onward"), HEADS)
@pytest.mark.parametrize("shared", [False, True], ids=["by tokens", "pages shared"])
@pytest.mark.parametrize("sizes", [(1,), (5,), (2, 147)])
def test_attention(
    heads: int, kv_heads: int, width: int, window: int | None, onward: bool, shared: bool, sizes: tuple[int, ...]
):
    """The last sizes[-1] tokens of a text, with norms and rotation, against the formula on what the cache holds; scores
    of windows are capped. Beside sinks where heads are no multiple of 32 wide, one of which takes nearly all."""
    tokens, past = sizes[-1], 0 if len(sizes) > 1 else 140
    length, rows = past + tokens, (heads + 2 * kv_heads) * width
    bench = Bench(tokens, heads * width)
    qkv, query_norm, key_norm = numbers(length, rows), numbers(width, seed=1), numbers(width, seed=2)
    angles = torch.arange(length)[:, None] * 100.0 ** -(torch.arange(0, width, 2) / width)
    cos, sin = angles.cos(), angles.sin()
    cap = None if window is None else 0.7
    sinks = numbers(heads, seed=3, scale=3.0) if width % 32 else None
    if sinks is not None:
        sinks[1] = 200.0
    seen = window, onward, sinks
    expected, cache = _attended(qkv, heads, kv_heads, width, seen, cap, query_norm, key_norm, (cos, sin))

    page_bytes = 2 * 2 * 64 * kv_heads * width
    pages = [aligned(page_bytes) for _ in range(-(-length // 64))]
    _fill(pages, cache, past, kv_heads, width)
    new = qkv[past:].clone()
    positions = torch.arange(past, length)
    group = max(1, 12 // (heads // kv_heads))
    tiles = [(at, min(group, tokens - at)) for at in range(0, tokens, group)]
    if shared and window is not None:  # as the windows of two tokens may begin on different pages
        tiles = [(at, 1) for at in range(tokens)]
    parts = len(pages) if shared else 1
    mixed = aligned(tokens * heads * parts * (width + 16) * 4)
    mixed.view(np.float32)[:] = 5.0  # as if of a run before
    list_ = np.array([page.ctypes.data for page in pages], np.int64)
    for field, array in (
        (Field.POSITIONS, positions),
        (Field.TURNS, positions),
        (Field.ENDS, torch.full_like(positions, length) if onward else positions + 1),
        (Field.PAGES, np.full(tokens, list_.ctypes.data, np.int64)),
        (Field.TILES, np.array(tiles, np.int64)),
        (Field.COSINES, cos.contiguous()),
        (Field.SINES, sin.contiguous()),
        (Field.MIXED, mixed),
    ):
        bench.put(field, array)
    bench.frame[[Field.TILE_COUNT, Field.PARTS, Field.TURN_BYTES]] = len(tiles), parts, width // 2 * 4
    shape = {
        "qkv": address(new),
        "qkv_stride": rows * 4,
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": width,
        "place": 0,
    }
    norms = {"query_norm": address(query_norm), "key_norm": address(key_norm), "eps": 1e-5}
    bench.run(
        Heads.step(**shape, **norms, half=width // 2, turn=0, norms_last=0, scale=width**-0.5),
        Attend.step(
            **shape,
            turned=0,
            value_dim=width,
            window=window or 0,
            onward=onward,
            cap=cap or 0.0,
            biased=0,
            source=0,
        ),
        Mix.step(
            heads=heads,
            value_dim=width,
            window=window or 0,
            onward=onward,
            source=0,
            sinks=0 if sinks is None else address(sinks),
            floats=0,
        ),
    )
    assert bench.near(expected[past:], steps=0.6)  # a key's last bit in float16 moves a score by 1e-4


def _attended(qkv, heads, kv_heads, width, seen, cap, query_norm, key_norm, rotation):
    """PyTorch's result on keys and values in float16, and these."""
    parts = qkv.view(len(qkv), -1, width).transpose(0, 1)
    query, key, value = parts.split([heads, kv_heads, kv_heads])
    query, key = (
        rotate(F.rms_norm(one, (width,), weight, 1e-5), rotation)
        for one, weight in ((query, query_norm), (key, key_norm))
    )
    key, value = key.half().float(), value.half().float()
    sees = visibility(len(qkv), len(qkv), seen[0], causal=not seen[1])
    mixed = attend(query[None], key[None], value[None], sees, "explicit", cap=cap, sinks=seen[2])
    return mixed[0].transpose(0, 1).flatten(1), (key, value)


def _fill(pages, cache, past, kv_heads, width):
    """Keys and values of the text before, in a page's layout."""
    key, value = (one.half().numpy() for one in cache)
    for at in range(past):
        halves = pages[at // 64].view(np.float16).reshape(2, kv_heads, 64 * width)
        keys, inside = halves[0].reshape(kv_heads, 4, width, 16), at % 64
        keys[:, inside // 16, :, inside % 16] = key[:, at]
        halves[1].reshape(kv_heads, 64, width)[:, inside] = value[:, at]


@pytest.mark.parametrize("seen", [2, 3, 64])
@pytest.mark.parametrize("biased", [False, True])
def test_a_short_convolution(seen: int, biased: bool):
    """Of two texts in pages of their own, one of which begins and one goes on past the end of a page; in the second
    layer's part of each page. Numbers are larger than float16 holds."""
    width, place, sizes, pasts = 96, 1024, (5, 70), (0, 62)
    tokens, x = sum(sizes), numbers(sum(sizes), 3 * width, scale=400.0)
    x[:, width : 2 * width] /= 1e5
    kernel, bias, outliers = numbers(width, seen, seed=1), 1e5 * numbers(width, seed=2), (3, 40)
    bench, before, expected, at = Bench(tokens, width), numbers(62, width, seed=3).bfloat16(), [], 0
    counts = [-(-(past + size) // 64) for past, size in zip(pasts, sizes, strict=True)]
    pages = [[aligned(place + 64 * width * 2) for _ in range(count)] for count in counts]
    for size, past, own in zip(sizes, pasts, pages, strict=True):
        row = x[at : at + size]
        for position in range(past):
            halves = own[0][place:].view(np.int16).reshape(64, width)
            halves[position] = before[position].view(torch.int16).numpy()
        handed = torch.cat([before[:past], (row[:, :width] * row[:, 2 * width :]).bfloat16()])
        mixed = F.conv1d(F.pad(handed.float().mT, (seen - 1, 0)), kernel[:, None], groups=width).mT[past:]
        expected.append(row[:, width : 2 * width] * (mixed + biased * bias))
        at += size
    lists = [np.array([page.ctypes.data for page in own], np.int64) for own in pages]
    bench.put(Field.PAGES, np.repeat([one.ctypes.data for one in lists], sizes))
    bench.put(
        Field.POSITIONS, np.concatenate([past + np.arange(size) for past, size in zip(pasts, sizes, strict=True)])
    )
    bench.frame[Field.LAYERS_APART] = 1
    row, by_token = {"source": address(x), "stride": 12 * width, "width": width, "place": place}, kernel.T.contiguous()
    learned = {"kernel": address(by_token), "bias": address(bias) if biased else 0, "outliers": bench.table(outliers)}
    bench.run(Hand.step(**row), Convolve.step(**row, seen=seen, **learned))
    whole = torch.cat(expected)
    assert (x[:, :width] * x[:, 2 * width :]).abs().max() > torch.finfo(torch.float16).max
    torch.testing.assert_close(torch.from_numpy(bench.apart[:, :2]), whole[:, outliers], rtol=1e-4, atol=1e-3)
    whole[:, outliers] = 0
    assert bench.near(whole, steps=0.51)


def test_what_is_handed_on_is_rounded_as_pytorch_rounds_and_faults_show():
    """Halves to the even number, infinite where it is too large, NaN whatever its bits."""
    bits = torch.tensor([0x3F808000, 0x3F818000, 0x3F807FFF, 0x7F7FFFFF, 0x7F800000, 0x7F800001, -1, 0x00000001])
    width, page = 32, aligned(64 * 32 * 2)
    x = torch.ones(1, 3, width)
    x[0, 0, :8] = bits.int().view(torch.float32)
    bench, list_ = Bench(1, width), np.array([page.ctypes.data], np.int64)
    bench.put(Field.PAGES, np.array([list_.ctypes.data], np.int64))
    bench.put(Field.POSITIONS, np.zeros(1, np.int64))
    bench.run(Hand.step(source=address(x), stride=12 * width, width=width, place=0))
    found = torch.from_numpy(page.view(np.int16)[:width].copy()).view(torch.bfloat16)
    assert torch.equal(found.isnan(), x[0, 0].isnan()) and int(found.isnan().sum()) == 2
    assert torch.equal(found.nan_to_num(7), x[0, 0].bfloat16().nan_to_num(7))


def test_exp_goes_from_nothing_to_much():
    """Through the sigmoid: where e^x is tiny, one, and large."""
    bench, x = Bench(1, 32), torch.linspace(-90, 90, 32)[None].contiguous()
    bench.run(activated(bench, "sigmoid", x, 32))
    assert bench.near(torch.sigmoid(x))
    assert math.isfinite(float(bench.read().sum()))


@pytest.mark.parametrize("value_bytes", [1, 3, 5])
def test_values_of_tokens_do_not_lie_a_power_of_two_apart(value_bytes: int):
    """Sixteen of them would share the few places that a cache has for such addresses."""
    for width in (64, 96, 2048, 8192):
        values, _, _ = _values(3, width, 8, value_bytes)
        assert values.shape[1] >= width * value_bytes and values.strides[0] // 64 % 2 == 1
        assert values.ctypes.data % 64 == values.strides[0] % 64 == 0
