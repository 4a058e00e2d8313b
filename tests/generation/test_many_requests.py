"""The engine: requests that come and go, streams, cancelling, a full queue, faults that stay with their request."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator

import pytest
import tiny
import torch

from lmworks.basics.errors import ConfigError, EngineClosed, QueueFull
from lmworks.generation.batch import MOST_AHEAD, Batch
from lmworks.generation.engine import Engine
from lmworks.generation.guessing import Guess
from lmworks.generation.strategies import Beam, Greedy, Sample, Strategy
from lmworks.generation.ticket import Ticket
from lmworks.kernels import compiled, unavailable
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
        model.network.engine = compiled(model.network, 8)
    return model


@pytest.fixture(scope="module", params=["plain", "compiled"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return make(request.param)


@pytest.fixture
def engine(model: LanguageModel) -> Iterator[Engine]:
    with Engine(model, seats=6, queue=30, chunk=16) as made:
        yield made


def test_answers_are_those_of_generate_whatever_runs_beside_them(model: LanguageModel, engine: Engine):
    """Pitfalls 30 and 33: prompts in parts, more requests than seats, rows that come and go, beams among them."""
    tickets = [
        engine.submit(prompt, strategy, max_new_tokens=size, logprobs=None if isinstance(strategy, Beam) else 0)
        for prompt, strategy, size in ASKED
    ]
    answers = [ticket.answer(60) for ticket in tickets]
    for (prompt, strategy, size), answer in zip(ASKED, answers, strict=True):
        alone = model.generate(prompt, strategy, max_new_tokens=size)
        assert (answer.tokens, answer.finish, answer.seed) == (alone.tokens, alone.finish, alone.seed)
        assert answer == alone
        if model.network.engine is not None:
            assert answer.logprobs == alone.logprobs  # to the bit
        assert answer.logprobs == pytest.approx(alone.logprobs, abs=1e-4)
    state = engine.state
    assert state.finished == len(ASKED) and state.running == state.waiting == 0
    assert state.written_tokens == sum(len(answer.tokens) for answer in answers)


def test_pieces_joined_are_the_answer(model: LanguageModel, engine: Engine):
    """Pitfalls 31 and 32."""
    for prompt in PROMPTS:
        ticket = engine.submit(prompt, max_new_tokens=40, stop=["e"], logprobs=3)
        pieces = list(ticket)
        answer = ticket.answer(1)
        assert "".join(piece.text for piece in pieces) == answer
        tokens = [token for piece in pieces for token in piece.tokens]
        assert [token.id for token in tokens] == answer.tokens
        assert [token.logprob for token in tokens] == answer.logprobs
        assert all(token.top[0] == (token.id, token.logprob) and len(token.top) == 3 for token in tokens)
        assert [piece.finish for piece in pieces] == [None] * (len(pieces) - 1) + [answer.finish]
        assert answer == model.generate(prompt, max_new_tokens=40, stop=["e"])


def test_what_was_written_before_a_fault_comes_before_it(model: LanguageModel):
    """Once: in a thread and in asyncio."""

    def failed() -> Ticket:
        ticket = Ticket(model.request("a"))
        ticket.request.tokens.append(5)
        ticket.tell("x")
        ticket.fail(ConfigError("no further"))
        return ticket

    taken: list[str] = []
    with pytest.raises(ConfigError, match="no further"):
        for piece in failed():
            taken.append(piece.text)

    async def read() -> None:
        async for piece in failed():
            taken.append(piece.text)

    with pytest.raises(ConfigError, match="no further"):
        asyncio.run(read())
    assert taken == ["x", "x"]


def test_counts_go_on_with_each_step(model: LanguageModel, engine: Engine):
    """Tokens are counted as they come, once: those of answers that end, that are cancelled, and of beams, which write at the
    end alone; a prompt when it was read."""
    step = engine._batch.step
    engine._batch.step = lambda: time.sleep(0.01) or step()  # type: ignore[method-assign]
    ticket = engine.submit("x" * 40, LONG, max_new_tokens=400)
    pieces = iter(ticket)
    for _ in range(3):
        next(pieces)
    state = engine.state
    assert state.running == 1 and 3 <= state.written_tokens < 400 and state.prompt_tokens == 40
    ticket.cancel()
    written = len(ticket.answer(60).tokens)
    assert engine.state.written_tokens == written and engine.state.prompt_tokens == 40
    beams = engine.submit("ab", Beam(width=3), max_new_tokens=5).answer(60)
    assert engine.state.written_tokens == written + len(beams.tokens) and engine.state.prompt_tokens == 42


def test_the_cache_is_weighed_when_somebody_leaves(model: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    """However seldom it is weighed meanwhile: what stands there until the next request is what is held."""
    monkeypatch.setattr("lmworks.generation.engine.SECONDS_TO_WEIGH", 1e9)
    with Engine(model, seats=2) as engine:
        engine.submit("a", LONG, max_new_tokens=300).answer(60)
        assert engine.state.cache_bytes == engine._batch.bytes > 0


def test_streams_in_asyncio(model: LanguageModel, engine: Engine):
    async def one(prompt: str) -> str:
        return "".join([piece.text async for piece in engine.submit(prompt, max_new_tokens=20)])

    async def all_() -> list[str]:
        return await asyncio.gather(*map(one, PROMPTS))

    assert asyncio.run(all_()) == [model.generate(prompt, max_new_tokens=20) for prompt in PROMPTS]
    whole = engine.submit("a", max_new_tokens=9)
    assert asyncio.run(whole.whole()) == model.generate("a", max_new_tokens=9)


def written_after_cancel(engine: Engine, ticket: Ticket, cancel: object) -> int:
    """Tokens that came after the cancelling; the engine may be in the middle of a step, and its tokens may be written already."""
    with engine._changed:
        before = len(ticket.request.tokens)
        cancel()  # type: ignore[operator]
    with ticket._changed:
        assert ticket._changed.wait_for(lambda: ticket.ended is not None, 30)
    return len(ticket.request.tokens) - before


def test_cancelling_stops_the_work_within_one_step(engine: Engine):
    other = engine.submit("b", LONG, max_new_tokens=400)
    ticket = engine.submit("a", LONG, max_new_tokens=450)
    next(iter(ticket))  # leaving the loop cancels, too
    assert ticket.answer(30).finish == "cancelled" and len(ticket.request.tokens) < 450
    ticket = engine.submit("a", LONG, max_new_tokens=450)
    pieces = iter(ticket)
    next(pieces)
    assert written_after_cancel(engine, ticket, ticket.cancel) <= MOST_AHEAD
    assert [piece.finish for piece in pieces][-1] == "cancelled"
    assert other.answer(60).finish == "length"
    assert engine.state.cancelled == 2 and engine.state.running == 0


def test_a_client_that_leaves_in_asyncio_cancels(engine: Engine):
    async def leave() -> Ticket:
        ticket = engine.submit("a", LONG, max_new_tokens=450)

        async def read() -> None:
            async for _ in ticket:
                started.set()

        started = asyncio.Event()
        task = asyncio.create_task(read())
        await started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return ticket

    ticket = asyncio.run(leave())
    assert ticket.cancelled and ticket.answer(30).finish == "cancelled"


def test_cancelled_prompts_are_read_no_further(model: LanguageModel):
    """A request that leaves while its prompt is read, alone or beside others."""
    batch, requests = Batch(model.network, 16), [model.request("x" * 100), model.request("y" * 90, None, 5)]
    batch.add(requests)
    batch.step()
    batch.drop(requests[0])
    while batch.busy:
        batch.step()
    assert requests[0].finish == "cancelled" and not requests[0].tokens
    assert requests[1].tokens == model.generate("y" * 90, max_new_tokens=5).tokens


def test_a_full_queue_says_so_and_loses_nothing(model: LanguageModel):
    with Engine(model, seats=1, queue=3) as engine:
        first = engine.submit("a", LONG, max_new_tokens=300)
        next_piece = iter(first)
        next(next_piece)  # it has its seat
        waiting = [engine.submit(prompt, max_new_tokens=4) for prompt in PROMPTS[:3]]
        with pytest.raises(QueueFull, match="3 requests wait already; ask again later") as caught:
            engine.submit("b")
        assert caught.value.seconds >= 1
        first.cancel()
        assert [ticket.answer(60) for ticket in waiting] == [model.generate(p, max_new_tokens=4) for p in PROMPTS[:3]]
        assert engine.state.refused == 1


def test_a_request_of_many_rows_is_not_passed_over_by_small_ones(model: LanguageModel):
    """It waits for as many seats as it needs, and those who come later wait behind it."""
    with Engine(model, seats=4, queue=10) as engine:
        running = [
            engine.submit(prompt, LONG, max_new_tokens=size) for prompt, size in (("a", 40), ("b", 60), ("c", 80))
        ]
        for ticket in running:
            next(iter(ticket))
        running = [engine.submit(prompt, LONG, max_new_tokens=30 * at) for at, prompt in enumerate("def", 1)]
        beams = engine.submit("x", Beam(width=4), max_new_tokens=4)
        later = [engine.submit(prompt, max_new_tokens=2) for prompt in PROMPTS[:4]]
        for ticket in (*running, beams, *later):
            ticket.answer(60)
        assert beams.first is not None and all(beams.first <= ticket.first for ticket in later)
        assert beams.first >= max(ticket.ended for ticket in running)


def test_a_thousand_requests_are_answered_each_its_own(model: LanguageModel):
    """From eight threads that ask again when the queue is full: none lost, none mixed up."""
    seeds = range(1000)
    expected = {seed: model.generate("a", Sample(temperature=1.5, seed=seed), max_new_tokens=2) for seed in seeds[::50]}
    found: dict[int, str] = {}
    full = 0

    def ask(own: range) -> None:
        nonlocal full
        own_tickets: list[tuple[int, Ticket]] = []
        for seed in own:
            while True:
                try:
                    ticket = engine.submit("a", Sample(temperature=1.5, seed=seed), max_new_tokens=2)
                    break
                except QueueFull:
                    full += 1
                    next((one for one in list(sent) if one.ended is None), sent[-1]).answer(60)
            sent.append(ticket)
            own_tickets.append((seed, ticket))
        for seed, ticket in own_tickets:
            found[seed] = ticket.answer(60)

    sent: list[Ticket] = []
    with Engine(model, seats=16, queue=100) as engine:
        threads = [threading.Thread(target=ask, args=(seeds[start::8],)) for start in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert len(found) == 1000 and full > 100
    assert {seed: found[seed] for seed in expected} == expected


def test_a_long_prompt_does_not_stop_the_others(model: LanguageModel):
    """Every stream goes on after each of its parts, and a short prompt does not wait for its end."""
    batch = Batch(model.network, 16)
    writing, long, short = (model.request(prompt, LONG, 60) for prompt in ("a", "x" * 200, "b" * 20))
    batch.add([writing])
    batch.step()
    batch.add([long])
    batch.step()
    batch.add([short])
    for _ in range(4):
        before = len(writing.tokens)
        for _ in range(2):
            batch.step()
        assert len(writing.tokens) == before + 1
    assert short.tokens and not long.tokens
    while batch.busy:
        batch.step()
    assert long.tokens == model.generate("x" * 200, LONG, max_new_tokens=60).tokens


def test_several_parts_are_read_between_two_tokens_and_who_comes_waits_for_one(model: LanguageModel):
    batch = Batch(model.network, 16, between=64)
    writing, long, short = (model.request(prompt, LONG, 60) for prompt in ("a", "x" * 200, "b" * 10))
    batch.add([writing])
    batch.step()
    batch.step()
    batch.add([long])
    written = []
    for step in range(10):
        if step == 6:
            batch.add([short])
        batch.step()
        written.append(len(writing.tokens))
    assert (
        written[0] == written[3] == written[4] - 1 == written[8] - 1 == written[9] - 2
    )  # four parts, a token, three parts, `short`, a token
    assert len(short.tokens) == 2 and not long.tokens


def test_prompts_of_a_token_do_not_hold_up_streams(model: LanguageModel):
    """Whoever asks for one token again and again: a step of reading costs, however little it reads."""
    batch = Batch(model.network, 16, between=64)
    writing = model.request("a", LONG, 60)
    batch.add([writing])
    batch.step()
    batch.step()
    before = len(writing.tokens)
    for _ in range(68):
        batch.add([model.request("b", LONG, 1)])
        batch.step()
    assert len(writing.tokens) == before + 4  # sixteen steps of reading between two tokens


def test_short_prompts_are_read_between_two_tokens_and_keep_no_long_one_waiting(model: LanguageModel):
    batch = Batch(model.network, 16)
    writing, long = (model.request(prompt, LONG, 60) for prompt in ("a", "x" * 80))
    short = [model.request("b" * 4, LONG, 1) for _ in range(40)]
    for request in (writing, long, *short[:3]):
        batch.add([request])
    for _ in range(4):
        batch.step()
    assert len(writing.tokens) == 1 and all(one.tokens for one in short[:3]) and not long.tokens
    for request in short[3:]:  # others come all the time
        batch.add([request])
        while not request.tokens:
            batch.step()
        if long.tokens:
            break
    assert 13 < short.index(request) < 24  # 80 tokens of others, and no more, were read before its last ones
    while batch.busy:
        batch.step()
    assert long.tokens == model.generate("x" * 80, LONG, max_new_tokens=60).tokens


def test_a_fault_stays_with_its_request(model: LanguageModel, engine: Engine, monkeypatch: pytest.MonkeyPatch):
    bad, good = (model.request(prompt, None, 30) for prompt in "ab")
    monkeypatch.setattr(bad, "take", lambda logits: 1 // 0)
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
        patch.setattr(model.network, "next_logits", lambda *_: 1 // 0)
        with pytest.raises(RuntimeError):
            engine.submit("a").answer(30)
    assert engine.submit("a", max_new_tokens=7).answer(30) == model.generate("a", max_new_tokens=7)


def test_closing_finishes_or_cancels(model: LanguageModel):
    engine = Engine(model, seats=2)
    tickets = [engine.submit(prompt, max_new_tokens=20) for prompt in PROMPTS]
    assert engine.close(finish=True)
    assert [ticket.answer(0) for ticket in tickets] == [model.generate(p, max_new_tokens=20) for p in PROMPTS]
    with pytest.raises(EngineClosed, match="takes no more requests"):
        engine.submit("a")
    engine = Engine(model, seats=2)
    tickets = [engine.submit(prompt, LONG, max_new_tokens=300) for prompt in PROMPTS]
    assert engine.close(finish=False, timeout=30)
    assert {ticket.answer(0).finish for ticket in tickets} <= {"cancelled", "length", "stop"}
    assert tickets[-1].answer(0).finish == "cancelled"


def test_log_probabilities_of_the_prompt(model: LanguageModel, engine: Engine):
    """What a harness asks for: the prompt's own tokens, and nothing or one token behind it."""
    for prompt in PROMPTS:
        ids = model.tokenizer.encode(prompt)
        ticket = engine.submit(ids, max_new_tokens=0, prompt_logprobs=True, logprobs=2)
        assert ticket.answer(30).tokens == [] and ticket.answer(0).finish == "length"
        assert [token.id for token in ticket.prompt_tokens] == ids and ticket.prompt_tokens[0].logprob is None
        logprobs = model.logits([ids])[0].log_softmax(-1)
        for place, token in enumerate(ticket.prompt_tokens[1:]):
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
            tickets = [engine.submit(prompt, strategy, max_new_tokens=12) for prompt, strategy in asked]
            answers = [ticket.answer(60) for ticket in tickets]
        for (prompt, strategy), answer in zip(asked, answers, strict=True):
            assert answer.tokens == model.generate(prompt, strategy, max_new_tokens=12).tokens, (prompt, strategy)


def test_padding_is_given_back(model: LanguageModel):
    """A batch that never empties does not grow: columns that nobody has any text in are closed up."""
    batch = Batch(model.network, 64)
    waiting = [model.request("ab" * (5 + number % 3), LONG, 20) for number in range(40)]
    batch.add([waiting.pop()])
    most, requests = 0, list(waiting)
    while batch.busy:
        for _ in range(10):
            batch.step()
        most = max(most, batch.bytes)
        if waiting:
            batch.add([waiting.pop()])
    assert all(len(request.tokens) == 20 for request in requests)
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
        assert first.answer(30).tokens == expected[0].tokens and first.request.reused == 0
        tickets = [engine.submit(prompt, LONG, max_new_tokens=20, logprobs=0) for prompt in asked[1:]]
        for ticket, one in zip(tickets, expected[1:], strict=True):
            answer = ticket.answer(30)
            assert answer.tokens == one.tokens and answer.logprobs == one.logprobs
        assert [ticket.request.reused for ticket in tickets] == [192, 192, 192, 192, 0, 64, 128]
        assert engine.state.reused_tokens == 4 * 192 + 64 + 128
        # A conversation that goes on: the answer was read when it was written.
        again = engine.submit([*first.request.prompt, *first.request.tokens, 5, 6], LONG, max_new_tokens=4)
        again.answer(30)
        assert again.request.reused == 192
        more = engine.submit(START + "e" * 90, LONG, max_new_tokens=60).answer(30)
        again = engine.submit([*more.prompt, *more.tokens, 5, 6], LONG, max_new_tokens=4, logprobs=0)
        alone = model.generate(again.request.prompt, LONG, max_new_tokens=4)
        assert again.answer(30).logprobs == alone.logprobs and again.request.reused == 320


def test_equal_prompts_that_come_together_are_read_once():
    model = shared_model()
    with Engine(model, seats=4, chunk=32) as engine:
        # Long answers: the first is still being written when the others begin.
        strategies = [Sample(seed=seed, min_new_tokens=60) for seed in range(4)]
        tickets = [engine.submit(START, strategy, max_new_tokens=60, logprobs=0) for strategy in strategies]
        for strategy, ticket in zip(strategies, tickets, strict=True):
            assert ticket.answer(30).logprobs == model.generate(START, strategy, max_new_tokens=60).logprobs
        assert engine.state.reused_tokens == 3 * 192


def run_alone(batch: Batch, model: LanguageModel, prompt: list[int]) -> int:
    """How many tokens of a prompt lay in the cache; what is written behind it is what the model writes alone, to the bit."""
    request = model.request(prompt, LONG, 3)
    batch.add([request])
    while batch.busy:
        batch.step()
    assert request.logprobs == model.generate(prompt, LONG, max_new_tokens=3).logprobs
    return request.reused


@pytest.mark.parametrize("ends", [True, False])
def test_each_row_is_kept_as_the_text_that_it_holds(ends: bool):
    """Of prompts that are read together and answers that are written together, before they end and behind it."""
    model = shared_model()
    batch = Batch(model.network, 512, prefix_bytes=2**26)
    requests = [model.request(letter * 66, LONG, size) for letter, size in (("a", 90), ("b", 70), ("c", 80))]
    batch.add(requests)
    while batch.busy if ends else not requests[0].tokens:
        batch.step()
    for request in requests:
        text = [*request.prompt, *request.tokens] if ends else request.prompt
        assert run_alone(batch, model, [*text, 5]) == (128 if ends else 64)


def test_a_guess_that_was_wrong_is_kept_under_no_text():
    """An answer that ends while guesses stand behind it: the last token was not read, and in its place lies a guess."""

    class Wrong:
        def guess(self, read: list[int], written: int, most: int, beside: int) -> Guess:
            return Guess((5, 6, 7))

    model = shared_model()
    batch = Batch(model.network, 512, prefix_bytes=2**26)
    always_a = Greedy(logit_bias={model.tokenizer.encode("a")[0]: 100})
    request = model.request("x" * 28, always_a, 200, ["a" * 100])  # its end is the last place of a page
    request.guesser = Wrong()  # type: ignore[attr-defined]
    batch.add([request])
    while batch.busy:
        batch.step()
    assert request.finish == "stop" and len(request.prompt) + len(request.tokens) == 128
    assert run_alone(batch, model, [*request.prompt, *request.tokens, 5]) == 64


@pytest.mark.parametrize("cancels", [False, True])
def test_a_window_that_slid_is_not_kept_as_what_it_reads_again(cancels: bool):
    """Its row holds the text as it was before: under the new text's tokens it would be another's keys and values."""
    model = make("compiled", context=256)
    batch = Batch(model.network, 64, prefix_bytes=2**26)
    request = model.request("ab" * 30, LONG, 600, window="slide")
    batch.add([request])
    while batch.busy:
        batch.step()
        if cancels and request.slid:
            batch.drop(request)
    if cancels:
        assert request.finish == "cancelled" and request.reused == 0
        assert run_alone(batch, model, [*request.opening, 5]) == 0
    else:
        alone = model.generate("ab" * 30, LONG, max_new_tokens=600, window="slide")
        assert request.slid == alone.slid >= 3 and request.logprobs == alone.logprobs


def test_kept_beginnings_have_an_end_and_rows_count_as_users():
    """The least wanted leave first, from their ends; a page that a row still holds lives on with it."""
    model = shared_model()
    page = model.network.engine._layer_bytes * model.config.layers
    batch = Batch(model.network, 512, prefix_bytes=4 * page)
    texts = [chr(97 + number) * 193 for number in range(3)]  # three pages each

    def run(text: str, size: int = 2) -> int:
        request = model.request(text, LONG, size)
        batch.add([request])
        while batch.busy:
            batch.step()
        assert request.logprobs == model.generate(text, LONG, max_new_tokens=size).logprobs
        return request.reused

    assert [run(texts[0]), run(texts[0]), run(texts[1])] == [0, 192, 0]
    assert batch.bytes == 4 * page
    assert run(texts[0]) == 64  # its end left for the other's; what is read again takes the place of that
    assert [run(texts[0]), run(texts[1])] == [192, 64]
    kept = batch._prefixes.pages()
    assert all(one.users == 1 for one in kept)  # rows that ended hold nothing
    request = model.request(texts[1], LONG, 300)
    batch.add([request])
    batch.step()
    assert sum(one.users == 2 for one in batch._prefixes.pages()) == 3
    for text in ("d" * 300, "e" * 300):
        run_beside = model.request(text, LONG, 2)
        batch.add([run_beside])
        while not run_beside.finish:
            batch.step()
    while batch.busy:
        batch.step()
    assert request.logprobs == model.generate(texts[1], LONG, max_new_tokens=300).logprobs


def test_kept_beginnings_are_not_those_of_other_weights():
    model = shared_model()
    with Engine(model, chunk=64) as engine:
        engine.submit(START, max_new_tokens=2).answer(30)
        with torch.no_grad():
            model.network.blocks[0].feed_forward.down.weight.mul_(2)
        model.network.engine = compiled(model.network, 8)
        ticket = engine.submit(START, max_new_tokens=9, logprobs=0)
        assert ticket.answer(30).logprobs == model.generate(START, max_new_tokens=9).logprobs
        assert ticket.request.reused == 0
