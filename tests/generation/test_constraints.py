"""Answers of a given form: whatever a network would write, what comes out has the form."""

from __future__ import annotations

import json
import re

import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmworks.basics.errors import ConfigError
from lmworks.generation.constraints import Choice, Constraint, Grammar, JsonSchema, Regex
from lmworks.generation.engine import Engine
from lmworks.generation.strategies import Beam, Greedy, Sample
from lmworks.language_model import LanguageModel

pytest.importorskip("llguidance", reason="pip install 'lmworks[serve]'")
jsonschema = pytest.importorskip("jsonschema", reason="pip install jsonschema")

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["red", "grün", "😀"]}, "maxItems": 3},
        "home": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"city": {"const": "Paris"}}}]},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny.language_model(seed=4, context=512)


def some_strategies() -> st.SearchStrategy:
    sampled = st.builds(Sample, temperature=st.sampled_from([0.5, 1.0, 3.0]), seed=st.integers(0, 10**6))
    return st.sampled_from([Greedy(), Greedy(repetition_penalty=1.5), Greedy(min_new_tokens=30)]) | sampled


leaves = st.sampled_from(
    [
        {"type": "integer", "minimum": -5, "maximum": 99},
        {"type": "boolean"},
        {"type": "null"},
        {"enum": ["a", "b c", 3]},
        {"type": "string", "maxLength": 6},
    ]
)
schemas = st.recursive(
    leaves,
    lambda inner: (
        st.builds(
            lambda parts: {
                "type": "object",
                "properties": parts,
                "required": sorted(parts),
                "additionalProperties": False,
            },
            st.dictionaries(st.sampled_from(["x", "y z", "é"]), inner, min_size=1, max_size=3),
        )
        | st.builds(lambda one: {"type": "array", "items": one, "minItems": 1, "maxItems": 2}, inner)
    ),
    max_leaves=4,
).map(
    lambda schema: {"type": "object", "properties": {"is": schema}, "required": ["is"], "additionalProperties": False}
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schemas, some_strategies())
def test_every_answer_is_json_of_its_schema(model: LanguageModel, schema: dict, strategy):
    answer = model.generate("a", strategy, max_new_tokens=400, constraint=JsonSchema(schema))
    assert answer.finish == "stop"
    jsonschema.validate(json.loads(answer), schema)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        [r"(19|20)[0-9]{2}", r"[a-c]{1,9}(é|😀)", r"-?[0-9]{1,5}(\.[0-9][0-9])?", r"(yes|no|don't know)!*x"]
    ),
    some_strategies(),
)
def test_every_answer_matches_its_expression(model: LanguageModel, pattern: str, strategy):
    answer = model.generate("a", strategy, max_new_tokens=300, constraint=Regex(pattern))
    assert answer.finish == "length" or re.fullmatch(pattern, answer)
    assert answer.finish == "stop" or "!" in answer


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5), some_strategies())
def test_every_answer_is_one_of_the_choices(model: LanguageModel, options: list[str], strategy):
    options = [one.encode("utf-8", "replace").decode().replace("\x00", "0") for one in options]
    answer = model.generate("a", strategy, max_new_tokens=100, constraint=Choice(options))
    assert answer in options and answer.finish == "stop"


def test_a_form_is_where_the_network_was_going(model: LanguageModel):
    """What the form allows anyway stays as it was."""
    letters = {model.tokenizer.encode(one)[0] for one in "abcdefghijklmnopqrstuvwxyz"} | model.tokenizer.stop_ids
    others = {number: -100.0 for number in range(model.config.vocab_size) if number not in letters}
    plain = model.generate("a", Greedy(logit_bias=others), max_new_tokens=20)
    formed = model.generate("a", max_new_tokens=20, constraint=Regex("[a-z]*"))
    assert formed.tokens == plain.tokens and formed.logprobs == plain.logprobs


def test_many_forms_at_once(model: LanguageModel):
    forms: list[Constraint | None] = [JsonSchema(PERSON), None, Choice(["a", "ab", "abc"]), Regex("[0-9]{3}")]
    asked = [(form, Sample(temperature=1.5, seed=seed)) for seed in range(6) for form in forms]
    with Engine(model, seats=5, chunk=32) as engine:
        handles = [engine.submit("a", strategy, max_new_tokens=300, constraint=form) for form, strategy in asked]
        for (form, strategy), handle in zip(asked, handles, strict=True):
            answer = handle.answer(60)
            assert answer.tokens == model.generate("a", strategy, max_new_tokens=300, constraint=form).tokens
            if isinstance(form, JsonSchema) and answer.finish == "stop":
                jsonschema.validate(json.loads(answer), PERSON)


def test_a_form_of_several_answers_is_read_once(model: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    """And each goes on from its beginning; another vocabulary, or a schema that was changed, is another form."""
    made: list[str] = []
    read = Grammar._guide
    monkeypatch.setattr(Grammar, "_guide", lambda *asked: made.append(asked[-1]) or read(*asked))
    form, strategies = JsonSchema(dict(PERSON)), [Sample(temperature=1.5, seed=seed) for seed in range(4)]
    answers = model.generate_batch(["a"] * 4, strategies, max_new_tokens=300, constraint=form)
    assert len(made) == 1
    for answer, strategy in zip(answers, strategies, strict=True):
        assert answer == model.generate("a", strategy, max_new_tokens=300, constraint=JsonSchema(PERSON))
    assert len(set(answers)) == 4 and len(made) == 5
    other = {"name": {"const": "b"}, "age": {"const": 1}, "tags": {"const": []}}
    form.schema["properties"] = other  # type: ignore[index]
    assert model.generate("a", constraint=form) == '{"name": "b", "age": 1, "tags": []}' and len(made) == 6
    tiny.language_model(seed=4, context=512).generate("a", constraint=form)
    assert len(made) == 7


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (JsonSchema({"type": "objekt"}), "the JSON schema cannot be followed: Invalid type: objekt"),
        (JsonSchema("{"), "the JSON schema is no schema: Expecting property name"),
        (JsonSchema("[1]"), "the JSON schema is no schema: a schema is a JSON object"),
        (JsonSchema({"$ref": "http://elsewhere"}), "the JSON schema cannot be followed: Resource 'http://elsewhere'"),
        (JsonSchema({"a": {1, 2}}), "the JSON schema is no schema: Object of type set"),
        (Regex("[ab"), "the regular expression cannot be followed: unclosed character class"),
        (Regex("(?=a)b"), "the regular expression cannot be followed: look-around"),
        (Choice([]), "give at least one, none of them empty"),
        (Choice(["a", ""]), "give at least one, none of them empty"),
        (JsonSchema({"$ref": "#"}), "the JSON schema allows no text"),
        (Regex(r"[^\x00-\U0010ffff]"), "the regular expression allows no text"),
        (JsonSchema({"const": "x" * 2**17}), "the JSON schema is too long: its grammar has 131,"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_form_that_is_none_is_one_sentence(model: LanguageModel, form: Constraint, words: str):
    """And before anybody waits for it."""
    with pytest.raises(ConfigError) as caught:
        model.request("a", constraint=form)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_form_that_explodes_is_refused_and_a_large_one_is_not(model: LanguageModel):
    for pattern in ("(a{1000}){1000}", "a{99999999}"):
        with pytest.raises(ConfigError, match="the regular expression is too complex"):
            model.generate("a", constraint=Regex(pattern))
    many = [f"{number:03}{'word ' * 20}" for number in range(1000)]
    assert model.generate("a", constraint=Choice(many), max_new_tokens=200) in many


def test_beams_have_no_form(model: LanguageModel):
    with pytest.raises(ConfigError, match="a constraint follows one answer that is written token by token"):
        model.generate("a", Beam(width=2), constraint=Choice(["a"]))


def test_a_network_without_ends_stops_where_nothing_can_follow():
    model = tiny.language_model(seed=4)
    model.tokenizer.__dict__["stop_ids"] = frozenset()
    answer = model.generate("a", constraint=Choice(["abc"]), max_new_tokens=50)
    assert answer == "abc" and answer.finish == "stop"
