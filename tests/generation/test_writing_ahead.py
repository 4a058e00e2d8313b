"""Tokens that the compiled path writes ahead of Python: the same to the bit as one by one, and no more than somebody
waits for."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import tiny
import torch

from lmworks.generation import scheduler
from lmworks.generation.answer import Answer
from lmworks.generation.decoding import start
from lmworks.generation.engine import Engine
from lmworks.generation.guessing import Lookup
from lmworks.generation.scheduler import Scheduler
from lmworks.generation.strategies import Greedy, Sample, Strategy
from lmworks.kernels import CompiledRunner, unavailable
from lmworks.kernels.pages import PAGE
from lmworks.language_model import LanguageModel
from lmworks.models.config import RopeScaling
from lmworks.models.runner import Row, TokenChoice, Written

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

STRATEGIES: list[Strategy] = [
    Greedy(),
    Greedy(min_new_tokens=30),
    Sample(temperature=1.2, seed=3),
    Sample(temperature=1.5, top_k=20, top_p=0.9, min_p=0.01, seed=4),
    Sample(temperature=0.01, top_k=5, seed=5),
    Sample(top_p=0.9999999, seed=5),  # left to Python
    Sample(temperature=3.0, min_new_tokens=40, seed=6),
    Sample(top_p=0.9999999, min_new_tokens=40, seed=7),
]
PROMPTS = ["a", "The quick brown fox jumps over", "né 😀", "x" * 60, "one two", "y" * 130, "zz", "abab"]


@pytest.fixture
def model() -> LanguageModel:
    made = tiny.language_model(seed=4, dim=64, heads=4, kv_heads=2, head_dim=16, hidden_dim=96, context=256)
    made.network.requires_grad_(False)
    made.runner = CompiledRunner(made.network, 8)
    return made


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Python chooses each token."""
    with monkeypatch.context() as patch:
        patch.setattr(CompiledRunner, "can_write", lambda *_: False)
        yield patch


def facts(answers: list[Answer]) -> list[tuple[object, ...]]:
    return [(one.tokens, one.logprobs, one.text, one.finish, one.seed) for one in answers]


SAID: list[dict] = [{}, {"stop": ["e", "qu"]}, {"window": "slide", "max_new_tokens": 400}, {"guess": Lookup()}]


@pytest.mark.parametrize("said", SAID, ids=str)
def test_the_same_tokens_as_one_by_one_to_the_bit(model: LanguageModel, one_by_one: pytest.MonkeyPatch, said: dict):
    """Alone and together, up to ends, stop strings, the last token and windows that slide, over the edges of pages;
    and behind guesses, where the kernels choose behind each."""
    said, strategies = {"max_new_tokens": 120} | said, STRATEGIES
    if "window" in said:  # nobody ends before it has slid
        drawn = [Sample(temperature=1 + seed / 4, min_new_tokens=400, seed=seed) for seed in range(7)]
        strategies = [Greedy(min_new_tokens=400), *drawn]
    slowly = facts(model.generate_batch(PROMPTS, strategies, **said))
    one_by_one.undo()
    rounds = []
    write = CompiledRunner.write

    def counting(*said: object) -> Written:
        written = write(*said)  # type: ignore[arg-type]
        rounds.append(written.rounds)
        return written

    one_by_one.setattr(CompiledRunner, "write", counting)
    assert facts(model.generate_batch(PROMPTS, strategies, **said)) == slowly
    assert [facts([model.generate(*one, **said)])[0] for one in zip(PROMPTS, strategies, strict=True)] == slowly
    assert max(rounds) > 1 and len(rounds) < sum(len(one[0]) for one in slowly)


def test_whoever_comes_or_leaves_changes_nothing(model: LanguageModel):
    """Runs that are interrupted at any moment, beside requests that Python has to choose for."""
    alone = facts([model.generate(*one, max_new_tokens=60) for one in zip(PROMPTS, STRATEGIES, strict=True)])
    over = threading.Event()
    with Engine(model, seats=4, queue=30, chunk=16) as engine:

        def interrupt() -> None:
            while not over.wait(0.0005):
                engine._interrupt()

        neighbour = threading.Thread(target=interrupt)
        neighbour.start()
        asked = [(*one, {"logprobs": 0}) for one in zip(PROMPTS, STRATEGIES, strict=True)]
        asked[2:2] = [
            ("b", Greedy(repetition_penalty=1.3), {}),
            ("c", Greedy(), {"logprobs": 2}),
            ("d", Greedy(), {"guess": Lookup()}),
        ]
        handles = [engine.submit(prompt, strategy, max_new_tokens=60, **more) for prompt, strategy, more in asked]
        answers = facts([handle.answer(60) for handle in handles])
    over.set()
    neighbour.join()
    assert answers[:2] + answers[5:] == alone


def written(
    model: LanguageModel, choice: TokenChoice, rounds: int = 6, text: str = "ab", waits: bool = False
) -> tuple[list[int], int]:
    """What one row writes after a text, and how many tokens its cache holds then."""
    runner = model.runner
    with torch.no_grad():
        cache = runner.new_cache(1)
        *before, last = model.tokenizer.encode(text)
        runner.read(np.array([before]), cache)
    found = runner.write([Row([last], choice, [0.0] * rounds)], cache, rounds, np.array([int(waits)]))
    assert len(cache.pages[0]) == -(-cache.sizes[0] // PAGE), "what was reserved for more is given back"
    return found.rows[0].tokens, cache.sizes[0]


def test_a_run_ends_where_its_text_ends_or_somebody_waits(model: LanguageModel):
    tokens, size = written(model, TokenChoice())
    assert len(tokens) == 6 and size == 1 + 6
    ends = np.array([tokens[2]])
    first = tokens.index(tokens[2]) + 1
    assert written(model, TokenChoice(ends=ends)) == (tokens[:first], 1 + first)
    other, _ = written(model, TokenChoice(ends=ends, forbidden=6))
    assert len(other) == 6 and tokens[2] not in other
    assert written(model, TokenChoice(), waits=True) == (tokens[:1], 2)
    assert (
        written(model, TokenChoice(), text="x" * (PAGE - 2), waits=True)[1] == PAGE - 2
    )  # on this side of a page's end


@pytest.mark.parametrize("rows", [1, 2])
def test_among_guesses_an_end_is_forbidden_exactly_as_long_as_without(model: LanguageModel, rows: int):
    """Each guess is a token later than the one before it."""
    tokens, _ = written(model, TokenChoice())
    for place in {tokens.index(token) for token in tokens[:-1]}:
        for forbidden in (place, place + 1):
            choice = TokenChoice(ends=np.array([tokens[place]]), forbidden=forbidden)
            *before, last = model.tokenizer.encode("ab")
            with torch.no_grad():
                cache = model.runner.new_cache(rows)
                model.runner.read(np.array([before] * rows), cache)
            asked = [Row([last, *tokens[:-1]], choice, [0.0] * len(tokens))] * rows
            for row in model.runner.write(asked, cache, 1, np.zeros(1, np.int64)).rows:
                assert (row.tokens[place] == tokens[place]) == (forbidden <= place)


def test_whoever_comes_or_leaves_interrupts_those_that_write(model: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    told: list[str] = []
    monkeypatch.setattr(Scheduler, "interrupt", lambda self: told.append("interrupt"))
    with Engine(model) as engine:
        handle = engine.submit("a", Greedy(min_new_tokens=200), max_new_tokens=200)
        assert told == ["interrupt"]
        handle.cancel()
        assert told == ["interrupt", "interrupt"]


def test_a_token_that_kernels_do_not_choose_ends_the_run(model: LanguageModel):
    tokens, size = written(model, TokenChoice(factor=1.0, top_p=0.9999999))
    assert tokens[-1] == -1 and -1 not in tokens[:-1] and size == 1 + len(tokens)


@pytest.mark.parametrize("original, writes", [(32, False), (400, True)])
def test_where_rotations_depend_on_the_length_of_the_text_a_network_goes_step_by_step(original: int, writes: bool):
    """Texts that are far from the length at which they begin to do so are written ahead: the same tokens."""
    scaling = RopeScaling(kind="dynamic", factor=4.0, original_context=original)
    model = tiny.language_model(seed=4, dim=64, heads=4, head_dim=16, hidden_dim=96, context=1600, rope_scaling=scaling)
    model.network.requires_grad_(False)
    model.runner = CompiledRunner(model.network, 8)
    assert model.runner.can_write(model.runner.new_cache()) is writes
    short = model.generate("ab", Greedy(min_new_tokens=60), max_new_tokens=60).tokens
    assert len(model.generate("ab" * 60, Greedy(min_new_tokens=400), max_new_tokens=400).tokens) == 400  # past 400
    assert model.generate("ab", Greedy(min_new_tokens=60), max_new_tokens=60).tokens == short


def test_a_strategy_of_another_kind_is_asked_for_each_token(model: LanguageModel):
    class Never(Greedy):
        def adjusted(self, logits: np.ndarray, *said: object) -> np.ndarray:
            adjusted = super().adjusted(logits, *said)  # type: ignore[arg-type]
            adjusted[:100] = -np.inf
            return adjusted

    assert (
        min(model.generate("a", Never(), max_new_tokens=20).tokens)
        >= 100
        > min(model.generate("a", max_new_tokens=20).tokens)
    )


def test_numbers_beyond_all_bounds_are_as_good_as_never(model: LanguageModel):
    answer = model.generate("a", Greedy(min_new_tokens=10**30), max_new_tokens=20)
    assert len(answer.tokens) == 20 and answer.finish == "length"


def test_who_keeps_a_handle_does_not_keep_the_engine(model: LanguageModel):
    with Engine(model) as engine:
        handle, scheduler_ = engine.submit("a", max_new_tokens=5), weakref.ref(engine._scheduler)
        handle.answer(30)
    del engine
    gc.collect()
    assert scheduler_() is None and handle.answer(1).finish


def test_nobody_runs_ahead_of_prompts_that_wait(model: LanguageModel):
    running = Scheduler(model.runner, 16)
    writing, long = (
        start(model.request(prompt, Greedy(min_new_tokens=99), 99), model.runner) for prompt in ("a", "x" * 100)
    )
    running.add([writing])
    running.step()
    running.step()
    running.add([long])
    before = len(writing.tokens)
    running.step()
    running.step()
    assert len(writing.tokens) == before + 1


def test_as_many_tokens_as_a_picture_takes(model: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    """At most MOST_AHEAD, and one where a step takes longer than all of them may."""
    for seconds, most in ((100.0, scheduler.MOST_AHEAD), (0.0, 1)):
        monkeypatch.setattr(scheduler, "SECONDS_AHEAD", seconds)
        running = Scheduler(model.runner)
        sequence = start(model.request("a", Greedy(min_new_tokens=50), 50), model.runner)
        running.add([sequence])
        sizes = []
        while running.busy:
            before = len(sequence.tokens)
            running.step()
            sizes.append(len(sequence.tokens) - before)
        assert max(sizes) == most and sum(sizes) == 50
