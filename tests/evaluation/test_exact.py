"""Answers that a model would write exactly as they stand, told without writing them."""

from __future__ import annotations

import tiny
import torch
from torch import Tensor

from lmworks.evaluation.exact import calls_written
from lmworks.evaluation.likelihood import counted_tokens
from lmworks.text.document import Document

CALL = {"type": "function", "function": {"name": "stop", "arguments": {}}}
TOOLS = [{"type": "function", "function": {"name": "stop"}}]


def calling(word: str) -> Document:
    asked = [{"role": "user", "content": word}, {"role": "assistant", "content": "", "tool_calls": [CALL]}]
    return Document.conversation(asked, word, tools=TOOLS)


def test_conversations_are_compared_whole():
    """Of one that is cut off where the tokens end, the beginning alone would be right more often."""
    model = tiny.language_model(seed=4, context=1024)
    documents = [calling(word) for word in tiny.WORDS[:2]]
    size = sum(len(ids) for ids, _ in counted_tokens(model, documents, "calls"))
    assert [one.n for one in calls_written(model, model.logits, documents, size)] == [2, 2]
    assert [one.n for one in calls_written(model, model.logits, documents, size - 2)] == [1, 1]
    assert [one.n for one in calls_written(model, model.logits, documents, 1)] == [1, 1]


def test_a_call_is_written_exactly_by_what_finds_each_of_its_tokens_likeliest():
    model = tiny.language_model(seed=4, context=1024)
    documents = [calling(word) for word in tiny.WORDS[:3]]
    every = counted_tokens(model, documents, "calls")
    wrong_in_one = [list(ids) for ids, _ in every]
    for number, place in ((1, -4), (2, 1)):  # inside its answer; in its prompt, which nobody has to write
        wrong_in_one[number][place] = (wrong_in_one[number][place] + 1) % model.config.vocab_size
    texts = {tuple(ids[:-1]): number for number, (ids, _) in enumerate(every)}

    def base(tokens: Tensor) -> Tensor:
        wanted = torch.tensor(wrong_in_one[texts[tuple(tokens[0].tolist())]][1:])
        return torch.nn.functional.one_hot(wanted, model.config.vocab_size).float()[None]

    before, after = calls_written(model, base, documents, 100_000)
    assert (before.value, before.n, after.value, after.n) == (2 / 3, 3, 0, 3)
    assert before.name == "held-out calls written exactly, before" and before.ideal == 1
    assert calls_written(tiny.language_model(context=16), base, documents, 100_000) == []
