"""Guesses change nothing but the time: the same tokens, the same distribution; and they are right where a text
repeats."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import tiny
import torch

from lmworks.basics.errors import ConfigError
from lmworks.generation import scheduler
from lmworks.generation.decoding import decode, start
from lmworks.generation.distribution import RandomStream, keep_or_draw
from lmworks.generation.engine import Engine
from lmworks.generation.guessing import Draft, Lookup
from lmworks.generation.scheduler import Scheduler
from lmworks.generation.strategies import Beam, Greedy, Sample, Strategy
from lmworks.kernels import CompiledRunner, unavailable
from lmworks.language_model import LanguageModel

SHAPE = {"dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "context": 256}
PROMPTS = ["abcabcabcab", "The quick brown fox. The quick brown", "né 😀né 😀n", "x"]
STRATEGIES: list[Strategy] = [
    Greedy(),
    Greedy(repetition_penalty=1.2),
    Sample(temperature=0.9, top_p=0.9, seed=3),
    Sample(temperature=0, seed=1),
]


def make(path: str, seed: int = 4) -> LanguageModel:
    model = tiny.language_model(seed=seed, **SHAPE)
    model.network.requires_grad_(False)
    if path == "compiled":
        if unavailable() is not None:
            pytest.skip(str(unavailable()))
        model.runner = CompiledRunner(model.network, 8)
    return model


@pytest.fixture(scope="module", params=["plain", "compiled"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return make(request.param)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
@pytest.mark.parametrize("stop", [(), ("e",)], ids=str)
def test_looking_up_gives_the_same_tokens_for_the_same_seed(model: LanguageModel, strategy: Strategy, stop: list[str]):
    for prompt in PROMPTS:
        plain = model.generate(prompt, strategy, max_new_tokens=90, stop=stop)
        for guess in (Lookup(), Lookup(match=1, most=4), Lookup(match=2, most=40)):
            answer = model.generate(prompt, strategy, max_new_tokens=90, stop=stop, guess=guess)
            assert (answer.tokens, answer.finish, answer) == (plain.tokens, plain.finish, plain)
            if isinstance(model.runner, CompiledRunner):
                assert answer.logprobs == plain.logprobs  # to the bit


def test_greedy_drafts_give_the_same_tokens(model: LanguageModel):
    """By a network that is mostly wrong, and by one that is always right."""
    for draft, strategy in itertools.product((make("plain", 9), model), STRATEGIES[:2]):
        for prompt in PROMPTS:
            plain = model.generate(prompt, strategy, max_new_tokens=60)
            assert model.generate(prompt, strategy, max_new_tokens=60, guess=Draft(draft)).tokens == plain.tokens


def test_guesses_that_are_right_save_steps(model: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    """The network itself as its draft is always right, also about what it draws: five tokens a step."""
    monkeypatch.setattr(scheduler, "MOST_AHEAD", 1)

    def steps(strategy: Strategy, guess: Draft | Lookup | None, prompt: str = "x") -> int:
        sequence = start(model.request(prompt, strategy, 61, guess=guess), model.runner)
        return sum(1 for _ in decode(model.runner, [sequence]))

    for strategy in (Greedy(min_new_tokens=61), Sample(min_new_tokens=61, seed=1)):
        assert steps(strategy, None) == 61
        assert steps(strategy, Draft(model)) <= 61 // 5 + 2
    repeating = Greedy(min_new_tokens=61, logit_bias={model.tokenizer.encode("a")[0]: 100})
    assert steps(repeating, Lookup(), "aaaa") <= 8  # 3, 6, 12, 15, ... at once


def guessed(text: str, answer: str, beside: int = 1) -> list[int]:
    """The sizes of the guesses while an answer is written behind a text."""
    guesser, sizes = Lookup().start(Greedy(), None, None), []
    read, written = list(text.encode()), 0
    while written < len(answer):
        guess = guesser.guess(read, written, 100, beside).tokens
        sizes.append(len(guess))
        rest = list(answer.encode())[written:]
        right = next((at for at, (one, other) in enumerate(zip(guess, rest, strict=False)) if one != other), len(guess))
        read, written = read + rest[: right + 1], written + right + 1
    return sizes


def test_guesses_are_as_long_as_pays():
    """Long where an answer quotes, none to speak of where it does not, and shorter the more rows there are beside
    it."""
    source = "It was a bright cold day in April, and the clocks were striking thirteen."
    quoting = guessed(source + "# ", source)
    assert max(quoting) == 15 and len(quoting) < len(source) / 6
    misleading = guessed("a1a2a3", "".join(f"a{chr(98 + at)}" for at in range(24)))
    assert max(misleading[-10:]) <= 2  # what costs no time
    assert len(guessed(source + "# ", source, beside=16)) > len(quoting)
    assert max(guessed(source + "# ", source, beside=8)[:6]) <= 2  # eight rows that guess eight each would read 72


def test_guesses_are_counted(model: LanguageModel):
    request = model.request("aaaa", Greedy(min_new_tokens=31, logit_bias={97: 100}), 31, guess=Lookup())
    sequence = start(request, model.runner)
    steps = sum(1 for _ in decode(model.runner, [sequence]))
    assert sequence.kept == 31 - steps and sequence.kept <= sequence.tried < 40


def test_guesses_beside_others_in_an_engine(model: LanguageModel):
    """Rows that read several tokens beside rows that read one; what was wrong leaves the cache."""
    asked = list(itertools.product(PROMPTS, STRATEGIES, (None, Lookup(match=1), Draft(make("plain", 9), 3))))
    with Engine(model, seats=7, chunk=16) as engine:
        handles = [engine.submit(p, s, max_new_tokens=40, guess=g) for p, s, g in asked]
        for (prompt, strategy, guess), handle in zip(asked, handles, strict=True):
            answer = handle.answer(60)
            if not isinstance(guess, Draft) or not isinstance(strategy, Sample) or strategy.temperature == 0:
                assert answer.tokens == model.generate(prompt, strategy, max_new_tokens=40).tokens
            again = model.generate(prompt, strategy, max_new_tokens=40, guess=guess)
            assert answer.tokens == again.tokens  # a seed gives the same, whatever runs beside it


def test_rows_hold_no_more_than_their_text(model: LanguageModel):
    """A batch that goes on and on with wrong guesses is closed up."""
    running, asked = Scheduler(model.runner), {"guess": Lookup(match=1)}
    sequences = [
        start(model.request("ab" * 9, Sample(seed=s, min_new_tokens=200), 200, **asked), model.runner) for s in (1, 2)
    ]
    running.add(sequences)
    while running.busy:
        running.step()
        if running._cache is not None and not isinstance(model.runner, CompiledRunner):
            longest = max(len(one.request.prompt) + len(one.tokens) for one in sequences)
            assert running._cache.length <= 2 * longest + 64 + 16
    assert [len(one.tokens) for one in sequences] == [200, 200]


def chi_square(counts: Counter, expected: dict, n: int) -> float:
    """Distance of counts from what is expected, in standard deviations of its distribution; rare cells together."""
    rare = [key for key, p in expected.items() if p * n < 5]
    cells = [(counts[key], p * n) for key, p in expected.items() if p * n >= 5]
    if rare:
        cells.append((sum(counts[key] for key in rare), sum(expected[key] for key in rare) * n))
    degrees = len(cells) - 1
    return (sum((found - wanted) ** 2 / max(wanted, 1e-9) for found, wanted in cells) - degrees) / (2 * degrees) ** 0.5


@pytest.mark.parametrize("seed", [0, 7, 2**31 - 1, 2**40 + 5])
def test_a_seeds_random_numbers_are_those_that_pytorch_makes_of_it(seed: int):
    stream, generator = RandomStream(seed), torch.Generator().manual_seed(seed)
    ahead = stream.ahead(40)
    wanted = torch.cat([torch.rand(32, generator=generator, dtype=torch.float64) for _ in range(2)])[:40].tolist()
    assert ahead == wanted == [stream.next() for _ in range(40)]


def test_a_guess_that_is_kept_as_often_as_it_may_be_leaves_the_distribution():
    """40,000 draws of one token, at a fixed seed, from distributions that differ much; chi-square within 4 deviations.
    Keeping every guess, or drawing again from p itself, is far outside."""
    generator, stream = torch.Generator().manual_seed(0), RandomStream(0)
    p, q = (torch.softmax(2 * torch.randn(12, generator=generator), 0).numpy() for _ in range(2))
    q[3] = 0
    q /= q.sum()
    n, expected = 40_000, dict(enumerate(p.tolist()))
    guesses = torch.multinomial(torch.from_numpy(q), n, replacement=True, generator=generator).tolist()
    kept = Counter(keep_or_draw(p, guess, q, stream) for guess in guesses)
    assert chi_square(kept, expected, n) < 4
    assert chi_square(Counter(guesses), expected, n) > 1000


def test_drafts_leave_the_distribution_of_whole_answers():
    """2,000 answers of three tokens over a vocabulary of 8, seeds 0 to 1,999, against their exact probabilities."""
    shape = {"vocab_size": 8, "dim": 32, "layers": 1, "heads": 2, "kv_heads": 1, "hidden_dim": 48, "context": 16}
    tokenizer = tiny.byte_tokenizer()
    tokenizer.__dict__["vocab_size"] = 8
    tokenizer.__dict__["stop_ids"] = frozenset()
    target, draft = (LanguageModel(tiny.network(seed, **shape).requires_grad_(False), tokenizer) for seed in (1, 2))
    strategy = Sample(temperature=0.8, top_k=5)
    expected: dict[tuple[int, ...], float] = {(): 1.0}
    with torch.inference_mode():
        for _ in range(3):
            longer = {}
            for tokens, probability in expected.items():
                p = strategy.distribution(target.network(torch.tensor([[1, 2, *tokens]]))[0, -1].numpy())
                longer |= {(*tokens, t): probability * float(p[t]) for t in range(8) if p[t] > 0}
            expected = longer
    n, found, drafts = 2000, Counter(), Draft(draft, most=2)
    for first in range(0, n, 500):
        strategies = [strategy.but(seed=seed) for seed in range(first, first + 500)]
        answers = target.generate_batch([[1, 2]] * 500, strategies, max_new_tokens=3, guess=drafts)
        found.update(tuple(answer.tokens) for answer in answers)
    assert set(found) <= set(expected)
    assert chi_square(found, expected, n) < 4


def test_drafts_and_constraints_go_together(model: LanguageModel):
    from lmworks.generation.constraints import Regex

    pytest.importorskip("llguidance")
    form = Regex("[ab]{5,40}")
    for guess in (Lookup(match=1), Draft(make("plain", 9))):
        plain = model.generate("abab", constraint=form, max_new_tokens=60)
        assert model.generate("abab", constraint=form, max_new_tokens=60, guess=guess).tokens == plain.tokens


def test_mistakes_are_one_sentence(model: LanguageModel):
    other = tiny.language_model()
    other.tokenizer.special = {**other.tokenizer.special, 0: "<other>"}
    for ask, words in [
        (lambda: model.generate("a", guess=Draft(other)), "has another vocabulary than the model"),
        (lambda: model.generate("a", Beam(width=2), guess=Lookup()), "guesses are for one answer"),
        (lambda: Draft(model, most=0), "most is 0; guess at least 1 token"),
        (lambda: Lookup(most=0), "most"),
    ]:
        with pytest.raises(ConfigError, match=words):
            ask()
