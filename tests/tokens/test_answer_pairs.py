"""Preference pairs as tokens: every public layout, one template, one end, and loss on the answer alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
from invariants.test_templates import CLOSING, tokenizer_with

from lmworks.basics.errors import DataError, ModelError
from lmworks.generation.tool_calls import Called
from lmworks.jobs.prefer import why_useless
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.tool import Tool
from lmworks.tokens.answer_pairs import pack_pairs, pair_of
from lmworks.tokens.chat.conversation import encode_chat
from tokens.small import byte_level

ASKED = [
    {"role": "user", "content": "What is tin?"},
    {"role": "assistant", "content": "A metal."},
    {"role": "user", "content": "Soft?"},
]
SAID = [{"role": "assistant", "content": "Yes, and kind."}], [{"role": "assistant", "content": "Yes, fool."}]


def preference(prompt: list[dict[str, str]] = ASKED, better: str = "Yes, and kind.", worse: str = "Yes, fool."):
    answers = ({"role": "assistant", "content": one} for one in (better, worse))
    return Document.preference(*([*prompt, one] for one in answers), "pairs.jsonl#3")


LAYOUTS = {
    "conversations": {"chosen": [*ASKED, *SAID[0]], "rejected": [*ASKED, *SAID[1]]},
    "a prompt of turns": {"prompt": ASKED, "chosen": SAID[0], "rejected": SAID[1]},
    "a prompt of turns and texts": {"prompt": ASKED, "chosen": "Yes, and kind.", "rejected": "Yes, fool."},
    "texts": {"prompt": "Soft?", "chosen": "Yes, and kind.", "rejected": "Yes, fool."},
    "the prompt said twice": {
        "prompt": "Soft?",
        "chosen": [*ASKED[2:], *SAID[0]],
        "rejected": [*ASKED[2:], *SAID[1]],
        "score_chosen": 8.5,
    },
    "Alpaca": {
        "instruction": "Soft?",
        "input": "",
        "output": "-",
        "chosen": "Yes, and kind.",
        "rejected": "Yes, fool.",
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_public_layout_is_the_same_pair(layout: str, tmp_path: Path):
    (tmp_path / "pairs.jsonl").write_text(json.dumps(LAYOUTS[layout]))
    [found] = read(str(tmp_path)).documents
    wanted = preference(ASKED if "turns" in layout or layout == "conversations" else ASKED[2:])
    assert (found.messages, found.rejected) == (wanted.messages, wanted.rejected)
    assert found.hash == wanted.hash != preference(worse="Yes, you fool.").hash


def test_a_table_of_pairs_is_read(tmp_path: Path):
    (tmp_path / "pairs.csv").write_text("prompt,chosen,rejected\nSoft?,Yes.,No.\nHard?,No.,Yes.\n")
    first, second = read(str(tmp_path)).documents
    assert first.rejected[-1]["content"] == "No." and second.messages[0]["content"] == "Hard?"


@pytest.mark.parametrize("shape", CLOSING)
def test_the_template_is_there_once_and_the_answer_alone_is_learnt_with_its_end(shape: str):
    tokenizer = tokenizer_with(shape)
    pair = pair_of(preference(), tokenizer, 1000)
    prompt = encode_chat(tokenizer, ASKED)
    for one, words in zip(pair.both, ("Yes, and kind.", "Yes, fool."), strict=True):
        assert one.tokens[: len(prompt)] == prompt and not any(one.supervised[: len(prompt)])
        learnt = [token for token, carries in zip(one.tokens, one.supervised, strict=True) if carries]
        assert tokenizer.decode(learnt, skip_special=False).strip() == words + CLOSING[shape].strip()
        assert sum(token in tokenizer.stop_ids for token in learnt) == 1
        assert tokenizer.bos is None or one.tokens.count(tokenizer.bos) <= 1
    whole = encode_chat(tokenizer, preference().messages, add_generation_prompt=False)
    assert pair.chosen.tokens == whole


@pytest.mark.parametrize("shape", CLOSING)
def test_of_two_calls_each_is_learnt_after_the_prompt_that_shows_the_tools(shape: str, tmp_path: Path):
    def calling(place: str) -> list[dict]:
        return [{"role": "assistant", "tool_calls": [{"name": "weather", "arguments": {"place": place}}]}]

    schema = {"type": "object", "properties": {"place": {"type": "string"}}}
    tools = [{"name": "weather", "parameters": schema}]
    record = {"prompt": ASKED[2:], "chosen": calling("Rome"), "rejected": calling("Oslo"), "tools": tools}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(record))
    [found] = read(str(tmp_path)).documents
    assert why_useless(found) == ""
    tokenizer = tokenizer_with(shape)
    pair = pair_of(found, tokenizer, 4000)
    prompt = encode_chat(tokenizer, ASKED[2:], tools=[Tool("weather", parameters=schema)])
    for one, place in zip(pair.both, ("Rome", "Oslo"), strict=True):
        assert one.tokens[: len(prompt)] == prompt and not any(one.supervised[: len(prompt)])
        learnt = [token for token, carries in zip(one.tokens, one.supervised, strict=True) if carries]
        [call] = Called.of(tokenizer.decode(learnt)).calls
        assert call.value == {"place": place}


def test_a_pair_stays_together_and_every_one_is_there_once():
    tokenizer = tiny.byte_tokenizer()
    pairs = [pair_of(preference(worse=f"No {'x' * n}"), tokenizer, 600) for n in range(7)]
    rows = pack_pairs(pairs, 600, seed=1)
    assert len(rows) < 7 and all(sum(len(one.tokens) for one in row) <= 600 for row in rows)
    packed = [both for row in rows for both in zip(row[::2], row[1::2], strict=True)]
    assert sorted(packed, key=str) == sorted((pair.both for pair in pairs), key=str)


def test_what_does_not_fit_is_never_cut():
    tokenizer = tiny.byte_tokenizer()
    size = pair_of(preference(), tokenizer, 1000).size
    assert pair_of(preference(), tokenizer, size).size == size
    with pytest.raises(
        DataError, match=rf"^pairs.jsonl#3: its prompt and answers have {size} tokens, .* a row {size - 1};"
    ):
        pair_of(preference(), tokenizer, size - 1)
    with pytest.raises(DataError, match=r"#3: its prompt has \d+ tokens and a row 60, so that nothing of an answer"):
        pair_of(preference(), tokenizer, 60)


def test_a_line_of_ten_megabytes_is_told_before_it_is_tokenized(monkeypatch: pytest.MonkeyPatch):
    tokenizer = tiny.byte_tokenizer()
    monkeypatch.setattr(type(tokenizer), "encode", lambda *args, **named: pytest.fail("it was tokenized"))
    with pytest.raises(DataError, match=r"^pairs.jsonl#3: its prompt and answers have at least 10,000,0\d\d tokens"):
        pair_of(preference(better="x" * 10_000_000), tokenizer, 1000)


def test_another_document_and_a_template_that_rewrites_prompts_are_refused():
    tokenizer = tiny.byte_tokenizer()
    with pytest.raises(DataError, match=r"notes.txt is no preference pair; give records with"):
        pair_of(Document("a text", "notes.txt"), tokenizer, 100)
    shouting = "{% for m in messages %}{{ m.content if loop.last else m.content | upper }}<|im_end|>{% endfor %}"
    with pytest.raises(ModelError, match=r"writes pairs.jsonl#3 differently|writes the prompt of pairs.jsonl#3"):
        pair_of(preference(), byte_level(shouting), 1000)
