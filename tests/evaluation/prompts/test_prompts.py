"""Prompts: laws of calibration, of examples and their orders; a search that keeps dev and test apart and goes on."""

from __future__ import annotations

import json
import sys
from itertools import pairwise

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, DataError
from lmworks.cli import main
from lmworks.evaluation.answer_words import last_number
from lmworks.evaluation.prompts.calibration import calibrate, leaning, probabilities
from lmworks.evaluation.prompts.examples import balanced, mixed, nearest, orders
from lmworks.evaluation.prompts.prompt import FORMATS, Prompt, hash_of
from lmworks.evaluation.prompts.search import PromptReader, PromptSpace, Spread, labelled, measured, search
from lmworks.evaluation.prompts.thinking import majority, think
from lmworks.text.document import Document

WORDS = {"0": "bad", "1": "good"}
PAIRS = [(f"Film {number} is {'dull' if number % 3 else 'fine'}.", str(int(number % 3 == 0))) for number in range(90)]


@pytest.fixture(scope="module")
def model():
    return tiny.language_model(seed=4, context=512)


shares = st.lists(st.floats(-20, 0), min_size=2, max_size=5).map(probabilities)


@given(shares)
def test_a_prompt_that_leans_to_no_class_is_left_as_it_is(told):
    assert calibrate(told, [1 / len(told)] * len(told)) == pytest.approx(told)


@given(shares)
def test_what_is_told_of_nothing_becomes_uniform(told):
    assert calibrate(told, told) == pytest.approx([1 / len(told)] * len(told), abs=1e-4)


def test_calibration_divides_by_the_mean_of_what_nothing_is_told():
    assert leaning([[0.0, 0.0], [-1000.0, 0.0]]) == pytest.approx([0.25, 0.75])
    assert calibrate([0.4, 0.6], [0.25, 0.75]) == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.parametrize("shots", [0, 1, 4, 7])
def test_examples_are_balanced_and_their_orders_hold_the_same(shots):
    chosen = balanced(PAIRS, shots, seed=3)
    assert chosen == balanced(PAIRS, shots, seed=3) and len({*chosen}) == shots
    counts = [sum(label == one for _, label in chosen) for one in WORDS]
    assert max(counts) - min(counts) <= 1
    found = orders(chosen, 5, seed=1)
    assert len(found) == len({*found}) == (1 if shots < 2 else 5) and found[0] == tuple(chosen)
    assert all(sorted(one) == sorted(chosen) for one in found)
    if shots == 4:
        assert len(orders(chosen, 100)) == 24


def test_another_order_changes_nothing_but_the_order():
    prompts = PromptSpace(words=(WORDS,), formats=FORMATS[:1], shots=(3,), orders=4).prompts(PAIRS, ["0", "1"], 0)
    assert len({one.context("x") for one in prompts}) == 4
    for one, other in pairwise(prompts):
        assert sorted(one.context("x").split("\n\n")) == sorted(other.context("x").split("\n\n"))
        assert one.model_copy(update={"examples": ()}) == other.model_copy(update={"examples": ()})


def test_the_nearest_examples_stand_nearest():
    embedder = tiny.language_model(seed=4, context=512)
    pool = [("aaaa", "0"), ("zzzz zz", "1"), ("The film is fine.", "1")]
    [found] = nearest(pool, ["The film is fine."], embedder, 2)
    assert found[-1] == pool[2] and len(found) == 2
    with pytest.raises(ConfigError, match="4 examples are asked for and there are 3"):
        nearest(pool, ["a"], embedder, 4)


def test_a_prompt_is_written_as_it_is_read(tmp_path):
    prompt = Prompt(
        format="{Text}: {text}\n{LABEL}:", words=WORDS, examples=(("A  {Label}\njoy.", "1"),), names=("film", "view")
    )
    assert prompt.context("Dull. {text}") == "Film: A {Label} joy.\nVIEW: good\n\nFilm: Dull. {text}\nVIEW:"
    assert prompt.item("a", "b", "1").asked[1][1] == " good"
    assert prompt.model_copy(update={"format": "{text}\n"}).item("a", "b", "1").asked == (
        ("A {Label} joy.\ngood\n\nb\n", "bad"),
        ("A {Label} joy.\ngood\n\nb\n", "good"),
    )
    assert Prompt.read(prompt.save(tmp_path / "p.json", {"test": 1})) == prompt
    assert len({Prompt(format=one, words=WORDS).context("x") for one in FORMATS}) == len(FORMATS) == 10


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"format": "no place", "words": WORDS}, "has no {text}, or several"),
        ({"format": "{text}", "words": {"0": "bad"}}, "a word for each of two classes or more"),
        ({"format": "{text}", "words": {"0": "a", "1": "a"}}, "two classes have the same word"),
        ({"format": "{text}", "words": WORDS, "examples": [["a", "2"]]}, "has the class '2', which has no word"),
        ({"format": "{text}"}, "p.json"),
        ([], "holds no prompt"),
    ],
)
def test_what_is_no_prompt_is_one_sentence(tmp_path, said, sentence):
    path = tmp_path / "p.json"
    path.write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        Prompt.read(path)
    assert sentence in str(caught.value).replace("words is missing", "p.json") and "\n" not in str(caught.value)


SMALL = PromptSpace(words=(WORDS,), formats=FORMATS[:3], shots=(0, 2), orders=2)


def test_a_search_measures_the_best_on_texts_that_it_has_not_seen(model, tmp_path, monkeypatch):
    found = search(model, PAIRS, SMALL, dev=12, test=20, seed=2, out=tmp_path)
    assert (found.tried, found.dev.n, found.test.n, len(found.spread.values)) == (9, 12, 20, 3)
    assert found.dev.value != found.test.value
    assert found.optimism.value == pytest.approx(found.dev.value - found.test.value)
    assert found.test.value in found.spread.values
    again = search(model, PAIRS, SMALL, dev=12, test=20, seed=2)
    assert again == found and Prompt.read(tmp_path / "prompt.json") == found.winner
    # What is there is not read again, and half of a file goes on.
    drawn = parted(2)
    pool, dev, test = drawn[:32], drawn[32:44], drawn[44:]
    assert set(found.winner.examples) <= {*pool} and not {*pool} & {*dev} and not {*dev} & {*test}
    for part in (pool, dev, test):  # a third of the texts are of one class
        assert abs(sum(label == "1" for _, label in part) - len(part) / 3) <= 1
    assert found.winner.has_seen("  ".join(dev[3][0].split())) and not found.winner.has_seen(test[0][0])
    kept = sorted(tmp_path.glob("prompt_*.jsonl"))
    lines = kept[0].read_text(encoding="utf-8").splitlines(keepends=True)
    kept[0].write_text("".join(lines[:-4]), encoding="utf-8")
    read = []
    monkeypatch.setattr(type(model), "continuations", _counting(type(model).continuations, read))
    assert search(model, PAIRS, SMALL, dev=12, test=20, seed=2, out=tmp_path) == found
    assert sum(size for size in read if size > 1) == 4 * 2  # four items of two classes


def parted(seed: int) -> list[tuple[str, str]]:
    """What a search draws."""
    return mixed(PAIRS, seed)[:64]


def test_a_prompt_is_measured_on_texts_that_it_was_not_chosen_by(model, tmp_path, monkeypatch, capsys):
    prompt = Prompt(format="{text}", words=WORDS, chosen_by=tuple(hash_of(text) for text, _ in PAIRS[:8]))
    every, others = measured(model, prompt, PAIRS[:20], "films")
    assert (every.n, others.n) == (20, 12) and others.name == "films, without the texts that the prompt was chosen by"
    assert len(measured(model, prompt, PAIRS[:8], "films")) == len(measured(model, prompt, PAIRS[8:16], "films")) == 1
    model.save(tmp_path / "model")
    records = [json.dumps({"prompt": text, "response": label}) for text, label in PAIRS[:20]]
    (tmp_path / "films.jsonl").write_text("\n".join(records))
    path = prompt.save(tmp_path / "p.json")
    words = ["evaluate", str(tmp_path / "model"), str(tmp_path / "films.jsonl"), "--prompt", str(path)]
    monkeypatch.setattr(sys, "argv", ["lmworks", *words])
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr()
    assert "p.json was chosen by 8 of these 20 texts" in told.err and str(others) in told.out


def test_a_search_tells_how_many_prompts_are_tried_and_no_texts(model, capsys):
    with progress.shown():
        search(model, PAIRS, SMALL, dev=2, test=2, seed=2)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["prompts on dev", "its words in other formats"]


def _counting(continuations, read):
    def counted(self, pairs, *rest):
        read.append(len(pairs))
        return continuations(self, pairs, *rest)

    return counted


def test_the_best_on_dev_wins_and_calibration_is_tried(model):
    found = search(model, PAIRS, SMALL, dev=12, test=20, seed=2)
    reader = PromptReader(model)
    drawn = parted(2)
    every = [
        sum(reader.right(one.model_copy(update={"calibrated": calibrated}), drawn[32:44], "dev"))
        for one in SMALL.prompts(drawn[:32], ["0", "1"], 2)
        for calibrated in (False, True)
    ]
    assert found.dev.value == pytest.approx(max(every) / 12)
    plain = found.winner.model_copy(update={"calibrated": not found.winner.calibrated})
    assert found.other.value == pytest.approx(sum(reader.right(plain, drawn[44:], "test")) / 20)


def test_the_spread_over_formats():
    spread = Spread((0.8, 0.6, 0.4))
    assert (spread.best, spread.average, spread.combined) == pytest.approx((0.8, 0.6, 0.64))


def test_what_cannot_be_searched_is_one_sentence(model):
    with pytest.raises(ConfigError, match="50 texts for dev and 200 for test, beside 32 for examples, are 282, and"):
        search(model, PAIRS, SMALL)
    with pytest.raises(ConfigError, match=r"are 64, and there are 40 different ones"):  # no text is on two sides
        search(model, PAIRS[:40] * 2, SMALL, dev=12, test=20)
    with pytest.raises(ConfigError, match="there is nothing to try"):
        search(model, PAIRS, PromptSpace(formats=()), dev=5, test=5)
    with pytest.raises(ConfigError, match="40 examples are asked for and there are 32"):
        search(model, PAIRS, PromptSpace(shots=(40,)), dev=5, test=5)
    with pytest.raises(DataError, match="the texts have 1 class; a prompt tells 2 to 20"):
        labelled(
            [Document.conversation(({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}), "x")]
        )
    with pytest.raises(
        DataError, match="mine has the class '2', which the prompt has no word for; its classes are 0, 1"
    ):
        measured(model, Prompt(format="{text}", words=WORDS), [("a", "2")], "mine")


def test_most_ways_decide_and_the_same_seed_thinks_the_same(model):
    assert last_number("So 3 + 4 = 7. It is 1,200.50.") == "1200.5" and last_number("none") is None
    assert last_number("It is 1,234,567.") == "1234567" and last_number("= 0.1234567") == "0.1234567"
    assert last_number("10-4") == "4" and last_number("It is -4.0.") == "-4" and last_number("-0.0") == "0"
    assert majority(["7", None, "8", "8"]) == ("8", 0.5) and majority([None]) == (None, 0.0)
    assert majority(["7", "8"]) == ("7", 0.5)
    one, other, next_ = (think(model, "1+1?", samples=3, seed=seed, max_new_tokens=6) for seed in (1, 1, 2))
    assert one == other and one.ways[1:] == next_.ways[:2] and len(one.ways) == 3
    assert think(model, "1+1?", max_new_tokens=6) == think(model, "1+1?", seed=9, max_new_tokens=6)
    with pytest.raises(ConfigError, match="samples is 0; give at least 1"):
        think(model, "1+1?", samples=0)
