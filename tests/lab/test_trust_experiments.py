"""Claims 45 and 50: tiny runs give whole findings; what they count, against texts and models made for it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lab.whole import whole
from lmworks.lab.bench import leaning
from lmworks.lab.bench.deployment import disagreeing
from lmworks.lab.site.benches import stories
from lmworks.text import registry
from lmworks.text.document import Document


@pytest.fixture
def story_texts():
    if why := stories.missing():
        pytest.skip(why)
    for name in ("tinystories-sample", "sms-spam", "crows-pairs", "wikitext2"):
        if not registry.available(name):
            pytest.skip(f"{name} is not here; set LMWORKS_DATA, or connect once and run: lmworks lab 45 50")


def test_a_tiny_run_on_bias_gives_a_whole_finding(story_texts):
    finding = whole(45, ["steps=2"])
    assert next(one for one in finding.requirements).passed


@pytest.mark.slow
def test_a_tiny_run_on_deployment_gives_a_whole_finding(story_texts, smollm2_path):
    whole(50, ["rounds=2", "pairs=2", "prompts=2", "messages=40", "written=4"])


def test_a_word_leans_to_the_pronoun_that_comes_near_it_more_often():
    texts = [
        "The bear was happy. He ran, and he sang.",
        "A fairy came; she and he flew, as she liked.",
        "A cat. He. She.",
    ]
    assert leaning._signs(texts) == {"bear": 1, "fairy": -1}  # of the cat both come equally often


def test_leaning_is_he_less_she():
    def loglikelihood(asked):
        return [SimpleNamespace(total=-1.0 if said == leaning.HE else -3.0) for _, said in asked]

    assert leaning.leanings(SimpleNamespace(loglikelihood=loglikelihood), ["bear", "cat"]) == [2.0, 2.0]


@pytest.mark.parametrize(("places", "found"), [((3, 3), 0.0), ((3, 4), 1.0)])
def test_two_methods_disagree_where_they_name_other_tokens(monkeypatch, places, found):
    article = [Document("a", "x"), Document("a second part", "x")]  # one prompt of each source
    monkeypatch.setattr("lmworks.lab.bench.deployment.read", lambda name: SimpleNamespace(documents=article))
    first = dict(zip(("occlusion", "gradient-x-input"), places, strict=True))
    model = SimpleNamespace(
        encode_prompt=lambda text: list(range(20)),
        tokenizer=SimpleNamespace(decode=str),
        generate=lambda *_, **__: SimpleNamespace(text=" b"),
        attribute=lambda prompt, answer, method: SimpleNamespace(ranking=lambda: [first[method]]),
    )
    assert disagreeing(model, 2, "any") == ([found], ["x"])
