"""Claim 3: facts stand where they are said to, windows read what they hold, and a tiny run is whole."""

from __future__ import annotations

import itertools
from statistics import fmean

import pytest
import tiny
import torch

from lab.test_experiments import real_text  # noqa: F401 (a fixture)
from lab.whole import whole
from lmworks.basics.errors import ConfigError
from lmworks.lab.bench import context_windows
from lmworks.lab.experiments import q03_window
from lmworks.lab.run import RunOptions, run
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document

TEXT = "One thing and another, and then a third one; nothing of it is a fact. " * 40


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny.language_model(seed=4, context=2048)


def test_facts_are_spread_evenly_and_one_is_asked_for(model: LanguageModel):
    words = list(range(8))[::-1]
    text = model.tokenizer.decode(context_windows.with_facts(model, TEXT, 1024, words, asked=2))
    assert len(text) == 1024 and text.endswith("\nThe secret word of Berlin is")
    places = [text.index(f"The secret word of {city} is") for city in context_windows.CITIES]
    gaps = [later - earlier for earlier, later in itertools.pairwise(places)]
    assert places == sorted(places) and max(gaps) - min(gaps) < 30
    assert "The secret word of Berlin is harbor." in text  # the sixth word counted from the end


def test_only_a_window_that_holds_the_fact_can_tell_it(model: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    """A network that says what follows the same beginning in the tokens that it sees tells what its window holds."""
    seen: list[int] = []

    def hidden(tokens, mask=None, cache=None):
        seen[:] = tokens[0].tolist()
        return torch.zeros(1, len(seen), 4)

    def logits(states):
        text = model.tokenizer.decode(seen)
        *_, question = text.split("\n")
        _, fact, rest = text[: -len(question)].rpartition(question)
        made = torch.zeros(1, model.config.vocab_size)
        made[0, ord(rest.strip()[0]) if fact else 0] = 1
        return made

    monkeypatch.setattr(model.tokenizer, "encode", _first_letters(model.tokenizer.encode))
    monkeypatch.setattr(model.runner, "hidden", hidden)
    monkeypatch.setattr(model.network, "logits", logits)
    found = context_windows.told(model, [Document(TEXT, f"text {at}") for at in range(8)], [64, 256, 1024])
    told = {size: fmean(right for right, _ in rows.values()) for size, rows in found.items()}
    assert told[1024] >= 0.75 and told[64] <= 0.25 and told[64] <= told[256] <= told[1024]


def _first_letters(encode):
    """A word after a space is its first letter here, as the tiny tokenizer has no words."""
    return lambda text, **named: [ord(text[1])] if text.startswith(" ") else encode(text, **named)


def test_bits_of_every_window_are_those_of_the_same_tokens(model: LanguageModel):
    found = context_windows.bits(model, [Document(TEXT, "one"), Document(TEXT[40:], "two")], [64, 256], 32)
    assert list(found) == [64, 256] and [list(rows) for rows in found.values()] == [["one", "two"]] * 2
    counts = [count for rows in found.values() for count in rows.values()]
    assert all(
        length == 32 and 0 < cost / length < 12 for cost, length in counts
    )  # a token of the tiny model is a byte


def test_a_window_that_the_model_has_not_is_one_sentence(smollm2_path):
    with pytest.raises(ConfigError, match="give 64 times a power of 4"):
        run(3, "quick", RunOptions(["longest=1000"]))


def test_a_tiny_run_on_the_real_model_is_whole(smollm2_path, real_text):  # noqa: F811
    settings = ["longest=256", "target=8", "texts=2", "questions=2", "rounds=2"]
    finding = whole(3, settings)
    memory = q03_window.MEMORY.name
    held = {one.name: one.value for one in finding.measurements}
    assert held[f"{memory}, window 256"] == pytest.approx(4 * held[f"{memory}, window 64"])
