"""lmworks corpus: the table says what --json says, and a mistake is one sentence."""

from __future__ import annotations

import json

import pytest

from lmworks.basics.amounts import counted

pytest.importorskip("datatrove", reason="the extra `corpus` is not installed; run: pip install 'lmworks[corpus]'")

OPTIONS = ("--set", "gopher_quality.min_doc_words=150", "--set", "tasks=1")


def test_corpus_as_a_table_and_as_json(run, tmp_path):
    ran = run("corpus", "manual", "--out", str(tmp_path / "a"), *OPTIONS, "--json")
    facts = ran.json
    assert ran.code == 0 and facts["documents"] > 40
    stored = json.loads((tmp_path / "a" / "corpus.json").read_text(encoding="utf-8"))
    assert stored | {"folder": facts["folder"]} == facts
    table = run("corpus", "manual", "--out", str(tmp_path / "b"), *OPTIONS).out
    for step in facts["steps"]:
        (line,) = (line for line in table.splitlines() if line.startswith(step["name"]) and "%" in line)
        assert f"{step['documents']:,}" in line and f"{step['dropped']:,}" in line
        assert all(f"{reason} {count:,}" in line for reason, count in list(step["reasons"].items())[:4])
        assert all(sample["source"] in table for sample in step["samples"][:2])
    for side in ("train", "held_out"):
        assert f"{counted(facts[side]['documents'], 'document')}, {facts[side]['bytes']:,} bytes" in table
    assert f"({facts['overlap']['found']:,} of {facts['overlap']['runs']:,})" in table


def test_a_folder_of_text_is_a_recipe(run, tmp_path):
    from pydoc_data.topics import topics

    folder = tmp_path / "manual"
    folder.mkdir()
    for name in ("assignment", "booleans", "class", "compound", "function", "import", "types", "while"):
        (folder / f"{name}.txt").write_text(topics[name])
    ran = run(
        "corpus", str(folder), "--out", str(tmp_path / "c"), "--set", "tasks=1", "--set", "split.held_out=0.4", "--json"
    )
    assert ran.code == 0, ran.err
    assert ran.json["recipe"]["sources"] == [str(folder)] and ran.json["documents"] == 8


def test_the_next_command_learns_what_the_corpus_holds(run, tmp_path):
    from pydoc_data.topics import topics

    names = ("assignment", "booleans", "class", "compound", "function", "import", "types", "while")
    turns = [[{"role": "user", "content": f"What is to be said of {name}?"}] for name in names]
    answers = [{"role": "assistant", "content": topics[name]} for name in names]
    worse = {"role": "assistant", "content": "I do not know."}
    chats = [{"messages": [*asked, answer]} for asked, answer in zip(turns, answers, strict=True)]
    pairs = [
        {"chosen": [*asked, answer], "rejected": [*asked, worse]} for asked, answer in zip(turns, answers, strict=True)
    ]
    for name, records, told in (("chats", chats, "tune MODEL --data"), ("pairs", pairs, "prefer MODEL --data")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "all.jsonl").write_text("\n".join(map(json.dumps, records)))
        ran = run("corpus", str(tmp_path / name), "--out", str(tmp_path / f"{name}-out"), "--set", "tasks=1")
        assert ran.code == 0 and f"next      lmworks {told} {tmp_path}" in ran.out, ran.out


def test_what_may_not_be_meant_comes_with_the_setting_that_changes_it(run, tmp_path):
    said = (
        "How much is the bill of customer {}? Please tell me how much it is, and when it is due, and how I may pay it."
    )
    lines = [json.dumps({"prompt": said.format(at), "completion": said.format(at)}) for at in range(8)]
    lines.append(json.dumps({"prompt": "When are you open?", "completion": "From eight to six, Monday to Friday."}))
    (tmp_path / "chats.jsonl").write_text("\n".join(lines))
    asked = ("corpus", str(tmp_path / "chats.jsonl"), "--set", "tasks=1")
    first = run(*asked, "--out", str(tmp_path / "a"))
    assert "but       7 of 9 documents are near duplicates; where" in first.out, first.out + first.err
    few = run(*asked, "--out", str(tmp_path / "b"), "--set", "near.enabled=false")
    assert "1 document held out, too few" in few.out and "split.held_out=0.2" in few.out
    kept = run(*asked, "--out", str(tmp_path / "c"), "--set", "near.enabled=false", "--set", "split.held_out=0.2")
    assert kept.code == 0 and "\nbut " not in kept.out


def test_mistakes_are_one_sentence(run, tmp_path):
    ran = run("corpus", "manuel", "--out", str(tmp_path / "a"))
    assert ran.code == 1 and ran.err.startswith("lmworks: manuel is not a shipped recipe")
    ran = run("corpus", "manual", "--out", str(tmp_path / "a"), "--set", "tasks=0")
    assert ran.code == 1 and ran.err.startswith("lmworks: tasks is 0") and ran.err.count("\n") == 1
