"""Training on conversations: what is learnt of them, shown before and after."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny

import lmworks as lm
from jobs import small_builds
from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.cli.build import show
from lmworks.jobs.build_text import rows_of, task_of_calls
from lmworks.jobs.planning.reading import read_subject
from lmworks.jobs.privacy import split_of
from lmworks.jobs.tune import preview, tune
from lmworks.loading import load_tokenizer
from lmworks.text.corpus.folder import read_split
from lmworks.text.document import Document
from lmworks.text.splits import Split
from lmworks.tokens.batch import example_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base, a text, and a list of instructions."""
    monkeypatch.chdir(tmp_path)
    small_builds.prepare(tmp_path)
    records = [{"instruction": f"Say {word}.", "input": "", "output": f"{word}!"} for word in tiny.WORDS[:12]]
    Path("chats.json").write_text(json.dumps(records))
    return tmp_path


def test_a_preview_shows_what_is_learnt_and_trains_nothing(folder: Path, smollm2_path: Path):
    first, second = preview("smollm2", "chats.json", 2)
    assert f"Say {tiny.WORDS[0]}.<|im_end|>" in first and f"[{tiny.WORDS[0]}!<|im_end|>]" in first
    assert first.count("[") == 1 and "chats.json#2" in second
    with pytest.raises(DataError):
        preview("smollm2", "nothing.json")


def test_what_is_left_out_is_told_in_a_preview_and_where_too_little_is_left(folder: Path, smollm2_path: Path):
    records = [{"prompt": "Who?", "completion": "Ann."}, {"prompt": "When?", "completion": " "}]
    Path("answers.jsonl").write_text("\n".join(map(json.dumps, records)))
    said: list[str] = []
    [only] = preview("smollm2", "answers.jsonl", say=said.append)
    assert "Ann." in only and len(said) == 1 and "1 of 2 records" in said[0] and "says nothing" in said[0]
    with pytest.raises(DataError, match=r"one conversation.*; left out: answers\.jsonl: 1 of 2 records.*says nothing"):
        tune("base", "answers.jsonl", out="out")


def test_conversations_in_which_nobody_answers_are_left_out_and_told(folder: Path, smollm2_path: Path):
    asked, answer = {"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Ann."}
    records = [[asked, answer], [asked], [answer, asked, answer], [asked, answer, asked]]
    Path("chats.jsonl").write_text("\n".join(json.dumps({"conversations": one}) for one in records))
    said: list[str] = []
    assert len(preview("smollm2", "chats.jsonl", 4, say=said.append)) == 2
    assert said == [
        "skipped        chats.jsonl: 2 conversations without an answer by the assistant; the first: chats.jsonl#2"
    ]
    parts = read_split("chats.jsonl", 0.5)[1]
    assert sorted(one.source for one in (*parts.train, *parts.held_out)) == ["chats.jsonl#1", "chats.jsonl#4"]
    Path("asked.jsonl").write_text(json.dumps({"conversations": [asked]}))
    with pytest.raises(DataError, match=r"asked\.jsonl holds nothing to train on or to measure: 1 conv"):
        preview("smollm2", "asked.jsonl")


REFUSING = "{% if messages[0].role == 'system' %}{{ raise_exception('Start with the user.') }}{% endif %}" + tiny.CHATML
SYSTEM, QUESTION = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who is it?"}


def _refusing(name: str) -> None:
    """A model whose template takes no system message."""
    tiny.language_model(context=160).save(name)
    Path(name, "chat_template.jinja").write_text(REFUSING)


def test_a_conversation_that_the_template_refuses_is_left_out_and_named(folder: Path):
    """By whatever reads it: a run, its preview and its plan, and what measures the result."""
    _refusing("strict")
    chats = [[QUESTION, {"role": "assistant", "content": word}] for word in tiny.WORDS]
    chats[3].insert(0, SYSTEM)
    chats[5].insert(0, SYSTEM)
    Path("chats.jsonl").write_text("\n".join(json.dumps({"messages": one}) for one in chats))
    sentence = (
        "skipped        chats.jsonl: 2 conversations that cannot be learnt; the first: chats.jsonl#4: the chat "
        "template of strict refuses these messages: Start with the user."
    )
    changes = ["training.context=64", "training.steps=1", "data.general=general", "model.dtype=float32"]
    ways = {
        "preview": lambda say: preview("strict", "chats.jsonl", 6, say=say),
        "plan": lambda say: read_subject("strict", changes, "chats.jsonl", say),
        "run": lambda say: tune("strict", "chats.jsonl", out="out", changes=changes, say=say),
    }
    said: dict[str, list[str]] = {name: [] for name in ways}
    found = {name: way(said[name].append) for name, way in ways.items()}
    assert all(sentence in lines for lines in said.values())
    assert ["#4" in one or "#6" in one for one in found["preview"]] == [False] * 6
    learnt = json.loads(Path("out/lmworks.json").read_text())["data"]
    assert sum(learnt["documents"]) == len(chats) - 2 == found["plan"].own.examples + found["plan"].own.held_out
    _, held_out = split_of(found["run"].recipe, {"data": learnt}, "out")
    assert len(held_out) == learnt["documents"][1]
    Path("chats.jsonl").write_text(json.dumps({"messages": chats[3]}))
    with pytest.raises(
        DataError, match=r"chats.jsonl holds nothing to train on .*: 1 conversation that cannot be.*#1: the"
    ):
        preview("strict", "chats.jsonl")


def test_a_table_of_which_one_column_is_learnt_is_told(folder: Path, smollm2_path: Path):
    Path("faq.csv").write_text("question,answer\nWho?,Ann is it.\nWhen?,At nine.\n")
    said: list[str] = []
    assert "[Ann is it.<|endoftext|>]" in preview("smollm2", "faq.csv", say=said.append)[0]
    assert len(said) == 1 and "faq.csv: only the column `answer` is read" in said[0] and "`completion`" in said[0]
    Path("faq.csv").write_text("text,answer\nWho?,Ann is it.\n")
    preview("smollm2", "faq.csv", say=said.append)
    assert len(said) == 1


@pytest.mark.parametrize("names", [("messages", "role", "content"), ("conversations", "from", "value")])
def test_an_answer_of_weight_0_is_read_and_not_learnt(tmp_path: Path, smollm2_path: Path, names: tuple[str, ...]):
    turns, role, content = names

    def record(*weights: object) -> str:
        said = [
            {role: who, content: f"{what} {number}"} | ({"weight": weight} if who == "assistant" else {})
            for number, weight in enumerate(weights)
            for who, what in (("user", "Who?"), ("assistant", "Ann"))
        ]
        return json.dumps({turns: said})

    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join([record(0, 1), record(0), record(0, None), record(1, 0.5)]))
    said: list[str] = []
    shown = preview("smollm2", path, say=said.append)
    assert len(shown) == 2 and all("Ann 0<|im_end|>" in one and "[Ann 1<|im_end|>]" in one for one in shown)
    assert all(one.count("[") == 1 for one in shown)
    assert len(said) == 2 and "].weight is 0.5; an answer's is 1 (learnt) or 0 (read alone)" in said[0]
    assert "1 conversation without an answer by the assistant" in said[1] and "#2" in said[1]


def test_of_a_corpus_that_which_is_learnt_is_shown(tmp_path: Path, smollm2_path: Path):
    for part in ("dropped/near", "held_out", "train"):
        (tmp_path / part).mkdir(parents=True)
        (tmp_path / part / "0.jsonl").write_text(json.dumps({"prompt": "Who?", "completion": f"{part}."}))
    assert len(preview("smollm2", tmp_path)) == 3
    (tmp_path / "corpus.json").write_text("{}")
    said: list[str] = []
    [only] = preview("smollm2", tmp_path, say=said.append)
    assert "[train.<|im_end|>]" in only and not said


def test_conversations_that_have_to_be_cut_are_told(smollm2_path: Path):
    model = SimpleNamespace(tokenizer=load_tokenizer("smollm2"))
    turns = [{"role": "user", "content": "Who is it?"}, {"role": "assistant", "content": "Ann is it. " * 9}]
    some = [Document.conversation([turns[0], {**turns[1], "content": f"Ann {i}."}], f"a#{i}") for i in range(3)]
    parts = Split([*some, Document.conversation(turns, "a#9"), Document("A text. " * 99, "b.txt")], [], 0)
    said: list[str] = []
    rows_of(small_builds.recipe(context=64), model, parts, said.append)
    tokens = len(example_of(parts.train[3], model.tokenizer).tokens)
    assert len(said) == 2 and said[1].startswith("cut            1 of 4 conversations: ")
    assert tokens > 64 and said[1].endswith(
        f"the longest, a#9, has {tokens} tokens (--set training.context={tokens} keeps all whole)"
    )
    rows_of(small_builds.recipe(context=tokens), model, parts, said.append)
    assert len(said) == 3


def test_calls_of_tools_that_are_not_described_are_told(smollm2_path: Path):
    model = SimpleNamespace(tokenizer=load_tokenizer("smollm2"))
    call = {"type": "function", "function": {"name": "stop", "arguments": {}}}
    turns = [{"role": "user", "content": "Stop."}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    said: list[str] = []
    shown = [Document.conversation(turns, "a#1", tools=[{"type": "function", "function": {"name": "stop"}}])]
    rows_of(small_builds.recipe(context=512), model, Split(shown, [], 0), said.append)
    assert len(said) == 1
    rows_of(small_builds.recipe(context=512), model, Split([Document.conversation(turns, "a#2")], [], 0), said.append)
    assert said[-1].startswith("tools          1 conversation with calls and without `tools` (a#2 first): a model")


def test_a_preview_says_what_would_be_cut_and_which_calls_have_no_tools(tmp_path: Path, smollm2_path: Path):
    call = {"function": {"name": "stop", "arguments": "{}"}}
    turns = [{"role": "user", "content": "Stop."}, {"role": "assistant", "tool_calls": [call]}]
    (tmp_path / "calls.jsonl").write_text(json.dumps({"tool": [{"name": "stop"}], "messages": turns}))
    said: list[str] = []
    preview("smollm2", tmp_path / "calls.jsonl", 1, said.append, context=512)
    assert [one.split()[0] for one in said] == ["tools"] and "beside its `messages`" in said[0]
    preview("smollm2", tmp_path / "calls.jsonl", 1, said.append, context=16)
    assert [one.split()[0] for one in said] == ["tools", "cut", "tools"] and "training.context=16," in said[1]


def test_a_model_that_is_nowhere_is_told_before_the_text_is_read(folder: Path):
    said: list[str] = []
    with pytest.raises(ModelError, match="did you mean smollm2"):
        tune("smolm2", "chats.json", out="out", say=said.append)
    assert not said and not Path("out.run").exists()


def test_rows_longer_than_learned_positions_are_refused_before_the_text_is_read(folder: Path):
    tiny.language_model(context=64, positions="learned", family="lmworks").save(Path("short"))
    with pytest.raises(ConfigError, match=r"training\.context is 65, and the network has learned 64 positions; give"):
        tune("short", "nowhere.json", out="out", changes=["training.context=65"])
    assert not Path("out.run").exists() and not Path("out").exists()


def test_plain_text_is_learnt_by_any_method_without_an_index(folder: Path):
    changes = [
        "training.context=64",
        "training.steps=3",
        "training.rows=2",
        "data.general=general",
        "model.dtype=float32",
    ]
    result = lm.tune("base", "notes", "last_layers", "kl", "out", changes=[*changes, "last_layers.layers=1"])
    said = json.loads(Path("out/lmworks.json").read_text())["recipe"]
    assert (said["method"], said["retain"], said["grounding"]["index"]) == ("last_layers", "kl", False)
    assert result.whole and [one.text for one in result.comparisons] == ["held-out text", "general text"]


def test_counterparts_of_the_training_text_are_learnt_too(folder: Path):
    for path in Path("notes").iterdir():
        path.write_text(f"{path.read_text()} {'He' if int(path.stem) % 2 else 'It'} reads.")
    lines: list[str] = []
    changes = ["training.context=64", "training.steps=1", "data.general=general", "model.dtype=float32"]
    swaps = "data.counterfactual=gender"
    lm.tune("base", "notes", out="out", changes=[*changes, "data.held_out=0.25", swaps], say=lines.append)
    [said] = [line for line in lines if line.startswith("counterparts")]
    have, documents = map(int, re.findall(r"\d+", said))
    assert 0 < have < documents and said.endswith("training documents have one")
    facts = json.loads(Path("out/lmworks.json").read_text())
    assert facts["data"]["documents"] == [documents + have, 12 - documents]
    assert facts["recipe"]["data"]["counterfactual"] == "gender"
    with pytest.raises(ConfigError, match="there is no list of swaps 'genders'"):
        lm.tune("base", "notes", out="other", changes=[*changes, "data.counterfactual=genders"])


def test_of_held_out_conversations_that_call_tools_it_is_told_how_many_are_written_exactly(folder: Path, capsys):
    """Bits per byte say little of calls: one wrong letter makes another call of it."""
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "stop", "arguments": {}}}]}
    words = {"role": "assistant", "content": "No."}
    asked = [{"messages": [{"role": "user", "content": one}, call], "tools": [{"name": "stop"}]} for one in tiny.WORDS]
    said = [{"messages": [{"role": "user", "content": f"Not {one}"}, words]} for one in tiny.WORDS[:4]]
    Path("calls.jsonl").write_text("".join(json.dumps(one) + "\n" for one in [*asked[:20], *said]))
    changes = [
        "training.context=1024",
        "training.steps=2",
        "data.general=general",
        "data.held_out=0.3",
        "model.dtype=float32",
    ]
    tiny.language_model(seed=4, context=1024).save("reads")
    result = lm.tune("reads", "calls.jsonl", "full", out="out", changes=changes)
    before, after = result.further
    assert [before.name, after.name] == [f"held-out calls written exactly, {one}" for one in ("before", "after")]
    assert before.n == after.n < 10 and after in result.measurements
    show(result)
    assert capsys.readouterr().out.splitlines()[-1].startswith("        lmworks evaluate out --task FILE     calls in")


def test_what_is_asked_for_calls_is_what_a_corpus_holds_out(tmp_path: Path):
    call = {"type": "function", "function": {"name": "stop", "arguments": {}}}
    turns = [{"role": "user", "content": "Stop."}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    tools = [{"type": "function", "function": {"name": "stop"}}]
    calling = Split([Document.conversation(turns, "a#1", tools=tools)], [], 0)
    (tmp_path / "train").mkdir()
    recipe = small_builds.recipe()
    recipe = recipe.but(data=recipe.data.but(text=str(tmp_path)))
    assert task_of_calls(recipe, calling) == "FILE"
    assert task_of_calls(recipe, Split([Document.conversation(turns, "a#1")], [], 0)) is None  # no tools to show
    (tmp_path / "held_out").mkdir()
    texts, mixed, held_out = (tmp_path / "held_out" / f"000_0000{number}.jsonl" for number in range(3))
    texts.write_text('{"text": "A text."}\n')
    asked = json.dumps({"messages": turns, "tools": tools, "source": "a#1"})
    mixed.write_text(f'{asked}\n{{"text": "A text."}}\n')
    (tmp_path / "corpus.json").write_text("{}")
    assert task_of_calls(recipe, calling) == "FILE", "evaluate --task reads no file with plain texts"
    held_out.write_text(f"{asked}\n")
    assert task_of_calls(recipe, calling) == str(held_out)
