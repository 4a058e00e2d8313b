"""The engine: requests that come and go, streams, cancelling, a full queue, faults that stay with their request."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import tiny
import torch

from lmworks.basics.errors import ConfigError, EngineClosed, QueueFull
from lmworks.generation.decoding import start
from lmworks.generation.engine import Engine
from lmworks.generation.guessing import Guessed
from lmworks.generation.handle import RequestHandle
from lmworks.generation.scheduler import MOST_AHEAD, Scheduler
from lmworks.generation.sequence import Sequence
from lmworks.generation.strategies import Beam, Greedy, Sample, Strategy
from lmworks.generation.token_sequence import TokenSequence
from lmworks.kernels import CompiledRunner, unavailable
from lmworks.language_model import LanguageModel

SHAPE = {"dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "context": 512}
PROMPTS = ["a", "The quick brown fox jumps over", "né 😀", "x" * 150, "one two", "y" * 70]
STRATEGIES: list[Strategy] = [Greedy(), Sample(temperature=1.2, seed=3), Greedy(repetition_penalty=1.3), Beam(width=3)]
LONG = Greedy(min_new_tokens=500)
"""Goes on until it is stopped."""
ASKED = [
    (prompt, strategy, 3 + 7 * number)
    for number, (prompt, strategy) in enumerate(itertools.product(PROMPTS[:4], STRATEGIES))
]


def make(path: str, **settings: object) -> LanguageModel:
    model = tiny.language_model(seed=4, **(SHAPE | settings))
    model.network.requires_grad_(False)
    if path == "compiled":
        if unavailable() is not None:
            pytest.skip(str(unavailable()))
        model.runner = CompiledRunner(model.network, 8)
    return model


def begun(model: LanguageModel, *asked: Any, **said: Any) -> Sequence:
    return start(model.request(*asked, **said), model.runner)


@pytest.fixture(scope="module", params=["plain", "compiled"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return make(request.param)


@pytest.fixture
def engine(model: LanguageModel) -> Iterator[Engine]:
    with Engine(model, seats=6, queue=30, chunk=16) as made:
        yield made


def test_answers_are_those_of_generate_whatever_runs_beside_them(model: LanguageModel, engine: Engine):
    """Pitfalls 30 and 33: prompts in parts, more requests than seats, rows that come and go, beams among them."""
    handles = [
        engine.submit(prompt, strategy, max_new_tokens=size, logprobs=None if isinstance(strategy, Beam) else 0)
        for prompt, strategy, size in ASKED
    ]
    answers = [handle.answer(60) for handle in handles]
    for (prompt, strategy, size), answer in zip(ASKED, answers, strict=True):
        alone = model.generate(prompt, strategy, max_new_tokens=size)
        assert (answer.tokens, answer.finish, answer.seed) == (alone.tokens, alone.finish, alone.seed)
        assert answer == alone
        if isinstance(model.runner, CompiledRunner):
            assert answer.logprobs == alone.logprobs  # to the bit
        assert answer.logprobs == pytest.approx(alone.logprobs, abs=1e-4)
    state = engine.state
    assert state.finished == len(ASKED) and state.running == state.waiting == 0
    assert state.written_tokens == sum(len(answer.tokens) for answer in answers)


def test_deltas_joined_are_the_answer(model: LanguageModel, engine: Engine):
    """Pitfalls 31 and 32."""
    for prompt in PROMPTS:
        handle = engine.submit(prompt, max_new_tokens=40, stop=["e"], logprobs=3)
        deltas = list(handle)
        answer = handle.answer(1)
        assert "".join(delta.text for delta in deltas) == answer
        tokens = [token for delta in deltas for token in delta.tokens]
        assert [token.id for token in tokens] == answer.tokens
        assert [token.logprob for token in tokens] == answer.logprobs
        assert all(token.top[0] == (token.id, token.logprob) and len(token.top) == 3 for token in tokens)
        assert [delta.finish for delta in deltas] == [None] * (len(deltas) - 1) + [answer.finish]
        assert answer == model.generate(prompt, max_new_tokens=40, stop=["e"])


def test_what_was_written_before_a_fault_comes_before_it(model: LanguageModel):
    """Once: in a thread and in asyncio."""

    def failed() -> RequestHandle:
        handle = RequestHandle(begun(model, "a"))
        handle.sequence.tokens.append(5)
        handle.publish("x")
        handle.fail(ConfigError("no further"))
        return handle

    taken: list[str] = []
    with pytest.raises(ConfigError, match="no further"):
        for delta in failed():
            taken.append(delta.text)

    async def read() -> None:
        async for delta in failed():
            taken.append(delta.text)

    with pytest.raises(ConfigError, match="no further"):
        asyncio.run(read())
    assert taken == ["x", "x"]


def test_counts_go_on_with_each_step(model: LanguageModel, engine: Engine):
    """Tokens are counted as they come, once: those of answers that end, that are cancelled, and of beams, which
    write at the end alone; a prompt when it was read."""
    step = engine._scheduler.step
    engine._scheduler.step = lambda: time.sleep(0.01) or step()  # type: ignore[method-assign]
    handle = engine.submit("x" * 40, LONG, max_new_tokens=400)
    deltas = iter(handle)
    for _ in range(3):
        next(deltas)
    state = engine.state
    assert state.running == 1 and 3 <= state.written_tokens < 400 and state.prompt_tokens == 40
    handle.cancel()
    written = len(handle.answer(60).tokens)
    assert engine.state.written_tokens == written and engine.state.prompt_tokens == 40
    beams = engine.submit("ab", Beam(width=3), max_new_tokens=5).answer(60)
    assert engine.state.written_tokens == written + len(beams.tokens) and engine.state.prompt_tokens == 42


def test_the_cache_is_weighed_when_somebody_leaves(model: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    """However seldom it is weighed meanwhile: what stands there until the next request is what is held."""
    monkeypatch.setattr("lmworks.generation.engine.SECONDS_TO_WEIGH", 1e9)
    with Engine(model, seats=2) as engine:
        engine.submit("a", LONG, max_new_tokens=300).answer(60)
        assert engine.state.cache_bytes == engine._scheduler.bytes > 0


def test_streams_in_asyncio(model: LanguageModel, engine: Engine):
    async def one(prompt: str) -> str:
        return "".join([delta.text async for delta in engine.submit(prompt, max_new_tokens=20)])

    async def all_() -> list[str]:
        return await asyncio.gather(*map(one, PROMPTS))

    assert asyncio.run(all_()) == [model.generate(prompt, max_new_tokens=20) for prompt in PROMPTS]
    whole = engine.submit("a", max_new_tokens=9)
    assert asyncio.run(whole.whole()) == model.generate("a", max_new_tokens=9)


def written_after_cancel(engine: Engine, handle: RequestHandle, cancel: object) -> int:
    """Tokens that came after the cancelling; the engine may be in the middle of a step, and its tokens may be
    written already."""
    with engine._changed:
        before = len(handle.sequence.tokens)
        cancel()  # type: ignore[operator]
    with handle._changed:
        assert handle._changed.wait_for(lambda: handle.ended is not None, 30)
    return len(handle.sequence.tokens) - before


def test_cancelling_stops_the_work_within_one_step(engine: Engine):
    other = engine.submit("b", LONG, max_new_tokens=400)
    handle = engine.submit("a", LONG, max_new_tokens=450)
    next(iter(handle))  # leaving the loop cancels, too
    assert handle.answer(30).finish == "cancelled" and len(handle.sequence.tokens) < 450
    handle = engine.submit("a", LONG, max_new_tokens=450)
    deltas = iter(handle)
    next(deltas)
    assert written_after_cancel(engine, handle, handle.cancel) <= MOST_AHEAD
    assert [delta.finish for delta in deltas][-1] == "cancelled"
    assert other.answer(60).finish == "length"
    assert engine.state.cancelled == 2 and engine.state.running == 0


def test_a_client_that_leaves_in_asyncio_cancels(engine: Engine):
    async def leave() -> RequestHandle:
        handle = engine.submit("a", LONG, max_new_tokens=450)

        async def read() -> None:
            async for _ in handle:
                started.set()

        started = asyncio.Event()
        task = asyncio.create_task(read())
        await started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return handle

    handle = asyncio.run(leave())
    assert handle.cancelled and handle.answer(30).finish == "cancelled"


def test_cancelled_prompts_are_read_no_further(model: LanguageModel):
    """A request that leaves while its prompt is read, alone or beside others."""
    scheduler, sequences = Scheduler(model.runner, 16), [begun(model, "x" * 100), begun(model, "y" * 90, None, 5)]
    scheduler.add(sequences)
    scheduler.step()
    scheduler.drop(sequences[0])
    while scheduler.busy:
        scheduler.step()
    assert sequences[0].finish == "cancelled" and not sequences[0].tokens
    assert sequences[1].tokens == model.generate("y" * 90, max_new_tokens=5).tokens


def test_a_full_queue_says_so_and_loses_nothing(model: LanguageModel):
    with Engine(model, seats=1, queue=3) as engine:
        first = engine.submit("a", LONG, max_new_tokens=300)
        next_delta = iter(first)
        next(next_delta)  # it has its seat
        waiting = [engine.submit(prompt, max_new_tokens=4) for prompt in PROMPTS[:3]]
        with pytest.raises(QueueFull, match="3 requests wait already; ask again later") as caught:
            engine.submit("b")
        assert caught.value.seconds >= 1
        first.cancel()
        assert [handle.answer(60) for handle in waiting] == [model.generate(p, max_new_tokens=4) for p in PROMPTS[:3]]
        assert engine.state.refused == 1


def test_a_request_of_many_rows_is_not_passed_over_by_small_ones(model: LanguageModel):
    """It waits for as many seats as it needs, and those who come later wait behind it."""
    with Engine(model, seats=4, queue=10) as engine:
        running = [
            engine.submit(prompt, LONG, max_new_tokens=size) for prompt, size in (("a", 40), ("b", 60), ("c", 80))
        ]
        for handle in running:
            next(iter(handle))
        running = [engine.submit(prompt, LONG, max_new_tokens=30 * at) for at, prompt in enumerate("def", 1)]
        beams = engine.submit("x", Beam(width=4), max_new_tokens=4)
        later = [engine.submit(prompt, max_new_tokens=2) for prompt in PROMPTS[:4]]
        for handle in (*running, beams, *later):
            handle.answer(60)
        assert beams.first is not None and all(beams.first <= handle.first for handle in later)
        assert beams.first >= max(handle.ended for handle in running)


def test_a_thousand_requests_are_answered_each_its_own(model: LanguageModel):
    """From eight threads that ask again when the queue is full: none lost, none mixed up."""
    seeds = range(1000)
    expected = {seed: model.generate("a", Sample(temperature=1.5, seed=seed), max_new_tokens=2) for seed in seeds[::50]}
    found: dict[int, str] = {}
    full = 0

    def ask(own: range) -> None:
        nonlocal full
        own_handles: list[tuple[int, RequestHandle]] = []
        for seed in own:
            while True:
                try:
                    handle = engine.submit("a", Sample(temperature=1.5, seed=seed), max_new_tokens=2)
                    break
                except QueueFull:
                    full += 1
                    next((one for one in list(sent) if one.ended is None), sent[-1]).answer(60)
            sent.append(handle)
            own_handles.append((seed, handle))
        for seed, handle in own_handles:
            found[seed] = handle.answer(60)

    sent: list[RequestHandle] = []
    with Engine(model, seats=16, queue=20) as engine:
        threads = [threading.Thread(target=ask, args=(seeds[start::8],)) for start in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert len(found) == 1000 and full  # how often depends on the machine
    assert {seed: found[seed] for seed in expected} == expected


def test_a_long_prompt_does_not_stop_the_others(model: LanguageModel):
    """Every stream goes on after each of its parts, and a short prompt does not wait for its end."""
    scheduler = Scheduler(model.runner, 16)
    writing, long, short = (begun(model, prompt, LONG, 60) for prompt in ("a", "x" * 200, "b" * 20))
    scheduler.add([writing])
    scheduler.step()
    scheduler.add([long])
    scheduler.step()
    scheduler.add([short])
    for _ in range(4):
        before = len(writing.tokens)
        for _ in range(2):
            scheduler.step()
        assert len(writing.tokens) == before + 1
    assert short.tokens and not long.tokens
    while scheduler.busy:
        scheduler.step()
    assert long.tokens == model.generate("x" * 200, LONG, max_new_tokens=60).tokens


def test_several_parts_are_read_between_two_tokens_and_who_comes_waits_for_one(model: LanguageModel):
    scheduler = Scheduler(model.runner, 16, between=64)
    writing, long, short = (begun(model, prompt, LONG, 60) for prompt in ("a", "x" * 200, "b" * 10))
    scheduler.add([writing])
    scheduler.step()
    scheduler.step()
    scheduler.add([long])
    written = []
    for step in range(10):
        if step == 6:
            scheduler.add([short])
        scheduler.step()
        written.append(len(writing.tokens))
    assert (
        written[0] == written[3] == written[4] - 1 == written[8] - 1 == written[9] - 2
    )  # four parts, a token, three parts, `short`, a token
    assert len(short.tokens) == 2 and not long.tokens


def test_prompts_of_a_token_do_not_hold_up_streams(model: LanguageModel):
    """Whoever asks for one token again and again: a step of reading costs, however little it reads."""
    scheduler = Scheduler(model.runner, 16, between=64)
    writing = begun(model, "a", LONG, 60)
    scheduler.add([writing])
    scheduler.step()
    scheduler.step()
    before = len(writing.tokens)
    for _ in range(68):
        scheduler.add([begun(model, "b", LONG, 1)])
        scheduler.step()
    assert len(writing.tokens) == before + 4  # sixteen steps of reading between two tokens


def test_short_prompts_are_read_between_two_tokens_and_keep_no_long_one_waiting(model: LanguageModel):
    scheduler = Scheduler(model.runner, 16)
    writing, long = (begun(model, prompt, LONG, 60) for prompt in ("a", "x" * 80))
    short = [begun(model, "b" * 4, LONG, 1) for _ in range(40)]
    for request in (writing, long, *short[:3]):
        scheduler.add([request])
    for _ in range(4):
        scheduler.step()
    assert len(writing.tokens) == 1 and all(one.tokens for one in short[:3]) and not long.tokens
    for request in short[3:]:  # others come all the time
        scheduler.add([request])
        while not request.tokens:
            scheduler.step()
        if long.tokens:
            break
    assert 13 < short.index(request) < 24  # 80 tokens of others, and no more, were read before its last ones
    while scheduler.busy:
        scheduler.step()
    assert long.tokens == model.generate("x" * 80, LONG, max_new_tokens=60).tokens


def test_a_fault_stays_with_its_request(model: LanguageModel, engine: Engine, monkeypatch: pytest.MonkeyPatch):
    bad, good = (model.request(prompt, None, 30) for prompt in "ab")
    observe = TokenSequence.observe

    def failing_observe(self: TokenSequence, logits: torch.Tensor) -> str:
        return str(1 // 0) if self.request is bad else observe(self, logits)

    monkeypatch.setattr(TokenSequence, "observe", failing_observe)
    failing, running = engine.run(bad), engine.run(good)
    assert running.answer(30) == model.generate("b", max_new_tokens=30)
    with pytest.raises(RuntimeError, match="the engine failed") as caught:
        list(failing)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert engine.state.failed == 1 and engine.state.finished == 1


def test_an_engine_goes_on_after_its_network_failed(
    model: LanguageModel, engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(model.runner, "next_logits", lambda *_: 1 // 0)
        with pytest.raises(RuntimeError):
            engine.submit("a").answer(30)
    assert engine.submit("a", max_new_tokens=7).answer(30) == model.generate("a", max_new_tokens=7)


def test_closing_finishes_or_cancels(model: LanguageModel):
    engine = Engine(model, seats=2)
    handles = [engine.submit(prompt, max_new_tokens=20) for prompt in PROMPTS]
    assert engine.close(finish=True)
    assert [handle.answer(0) for handle in handles] == [model.generate(p, max_new_tokens=20) for p in PROMPTS]
    with pytest.raises(EngineClosed, match="takes no more requests"):
        engine.submit("a")
    engine = Engine(model, seats=2)
    handles = [engine.submit(prompt, LONG, max_new_tokens=300) for prompt in PROMPTS]
    assert engine.close(finish=False, timeout=30)
    assert {handle.answer(0).finish for handle in handles} <= {"cancelled", "length", "stop"}
    assert handles[-1].answer(0).finish == "cancelled"


def test_log_probabilities_of_the_prompt(model: LanguageModel, engine: Engine):
    """What a harness asks for: the prompt's own tokens, and nothing or one token behind it."""
    for prompt in PROMPTS:
        ids = model.tokenizer.encode(prompt)
        handle = engine.submit(ids, max_new_tokens=0, prompt_logprobs=True, logprobs=2)
        assert handle.answer(30).tokens == [] and handle.answer(0).finish == "length"
        assert [token.id for token in handle.prompt_tokens] == ids and handle.prompt_tokens[0].logprob is None
        logprobs = model.logits([ids])[0].log_softmax(-1)
        for place, token in enumerate(handle.prompt_tokens[1:]):
            assert token.logprob == pytest.approx(float(logprobs[place, token.id]), abs=1e-4)
            assert [id for id, _ in token.top] == logprobs[place].topk(2).indices.tolist()


def test_mistakes_are_one_sentence(model: LanguageModel, engine: Engine):
    for ask, words in [
        (lambda: engine.submit("a", Beam(width=7)), "the request needs 7 rows and the engine has 6 seats"),
        (lambda: engine.submit("a", Beam(width=2), logprobs=1), "ask for no others"),
        (lambda: engine.submit("x" * 600), "the prompt has 600 tokens and the model reads 512"),
        (lambda: engine.submit([5, 10**6]), "the prompt names the token 1,000,000"),
        (lambda: engine.submit([-1]), "the prompt names the token -1"),
        (lambda: engine.submit("a", max_new_tokens=0), "max_new_tokens is 0"),
        (lambda: Engine(model, seats=0), "seats is 0; give at least 1"),
    ]:
        with pytest.raises(ConfigError) as caught:
            ask()
        assert words in str(caught.value) and "\n" not in str(caught.value)


def test_encoder_decoders_and_recurrent_networks_come_and_go_too():
    """Sources of other lengths join those that are being written; the state of an LSTM does, too."""
    from lmworks.models.relatives.recurrent import RecurrentNetwork
    from lmworks.models.relatives.recurrent_config import RecurrentConfig

    tokenizer = tiny.byte_tokenizer()
    shape = {"vocab_size": tokenizer.vocab_size, "dim": 32, "layers": 2, "context": 128}
    networks = [tiny.network(seed=2, arrangement="encoder-decoder", **shape)]
    for arrangement in ("decoder", "encoder-decoder"):
        attention = "none" if arrangement == "decoder" else "additive"
        config = RecurrentConfig(arrangement=arrangement, attention=attention, **shape)
        networks.append(RecurrentNetwork(config).initialise(3))
        tiny.randomise(networks[-1], 5)
    for network in networks:
        model = LanguageModel(network.eval(), tokenizer)
        asked = [(prompt[:60], strategy) for prompt in PROMPTS for strategy in STRATEGIES]
        with Engine(model, seats=5, chunk=8) as engine:
            handles = [engine.submit(prompt, strategy, max_new_tokens=12) for prompt, strategy in asked]
            answers = [handle.answer(60) for handle in handles]
        for (prompt, strategy), answer in zip(asked, answers, strict=True):
            assert answer.tokens == model.generate(prompt, strategy, max_new_tokens=12).tokens, (prompt, strategy)


def test_padding_is_given_back(model: LanguageModel):
    """A scheduler that never empties does not grow: columns that nobody has any text in are closed up."""
    scheduler = Scheduler(model.runner, 64)
    waiting = [begun(model, "ab" * (5 + number % 3), LONG, 20) for number in range(40)]
    scheduler.add([waiting.pop()])
    most, sequences = 0, list(waiting)
    while scheduler.busy:
        for _ in range(10):
            scheduler.step()
        most = max(most, scheduler.bytes)
        if waiting:
            scheduler.add([waiting.pop()])
    assert all(len(request.tokens) == 20 for request in sequences)
    per_token = 2 * 2 * 2 * 16 * 4
    assert most < 5 * 300 * per_token
    assert torch.is_inference_mode_enabled() is False


def shared_model() -> LanguageModel:
    return make("compiled")


START = "".join(chr(97 + (7 * at) % 26) for at in range(200))


def test_texts_that_begin_alike_are_read_once_and_written_the_same_to_the_bit():
    model = shared_model()
    asked = [START + end for end in ("a", "bcd", "", "a", "e" * 90)] + [START[:64], START[:65], START[:130] + "!"]
    expected = [model.generate(prompt, LONG, max_new_tokens=20) for prompt in asked]
    with Engine(model, seats=3, chunk=16) as engine:
        first = engine.submit(asked[0], LONG, max_new_tokens=20)
        assert first.answer(30).tokens == expected[0].tokens and first.sequence.reused == 0
        handles = [engine.submit(prompt, LONG, max_new_tokens=20, logprobs=0) for prompt in asked[1:]]
        for handle, one in zip(handles, expected[1:], strict=True):
            answer = handle.answer(30)
            assert answer.tokens == one.tokens and answer.logprobs == one.logprobs
        assert [handle.sequence.reused for handle in handles] == [192, 192, 192, 192, 0, 64, 128]
        assert engine.state.reused_tokens == 4 * 192 + 64 + 128
        # A conversation that goes on: the answer was read when it was written.
        again = engine.submit([*first.sequence.request.prompt, *first.sequence.tokens, 5, 6], LONG, max_new_tokens=4)
        again.answer(30)
        assert again.sequence.reused == 192
        more = engine.submit(START + "e" * 90, LONG, max_new_tokens=60).answer(30)
        again = engine.submit([*more.prompt, *more.tokens, 5, 6], LONG, max_new_tokens=4, logprobs=0)
        alone = model.generate(again.sequence.request.prompt, LONG, max_new_tokens=4)
        assert again.answer(30).logprobs == alone.logprobs and again.sequence.reused == 320


def test_equal_prompts_that_come_together_are_read_once():
    model = shared_model()
    with Engine(model, seats=4, chunk=32) as engine:
        # Long answers: the first is still being written when the others begin.
        strategies = [Sample(seed=seed, min_new_tokens=60) for seed in range(4)]
        handles = [engine.submit(START, strategy, max_new_tokens=60, logprobs=0) for strategy in strategies]
        for strategy, handle in zip(strategies, handles, strict=True):
            assert handle.answer(30).logprobs == model.generate(START, strategy, max_new_tokens=60).logprobs
        assert engine.state.reused_tokens == 3 * 192


def run_alone(scheduler: Scheduler, model: LanguageModel, prompt: list[int]) -> int:
    """How many tokens of a prompt lay in the cache; what is written behind it is what the model writes alone, to the
    bit."""
    request = begun(model, prompt, LONG, 3)
    scheduler.add([request])
    while scheduler.busy:
        scheduler.step()
    assert request.logprobs == model.generate(prompt, LONG, max_new_tokens=3).logprobs
    return request.reused


@pytest.mark.parametrize("ends", [True, False])
def test_each_row_is_kept_as_the_text_that_it_holds(ends: bool):
    """Of prompts that are read together and answers that are written together, before they end and behind it."""
    model = shared_model()
    scheduler = Scheduler(model.runner, 512, prefix_bytes=2**26)
    sequences = [begun(model, letter * 66, LONG, size) for letter, size in (("a", 90), ("b", 70), ("c", 80))]
    scheduler.add(sequences)
    while scheduler.busy if ends else not sequences[0].tokens:
        scheduler.step()
    for request in sequences:
        prompt = request.request.prompt
        text = [*prompt, *request.tokens] if ends else prompt
        assert run_alone(scheduler, model, [*text, 5]) == (128 if ends else 64)


def test_a_guess_that_was_wrong_is_kept_under_no_text():
    """An answer that ends while guesses stand behind it: the last token was not read, and in its place lies a guess."""

    class Wrong:
        def start(self, *_: object) -> Wrong:
            return self

        def guess(self, read: list[int], written: int, most: int, beside: int) -> Guessed:
            return Guessed((5, 6, 7))

    model = shared_model()
    scheduler = Scheduler(model.runner, 512, prefix_bytes=2**26)
    always_a = Greedy(logit_bias={model.tokenizer.encode("a")[0]: 100})
    # Its end is the last place of a page.
    request = begun(model, "x" * 28, always_a, 200, ["a" * 100], guess=Wrong())
    scheduler.add([request])
    while scheduler.busy:
        scheduler.step()
    assert request.finish == "stop" and len(request.request.prompt) + len(request.tokens) == 128
    assert run_alone(scheduler, model, [*request.request.prompt, *request.tokens, 5]) == 64


@pytest.mark.parametrize("cancels", [False, True])
def test_a_window_that_slid_is_not_kept_as_what_it_reads_again(cancels: bool):
    """Its row holds the text as it was before: under the new text's tokens it would be another's keys and values."""
    model = make("compiled", context=256)
    scheduler = Scheduler(model.runner, 64, prefix_bytes=2**26)
    request = begun(model, "ab" * 30, LONG, 600, window="slide")
    scheduler.add([request])
    while scheduler.busy:
        scheduler.step()
        if cancels and request.slid:
            scheduler.drop(request)
    if cancels:
        assert request.finish == "cancelled" and request.reused == 0
        assert run_alone(scheduler, model, [*request.opening, 5]) == 0
    else:
        alone = model.generate("ab" * 30, LONG, max_new_tokens=600, window="slide")
        assert request.slid == alone.slid >= 3 and request.logprobs == alone.logprobs


def test_kept_beginnings_have_an_end_and_rows_count_as_users():
    """The least wanted leave first, from their ends; a page that a row still holds lives on with it."""
    model = shared_model()
    page = model.runner.compiled._page_bytes
    scheduler = Scheduler(model.runner, 512, prefix_bytes=4 * page)
    texts = [chr(97 + number) * 193 for number in range(3)]  # three pages each

    def run(text: str, size: int = 2) -> int:
        request = begun(model, text, LONG, size)
        scheduler.add([request])
        while scheduler.busy:
            scheduler.step()
        assert request.logprobs == model.generate(text, LONG, max_new_tokens=size).logprobs
        return request.reused

    assert [run(texts[0]), run(texts[0]), run(texts[1])] == [0, 192, 0]
    assert scheduler.bytes == 4 * page
    assert run(texts[0]) == 64  # its end left for the other's; what is read again takes the place of that
    assert [run(texts[0]), run(texts[1])] == [192, 64]
    kept = scheduler._prefixes.pages()
    assert all(one.users == 1 for one in kept)  # rows that ended hold nothing
    request = begun(model, texts[1], LONG, 300)
    scheduler.add([request])
    scheduler.step()
    assert sum(one.users == 2 for one in scheduler._prefixes.pages()) == 3
    for text in ("d" * 300, "e" * 300):
        run_beside = begun(model, text, LONG, 2)
        scheduler.add([run_beside])
        while not run_beside.finish:
            scheduler.step()
    while scheduler.busy:
        scheduler.step()
    assert request.logprobs == model.generate(texts[1], LONG, max_new_tokens=300).logprobs


def test_kept_beginnings_are_not_those_of_other_weights():
    model = shared_model()
    with Engine(model, chunk=64) as engine:
        engine.submit(START, max_new_tokens=2).answer(30)
        with torch.no_grad():
            model.network.blocks[0].feed_forward.down.weight.mul_(2)
        model.runner = CompiledRunner(model.network, 8)
        handle = engine.submit(START, max_new_tokens=9, logprobs=0)
        assert handle.answer(30).logprobs == model.generate(START, max_new_tokens=9).logprobs
        assert handle.sequence.reused == 0
