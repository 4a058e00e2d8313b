"""An index asks itself questions whose answers' places are known, and keeps what it learns from them."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny

from lmworks.grounding import postings
from lmworks.grounding.index import Index, IndexSettings, build, mixed, open_index
from lmworks.grounding.self_test import choosing, figures, run
from lmworks.grounding.self_test.answering import View, asked_of, f1
from lmworks.grounding.self_test.questions import SelfTestQuestion, questions_of
from lmworks.grounding.self_test.trials import WEIGHTS, Trial, gain, trials
from lmworks.grounding.self_test.wording import near_words, reworded
from lmworks.grounding.terms import terms

THINGS = ["boiler", "ferry", "orchard", "museum", "bakery", "harbour", "lantern", "violin", "tractor", "glacier"]
PLACES = ["Lindau", "Bregenz", "Kempten", "Ravensburg", "Friedrichshafen", "Wangen"]


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Index:
    """Ten notes with headings, each about another thing."""
    folder, draw = tmp_path_factory.mktemp("notes"), random.Random(0)
    for thing in THINGS:
        lines = [f"# The old {thing}\n"]
        for part in ("History", "Visiting"):
            lines.append(f"## {part} of the {thing}\n")
            lines += [
                f"The {thing} near {draw.choice(PLACES)} was repaired by {draw.randint(20, 99)} people after the long "
                f"{draw.choice(['winter', 'summer'])} storm. "
                f"Every visitor of the {thing} pays a small fee of {draw.randint(2, 19)} euros at the northern gate.\n"
            ]
        (folder / f"{thing}.md").write_text("\n".join(lines))
    embedder = tiny.embedder(folder.parent / "encoder")
    return build(folder, folder.parent / "index", IndexSettings(embedder=embedder, longest=250, language="english"))


def test_questions_are_the_same_for_a_seed_and_others_for_another(index: Index):
    one, again, other = (questions_of(index, seed, 20) for seed in (0, 0, 1))
    assert one == again != other and len(one) == 20
    assert {each.kind for each in one} == {"fact", "topic", "heading"}


def test_a_fact_asks_for_what_its_passage_says_and_does_not_say_it(index: Index):
    for one in (each for each in questions_of(index, 0, 40) if each.kind == "fact"):
        (passage,) = one.passages
        assert one.answer in one.sentence and one.sentence in passage.text
        assert not set(one.answer.split()) & set(one.text.rstrip("?").split()) and one.sentence not in one.spoilt


def test_a_heading_and_a_topic_are_taken_off_what_they_ask_for(index: Index):
    for one in questions_of(index, 0, 40):
        for passage in one.passages if one.kind != "fact" else ():
            gone = one.sentence or one.text
            assert gone in passage.text or gone in (passage.document, *passage.heading.split(" > "))
            assert gone not in one.replaced[passage.chunk]


def test_a_question_keeps_no_word_without_content_and_replaces_some():
    draw, near = random.Random(0), {"engine": "motor", "repaired": "mended"}
    words = ["The", "engine", "was", "repaired", "by", "the", "crew", "of", "the", "ferry"]
    made = [reworded(words, "english", near, draw) for _ in range(200)]
    assert {word for one in made for word in one} == {"engine", "motor", "repaired", "mended", "crew", "ferry"}
    assert all(len(one) >= 2 for one in made)


def test_near_words_have_other_stems(index: Index):
    near = near_words(
        ["The house and the houses. A garden. House garden gardens houses."] * 2,
        ["houses"],
        index.embedder,
        "english",
    )
    assert set(near) == {"houses"} and terms(near["houses"], "english") != terms("houses", "english")


def test_near_words_are_whole_in_any_script(index: Index):
    near = near_words(["पुस्तकालय किताब पुस्तकालय किताब"] * 2, ["पुस्तकालय", "well-known"], index.embedder, "hindi")
    assert near == {"पुस्तकालय": "किताब"}


def test_a_text_that_is_not_in_the_index_scores_as_one_that_is(index: Index):
    passage = index.search("ferry Bregenz", 1, "keywords")[0]
    whole = "\n".join((passage.document, passage.heading, passage.text))
    with index.storage.reading() as reading:
        counts = postings.counts_of(reading)
        score = postings.score_of(reading, terms("ferry Bregenz", "english"), terms(whole, "english"), counts)
    assert score == pytest.approx(passage.score, rel=1e-12)


def test_places_are_those_of_a_search(index: Index):
    """A fact changes no text: its place must be the one that a search gives."""
    facts = [one for one in questions_of(index, 0, 20) if one.kind == "fact"]
    for one in trials(index, facts):
        for weight, by in ((0.0, "keywords"), (0.5, "hybrid"), (1.0, "vectors")):
            scores = {each.chunk: each.score for each in index.search(one.question.query, len(index), by)}
            right = scores.get(one.question.passages[0].chunk)
            equal = [place for place, score in enumerate(scores.values()) if score == pytest.approx(right, rel=1e-12)]
            assert right is None or one.places[WEIGHTS.index(weight)] == np.mean(equal)


def test_a_gain_is_that_of_ndcg():
    assert gain(np.array([0.0, 1.0, 9.0, 10.0])).tolist() == pytest.approx([1, 1 / np.log2(3), 1 / np.log2(11), 0])


def _trial(index: Index, file: str, best: int) -> Trial:
    passage = index.search("ferry", 1)[0]
    moved = type(passage)(**{**passage.__dict__, "file": file})
    places = np.abs(np.arange(len(WEIGHTS)) - best).astype(float)
    return Trial(SelfTestQuestion("?", "fact", (moved,)), places, ((),) * len(WEIGHTS), None)


def test_the_weight_is_chosen_on_the_other_half(index: Index):
    """Documents of one half like 0.2 best, those of the other 0.8: each is judged by what the other half chose.
    A few that all gain the same would tell nothing."""
    tried = [_trial(index, f"{name}", 4 if choosing.half_of(str(name)) else 16) for name in range(80)]
    weight = choosing.chosen_weight(tried)
    halves = [choosing.half_of(one.question.passages[0].file) for one in tried]
    assert [WEIGHTS[at] for at in weight.judged] == [0.8 if half else 0.2 for half in halves]


def test_a_few_documents_that_all_gain_the_same_are_a_tie(index: Index):
    asked = [_trial(index, f"{name}", 4).question for name in range(4)]
    gained = figures.gained("nDCG@10, both minus words", [0.1] * 4, [0.285] * 4, asked)
    assert gained.value == pytest.approx(0.185) and gained.tie
    [low, high] = figures.share("recall@1", [1.0, 1.0, 0.0, 1.0], asked).interval
    assert 0 <= low < 0.75 < high == 1


def test_the_threshold_of_the_test_is_that_of_ask(index: Index):
    """What is counted as refused is what `ask` refuses."""
    facts = [one for one in questions_of(index, count=40) if one.kind == "fact"][:3]
    asked = list(asked_of(index, facts))
    counted = {one.name: one.value for one in figures.answered(asked)}
    assert counted[figures.REFUSED] == pytest.approx(np.mean([index.ask(one.text).refused for one in facts]))
    assert {one.threshold for one in asked} == {index.ask(facts[0].text).threshold}


def test_refusals_stand_at_the_threshold_that_refuses_one_in_twenty_too(index: Index):
    (real,) = asked_of(index, [one for one in questions_of(index, count=40) if one.kind == "fact"][:1])
    asked = [
        replace(
            real,
            answer=replace(real.answer, confidence=number / 40),
            gone=0.04 if number < 20 else 0.06,
            spoilt=None if number % 2 else 0.0,
            threshold=0.02,
        )
        for number in range(40)
    ]
    found = {one.name: one for one in figures.answered(asked)}
    plain, few = (found[f"refused with its passages taken away{how}"] for how in ("", ", 5 % of what is there too"))
    assert (plain.value, plain.chance) == (0, 1 / 40)
    assert (few.value, few.chance) == (0.5, 2 / 40)
    assert found["refused with its sentence taken out, 5 % of what is there too"].n == 20


def test_a_view_hides_and_changes_passages_and_leaves_the_index_alone(index: Index):
    whole = index.search("ferry", 5)
    view = View(index, lambda one: None if one.chunk == whole[0].chunk else one)
    assert [one.chunk for one in view.search("ferry", 4)] == [one.chunk for one in whole[1:]]
    assert [one.chunk for one in index.search("ferry", 5)] == [one.chunk for one in whole]


def test_f1_counts_shared_words():
    assert f1("the red lamp", "red lamp") == 1 and f1("a lamp", "red lamp") == pytest.approx(2 / 3) and not f1("x", "y")


def test_what_is_found_is_kept_and_searched_by_until_the_index_changes(index: Index, monkeypatch):
    monkeypatch.setattr(run, "ASKED", 4)
    monkeypatch.setattr(run, "at_hand", lambda: False)
    outcome = run.self_test(index, 24)
    kept = open_index(index.place)
    assert kept.tested == outcome.kept and kept.tested["index"] == kept.digest
    assert kept.weight == outcome.weight and {one.name for one in outcome.figures} >= {
        "recall@1, keywords",
        "nDCG@10, hybrid",
        "refused with its passages taken away",
    }
    assert all(one.n > 1 and one.interval for one in outcome.figures)
    became = [one for one in outcome.figures if one.name in {figures.RIGHT, figures.REFUSED, figures.WRONG}]
    assert sum(one.value for one in became) == pytest.approx(1) and len(became) == 3
    assert re.fullmatch(
        rf"{became[0].n} questions made from the text: \d+ right, \d+ refused, \d+ wrong", outcome.counts
    )
    parts, found = kept.parts("ferry gate"), kept.search("ferry gate", 1)[0]
    assert found.score == pytest.approx(mixed(parts.keywords, parts.vectors, kept.weight).max())
    file = Path(kept.reference) / "new.md"
    file.write_text("The new mill stands at the river.")
    kept.update()
    assert kept.tested["index"] != kept.digest
    file.unlink()
    kept.update()


def test_a_small_folder_says_what_cannot_be_measured(index: Index, tmp_path: Path):
    (tmp_path / "one.txt").write_text("The red lamp.")
    small = build(tmp_path / "one.txt", tmp_path / "index", index.settings)
    outcome = run.self_test(small)
    assert outcome.figures == [] and "nothing can be measured" in outcome.table
    assert small.weight == 0.5 and "gate" not in small.tested
