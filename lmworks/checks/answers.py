"""Checks of answers: pitfalls 30 to 33."""

from __future__ import annotations

import torch

from lmworks.checks.probes import OTHER_TEXTS, QUESTION, writable
from lmworks.checks.result import Difference, NotApplicableError, Outcome, check, ids_apart
from lmworks.generation.strategies import Sample
from lmworks.language_model import LanguageModel
from lmworks.tokens.stream import StreamDecoder
from lmworks.tokens.tokenizer import Tokenizer

WRITTEN = 10
"""Tokens of each answer."""


@check("stream is the whole answer", 31, 32, of="model", writes=True)
def stream(model: LanguageModel) -> Outcome:
    """An answer streamed and whole, with a stop string out of its middle; emoji and combining marks token by token."""
    tokenizer = model.tokenizer
    whole = model.generate(QUESTION, max_new_tokens=WRITTEN)
    stop = whole.text[len(whole.text) // 2 :][:2]
    differences = []
    for stops in ([], [stop] if stop else []):
        joined = "".join(model.stream(QUESTION, max_new_tokens=WRITTEN, stop=stops))
        expected = whole.text.partition(stop)[0] if stops else whole.text
        differences.append(
            _texts_apart(f"the stream{' up to a stop string' if stops else ''} and the whole answer", joined, expected)
        )
    for text in writable(tokenizer):
        ids = tokenizer.encode(text, special=False)
        expected = tokenizer.decode(ids)
        differences.append(
            _texts_apart("text streamed token by token and decoded at once", _streamed(tokenizer, ids, []), expected)
        )
        end = expected[len(expected) // 2 :][:3]
        if end:
            differences.append(
                _texts_apart(
                    "text streamed up to a stop string and cut there",
                    _streamed(tokenizer, ids, [end]),
                    expected.partition(end)[0],
                )
            )
    return Outcome(
        f"an answer of {len(whole.tokens)} tokens and {len(writable(tokenizer))} texts, with and without stop strings",
        differences,
    )


@check("same seed, same answer", 33, of="model", writes=True)
def seeds(model: LanguageModel) -> Outcome:
    """An answer drawn twice with one seed."""
    strategy = Sample(temperature=0.8, top_p=0.95, seed=7)
    first, second = (model.generate(QUESTION, strategy, max_new_tokens=WRITTEN) for _ in range(2))
    return Outcome(
        f"two answers with seed 7, {WRITTEN} tokens",
        [ids_apart("two answers with one seed", second.tokens, first.tokens)],
    )


@check("neighbours don't change an answer", 30, 33, of="model", numbers="float32", writes=True)
def neighbours(model: LanguageModel) -> Outcome:
    """An answer alone, and beside two longer and shorter ones in one batch."""
    if model.network.dtype != torch.float32:
        raise NotApplicableError("only in float32: rounding in a batch may turn a token that was as good as tied")
    prompts = [OTHER_TEXTS[0], QUESTION, OTHER_TEXTS[1]]
    strategies = [Sample(temperature=0.8, seed=seed) for seed in (1, 7, 2)]
    alone = model.generate(QUESTION, strategies[1], max_new_tokens=WRITTEN)
    together = model.generate_batch(prompts, strategies, max_new_tokens=WRITTEN)[1]
    greedy, beside = (
        model.generate(QUESTION, max_new_tokens=WRITTEN),
        model.generate_batch(prompts, max_new_tokens=WRITTEN)[1],
    )
    return Outcome(
        "an answer alone and in a batch of 3, drawn and greedy",
        [
            ids_apart("a drawn answer in a batch and alone", together.tokens, alone.tokens),
            ids_apart("a greedy answer in a batch and alone", beside.tokens, greedy.tokens),
        ],
    )


def _streamed(tokenizer: Tokenizer, ids: list[int], stops: list[str]) -> str:
    decoder = StreamDecoder(tokenizer, stops)
    shown = ""
    for number in ids:
        shown += decoder.push(number)
        if decoder.stopped is not None:
            return shown
    return shown + decoder.finish()


def _texts_apart(what: str, got: str, expected: str) -> Difference:
    """How many characters differ, and where the first does."""
    first = next(
        (at for at, (one, other) in enumerate(zip(got, expected, strict=False)) if one != other),
        min(len(got), len(expected)),
    )
    count = 0 if got == expected else max(len(got), len(expected)) - first
    return Difference(what, count, 0, "characters", f"character {first} of {expected[:30]!r}" if count else "")
