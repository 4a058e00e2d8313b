"""lmworks ask, as somebody would use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmworks.basics.errors import LmworksError
from lmworks.models.files.references import resolve


@pytest.fixture(scope="module")
def notes(tmp_path_factory) -> Path:
    try:
        resolve("minilm")
    except LmworksError as error:
        pytest.skip(f"the default embedder is not here ({error}); fetch it with: lmworks models fetch minilm")
    folder = tmp_path_factory.mktemp("asked") / "notes"
    folder.mkdir()
    (folder / "rent.md").write_text(
        "# The flat\n\n## Payment\n\nThe rent is due on the third working day. It is 740 euros.\n\x1b[2J\n"
    )
    (folder / "boat.txt").write_text("The boat lies at pier 7.")
    from lmworks.grounding.index import build

    build(folder, folder.parent / "index")
    return folder


def test_an_answer_is_shown_with_its_citation_and_place(run, notes):
    ran = run("ask", str(notes.parent / "index"), "When is the rent due?")
    assert ran.code == 0 and "[1] rent.md, line 5  (The flat > Payment)" in ran.out
    assert "third working day" in ran.out.splitlines()[0] and "% of answerable questions are refused, too" in ran.out
    facts = run("ask", str(notes.parent / "index"), "When is the rent due?", "--json").json
    (cited, *_) = facts["citations"]
    assert (notes / cited["file"]).read_text()[cited["start"] : cited["end"]] == cited["text"]
    assert facts["refused"] is False and facts["text"].endswith("[1]") and facts["nearest"] is None


def test_a_refusal_names_the_reason_and_the_nearest_passage(run, notes):
    ran = run("ask", str(notes.parent / "index"), "How much is the deposit of the flat?")
    assert ran.code == 0 and ran.out.startswith("not in these documents\n")
    assert "do not mention deposit" in ran.out
    place, said = ran.out.split("nearest   ")[1].splitlines()[:2]
    assert place.startswith(("boat.txt, line 1", "rent.md, line 5")) and said.startswith("          ") and said.strip()
    facts = run("ask", str(notes.parent / "index"), "How much is the deposit of the flat?", "--json").json
    nearest = facts["nearest"]
    assert facts["refused"] and place.startswith(f"{nearest['file']}, {nearest['place']}")
    assert (notes / nearest["file"]).read_text()[nearest["start"] : nearest["end"]] == nearest["text"]
    assert 0 <= facts["confidence"] < facts["threshold"] and 0 < facts["false_refusals"] < 1


def test_what_is_of_another_kind_is_refused_without_a_probability(run, notes):
    question = "What is the e-mail address for the rent?"
    ran = run("ask", str(notes.parent / "index"), question)
    assert ran.code == 0 and ran.out.startswith("not in these documents\n") and "nearest   " in ran.out
    assert "sure" not in ran.out
    assert run("ask", str(notes.parent / "index"), question, "--json").json["confidence"] == 0


def test_where_no_likelihood_is_known_it_says_so_after_an_empty_line(run, notes, tmp_path):
    from lmworks.grounding.index import build

    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "library.md").write_text("# 图书馆\n\n图书馆每天早上九点开门。\n", encoding="utf-8")
    build(tmp_path / "text", tmp_path / "index")
    ran = run("ask", str(tmp_path / "index"), "图书馆几点开门？")
    assert "likely" not in ran.out and "was not measured in this language" in ran.out
    assert ran.out.splitlines()[-2] == ""


def test_a_citation_of_a_graph_shows_its_facts_and_claims_no_place_in_a_document(run, notes, tmp_path):
    pytest.importorskip("pyoxigraph")
    from lmworks.grounding.graph.graph import open_graph
    from lmworks.grounding.graph.store import load
    from lmworks.grounding.index import open_index

    table = tmp_path / "rent.md.csv"
    table.write_text("name,manager,office\nAnn,Bob,Oslo\nBob,Cara,Rome\nCara,,Paris\n")
    load(table, tmp_path / "staff", embedder=None)
    asked = ("ask", str(notes.parent / "index"), "Who is the manager of Ann's manager?", "--graph", tmp_path / "staff")
    ran = run(*map(str, asked))
    assert ran.out.splitlines()[:6] == [
        "Cara [1]",
        "",
        "[1] graph staff",
        "    The manager of manager of Ann: Cara.",
        "    Ann | manager | Bob  (rent.md.csv)",
        "    Bob | manager | Cara  (rent.md.csv)",
    ]
    facts = run(*map(str, asked), "--json").json
    assert facts["probably_right"] is None  # nothing was measured of what a graph answers
    (cited,) = facts["citations"]
    assert (cited["kind"], cited["document"], cited["file"]) == ("graph", "graph staff", "")
    assert [cited[name] for name in ("start", "end", "chunk", "answer", "at")] == [None] * 5
    assert [(one["subject"], one["value"], one["file"]) for one in cited["triples"]] == [
        ("Ann", "Bob", "rent.md.csv"),
        ("Bob", "Cara", "rent.md.csv"),
    ]
    graphs, documents = facts["passages"][:1], facts["passages"][1:]
    assert [(one["file"], one["start"], one["chunk"]) for one in graphs] == [("", None, None)]
    index = open_index(notes.parent / "index")
    assert documents and all(index.document(one["file"])[one["start"] : one["end"]] == one["text"] for one in documents)
    answer = index.ask("When is the rent due?", facts=open_graph(tmp_path / "staff").facts)
    assert [one.kind for one in answer.citations] == ["document"] and answer.probably_right is not None
    ran = run(*map(str, asked), "--min-right", "0.8")
    assert ran.code == 1 and "leave it or the graph out" in ran.err and not ran.out


def test_what_an_answer_is_made_of_can_be_seen(run, notes):
    ran = run("ask", str(notes.parent / "index"), "When is the rent due?", "--only-context")
    assert ran.out.startswith('[1] "The flat > Payment: The rent is due')
    assert "\x1b" not in ran.out
    ran = run("ask", str(notes.parent / "index"), "When is the rent due?", "--show-prompt")
    assert ran.out.startswith("no model was asked")


def test_mistakes_are_sentences(run, notes):
    ran = run("ask", "nowhere", "Why?")
    assert ran.code == 1 and "nowhere holds no index; make one" in ran.err
    ran = run("ask", str(notes.parent / "index"), "Why?", "--way", "write")
    assert ran.code == 1 and "writing needs a model" in ran.err
    ran = run("ask", str(notes.parent / "index"), "Why?", "--questions", "mine.jsonl")
    assert ran.code == 1 and "a question and --questions FILE were given; leave one of them out" in ran.err
    ran = run("ask", str(notes.parent / "index"), " ")
    assert ran.code == 1 and "is empty" in ran.err
    ran = run("ask", str(notes.parent / "index"), "Who is the king of France?", "--model", "smolm2")  # no answer there
    assert ran.code == 1 and "did you mean smollm2?" in ran.err and not ran.out


def test_ones_own_questions_are_asked_and_counted(run, notes, tmp_path):
    index, questions, out = str(notes.parent / "index"), tmp_path / "mine.csv", tmp_path / "answers.jsonl"
    questions.write_text("question,answer\nWhen is the rent due?,third working day\nWho reigns in Spain?,\n")
    ran = run("ask", index, "--questions", str(questions), "--out", str(out))
    assert ran.code == 0 and ran.out.startswith(f"2 questions of {questions}: 1 with an answer, 1 without\n")
    assert len(out.read_text().splitlines()) == 3
    facts = run("ask", index, "--questions", str(questions), "--beside", str(out), "--json").json
    assert facts["counts"]["right"] == 1 and facts["counts"]["rightly refused"] == 1
    assert facts["compared"] == {"n": 2, "better": 0, "worse": 0, "mcnemar": 1.0}
    for more in ([], ["When?", "--questions", str(questions)], ["When?", "--out", str(out)]):
        ran = run("ask", index, *more)
        assert ran.code == 1 and ran.err.count("\n") == 1 and "--questions" in ran.err
    ran = run("ask", index, "--questions", str(questions), "--show-prompt")
    assert ran.code == 1 and "leave --questions out" in ran.err
