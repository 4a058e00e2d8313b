"""Recurrent networks: torch's cells and written-out formulas, and what must change nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lmworks.basics.errors import ConfigError, LmworksError, ModelError
from lmworks.generation.strategies import Beam, Greedy
from lmworks.language_model import LanguageModel
from lmworks.models.relatives.recurrence import CELLS
from lmworks.models.relatives.recurrent import RecurrentMemory, RecurrentNetwork
from lmworks.models.relatives.recurrent_config import RecurrentConfig, network_config
from lmworks.objectives import CausalLM
from lmworks.tokens.batch import Example, stack

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
SMALL: dict[str, Any] = {"vocab_size": 96, "dim": 12, "hidden_dim": 16, "layers": 2, "context": 64}
TWO = {"arrangement": "encoder-decoder"}
SHAPES: dict[str, dict[str, Any]] = {
    "lstm": {},
    "gru": {"cell": "gru", "tied": False, "head_bias": True},
    "tanh": {"cell": "tanh", "dim": 16},
    "general": TWO,
    "dot": TWO | {"attention": "dot", "bidirectional": False, "cell": "gru"},
    "additive": TWO | {"attention": "additive", "input_feeding": True},
    "fed": TWO | {"input_feeding": True, "cell": "tanh", "tied": False},
    "no attention": TWO | {"attention": "none"},
}
each = pytest.mark.parametrize("shape", SHAPES)


def network(shape: str = "lstm", seed: int = 0, **settings: Any) -> RecurrentNetwork:
    """A network whose every parameter has a value that a wrong formula would show."""
    made = RecurrentNetwork(RecurrentConfig(**(SMALL | SHAPES[shape] | settings)))
    tiny.randomise(made, seed)
    return made.eval()


def source_of(made: RecurrentNetwork, rows: int, mask: Tensor | None = None) -> RecurrentMemory | None:
    """What an encoder-decoder attends to; None for a decoder."""
    if made.config.arrangement == "decoder":
        return None
    return made.encode(tiny.text(rows, 7, seed=5), mask)


@pytest.mark.parametrize("cell", CELLS)
def test_a_decoder_equals_torchs_layers_with_the_same_weights(cell):
    made = network(cell=cell)
    theirs = CELLS[cell](12, 16, 2, batch_first=True)
    weights = {
        f"{name.removesuffix('l0')}l{layer}": weight
        for layer, one in enumerate(made.decoder.layers)
        for name, weight in one.cell.state_dict().items()
    }
    theirs.load_state_dict(weights)
    tokens = tiny.text(3, 11)
    expected = theirs(made.embedding(tokens))[0] @ made.output.weight.T @ made.embedding.weight.T
    torch.testing.assert_close(made(tokens), expected, **CLOSE)


def test_the_encoder_equals_torchs_in_both_directions_and_gives_the_decoder_its_state():
    made = network("general")
    theirs = nn.LSTM(12, 8, 2, batch_first=True, bidirectional=True)
    theirs.load_state_dict(
        {
            name.replace("l0", f"l{layer}"): weight
            for layer, one in enumerate(made.encoder.layers)
            for name, weight in one.cell.state_dict().items()
        }
    )
    source = tiny.text(3, 7)
    memory = made.encode(source)
    states, ends = theirs(made.embedding(source))
    torch.testing.assert_close(memory.states, states, **CLOSE)
    for mine, their in zip(memory.first, ends, strict=True):  # [layers, batch, hidden]; theirs layer by direction
        torch.testing.assert_close(mine, torch.cat([their[0::2], their[1::2]], dim=-1), **CLOSE)


def test_an_lstm_equals_the_formula():
    made = network(layers=1)
    cell, tokens = made.decoder.layers[0].cell, tiny.text(2, 6)
    h = c = torch.zeros(2, 16)
    expected = []
    for x in made.embedding(tokens).unbind(1):
        gates = x @ cell.weight_ih_l0.T + cell.bias_ih_l0 + h @ cell.weight_hh_l0.T + cell.bias_hh_l0
        write, keep, new, show = gates.chunk(4, dim=1)
        c = keep.sigmoid() * c + write.sigmoid() * new.tanh()
        h = show.sigmoid() * c.tanh()
        expected.append(h @ made.output.weight.T)
    torch.testing.assert_close(made.hidden(tokens), torch.stack(expected, 1), **CLOSE)


def score(made: RecurrentNetwork, h: Tensor, s: Tensor) -> Tensor:
    """How well one state of the decoder fits one of the source, as the papers write it."""
    part, kind = made.cross_attention, made.config.attention
    if kind == "dot":
        return h @ s
    if kind == "general":
        return h @ (part.key.weight @ s)
    return part.score.weight[0] @ torch.tanh(part.query.weight @ h + part.key.weight @ s)


@pytest.mark.parametrize("feeding", [False, True])
@pytest.mark.parametrize("attention", ["dot", "general", "additive"])
def test_attention_equals_the_formula_step_by_step(attention, feeding):
    made = network("general", layers=1, cell="tanh", attention=attention, input_feeding=feeding)
    tokens, memory = tiny.text(1, 5), source_of(made, 1)
    cell, h, fed = made.decoder.layers[0].cell, memory.first[0, 0, 0], torch.zeros(12)
    expected = []
    for x in made.embedding(tokens)[0]:
        read = torch.cat([x, fed]) if feeding else x
        h = torch.tanh(cell.weight_ih_l0 @ read + cell.bias_ih_l0 + cell.weight_hh_l0 @ h + cell.bias_hh_l0)
        weights = torch.softmax(torch.stack([score(made, h, s) for s in memory.states[0]]), 0)
        context = (weights[:, None] * memory.states[0]).sum(0)
        fed = torch.tanh(made.cross_attention.output.weight @ torch.cat([context, h]))
        expected.append(fed)
    torch.testing.assert_close(made.hidden(tokens, memory=memory)[0], torch.stack(expected), **CLOSE)


@each
def test_padding_on_either_side_or_in_between_changes_nothing(shape):
    made, text = network(shape), tiny.text(3, 6)
    memory = source_of(made, 3)
    alone = made(text, memory=memory)
    for at in ([0, 1, 2, 3, 4, 5], [3, 4, 5, 6, 7, 8], [0, 1, 4, 5, 6, 8]):
        tokens, real = torch.full((3, 9), 7), torch.zeros(3, 9, dtype=torch.bool)
        tokens[:, at], real[:, at] = text, True
        real[1], tokens[1, :6] = torch.arange(9) < 6, text[1]  # rows are padded in different ways
        got = made(tokens, real, memory=memory)
        assert got.isfinite().all()
        torch.testing.assert_close(got[0, at], alone[0], **CLOSE)
        torch.testing.assert_close(got[1, :6], alone[1], **CLOSE)


@pytest.mark.parametrize("shape", [name for name, one in SHAPES.items() if "arrangement" in one])
def test_padding_of_the_source_changes_nothing(shape):
    made, source, tokens = network(shape), tiny.text(2, 5), tiny.text(2, 4)
    alone = made(tokens, memory=made.encode(source))
    for front in (0, 2, 4):
        padded, real = torch.full((2, 9), 3), torch.zeros(2, 9, dtype=torch.bool)
        padded[:, front : front + 5], real[:, front : front + 5] = source, True
        torch.testing.assert_close(made(tokens, memory=made.encode(padded, real)), alone, **CLOSE)


@each
def test_a_cache_changes_nothing_whatever_it_is_cut_into_forgotten_or_reordered(shape):
    made, tokens = network(shape), tiny.text(3, 10)
    memory = source_of(made, 3)
    real = torch.arange(10) >= torch.tensor([[0], [4], [2]])
    for mask in (None, real):
        whole = made(tokens, mask, memory=memory)
        for sizes in ([1] * 10, [3, 1, 6]):
            cache, at, parts = made.new_cache(3, 2, memory), 0, []
            for size in sizes:
                part = slice(at, at := at + size)
                parts.append(made(tokens[:, part], None if mask is None else mask[:, part], cache=cache))
            joined = torch.cat(parts, dim=1)
            seen = slice(None) if mask is None else mask
            torch.testing.assert_close(joined[seen], whole[seen], **CLOSE)
        assert cache.length == 10 and torch.equal(cache.tokens, tokens)
        cache.truncate(6)
        cache.keep(rows := torch.tensor([2, 2, 0]))
        rest = made(tokens[rows, 6:], None if mask is None else mask[rows, 6:], cache=cache)
        torch.testing.assert_close(rest, whole[rows, 6:], **CLOSE)
        cache.keep(last := torch.tensor([1]))
        following = tiny.text(1, 2, seed=9)
        expected = made(
            torch.cat([tokens[rows][last], following], 1),
            None if mask is None else torch.cat([mask[rows][last], torch.ones(1, 2, dtype=torch.bool)], 1),
            memory=None if memory is None else memory.keep(rows).keep(last),
        )[:, 10:]
        torch.testing.assert_close(made(following, cache=cache), expected, **CLOSE)


def test_packed_documents_do_not_meet_and_their_gradient_is_that_of_each_alone():
    made = network()
    texts = [tiny.text(1, size, seed=size)[0].tolist() for size in (9, 4, 1, 6, 5)]
    examples = [Example(ids, [True] * len(ids), "test") for ids in texts]
    packed, alone = stack([tuple(examples[:3]), tuple(examples[3:])]), stack([(one,) for one in examples])

    def loss_and_gradient(batch):
        made.zero_grad()
        loss = CausalLM()(made, batch)
        loss.total.backward()
        return loss.total, [one.grad.clone() for one in made.parameters()]

    one, other = loss_and_gradient(packed), loss_and_gradient(alone)
    torch.testing.assert_close(one, other, **CLOSE)
    hidden = made.hidden(packed.tokens, documents=packed.documents)
    torch.testing.assert_close(hidden[0, 9:13], made.hidden(torch.tensor([texts[1]]))[0], **CLOSE)


@pytest.mark.parametrize("shape", [name for name, one in SHAPES.items() if "arrangement" in one])
def test_rows_that_share_a_source_are_rows_with_a_copy_of_it_each(shape):
    made, tokens = network(shape), tiny.text(6, 4)
    real = torch.arange(7) < torch.tensor([[7], [5]])
    memory = source_of(made, 2, real)
    shared = memory.keep(torch.tensor([0, 0, 0, 1, 1, 1]))
    assert shared.readers == 3 and len(shared.states) == 2
    copies = made.encode(tiny.text(2, 7, seed=5).repeat_interleave(3, 0), real.repeat_interleave(3, 0))
    torch.testing.assert_close(made(tokens, memory=shared), made(tokens, memory=copies), **CLOSE)
    cache = made.new_cache(6, 4, shared)
    made(tokens[:, :2], cache=cache)
    cache.keep([1, 5, 4])
    expected = made(tokens[[1, 5, 4]], memory=memory.keep(torch.tensor([0, 1, 1])))[:, 2:]
    torch.testing.assert_close(made(tokens[[1, 5, 4], 2:], cache=cache), expected, **CLOSE)


@pytest.mark.parametrize("shape", ["general", "fed"])
def test_a_translator_writes_greedily_and_by_beams(shape):
    tokenizer = tiny.byte_tokenizer()
    model = LanguageModel(network(shape, vocab_size=tokenizer.vocab_size), tokenizer)
    sources = ["a longer source", "short"]
    for strategy in (Greedy(), Beam(width=3)):
        together = model.generate_batch(sources, strategy, max_new_tokens=6)
        alone = [model.generate(one, strategy, max_new_tokens=6) for one in sources]
        assert [one.tokens for one in together] == [one.tokens for one in alone]


@pytest.mark.parametrize("shape", ["general", "fed"])
def test_the_pattern_over_the_source_is_read_by_name_and_looking_changes_no_bit(shape):
    made, tokens = network(shape), tiny.text(2, 4)
    real = torch.arange(7) < torch.tensor([[7], [5]])
    memory = source_of(made, 2, real)
    logits, seen = made.run_with_cache(tokens, memory=memory)
    assert torch.equal(logits, made(tokens, memory=memory))
    pattern = seen["cross_attention.pattern"]
    assert pattern.shape == (2, 1, 4, 7) and not pattern[1, ..., 5:].any()
    torch.testing.assert_close(pattern.sum(-1), torch.ones(2, 1, 4), **CLOSE)
    assert seen["decoder.layers.1.output"].shape == (2, 4, 16)
    even = {"cross_attention.pattern": lambda pattern: torch.full_like(pattern, 1 / 7)}
    assert not torch.equal(made.run_with_hooks(tokens, even, memory=memory), logits)


@each
def test_saved_and_loaded_it_is_the_same_and_a_file_that_does_not_fit_is_refused(shape, tmp_path):
    tokenizer = tiny.byte_tokenizer()
    made = network(shape, vocab_size=tokenizer.vocab_size).requires_grad_(False)
    folder = LanguageModel(made, tokenizer).save(tmp_path / "model")
    again = LanguageModel.load(folder).network
    assert again.config == made.config and isinstance(again, RecurrentNetwork)
    tokens = tiny.text(2, 6)
    wanted = made(tokens, memory=source_of(made, 2))
    for one in (again, copy.deepcopy(again)):
        assert all(torch.equal(weight, made.get_parameter(name)) for name, weight in one.named_parameters())
        # Where memory is aligned otherwise some processors sum in another order.
        torch.testing.assert_close(one(tokens, memory=source_of(one, 2)), wanted, rtol=1e-5, atol=1e-6)
    tensors = load_file(folder / "model.safetensors")
    for broken, words in (
        ({name: one for name, one in tensors.items() if "layers.1" not in name}, "is missing"),
        (tensors | {"encoder.extra": torch.zeros(1)}, "holds? encoder.extra"),
        (tensors | {"embedding.weight": torch.zeros(3, 3)}, "shape"),
    ):
        save_file(broken, folder / "model.safetensors")
        with pytest.raises(ModelError, match=words):
            LanguageModel.load(folder)


def test_a_decoder_writes_and_scores_and_neighbours_change_nothing():
    tokenizer = tiny.byte_tokenizer()
    model = LanguageModel(network(vocab_size=tokenizer.vocab_size), tokenizer)
    prompts = ["a longer prompt", "short"]
    together = model.generate_batch(prompts, max_new_tokens=8)
    assert [one.tokens for one in together] == [model.generate(one, max_new_tokens=8).tokens for one in prompts]
    score = model.score("a text that is scored by a small recurrent network, byte by byte, in two windows at least")
    assert len(score.logprobs) == len(score.tokens) and score.bits_per_byte > 0


def test_seeds_give_their_weights_again_and_an_lstm_begins_by_keeping():
    one, same, other = (RecurrentNetwork(RecurrentConfig(**SMALL)).initialise(seed) for seed in (1, 1, 2))
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name])
    assert not torch.equal(one.embedding.weight, other.embedding.weight)
    cell = one.decoder.layers[1].cell
    assert cell.bias_ih_l0[16:32].eq(1).all() and cell.bias_ih_l0.sum() == 16 and not cell.bias_hh_l0.any()
    for gate in cell.weight_hh_l0.chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(16), **CLOSE)
    with pytest.raises(ConfigError, match="zero-output"):
        one.initialise(1, "zero-output")


def test_dropout_is_off_in_evaluation_and_on_in_training():
    made = network("fed", dropout=0.3)
    tokens, memory = tiny.text(2, 5), source_of(made, 2)
    assert torch.equal(made(tokens, memory=memory), made(tokens, memory=memory))
    made.train()
    assert not torch.equal(made(tokens, memory=memory), made(tokens, memory=memory))
    layers, x, first = made.decoder.train(), torch.ones(2, 5, 24), torch.zeros(1, 2, 2, 16)
    assert not torch.equal(layers(x, first)[0], layers(x, first)[0])  # between layers, too


def test_a_small_translator_learns_to_turn_a_text_round():
    made = RecurrentNetwork(RecurrentConfig(**(SMALL | TWO | {"vocab_size": 12, "hidden_dim": 32, "layers": 1})))
    made.initialise(0).train()
    optimiser = torch.optim.Adam(made.parameters(), lr=1e-2)
    for step in range(150):
        source = torch.randint(1, 12, (32, 5), generator=torch.Generator().manual_seed(step))
        target = source.flip(1)
        tokens = torch.cat([torch.zeros(32, 1, dtype=torch.long), target[:, :-1]], dim=1)
        logits = made(tokens, memory=made.encode(source))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.5  # guessing costs 2.4


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"bidirectional": True}, "bidirectional = True is for an encoder-decoder, and arrangement is 'decoder'"),
        ({"attention": "dot"}, "attention = 'dot' is for an encoder-decoder, and arrangement is 'decoder'"),
        ({"input_feeding": True}, "input_feeding = True hands on .* attention is 'none'"),
        (TWO | {"hidden_dim": 15}, r"hidden_dim \(15\) is odd, and bidirectional = True"),
        ({"heads": 4}, "heads is not a setting"),
        ({"cell": "elman"}, "cell is 'elman'"),
        ({"layers": 0}, "layers is 0"),
    ],
)
def test_settings_that_contradict_or_do_not_exist_are_one_sentence(settings, words):
    with pytest.raises(ConfigError, match=words):
        RecurrentConfig(**(SMALL | settings))


def test_a_kind_of_network_that_there_is_not():
    with pytest.raises(ConfigError, match="kind is 'lstm'; there are transformer and recurrent"):
        network_config(SMALL | {"kind": "lstm"})


def test_arguments_that_do_not_fit_are_one_sentence():
    made, two, tokens = network(), network("general"), tiny.text(2, 4)
    memory = source_of(two, 2)
    calls = {
        "has no encoder": lambda: made.encode(tokens),
        "attends to no source": lambda: made(tokens, memory=memory),
        "give memory=": lambda: two(tokens),
        "2 sources for 1 rows": lambda: two(tokens[:1], memory=memory),
        "cannot share a source": lambda: two.hidden(tokens, documents=tokens, memory=memory),
        "no segment embeddings": lambda: made.hidden(tokens, segments=tokens),
        "sees no later token": lambda: made.hidden(tokens, prefix=tokens.bool()),
        "the mask has the shape": lambda: made(tokens, tokens[:, 1:].bool()),
        "is a transformer's": lambda: made(tokens, cache=tiny.network().new_cache(2)),
        "is padding alone": lambda: two(tokens, memory=two.encode(tokens, torch.zeros(2, 4, dtype=torch.bool))),
    }
    for words, call in calls.items():
        with pytest.raises(LmworksError, match=words):
            call()
