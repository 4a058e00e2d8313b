"""The handbook's page on decoding runs as it stands, and what it says of its examples is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "decoding.md"


def test_the_examples_run_in_their_order_and_give_what_they_say(smollm2_path):
    pytest.importorskip("llguidance")
    seen: dict = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(code, seen)
    assert str(seen["strategy"].order) in PAGE.read_text(encoding="utf-8")
    assert seen["answer"].seed == 7 and seen["answer"].finish in ("stop", "length")
    assert isinstance(json.loads(seen["formed"])["city"], str)
    assert re.fullmatch(r" (19|20)[0-9]{2}", seen["year"]) and seen["vote"] in (" yes", " no")
    assert seen["quicker"].tokens == seen["plain"].tokens
    assert seen["sliding"].slid == 0
    assert seen["longer"].config.context == 2 * seen["model"].config.context
    if seen["model"].runner.name == "compiled":
        assert seen["together"].tokens == seen["alone"].tokens


def test_every_step_has_its_place_in_the_order():
    """The page's sentence on the order, and what `order` says when everything is on."""
    from lmworks.generation.strategies import Sample

    every = Sample(
        repetition_penalty=1.1,
        frequency_penalty=0.2,
        presence_penalty=0.3,
        logit_bias={5: 1.0},
        no_repeat_ngram=3,
        min_new_tokens=2,
        temperature=0.8,
        top_k=50,
        top_p=0.95,
        min_p=0.05,
        typical_p=0.9,
    )
    names = [step.split()[0] for step in every.order]
    assert len(names) == 11
    page = PAGE.read_text(encoding="utf-8").partition("names every step that is on")[2]
    named = re.findall(r"[a-z]+(?:[_-][a-z]+)+|temperature", page.partition("That is transformers")[0])
    assert [one.replace("-", "_") for one in named] == names
