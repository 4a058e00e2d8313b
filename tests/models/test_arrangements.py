"""Three arrangements of one block: what an encoder and an encoder-decoder do with masks, windows, hooks, files,
mistakes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.attention import attend
from lmworks.models.config import ModelConfig, RopeScaling
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.hooks import hook_points
from lmworks.models.masks import visibility
from lmworks.models.network import Network
from lmworks.models.positions.alibi import alibi_bias, alibi_slopes
from lmworks.models.positions.sinusoidal import sinusoids
from lmworks.models.relative_bias import relative_buckets
from lmworks.models.relatives.recurrent import RecurrentNetwork
from lmworks.models.relatives.recurrent_config import RecurrentConfig

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
ENCODER: dict[str, Any] = {"family": "lmworks", "arrangement": "encoder"}
BOTH: dict[str, Any] = {"family": "lmworks", "arrangement": "encoder-decoder", "encoder_layers": 3}
PLACES: dict[str, dict[str, Any]] = {
    "rotary": {},
    "learned": {"positions": "learned", "position_offset": 2},
    "sines": {"positions": "sinusoidal", "norm_place": "after", "embedding_norm": "layer"},
    "buckets": {"positions": "relative", "relative_buckets": 8, "relative_distance": 12},
    "slopes": {"positions": "alibi", "window": 4},
    "none": {"positions": "none"},
}
each_place = pytest.mark.parametrize("place", PLACES)


@each_place
def test_an_encoder_sees_both_ways_and_padding_changes_nothing(place: str):
    network = tiny.network(**ENCODER, **PLACES[place])
    tokens = tiny.text(1, 12)
    with torch.inference_mode():
        alone = network(tokens)
        changed = tokens.clone()
        changed[0, 11] += 1
        near = 11 - 3 if "window" in PLACES[place] else 0  # two layers see twice as far
        assert not torch.allclose(network(changed)[0, near], alone[0, near], **CLOSE)
        padding = torch.zeros(1, 5, dtype=torch.long)
        for parts in ((tokens, padding), (padding, tokens)):
            mask = torch.cat([torch.full(part.shape, part is tokens) for part in parts], dim=1)
            padded = network(torch.cat(parts, dim=1), mask)
            torch.testing.assert_close(padded[mask][None], alone, **CLOSE)
            assert padded.isfinite().all()


@each_place
@pytest.mark.parametrize("arrangement", [ENCODER, {}], ids=["encoder", "decoder"])
def test_padding_between_two_tokens_is_no_distance(arrangement: dict[str, Any], place: str):
    """As between a prompt that is padded on the right and its answer."""
    network, tokens = tiny.network(**arrangement, **PLACES[place]), tiny.text(1, 12)
    padded = torch.cat([tokens[:, :5], torch.zeros(1, 6, dtype=torch.long), tokens[:, 5:]], dim=1)
    mask = torch.cat([torch.ones(1, 5), torch.zeros(1, 6), torch.ones(1, 7)], dim=1).bool()
    with torch.inference_mode():
        torch.testing.assert_close(network(padded, mask)[mask][None], network(tokens), **CLOSE)


def test_a_window_of_an_encoder_ends_on_both_sides():
    seen = visibility(6, 6, 3, causal=False).dense(6, 6, torch.device("cpu"))[0, 0]
    assert torch.equal(seen, (torch.arange(6)[:, None] - torch.arange(6)).abs() < 3)


@each_place
def test_packed_texts_of_an_encoder_do_not_see_each_other(place: str):
    network = tiny.network(**ENCODER, **PLACES[place])
    first, second = tiny.text(1, 7), tiny.text(1, 5, seed=1)
    documents = torch.tensor([[0] * 7 + [1] * 5])
    with torch.inference_mode():
        packed = network(torch.cat([first, second], dim=1), documents=documents)
        torch.testing.assert_close(packed[:, :7], network(first), **CLOSE)
        torch.testing.assert_close(packed[:, 7:], network(second), **CLOSE)


@each_place
def test_a_cache_changes_nothing_for_an_encoder_decoder(place: str):
    network = tiny.network(**BOTH, **PLACES[place])
    source, tokens = tiny.text(2, 9), tiny.text(2, 11, seed=1)
    with torch.inference_mode():
        memory = network.encode(source)
        whole = network(tokens, memory=memory)
        cache = network.new_cache(2, memory=memory)
        parts = [network(tokens[:, at : at + 3], cache=cache) for at in range(0, 11, 3)]
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, **CLOSE)
        assert not torch.allclose(network(tokens, memory=network.encode(source + 1)), whole, **CLOSE)


@pytest.mark.parametrize("arrangement", [ENCODER, BOTH], ids=["encoder", "encoder-decoder"])
def test_looking_changes_no_bit_and_reaches_every_point(arrangement: dict[str, Any]):
    network = tiny.network(**arrangement, positions="relative")
    tokens, source = tiny.text(1, 6), tiny.text(1, 5, seed=2)
    seen: dict[str, int] = {}

    def reader(path: str):
        return lambda activation: seen.update({path: seen.get(path, 0) + 1})

    from lmworks.models.hooks import hooked

    def run() -> torch.Tensor:
        return network(tokens, memory=None if network.encoder is None else network.encode(source))

    with torch.inference_mode():
        plain = run()
        points = hook_points(network)
        with hooked(network, {path: reader(path) for path in points}):
            assert torch.equal(run(), plain)
    assert set(seen) == set(points)
    if network.encoder is not None:
        assert {"encoder.blocks.2.attention.pattern", "blocks.1.cross_attention.pattern"} <= set(seen)


@pytest.mark.parametrize(
    "settings",
    [
        ENCODER | {"head_transform": True, "head_bias": True, "segments": 2, "pooler": True, "labels": ("no", "yes")},
        ENCODER | PLACES["sines"] | {"norm": "layer", "labels": ("a", "b", "c"), "labels_of": "tokens"},
        BOTH | PLACES["buckets"] | {"head_scale": 0.3},
        BOTH | PLACES["learned"] | {"norm": "layer", "tied": False, "qkv_bias": True, "output_bias": True},
        {"family": "lmworks", "norm": "none", "residual": False},
        {"family": "lmworks", "parallel": True, "rotary_dim": 4},
    ],
    ids=lambda settings: " ".join(map(str, settings)),
)
def test_every_choice_survives_saving(settings: dict[str, Any], tmp_path: Path):
    network = tiny.network(**settings)
    write_network(tmp_path, network)
    again = read_network(tmp_path)
    assert again.config == network.config
    torch.testing.assert_close(again.state_dict(), network.state_dict(), rtol=0, atol=0)
    tokens = tiny.text(2, 8)
    with torch.inference_mode():
        memory = None if network.encoder is None else network.encode(tokens)
        torch.testing.assert_close(again(tokens, memory=memory), network(tokens, memory=memory), rtol=0, atol=0)


def test_gradients_through_a_learned_bias_are_those_of_the_formula():
    query, key, value = (torch.randn(2, 4, 9, 8, generator=torch.Generator().manual_seed(n)) for n in range(3))
    grads = []
    for kernel in ("fused", "explicit"):
        bias = torch.linspace(-1, 1, 9 * 9 * 4).view(1, 4, 9, 9).requires_grad_()
        attend(query, key, value, visibility(9, 9, 5).biased(bias), kernel).square().sum().backward()
        grads.append(bias.grad)
    torch.testing.assert_close(grads[0], grads[1], **CLOSE)
    assert grads[0].abs().sum() > 0 and not grads[0][0, 0].triu(1).any()


def test_slopes_are_those_of_the_paper():
    torch.testing.assert_close(torch.from_numpy(alibi_slopes(8)), torch.tensor([2.0**-n for n in range(1, 9)]))
    torch.testing.assert_close(torch.from_numpy(alibi_slopes(3)), torch.tensor([2.0**-4, 2.0**-8, 2.0**-2]))
    bias = alibi_bias(torch.tensor([[[-2, -1, 0]]]), alibi_slopes(2))
    torch.testing.assert_close(bias[0, :, 0], torch.tensor([[-0.125, -0.0625, 0.0], [-2 / 256, -1 / 256, 0.0]]))


def test_short_distances_have_a_bucket_each_and_far_ones_share_the_last():
    distances = torch.arange(-40, 41)
    one_way = relative_buckets(distances, 8, 16, both_ways=False)
    assert one_way[distances >= 0].eq(0).all()
    assert one_way[(distances <= 0) & (distances > -4)].tolist() == [3, 2, 1, 0]
    assert one_way[distances <= -16].eq(7).all() and one_way.max() == 7
    both = relative_buckets(distances, 8, 16, both_ways=True)
    assert both[distances > 0].min() == 5 and both[distances <= 0].max() == 3


def test_sines_are_those_of_the_formula():
    table = sinusoids(torch.tensor([[0, 5]]), 6)
    wanted = [math.sin(5 / 10_000 ** (2 * i / 6)) for i in range(3)] + [
        math.cos(5 / 10_000 ** (2 * i / 6)) for i in range(3)
    ]
    torch.testing.assert_close(table[0, 1], torch.tensor(wanted))
    assert table[0, 0].tolist() == [0, 0, 0, 1, 1, 1]


def test_a_text_is_judged_by_its_last_real_token_in_a_decoder_and_its_first_in_an_encoder():
    tokens, mask = tiny.text(2, 6), torch.ones(2, 6, dtype=torch.bool)
    mask[1, 4:] = False
    decoder = tiny.network(family="lmworks", labels=("a", "b"))
    hidden = decoder.hidden(tokens, mask)
    torch.testing.assert_close(decoder.pooled(hidden, mask), torch.stack([hidden[0, 5], hidden[1, 3]]))
    torch.testing.assert_close(decoder.pooled(hidden), hidden[:, 5])
    encoder = tiny.network(**ENCODER, labels=("a", "b"))
    hidden = encoder.hidden(tokens, mask)
    torch.testing.assert_close(encoder.pooled(hidden, mask), hidden[:, 0])
    torch.testing.assert_close(encoder.pooled(hidden, mask.flip(1)), torch.stack([hidden[0, 0], hidden[1, 2]]))
    long = torch.arange(300.0).bfloat16()[None, :, None]  # bfloat16 has no 299
    assert torch.equal(decoder.pooled(long), long[:, 299])
    assert encoder.classify(hidden, mask).shape == (2, 2)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"arrangement": "encoder", "encoder_layers": 2}, r"encoder_layers is for an encoder-decoder"),
        ({"arrangement": "encoder", "ngrams": (5,)}, r"ngrams look back alone"),
        ({"parallel": True, "norm_place": "after"}, r"parallel needs norm_place = 'before'"),
        ({"rotary_dim": 10}, r"rotary_dim \(10\) is more than head_dim \(8\)"),
        ({"rotary_dim": 3}, r"rotary_dim \(3\) is odd"),
        ({"positions": "sinusoidal", "dim": 33, "head_dim": 8}, r"dim \(33\) is odd"),
        ({"positions": "relative", "relative_distance": 9}, r"relative_distance \(9\) must exceed half of"),
        (
            {"positions": "learned", "rope_scaling": RopeScaling(kind="yarn", factor=2.0)},
            r"^rope_scaling \(yarn\) is for positions = 'rope', and positions is 'learned'",
        ),
        ({"positions": "none", "rotary_dim": 4}, r"^rotary_dim \(4\) is for positions = 'rope', and .* 'none'"),
        ({"positions": "alibi", "rope_theta": 5e5}, r"^rope_theta \(500000.0\) is for positions = 'rope'"),
        ({"position_offset": 2}, r"^position_offset \(2\) is for positions = 'learned' or .*, and positions is 'rope'"),
        ({"relative_buckets": 16}, r"^relative_buckets \(16\) is for positions = .*'relative', and .* 'rope'"),
        ({"labels_of": "tokens"}, r"labels_of = 'tokens' needs labels"),
        ({"labels": ("a", "b", "a")}, r"labels names 'a' twice"),
        ({"window_layers": (1,)}, r"window_layers says where window is used, and there is none"),
        (
            {"arrangement": "encoder-decoder", "encoder_layers": 1, "window": 3, "window_layers": (1,)},
            "window_layers names layer 1, and there are 1 layers in the encoder",
        ),
        (
            {"arrangement": "encoder-decoder", "encoder_layers": 1, "experts": {"count": 2, "layers": (0, 1)}},
            r"experts\.layers names layer 1, and there are 1 layers in the encoder",
        ),
        ({"heads": 5}, r"dim \(32\) is not a multiple of heads \(5\)"),
        ({"adaptive_cutoffs": (8,), "tied": False, "head_bias": True}, "are for one softmax"),
    ],
    ids=str,
)
def test_choices_that_contradict_are_named(settings: dict[str, Any], words: str):
    small = {"vocab_size": 96, "dim": 32, "layers": 2, "heads": 4, "context": 16}
    with pytest.raises(ConfigError, match=words):
        ModelConfig(**(small | settings))


def test_arguments_that_do_not_fit_are_named():
    encoder, both, decoder = tiny.network(**ENCODER), tiny.network(**BOTH), tiny.network(positions="learned", context=8)
    tokens = tiny.text(2, 8)
    with pytest.raises(ConfigError, match=r"the mask has the shape \[2, 7\] and the tokens \[2, 8\]"):
        decoder(tokens, torch.ones(2, 7))
    with pytest.raises(ConfigError, match=r"has 9 tokens and the network has learned 8 positions"):
        decoder(tiny.text(1, 9))
    with pytest.raises(ConfigError, match=r"give memory=network\.encode\(source\)"):
        both(tokens)
    with pytest.raises(ConfigError, match="is an encoder and attends to no source"):
        encoder(tokens, memory=both.encode(tokens))
    with pytest.raises(ConfigError, match="is a decoder and has no second stack"):
        decoder.encode(tokens)
    with pytest.raises(ConfigError, match="reads a text at once, without a cache"):
        encoder(tokens, cache=encoder.new_cache(2))
    with pytest.raises(ConfigError, match="holds 1 sources for 2 rows"):
        both(tokens, memory=both.encode(tokens[:1]))
    with pytest.raises(ConfigError, match="row 1 of the source is padding alone"):
        both(tokens, memory=both.encode(tokens, torch.tensor([[1] * 8, [0] * 8])))
    for arguments in ({"documents": tokens[:, 1:]}, {"segments": tokens[:1]}):
        with pytest.raises(
            ConfigError, match=r"the (documents|segments) have the shape \[.*\] and the tokens \[2, 8\]"
        ):
            encoder.hidden(tokens, **arguments)
    with pytest.raises(ConfigError, match=r"the mask has the shape \[2, 9\] and the tokens \[2, 8\]"):
        encoder.pooled(encoder.hidden(tokens), torch.ones(2, 9))
    with pytest.raises(ConfigError, match="no segment embeddings"):
        encoder.hidden(tokens, segments=torch.zeros_like(tokens))
    with pytest.raises(ConfigError, match="the network has no classifier"):
        encoder.classify(encoder.hidden(tokens))


def recurrent(**settings: Any) -> RecurrentNetwork:
    return RecurrentNetwork(RecurrentConfig(vocab_size=96, dim=16, context=32, **settings)).initialise(0).eval()


@pytest.mark.parametrize("number", [-1, 96])
def test_an_id_without_an_embedding_is_one_sentence(number: int):
    tokens, tail = tiny.text(2, 8), r", and the vocabulary has 96; encode the text with this model's tokenizer$"
    tokens[1, 3] = number
    said = (r"^ids lie between -1 and \d+" if number < 0 else r"^ids lie between \d+ and 96") + tail
    for read in (tiny.network(), tiny.network(**ENCODER), tiny.network(**BOTH).encode, recurrent()):
        with pytest.raises(ConfigError, match=said):
            read(tokens)
    with pytest.raises(ConfigError, match=said):
        recurrent(arrangement="encoder-decoder").encode(tokens)


def test_a_segment_without_an_embedding_is_one_sentence():
    tokens = tiny.text(2, 8)
    with pytest.raises(
        ConfigError, match=r"^segments lie between 0 and 2, and the network has embeddings for 2; number"
    ):
        tiny.network(**ENCODER, segments=2).hidden(
            tokens, segments=torch.arange(8).div(3, rounding_mode="floor").expand(2, -1)
        )


def test_networks_without_norm_or_residual_are_other_networks():
    tokens = tiny.text(1, 6)
    plain = tiny.network()
    for change in ({"norm": "none"}, {"residual": False}):
        other = Network(plain.config.but(**change)).eval()
        kept = other.state_dict()
        other.load_state_dict({name: one for name, one in plain.state_dict().items() if name in kept})
        assert not torch.allclose(other(tokens), plain(tokens), **CLOSE)


def test_what_a_family_could_not_give_back_is_not_written():
    from lmworks.models.families import family_of

    neox = {"family": "gpt_neox", "norm": "layer", "gated": False, "feed_forward_bias": True, "parallel": True}
    small = {"vocab_size": 96, "dim": 104, "layers": 1, "heads": 2, "context": 16}
    config = ModelConfig(**small, **neox, rotary_dim=30)
    assert family_of("gpt_neox").config_from(family_of("gpt_neox").config_to(config)) == config
    odd = ModelConfig(**small | {"dim": 12, "heads": 5, "head_dim": 2}, **neox)
    with pytest.raises(ModelError, match="cannot have dim 12 and 5 heads"):
        family_of("gpt_neox").config_to(odd)
    with pytest.raises(ModelError, match="cannot have the activation 'tanh'"):
        family_of("llama").config_to(ModelConfig(**small, activation="tanh"))
    scaling = RopeScaling(kind="dynamic", factor=2.0, original_context=8)
    with pytest.raises(ModelError, match=r"original_context \(8\) of dynamic scaling is context \(16\)"):
        family_of("llama").config_to(ModelConfig(**small, rope_scaling=scaling))
