"""Prompt lookup: what a plain dictionary would find, and the same in the tape as in Python."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tiny import network, text

from lmworks.kernels import compiled, unavailable
from lmworks.kernels.frame import Field
from lmworks.kernels.pages import PAGE
from lmworks.models.lookup import COSTS, EACH_MORE, FIRST, FOLLOWS, LATER, NEXT, REMEMBERED, SEEN, PromptLookup
from lmworks.models.runner import TokenChoice

if TYPE_CHECKING:
    from lmworks.kernels.run.network import CompiledNetwork

compiles = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))


class ByDictionary:
    """The same by its definition."""

    def __init__(self, match: int, most: int) -> None:
        self.match, self.most, self.ends = match, most, {}
        self.seen, self.next, self.follows = 0, -1, 0
        self.right = [LATER, *(FIRST ** (1 / length) for length in range(1, match + 1))]

    def observe(self, read: list[int], written: int) -> None:
        for place in range(self.seen, len(read)):
            if place < len(read) - written:
                self.next = -1
            elif self.next >= 0:
                right = read[place] == read[self.next]
                self.right[self.follows] += (1 - REMEMBERED) * (right - self.right[self.follows])
                self.next, self.follows = (self.next + 1 if right else -1), 0
            for length in range(min(self.match, place + 1), 0, -1):
                run = tuple(read[place + 1 - length : place + 1])
                if self.next < 0 and run in self.ends:
                    self.next, self.follows = self.ends[run], length
                self.ends[run] = place + 1
        self.seen = len(read)

    def guess(self, read: list[int], most: int, beside: int) -> tuple[int, ...]:
        chances = [self.right[self.follows], *[self.right[0]] * most]
        rates, right, chance = [], 0.0, 1.0
        for count in range((min(most, self.most) if self.next >= 0 else 0) + 1):
            if count:
                chance *= chances[count - 1]
                right += chance
            reads = beside * (1 + count)
            rates.append((1 + right) / (COSTS[min(reads, 16) - 1] + EACH_MORE * max(reads - 16, 0)))
        copied = list(read)
        for at in range(int(np.argmax(rates))):
            copied.append(copied[self.next + at])
        return tuple(copied[len(read) :])


@pytest.mark.parametrize(("match", "most"), [(3, 15), (1, 4), (2, 40), (7, 15)])
def test_what_is_believed_and_guessed_is_what_a_dictionary_says(match: int, most: int):
    """Texts of few words and of many, of one token and of thousands, whose table grows, seen in steps of all sizes."""
    for seed in range(12):
        chance = random.Random(seed)
        words = [[chance.randrange(60_000) for _ in range(chance.randrange(1, 9))] for _ in range(1 + 5 * seed)]
        mine, plain, read, prompt = PromptLookup(match, most), ByDictionary(match, most), [], chance.randrange(1, 1500)
        while len(read) < 2500:
            read += chance.choice(words)[: chance.randrange(1, 9)]
            written = max(len(read) - prompt, 0)
            mine.observe(read, written)
            plain.observe(read, written)
            assert (mine.state[SEEN], mine.state[NEXT]) == (plain.seen, plain.next)
            assert plain.next < 0 or mine.state[FOLLOWS] == plain.follows
            assert list(mine.right) == plain.right
            for left, beside in ((100, 1), (2, 1), (0, 1), (100, 3)):
                assert mine.guess(left, beside) == plain.guess(read, left, beside)


SHAPE = {"dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "context": 700, "layers": 2}
SHAPES: dict[str, dict[str, Any]] = {
    "grouped heads": {},
    "windows": {"window": 70},
    "learned positions": {"positions": "learned"},
    "a tile for each token": {"heads": 24, "kv_heads": 2},
    "one key head": {"kv_heads": 1},
    "tiles that grow in number when tokens grow fewer": {"heads": 8, "kv_heads": 4, "window": 70},
}


def compiled_for(**shape: Any) -> CompiledNetwork:
    return compiled(network(**SHAPE | shape).requires_grad_(False), 8)


def begun(engine: CompiledNetwork, read: list[int]) -> Any:
    """A cache that holds a text up to its last token."""
    cache = engine.new_cache(1)
    engine.take_in(torch.tensor([read[:-1]]), None, cache)
    return cache


def repeating(size: int) -> list[int]:
    """A text in which everything stood before."""
    part = text(1, 9).tolist()[0]
    return (part * size)[:size]


@compiles
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("past", [5, PAGE - 3, 300])
@pytest.mark.parametrize("choice", [TokenChoice(), TokenChoice(factor=0.7, logprobs=True)], ids=["greedy", "drawn"])
def test_a_run_that_guesses_writes_what_steps_write_and_knows_what_python_knows(
    shape: str, past: int, choice: TokenChoice
):
    """Over the ends of pages, with guesses that are right and many that are wrong."""
    engine, nobody = compiled_for(**SHAPES[shape]), np.zeros(1, np.int64)
    read = repeating(past)
    uniforms = np.random.default_rng(past).random(200)
    with torch.no_grad():
        cache = begun(engine, read)
        expected = engine.write([read[-1:]], cache, [choice], uniforms[:, None], nobody).rows[0]
        for rounds, most in ((1, 15), (1, 2), (8, 15), (50, 6), (8, 40)):
            cache, lookup, tokens, judged = begun(engine, read), PromptLookup(2, most), [], []
            while len(tokens) < 200:
                lookup.observe([*read, *tokens], len(tokens))
                last = [(read + tokens)[-1], *lookup.guess(199 - len(tokens), 1)]
                went = engine.follow(last, cache, choice, uniforms[len(tokens) :], rounds, nobody, lookup)
                assert went.rounds <= rounds and went.rows[0].accepted <= went.rows[0].guessed
                tokens, judged = tokens + went.rows[0].tokens, judged + went.rows[0].logprobs
                assert cache.sizes == [past - 1 + len(tokens)]
                told, frame = engine.workspace.kept[Field.IDS], engine.workspace.frame
                assert frame[Field.TILES] + 16 * frame[Field.TILE_COUNT] <= frame[Field.IDS] + told.nbytes
                python = PromptLookup(2, most)
                python.observe(read, 0)
                python.observe([*read, *tokens], len(tokens))
                assert python.state[: FOLLOWS + 1] == lookup.state[: FOLLOWS + 1]
                assert python.right == lookup.right
            assert tokens == expected.tokens and judged == expected.logprobs  # to the bit


@compiles
def test_a_run_that_guesses_ends_where_it_should():
    """With the token that is written, for who waits; with an end; before a token that is left to Python; with its last
    random number."""
    engine, read = compiled_for(kv_heads=1), repeating(300)

    def went(choice: TokenChoice, tokens: int = 390, waits: int = 0) -> tuple[list[int], int, Any]:
        with torch.no_grad():
            cache, lookup = begun(engine, read), PromptLookup(2, 15)
            lookup.observe(read, 0)
            written = engine.follow(read[-1:], cache, choice, np.zeros(tokens), 390, np.array([waits]), lookup)
            assert cache.sizes == [299 + len(written.rows[0].tokens)]
            assert len(cache.pages[0]) == -(-cache.sizes[0] // PAGE)
            steps = engine.write([read[-1:]], begun(engine, read), [choice], np.zeros((tokens, 1)), np.array([waits]))
            assert written.rows[0].tokens == steps.rows[0].tokens
            return written.rows[0].tokens, written.rounds, written.rows[0]

    tokens, rounds, row = went(TokenChoice())
    assert len(tokens) == 390 and 390 - rounds == row.accepted > 200
    assert went(TokenChoice(), waits=1)[:2] == (tokens[:1], 1)
    for size in (1, 2, 37):
        assert went(TokenChoice(), size)[0] == tokens[:size]
    for last in set(tokens):
        first = tokens.index(last) + 1
        assert went(TokenChoice(ends=np.array([last])))[0] == tokens[:first]
    later, _, _ = went(TokenChoice(ends=np.array([tokens[0]]), forbidden=50))
    assert tokens[0] not in later[:50]
    others, _, row = went(TokenChoice(factor=1e3, top_p=0.9999999))
    assert others == [-1] and row.logits is not None and int(row.logits.argmax()) == tokens[0]
