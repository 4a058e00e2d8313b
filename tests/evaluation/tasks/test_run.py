"""Tasks on a model: what is asked, how it is scored, and that a run that was stopped goes on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import tiny
import torch
from tokens.small import byte_level, sentencepiece
from tokens.templates import TEMPLATES

import lmworks as lm
from lmworks.basics.errors import ConfigError, DataError, LmworksError, Stopped
from lmworks.evaluation.tasks.asked import AskedTask
from lmworks.evaluation.tasks.declaration import Choices, Question, Task
from lmworks.evaluation.tasks.find import find
from lmworks.evaluation.tasks.measured import compared, measured, ties
from lmworks.evaluation.tasks.measured import figures as measured_figures
from lmworks.evaluation.tasks.run import evaluate, run
from lmworks.evaluation.tasks.scores import ItemScores, of_answer
from lmworks.evaluation.tasks.store import Store
from lmworks.generation.continuations import Reading
from lmworks.generation.generation_config import GenerationConfig
from lmworks.generation.strategies import Sample
from lmworks.language_model import LanguageModel
from lmworks.tokens.tokenizer import Tokenizer


def test_each_choice_is_scored_by_the_whole_its_characters_and_its_bytes(model, written):
    path = written({"question": "Where?", "choices": ["in Köln", "at home"], "answer": "A"})
    measurements, items = evaluate(model, [path], items=True, pmi=True)
    [scores] = items["mine.jsonl"]
    asked = [("Question: Where?\nAnswer:", f" {choice}") for choice in ("in Köln", "at home")]
    totals = [one.total for one in model.loglikelihood(asked)]
    domain = [one.total for one in model.loglikelihood([("Answer:", continuation) for _, continuation in asked])]
    assert scores.scores["sum"] == pytest.approx(totals)
    assert scores.scores["characters"] == pytest.approx([totals[0] / 7, totals[1] / 7])
    assert scores.scores["bytes"] == pytest.approx([totals[0] / 8, totals[1] / 7])
    assert scores.scores["pmi"] == pytest.approx([totals[0] - domain[0], totals[1] - domain[1]], abs=1e-4)
    assert [one.name for one in measurements] == [
        f"mine.jsonl, {by}" for by in ("log-likelihood", "by characters", "by bytes", "domain PMI")
    ]


def test_choices_of_one_prompt_are_compared_from_the_same_token_on(written):
    tokenizer = sentencepiece()
    model = LanguageModel(tiny.network(vocab_size=tokenizer.vocab_size), tokenizer)
    path = written({"prompt": "he w", "delimiter": "", "choices": ["or", "a"], "answer": "A"})
    _, items = evaluate(model, [path], items=True)
    totals = [one.total for one in model.loglikelihood([("he", " wor"), ("he", " wa")])]
    assert items["mine.jsonl"][0].scores["sum"] == pytest.approx(totals, abs=1e-4)


def test_a_figure_has_n_interval_and_chance(model, questions):
    [_, figure, _] = lm.evaluate(model, tasks=[questions], limit=9)
    assert figure.n == 9 and figure.chance == pytest.approx(1 / 3) and figure.ideal == 1 and figure.unit == "right"
    assert figure.interval[0] <= figure.value <= figure.interval[1]


def test_the_first_items_are_examples_and_are_not_measured(model, questions):
    asked = AskedTask.of(find(questions), shots=2, limit=3)
    assert asked.examples == "Question: What follows 0?\nAnswer: 1\n\nQuestion: What follows 1?\nAnswer: 2\n\n"
    assert [one.name for one in asked.items] == ["mine.jsonl#3", "mine.jsonl#4", "mine.jsonl#5"]
    [scores, *_] = run(model, asked)
    [alone] = model.loglikelihood([(asked.examples + "Question: What follows 2?\nAnswer:", " 3")])
    assert scores.scores["sum"][0] == pytest.approx(alone.total, abs=1e-4)


def test_examples_are_read_once(model, questions):
    reading = Reading()
    asked = AskedTask.of(find(questions), shots=3)
    run(model, asked, reading=reading)
    assert reading.apart > 10 * reading.tokens and reading.tokens < 2 * len(asked.examples) + 12 * 40


def test_pairs_are_also_compared_without_their_first_token(model, written):
    path = written({"good": "The cat sleeps.", "bad": "A cat sleep."})
    _, items = evaluate(model, [path], items=True)
    [scores] = items["mine.jsonl"]
    good, bad = model.loglikelihood([("", "The cat sleeps."), ("", "A cat sleep.")])
    assert scores.scores["sum"] == pytest.approx([good.total, bad.total])
    assert scores.scores["rest"] == pytest.approx([good.total - good.logprobs[0], bad.total - bad.logprobs[0]])
    with pytest.raises(ConfigError, match="compares whole sentences, and takes no examples"):
        evaluate(model, [path], shots=1)


def test_equal_scores_are_a_tie_and_count_what_guessing_gets(written):
    blind = tiny.language_model(seed=4)
    with torch.no_grad():
        for weight in blind.network.parameters():
            weight.zero_()
    path = written(*({"question": f"{at}?", "choices": ["one", "two", "six"], "answer": "C"} for at in range(4)))
    [figure, *_], items = evaluate(blind, [path], items=True)
    assert figure.value == pytest.approx(1 / 3) and figure.at_chance
    assert ties(items["mine.jsonl"], "sum") == 4 and items["mine.jsonl"][0].picked("sum") == [0, 1, 2]


@pytest.mark.filterwarnings("ignore:.*measured before")
def test_a_stopped_run_goes_on_and_keeps_what_it_measured(model, questions, tmp_path, monkeypatch):
    whole = run(model, AskedTask.of(find(questions)))
    told = model.continuations
    monkeypatch.setattr(model, "continuations", lambda *given: _until(told(*given), 18))
    with pytest.raises(Stopped, match=r"stopped; \d items of mine.jsonl are kept in .* the same command goes on"):
        evaluate(model, [questions], out=tmp_path / "out")
    [file] = (tmp_path / "out").glob("*.jsonl")
    lines = file.read_text().splitlines()
    assert 1 < len(lines) < 1 + len(whole)
    file.write_text("\n".join(lines) + '\n{"item": "cut o')
    asked: list[int] = []
    monkeypatch.setattr(model, "continuations", lambda pairs, *more: asked.append(len(pairs)) or told(pairs, *more))
    _, found = evaluate(model, [questions], out=tmp_path / "out", items=True)
    assert [one.scores["sum"] for one in found["mine.jsonl"]] == [pytest.approx(one.scores["sum"]) for one in whole]
    assert asked == [1, 3 * (12 - len(lines) + 1)]
    assert evaluate(model, questions, out=tmp_path / "out", items=True)[1] == found and asked[2:] == [1]
    kept = json.loads((tmp_path / "out" / "measurements.json").read_text())
    assert [one["n"] for one in kept] == [12, 12, 12]


@pytest.mark.filterwarnings("ignore:.*measured ")
@pytest.mark.parametrize("choices", [{"choices": ["oxygen", "helium"]}, {}])
def test_verdicts_are_those_of_the_present_key_whatever_a_file_says(model, written, tmp_path, monkeypatch, choices):
    first, second = ({"question": f"Which gas is {at}?", **choices, "answer": "oxygen"} for at in range(2))
    _, before = evaluate(model, [written(first, second)], items=True, out=tmp_path / "out")
    [file] = (tmp_path / "out").glob("mine*.jsonl")
    said = before["mine.jsonl"][0].written
    file.write_text(
        file.read_text()
        .replace('"item"', '"right": 1, "alike": {"exact": 1.0}, "item"')
        .replace('"exact": 0.0', '"exact": 1.0')
    )
    monkeypatch.setattr(Store, "append", None)  # nothing is measured again
    for answer in ("helium", "oxygen"):
        corrected = written(first | {"answer": answer if choices or answer == "oxygen" else said or "."}, second)
        _, found = evaluate(model, [corrected], items=True, out=tmp_path / "out")
        changed, same = found["mine.jsonl"]
        assert changed.right == (answer == "helium") if choices else changed.alike["exact"] == (answer == "helium")
        assert same == before["mine.jsonl"][1]


@pytest.mark.filterwarnings("ignore:.*measured ")
def test_a_file_of_items_can_be_read_alone_and_is_in_their_order(model, written, tmp_path):
    asked = [{"question": f"{at}?", "choices": ["a", f"{at}"], "answer": "A", "group": "g"} for at in range(3)]
    short = {"question": "Who?", "answer": ["Ann", "Annie"]}
    evaluate(model, [written(*asked[:2])], limit=1, out=tmp_path / "out")
    evaluate(model, [written(*asked[::-1])], limit=2, out=tmp_path / "out")
    _, items = evaluate(model, [written(short, name="short.jsonl")], items=True, out=tmp_path / "out")
    _, *lines = map(json.loads, (tmp_path / "out" / "mine.jsonl-0-shots.jsonl").read_text().splitlines())
    assert [one["item"] for one in lines] == ["mine.jsonl#1", "mine.jsonl#2"]
    assert [one["prompt"] for one in lines] == ["Question: 2?\nAnswer:", "Question: 1?\nAnswer:"]
    assert lines[0]["choices"] == ["a", "2"] and lines[0]["expected"] == "a" and lines[0]["group"] == "g"
    assert lines[0]["credit"]["sum"] == (lines[0]["scores"]["sum"][0] > lines[0]["scores"]["sum"][1])
    _, line = map(json.loads, (tmp_path / "out" / "short.jsonl-0-shots.jsonl").read_text().splitlines())
    assert line["expected"] == ["Ann", "Annie"] and line["written"] == items["short.jsonl"][0].written
    assert line["credit"] == {"exact": 0.0, "F1": 0.0} and line["prompt"] == "Question: Who?\nAnswer:"
    evaluate(model, [written(*asked)], shots=1, out=tmp_path / "out")
    first, *_ = map(json.loads, (tmp_path / "out" / "mine.jsonl-1-shots.jsonl").read_text().splitlines())
    assert first["examples"] == "Question: 0?\nAnswer: a\n\n"


def test_an_item_that_is_asked_otherwise_is_measured_again(model, written, tmp_path):
    first, second = ({"question": f"Which gas is {at}?", "choices": ["a", "b"], "answer": "A"} for at in range(2))
    evaluate(model, [written(first, second)], out=tmp_path / "out")
    changed = written(first | {"question": "Which metal?"}, second)
    with pytest.warns(UserWarning, match=r"mine.jsonl: 1 item is asked otherwise than in .*, and measured again"):
        _, kept = evaluate(model, [changed], items=True, out=tmp_path / "out")
    _, fresh = evaluate(model, [changed], items=True)
    assert [one.scores["sum"] for one in kept["mine.jsonl"]] == [
        pytest.approx(one.scores["sum"]) for one in fresh["mine.jsonl"]
    ]


def test_figures_of_several_runs_stand_side_by_side(model, questions, written, tmp_path):
    pairs = written({"good": "It is.", "bad": "It are."}, name="pairs.jsonl")
    evaluate(model, [questions], out=tmp_path / "out")
    evaluate(model, [pairs], out=tmp_path / "out")
    evaluate(model, [questions], out=tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "measurements.json").read_text())
    assert len(kept) == len({one["name"] for one in kept}) == 5
    (tmp_path / "out" / "measurements.json").write_text("[1")
    with pytest.raises(DataError, match="holds no measurements"):
        evaluate(model, [questions], out=tmp_path / "out")


def test_what_keeps_the_items_is_a_folder(model, questions):
    with pytest.raises(ConfigError, match=r"mine.jsonl is a file, and .*; give a folder"):
        evaluate(model, [questions], out=questions)
    with pytest.raises(LmworksError, match=r"mine.jsonl is a file and no folder; choose another place"):
        evaluate("no/such/model", [questions], out=f"{questions}/out")


def test_two_tasks_of_one_name_are_refused(model, questions, tmp_path):
    (tmp_path / "other").mkdir()
    other = shutil.copy(questions, tmp_path / "other")
    with pytest.raises(ConfigError, match=r"two tasks are called mine.jsonl; rename a file"):
        evaluate(model, [questions, str(other)])
    with pytest.raises(ConfigError, match="there is no task"):
        evaluate(model, [])


def _until(found, most):
    for at, one in enumerate(found):
        if at == most:
            raise KeyboardInterrupt
        yield one


def test_items_of_another_model_or_other_prompts_are_not_taken(model, questions, tmp_path):
    evaluate(model, [questions], out=tmp_path)
    with pytest.raises(DataError, match="holds measurements of another model"):
        evaluate(tiny.language_model(seed=5, context=512), [questions], out=tmp_path)
    with pytest.raises(DataError, match="holds measurements with other prompts"):
        evaluate(model, [questions], pmi=True, out=tmp_path)


def test_a_choice_that_is_longer_than_the_window_is_named(questions, written):
    small = tiny.language_model(seed=4, context=64)
    path = written({"question": "Which?", "choices": ["short", "x" * 80], "answer": "A"})
    with pytest.raises(DataError, match=r"mine.jsonl#1: a choice has 81 tokens and the model reads 64"):
        evaluate(small, [path])


def test_a_question_that_is_longer_than_the_window_is_told_without_an_option_that_there_is_not(written):
    small = tiny.language_model(seed=4, context=64)
    with pytest.raises(DataError, match=r"mine.jsonl#1: the prompt has .* the model reads 64; shorten it$"):
        evaluate(small, [written({"question": "Who? " * 30, "answer": "Ann"})])


@pytest.mark.parametrize(("given", "said"), [({"shots": -1}, "shots is -1"), ({"limit": 0}, "limit is 0")])
def test_settings_that_measure_nothing_are_refused(model, questions, given, said):
    with pytest.raises(ConfigError, match=said):
        evaluate(model, [questions], **given)
    with pytest.raises(ConfigError, match="12 of them as examples leave none"):
        evaluate(model, [questions], shots=12)


def test_written_answers_are_compared_by_words(model, written):
    number = Question("q", "How many?", ("20",), check="number")
    for answer, right in (("So he bought 13 + 17 = 20 books.", 1), ("20 and then 5", 0), ("twenty", 0), ("20.0", 1)):
        assert of_answer(number, answer).alike["last number"] == right
    assert of_answer(number, "It is 20 books.").alike["exact"] == 0
    item = Question("q", "Who?", ("Jane Austen", "Austen"))
    assert of_answer(item, "The Austen!").alike == {"exact": 1.0, "F1": 1.0}
    assert of_answer(item, "Jane Eyre").alike == {"exact": 0.0, "F1": 0.5}
    path = written(*({"question": f"Who is {name}?", "answer": name} for name in ("Ann", "Bob", "Cyd")))
    exact, f1 = evaluate(model, [path])
    _, items = evaluate(model, [path], items=True)
    told = [
        model.generate(f"Question: Who is {name}?\nAnswer:", max_new_tokens=64, stop=["\n"]) for name in ("Ann", "Bob")
    ]
    assert [one.written for one in items["mine.jsonl"][:2]] == [one.text.strip() for one in told]
    long = written({"question": "x" * 600, "answer": "y"}, name="long.jsonl")
    with pytest.raises(DataError, match=r"long.jsonl#1: the prompt has \d+ tokens and the model reads 512; shorten it"):
        evaluate(model, [long])
    assert exact.name == "mine.jsonl, exact" and f1.name == "mine.jsonl, F1" and exact.n == f1.n == 3


def _beginning_with_line_ends(model, monkeypatch):
    """Make the model draw a line end as many of its bytes, the first among them."""
    newline = model.tokenizer.encode("\n", special=False)[0]
    strategy = Sample(seed=4, logit_bias={newline: 7.0})
    monkeypatch.setattr(model, "generation_config", GenerationConfig(strategy))
    return strategy


def test_line_ends_before_an_answer_do_not_end_it_in_a_file_of_ones_own(model, written, monkeypatch):
    strategy = _beginning_with_line_ends(model, monkeypatch)
    path = written(*({"question": f"Who is {name}?", "answer": name} for name in ("Ann", "Bob", "Cyd")))
    _, items = evaluate(model, [path], items=True)
    whole = [
        model.generate(f"Question: Who is {name}?\nAnswer:", strategy, max_new_tokens=64).text
        for name in ("Ann", "Bob", "Cyd")
    ]
    assert all(text.startswith("\n") for text in whole)  # what this test is about
    assert [one.written for one in items["mine.jsonl"]] == [text.strip().split("\n")[0].strip() for text in whole]
    public = replace(find(path), name="public", waits=False)  # as lm-evaluation-harness stops
    figures, items = evaluate(model, [public], items=True)
    assert [one.written for one in items["public"]] == ["", "", ""] and figures[0].value == 0
    exact, f1 = measured_figures(public, items["public"], "public")
    assert exact.remark == "3 of 3 answers are empty" and f1.remark == ""


@pytest.mark.parametrize("shots", [0, 1])
def test_in_a_chat_the_prompt_is_the_users_turn_and_the_answer_the_models(model, questions, written, shots):
    path = written({"question": "A?", "answer": "a"}, {"question": "B?", "answer": "b"}, name="short.jsonl")
    figures, items = evaluate(model, [questions, path], shots=shots, chat=True, items=True)
    what = "mine.jsonl, 1 shots, chat" if shots else "mine.jsonl, chat"
    assert figures[0].name == f"{what}, log-likelihood"
    example = "Question: What follows 0?\nAnswer: 1\n\n" * shots
    turn = f"<|im_start|>user\n{example}Question: What follows {shots}?\nAnswer:<|im_end|>\n<|im_start|>assistant\n"
    ids = model.tokenizer.encode(turn, special=False, markup=True)
    assert len(ids) < len(turn) - 30  # the template's own tokens, and not their letters
    [(_, alone)] = model.continuations([(ids, model.tokenizer.encode(f"{shots + 1}", special=False))])
    assert items[what][0].scores["sum"][0] == pytest.approx(alone.total, abs=1e-4)
    before = "Question: A?\nAnswer: a\n\n" * shots
    asked = [{"role": "user", "content": f"{before}Question: {'AB'[shots]}?\nAnswer:"}]
    told = model.generate(asked, max_new_tokens=64).text
    kept = items[what.replace("mine", "short")][0].written
    assert kept == told.strip().split("\n")[0].strip()


def test_a_templates_own_bos_stands_once_before_a_chat(questions, monkeypatch):
    """Pitfall 4."""
    tokenizer = byte_level(TEMPLATES["Llama 3"], adds_bos=True)
    model = LanguageModel(tiny.network(4, vocab_size=tokenizer.vocab_size, context=512), tokenizer)
    read: list[list[int]] = []
    told = model.continuations
    monkeypatch.setattr(
        model, "continuations", lambda pairs, *more: read.extend(one for one, _ in pairs) or told(pairs)
    )
    evaluate(model, [questions], chat=True, limit=2)
    assert len(read) == 6 and all(ids.count(tokenizer.bos) == 1 and ids[0] == tokenizer.bos for ids in read)


@pytest.mark.parametrize("record", [{"question": "Who?", "answer": "Ann"}, {"good": "It is.", "bad": "It are."}])
def test_domain_pmi_of_what_it_cannot_compare_is_refused(model, written, record):
    with pytest.raises(ConfigError, match=r"mine.jsonl has no choices that domain PMI could compare; leave out --pmi"):
        evaluate(model, [written(record)], pmi=True)


def test_an_item_that_is_longer_than_the_window_is_named(model, written):
    asked = [{"question": at * (600 if at in "bc" else 1), "choices": ["x", "y"], "answer": "A"} for at in "abc"]
    said = r"^mine.jsonl: 2 items \(the first: mine.jsonl#2\) are longer than the 512 tokens that the model reads, and "
    with pytest.warns(UserWarning, match=said + "lost their beginning; shorten the questions$"):
        evaluate(model, [written(*asked)])
    said = r"^mine.jsonl, 1 shots: 1 item \(the first: mine.jsonl#2\) is longer than the 512 tokens .* lost its "
    with pytest.warns(UserWarning, match=said + "beginning; fewer shots keep it$"):
        evaluate(model, [written(*asked[:2])], shots=1)


def test_what_cannot_be_a_chat_is_refused(model, questions, written):
    pairs = written({"good": "It is.", "bad": "It are."}, name="pairs.jsonl")
    with pytest.raises(ConfigError, match=r"pairs.jsonl asks no question that a user's turn could hold"):
        evaluate(model, [pairs], chat=True)
    with pytest.raises(ConfigError, match=r"leave out --pmi or --chat"):
        evaluate(model, [questions], chat=True, pmi=True)
    vocabulary = replace(model.tokenizer.vocabulary, chat_template=None)
    plain = LanguageModel(model.network, Tokenizer(vocabulary))
    with pytest.raises(ConfigError, match=r"the model has no chat template; leave out --chat \(chat=True\)"):
        evaluate(plain, [questions], chat=True)


def test_what_the_right_model_would_score_is_one(written):
    """Scores as a perfect model gives them, so that a reversed comparison would show."""
    task = Task("t", "", "", list, clustered=True)
    right = [ItemScores(str(at), str(at % 4), {"sum": [-9.0, -1.0]}, 1) for at in range(20)]
    assert measured(task, right, "sum", "t").value == 1.0
    wrong = [replace(one, right=0) for one in right]
    assert measured(task, wrong, "sum", "t").value == 0.0


def test_two_models_are_compared_item_by_item():
    task = Task("t", "", "", list, main="sum")

    def scores(right):
        return [ItemScores(str(at), "", {"sum": [-1.0, -2.0 if one else 0.0]}, 0) for at, one in enumerate(right)]

    first, second = scores([1] * 10 + [0] * 10), scores([1] * 8 + [0] * 2 + [1] * 10)
    [found] = compared({"t": task}, {"t": first}, {"t": second})
    assert (found.first_alone, found.second_alone) == (2, 10)
    assert found.value == pytest.approx(0.4) and found.n == 20 and not found.tie
    [same] = compared({"t": task}, {"t": first}, {"t": first})
    low, high = same.interval
    assert same.value == 0 and low < -0.1 and high > 0.1  # what twenty items could hide
    with pytest.raises(ConfigError, match="measured on other items"):
        compared({"t": task}, {"t": first}, {"t": second[:-1]})


def test_a_model_that_does_not_write_is_refused(questions):
    encoder = tiny.language_model(family="lmworks", arrangement="encoder")
    with pytest.raises(ConfigError, match="is an encoder and does not write or score text"):
        evaluate(encoder, [questions])


def test_a_group_of_a_task_is_a_task(monkeypatch):
    items = [Choices(str(at), (("", "a"), ("", "b")), 0, ("a", "b"), "ab"[at % 2]) for at in range(6)]
    known = {"pairs": Task("pairs", "", "", lambda: items)}
    monkeypatch.setattr("lmworks.evaluation.tasks.find.tasks", lambda: known)
    assert [one.name for one in find("pairs:b").items()] == ["1", "3", "5"]
    with pytest.raises(ConfigError, match="pairs has no group 'c'; it has a, b"):
        find("pairs:c")
