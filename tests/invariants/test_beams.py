"""Silent errors of beam search (pitfalls 29 and 30) and of a cache that beams share (pitfall 12)."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmworks.generation.answer import Answer
from lmworks.generation.beams import largest
from lmworks.generation.decoding import decode, start
from lmworks.generation.request import Request
from lmworks.generation.sequence import Sequence
from lmworks.generation.strategies import Beam, Greedy, Sample
from lmworks.language_model import LanguageModel
from lmworks.models.network import Network
from lmworks.models.relatives.recurrent import RecurrentNetwork
from lmworks.models.relatives.recurrent_config import RecurrentConfig
from lmworks.models.torch_runner import TorchRunner
from lmworks.tokens.tokenizer import Tokenizer

LETTERS, END, LONGEST = 3, 3, 5
SOURCES = ["a", "The quick brown fox", "né 😀", "one two", "xyzzy"]


def ending_tokenizer(*ends: int) -> Tokenizer:
    return Tokenizer(replace(tiny.byte_tokenizer().vocabulary, stops=frozenset(ends)))


@pytest.fixture(scope="module", params=["decoder", "encoder-decoder", "recurrent"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    """Answers end here and there: an eighth of the bytes are ends."""
    tokenizer = ending_tokenizer(*range(0, 256, 8))
    if request.param == "recurrent":
        shape = {"vocab_size": tokenizer.vocab_size, "dim": 24, "hidden_dim": 32, "layers": 2, "context": 128}
        network = RecurrentNetwork(RecurrentConfig(**shape, arrangement="encoder-decoder", input_feeding=True)).eval()
        tiny.randomise(network, seed=4)
        return LanguageModel(network, tokenizer)
    arrangement = {"family": "lmworks", "arrangement": request.param, "positions": "relative"}
    return LanguageModel(tiny.network(seed=4, vocab_size=tokenizer.vocab_size, **arrangement), tokenizer)


def few_letters(seed: int) -> Network:
    return tiny.network(
        seed=seed,
        vocab_size=LETTERS + 1,
        family="lmworks",
        arrangement="encoder-decoder",
        tied=False,
        positions="learned",
    )


def every_answer(network: Network, source: list[int]) -> dict[tuple[int, ...], float]:
    """All answers that there are, with their log-probabilities: those that end, and those that are cut."""
    memory = network.encode(torch.tensor([source]))
    found = {}
    for size in range(1, LONGEST + 1):
        for letters in itertools.product(range(LETTERS), repeat=size - 1):
            for last in range(LETTERS + 1):
                if last == END or size == LONGEST:
                    answer = (*letters, last)
                    logits = network(torch.tensor([[0, *answer[:-1]]]), memory=memory)[0]
                    chosen = logits.log_softmax(-1)[range(size), list(answer)]
                    found[answer] = float(chosen.double().sum())
    return found


@torch.inference_mode()
def test_wide_beams_find_what_exhaustive_search_finds():
    """Pitfall 29: finished and unfinished answers of all lengths, compared by one score; all of them are ranked."""
    missed = 0
    for seed in range(3):
        network, source = few_letters(seed), [1, 2, 0, 1 + seed % 2]
        exhaustive = every_answer(network, source)
        for length_penalty in (-1.0, 0.0, 0.7, 2.0):
            ranked = sorted(exhaustive, key=lambda answer: -exhaustive[answer] / len(answer) ** length_penalty)
            narrow, wide = (
                searched(network, source, Beam(width=width, length_penalty=length_penalty, early_stopping="never"))
                for width in (1, 400)
            )
            missed += tuple(narrow.tokens) != ranked[0]
            assert tuple(wide.tokens) == ranked[0] and len(wide.others) + 1 == len(ranked) == 1 + 3 + 9 + 27 + 81 * 4
            for one in (wide, *wide.others):
                total = exhaustive[tuple(one.tokens)]
                assert one.score == pytest.approx(total / len(one.tokens) ** length_penalty, abs=1e-4)
                assert sum(one.logprobs) == pytest.approx(total, abs=1e-4)
    assert missed > 2  # so that width does matter here


def searched(network: Network, source: list[int], strategy: Beam) -> Answer:
    request = Request(ending_tokenizer(END), [0], strategy, LONGEST, [], 64, source=source)
    sequence = start(request, TorchRunner(network))
    for _ in decode(TorchRunner(network), [sequence]):
        pass
    return Answer.of(sequence)


@pytest.mark.parametrize(
    "strategy",
    [
        Beam(width=4),
        Beam(width=5, length_penalty=2.0, early_stopping="never"),
        Beam(width=3, early_stopping=True, no_repeat_ngram=1),
        Beam(width=4, groups=2, diversity_penalty=1.0),
        Greedy(),
        Sample(temperature=1.3, top_k=20, top_p=0.9, min_p=0.01, seed=5),
    ],
    ids=str,
)
def test_an_answer_does_not_depend_on_its_neighbours(model: LanguageModel, strategy):
    """Pitfall 30: sources and prompts of other lengths, which end at other times and with more or fewer beams."""
    alone = [model.generate(source, strategy, max_new_tokens=20) for source in SOURCES]
    for order in (SOURCES, SOURCES[::-1]):
        together = model.generate_batch(order, strategy, max_new_tokens=20)
        for one, other in zip(alone, together if order is SOURCES else together[::-1], strict=True):
            assert one.tokens == other.tokens and one == other and one.finish == other.finish
            if isinstance(strategy, Beam):
                assert [each.tokens for each in one.others] == [each.tokens for each in other.others]
                assert one.score == pytest.approx(other.score, abs=1e-4)
    mixed = [strategy, Beam(width=6), Greedy(), strategy, Sample(seed=1)]
    beside = model.generate_batch(SOURCES, mixed, max_new_tokens=20)
    assert [beside[at].tokens for at in (0, 3)] == [alone[at].tokens for at in (0, 3)]


def read_again(network: Network, sequence: Sequence) -> None:
    """The loop without a cache: at every step each row is read from its beginning, with a copy of its source."""
    rows = [sequence.request.prompt]
    while rows:
        memory = None
        if sequence.request.source is not None:
            memory = network.encode(torch.tensor([sequence.request.source] * len(rows)))
        with torch.inference_mode():
            logits = torch.cat(
                [
                    network(torch.tensor([row]), memory=None if memory is None else memory.keep(torch.tensor([at])))[
                        :, -1
                    ]
                    for at, row in enumerate(rows)
                ]
            )
        sequence.observe(logits.numpy())
        rows = [[*rows[read.row], *read.tokens] for read in sequence.rows]


@pytest.mark.parametrize(
    "strategy", [Beam(width=5), Beam(width=6, groups=3, diversity_penalty=0.5, length_penalty=0.3), Greedy()], ids=str
)
def test_a_cache_changes_nothing_when_beams_are_reordered(model: LanguageModel, strategy):
    """Pitfall 12."""
    for source in SOURCES[:3]:
        cached = model.generate(source, strategy, max_new_tokens=16)
        read = model.encode_prompt(source)
        prompt = [model.tokenizer.document_start] if model.translates else read
        request = Request(model.tokenizer, prompt, strategy, 16, [], 128, source=read if model.translates else None)
        sequence = start(request, model.runner)
        read_again(model.network, sequence)
        plain = Answer.of(sequence)
        assert plain.tokens == cached.tokens and plain.logprobs == pytest.approx(cached.logprobs, abs=1e-4)
        assert [one.tokens for one in plain.others] == [one.tokens for one in cached.others]


@torch.inference_mode()
def test_rows_that_share_a_source_read_what_rows_with_copies_of_it_read():
    network = tiny.network(family="lmworks", arrangement="encoder-decoder", positions="sinusoidal")
    source, mask = tiny.text(3, 7), torch.arange(7) < torch.tensor([[7], [4], [5]])
    for rows, sources, readers in (
        ([0, 0, 1, 1, 2, 2], 3, 2),
        ([2, 2, 2, 0, 0, 0], 2, 3),
        ([1, 0, 0, 2], 4, 1),
        ([0, 0, 1, 1, 1, 1], 3, 2),
        ([1], 1, 1),
    ):
        memory = network.encode(source, mask)
        network(tiny.text(3, 2), memory=memory)  # keys and values are made, and kept
        shared = memory.keep(torch.tensor(rows))
        assert (len(shared.states), shared.readers, shared.rows) == (sources, readers, len(rows))
        copied = network.encode(source[rows], mask[rows])
        tokens = tiny.text(len(rows), 5, seed=1)
        torch.testing.assert_close(network(tokens, memory=shared), network(tokens, memory=copied), rtol=1e-5, atol=1e-5)
        again = torch.tensor(list(range(len(rows)))[::-1])
        torch.testing.assert_close(
            network(tokens, memory=shared.keep(again)), network(tokens, memory=copied.keep(again)), rtol=1e-5, atol=1e-5
        )
    assert memory.keep(torch.tensor([0, 0, 1, 1, 2, 2])).states is memory.states  # nothing is copied


def test_a_finished_beam_does_not_go_on(model: LanguageModel):
    """Pitfall 29."""
    for answer in model.generate_batch(SOURCES, Beam(width=5), max_new_tokens=20):
        for one in (answer, *answer.others):
            ends = [token in model.tokenizer.stop_ids for token in one.tokens]
            assert not any(ends[:-1]) and ends[-1] == (one.finish == "stop") and len(one.tokens) <= 20
        scores = [one.score for one in (answer, *answer.others)]
        assert scores == sorted(scores, reverse=True) and len(scores) == 5


def test_stop_strings_end_beams_too(model: LanguageModel):
    shorter = Beam(width=3, length_penalty=-2.0, min_new_tokens=12)
    stop = model.generate("xyzzy", shorter, max_new_tokens=12).text[1:3]
    answer = model.generate("xyzzy", shorter, max_new_tokens=12, stop=[stop])
    found = [one for one in (answer, *answer.others) if one.finish == "stop"]
    assert found and all(stop not in one for one in found)
    for one in found:
        assert stop in model.tokenizer.decode(one.tokens) and stop not in model.tokenizer.decode(one.tokens[:-1])


def test_no_filter_leaves_nothing_to_write():
    """Pitfall 28: where every token is forbidden, what was left before is."""
    network = tiny.network(vocab_size=3)
    for strategy in (Greedy(no_repeat_ngram=1), Sample(no_repeat_ngram=1, seed=0), Beam(width=2, no_repeat_ngram=1)):
        sequence = start(Request(ending_tokenizer(), [0, 1], strategy, 6, [], 64), TorchRunner(network))
        for _ in decode(TorchRunner(network), [sequence]):
            pass
        assert len(sequence.tokens) == 6 and sequence.tokens[0] == 2
        assert all(logprob > -float("inf") for logprob in sequence.logprobs)


@settings(max_examples=60)
@given(st.integers(1, 3000), st.integers(1, 60), st.integers(0, 100))
def test_the_largest_are_found_without_sorting_all(size: int, count: int, seed: int):
    values = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    if seed % 3 == 0:
        values = values.round()  # many ties
    found, places = largest(values, count)
    first = np.argsort(-values, kind="stable")[:count]
    assert np.array_equal(places, first) and np.array_equal(values[places], found)
