"""Reading untrusted text: what is read is unchanged, what is not is named with its reason."""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_files import line, pdf

from lmworks.basics.errors import DataError, LmworksError
from lmworks.evaluation.leaks import shared_words
from lmworks.text import plain, records
from lmworks.text.formats import csv_table
from lmworks.text.formats import jsonl as jsonl_format
from lmworks.text.formats import parquet as parquet_format
from lmworks.text.sources import FOLLOW_LINKS, Reading, listing, read
from lmworks.text.splits import split

DOCS = "the extra docs is not installed: pip install 'lmworks[docs]'"


def write(folder: Path, **files: str | bytes) -> Path:
    """Files by name, `a__txt` for `a.txt`."""
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def texts(reading: Reading) -> dict[str, str]:
    return {document.source: document.text for document in reading.documents}


def reasons(reading: Reading) -> dict[str, str]:
    return {skipped.path: skipped.reason for skipped in reading.skipped}


def test_a_folder_is_read_in_the_order_of_its_paths_without_hidden_files(tmp_path):
    for name in ("b.txt", "a/z.md", "a.rst", ".hidden.txt", ".git/config.txt", "README", "code/run.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    reading = read(tmp_path)
    assert [document.source for document in reading.documents] == ["README", "a.rst", "a/z.md", "b.txt", "code/run.py"]
    assert reading.skipped == [] and reading.name == tmp_path.name
    assert read(str(tmp_path / "b.txt")).documents[0].source == "b.txt"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1).filter(str.strip))
def test_text_is_changed_in_its_line_ends_only(text):
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.txt")
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            file.write_bytes(text.encode(encoding))
            if encoding == "utf-8" and text.startswith("\ufeff"):
                continue  # it is a byte order mark
            assert read(file).documents[0].text == expected


def test_mixed_encodings_are_read_or_named_with_the_byte_that_is_wrong(tmp_path):
    write(
        tmp_path,
        a__txt="naïve 🙂\r\nsecond\rthird",
        b__txt="naïve 🙂".encode("utf-16"),
        c__txt="naïve".encode("utf-8-sig"),
        d__txt="naïve".encode("latin-1"),
        e__txt="🙂".encode()[:3],
        f__txt="naïve".encode("utf-32"),
        g__txt=b"\xfe\xff\xd8\x00",
        h__txt=b"\xef\xbb\xbfabc\xff",
    )
    reading = read(tmp_path)
    assert texts(reading) == {"a.txt": "naïve 🙂\nsecond\nthird", "b.txt": "naïve 🙂", "c.txt": "naïve"}
    assert reasons(reading) == {
        "d.txt": "not UTF-8 text (byte 0xef at offset 2); save it as UTF-8",
        "e.txt": "not UTF-8 text (byte 0xf0 at offset 0); save it as UTF-8",
        "f.txt": "UTF-32 text; save it as UTF-8",
        "g.txt": "not UTF-16 text (byte 0xd8 at offset 2); save it as UTF-8",
        "h.txt": "not UTF-8 text (byte 0xff at offset 6); save it as UTF-8",
    }


def test_the_wrong_byte_is_named_by_its_offset_in_the_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr(plain, "MEBIBYTE", 8)  # blocks that cut characters
    write(tmp_path, a__txt="é" * 3 + "🙂" * 9, b__txt=b"abcde" + "🙂".encode() * 5 + b"\xff")
    reading = read(tmp_path)
    assert texts(reading) == {"a.txt": "ééé" + "🙂" * 9}
    assert reasons(reading) == {"b.txt": "not UTF-8 text (byte 0xff at offset 25); save it as UTF-8"}


def test_binary_empty_and_unknown_files_are_named(tmp_path):
    write(
        tmp_path,
        good__txt="good",
        image__txt=b"\x00\x01\x02",
        program=b"\x7fELF\x00",
        blank__txt=" \n ",
        empty__txt="",
        movie__mp4=b"x",
        named__txt=b"\x89PNG\0",
        utf__txt="a\0b".encode("utf-16"),
    )
    reading = read(tmp_path)
    assert texts(reading) == {"good.txt": "good"}
    assert reasons(reading) == {
        "blank.txt": "no text in it",
        "empty.txt": "empty",
        "image.txt": "binary, not text",
        "movie.mp4": ".mp4 files are not read",
        "named.txt": "binary, not text",
        "program": "binary, not text",
        "utf.txt": "binary, not text",
    }


def test_the_shares_of_a_folder_are_together_the_whole(tmp_path):
    write(tmp_path, **{f"{letter}__txt": letter for letter in "abcdefg"}, empty__txt="", picture__png=b"\x89PNG")
    shares = [read(tmp_path, (number, 3)) for number in range(3)]
    whole = read(tmp_path)
    assert sorted(one.text for share in shares for one in share.documents) == [one.text for one in whole.documents]
    assert sorted(one.path for share in shares for one in share.skipped) == [one.path for one in whole.skipped]
    assert read(tmp_path, (11, 12)).documents == []
    for one in (str(tmp_path / "a.txt"), "python-reference"):
        assert read(one, (0, 2)) == read(one) and read(one, (1, 2)).documents == []


def test_records_without_text_are_counted(tmp_path):
    reading = read(write(tmp_path, a__jsonl='{"text": "good"}\n{"text": " "}\n{"text": ""}', b__txt=" \n"))
    assert texts(reading) == {"a.jsonl#1": "good"} and reading.blank == 2
    assert reasons(reading) == {"b.txt": "no text in it"}


def test_a_listing_changes_when_a_file_does(tmp_path):
    write(tmp_path, a__txt="a", b__txt="b")
    before = listing(str(tmp_path))
    assert [(Path(name).name, size) for name, size, _ in before] == [("a.txt", 1), ("b.txt", 1)]
    write(tmp_path, b__txt="bb")
    assert listing(str(tmp_path)) != before and listing("python-reference") == listing("python-reference")
    with pytest.raises(DataError, match="did you mean"):
        listing(str(tmp_path / "a.tx"))


def test_a_folder_with_nothing_to_read_says_what_it_may_hold(tmp_path):
    with pytest.raises(DataError, match=r"is an empty folder; it may hold \.txt .*\.pdf"):
        read(tmp_path)
    write(tmp_path, **{f"{letter}__png": b"\x89PNG" for letter in "abcdefgh"})
    with pytest.raises(DataError, match=r"Skipped: a\.png: \.png files are not read .*; and 3 more"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"a\.png cannot be used: \.png files are not read without .*; a file may be"):
        read(tmp_path / "a.png")


def test_an_unknown_reference_gets_a_suggestion(tmp_path):
    with pytest.raises(DataError, match="python-referense does not exist; did you mean python-reference"):
        read("python-referense")
    (tmp_path / "notes").mkdir()
    with pytest.raises(DataError, match=r"did you mean .*notes"):
        read(str(tmp_path / "note"))
    with pytest.raises(DataError, match="cannot be read"):
        read("a\0b")


def test_a_huge_line_is_skipped_and_never_in_memory(tmp_path):
    """The real bounds: 3 GB in a sparse file, and a line of 65 MiB in a file of its own."""
    with (tmp_path / "sparse.txt").open("wb") as file:
        file.truncate(3 * 2**30)
    with (tmp_path / "line.txt").open("wb") as file:
        file.writelines(b"a" * 2**20 for _ in range(65))
    (tmp_path / "good.txt").write_text("good")
    tracemalloc.start()
    try:
        reading = read(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reasons(reading) == {
        "line.txt": "a line of over 67,108,864 characters; break it into lines",
        "sparse.txt": "3,072 MiB large; split it into files of up to 256 MiB",
    }
    assert peak < 10 * 2**20  # bytes: neither was held


def test_a_long_record_is_left_out_and_the_others_are_read(tmp_path, monkeypatch):
    for module in (plain, jsonl_format):
        monkeypatch.setattr(module, "LINE_LIMIT", 100)
    records = ("one", "x" * 1000, "two", "y" * 88, "y" * 89, "z" * 500)  # 12 characters around each
    lines = [json.dumps({"text": text}) for text in records]
    reading = read(write(tmp_path, a__jsonl="\n".join(lines)))
    assert list(texts(reading)) == ["a.jsonl#1", "a.jsonl#3", "a.jsonl#4"]
    assert reasons(reading)["a.jsonl"].startswith("3 of 6 records; the first: line 2: a line of over 100 ")


def test_no_permission_is_named_with_the_file(tmp_path):
    with tempfile.TemporaryDirectory() as name:
        folder = write(Path(name), open__txt="open", closed__txt="closed")
        (folder / "vault").mkdir(mode=0o000)
        (folder / "closed.txt").chmod(0)
        folder.chmod(0o755)
        root = os.geteuid() == 0
        if root:  # root reads anything: be somebody else for a moment
            os.seteuid(65534)
        try:
            reading = read(folder)
        finally:
            if root:
                os.seteuid(0)
            (folder / "vault").chmod(0o700)
    assert texts(reading) == {"open.txt": "open"}
    assert reasons(reading) == {"closed.txt": "permission denied", "vault": "permission denied"}


def test_links_and_pipes_neither_hang_nor_lead_out(tmp_path, monkeypatch):
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    folder.mkdir(), elsewhere.mkdir()
    write(folder, a__txt="a"), write(elsewhere, b__txt="b")
    (folder / "linked.txt").symlink_to(elsewhere / "b.txt")
    (folder / "inside.txt").symlink_to("a.txt")
    (folder / "loop").symlink_to(folder)
    (folder / "self.txt").symlink_to(folder / "self.txt")
    (folder / "gone.txt").symlink_to(folder / "missing")
    os.mkfifo(folder / "pipe.txt")
    reading = read(folder)
    assert texts(reading) == {"a.txt": "a", "inside.txt": "a"}
    assert reasons(reading) == {
        "linked.txt": "a link that leaves the folder; --follow-links reads it",
        "gone.txt": "no such file or directory",
        "loop": "a link to a folder; give that folder itself",
        "pipe.txt": "not a file of data (a pipe, socket or device)",
        "self.txt": "too many levels of symbolic links",
    }
    assert str(folder / "linked.txt") not in [name for name, *_ in listing(str(folder))]
    monkeypatch.setenv(FOLLOW_LINKS, "1")
    reading = read(folder)
    assert texts(reading)["linked.txt"] == "b" and "linked.txt" not in reasons(reading)


def test_a_name_that_is_not_utf8_can_still_be_printed(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("text")
    assert read(tmp_path).documents[0].source.encode() == "\ufffd.txt".encode()


# Records


def jsonl(folder: Path, *records: object) -> Reading:
    return read(write(folder, a__jsonl="\n".join(json.dumps(record) for record in records)))


def turns(question: str, answer: str) -> tuple[dict[str, str], ...]:
    return {"role": "user", "content": question}, {"role": "assistant", "content": answer}


def test_chat_records_and_instructions_become_conversations(tmp_path):
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi\r\n"},
        {"role": "assistant", "content": "Hello!", "name": "ada"},
    ]
    reading = jsonl(
        tmp_path,
        {"messages": chat, "text": "rendered"},
        {"prompt": "p", "response": "r"},
        {"text": "plain\rtext"},
        {"instruction": "Add", "input": "1 2", "output": "3"},
        {"instruction": "Add", "input": "", "output": "3"},
        {"instruction": "Add", "input": None, "output": "3"},
    )
    messages = [document.messages for document in reading.documents]
    assert messages[0] == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi\n"},
        {"role": "assistant", "content": "Hello!"},
    )
    assert reading.documents[0].text == "Be brief.\n\nHi\n\n\nHello!"
    assert messages[1] == turns("p", "r")
    assert messages[2] is None and reading.documents[2].text == "plain\ntext"
    assert messages[3:] == [turns("Add\n\n1 2", "3"), turns("Add", "3"), turns("Add", "3")]
    assert reading.skipped == []


def test_other_public_layouts_become_conversations_too(tmp_path):
    shared = [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "p"}, {"from": "gpt", "value": "r"}]
    records = [{"conversations": shared, "id": 7}, {"prompt": "p", "completion": "r"}, {"conversations": "r"}, 3]
    (tmp_path / "list.json").write_text(json.dumps(records))
    reading = read(str(tmp_path / "list.json"))
    assert [one.messages[-2:] for one in reading.documents] == [turns("p", "r")] * 2
    assert reading.documents[0].messages[0] == {"role": "system", "content": "Be brief."}
    [skipped] = reading.skipped
    assert skipped.reason == "2 of 4 records; the first: record 3: `conversations` is not a list of turns"


ALPACA = {
    "instruction": "Add",
    "input": "1 2",
    "output": "3",
    "text": "Below is an instruction.\n\n### Instruction:\nAdd\n\n### Input:\n1 2\n\n### Response:\n3",
}
"""As Stanford published it: the same once more, in its own template."""
CONVERSED = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}]
BESIDE_A_TEXT = {
    "alpaca": (ALPACA, turns("Add\n\n1 2", "3")),
    "response": ({"text": "p r", "prompt": "p", "response": "r"}, turns("p", "r")),
    "completion": ({"text": "p r", "prompt": "p", "completion": "r"}, turns("p", "r")),
    "messages": ({"text": "p r", "messages": CONVERSED}, turns("p", "r")),
    "capitals": ({"text": "p r", "Prompt": "p", "Completion": "r"}, turns("p", "r")),
    "nothing": ({"text": "p r", "prompt": "p", "output": "r", "title": "t"}, None),
}


def written(folder: Path, form: str, record: dict) -> Path:
    """A file of one record."""
    path = folder / f"one.{form}"
    if form == "csv":
        cells = [one if isinstance(one, str) else json.dumps(one) for one in record.values()]
        return table(path, [list(record), cells])
    if form == "parquet":
        arrow = pytest.importorskip("pyarrow", reason=DOCS)
        from pyarrow import parquet

        parquet.write_table(arrow.Table.from_pylist([record]), path)
    else:
        path.write_text(json.dumps(record if form == "jsonl" else [record]))
    return path


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "parquet"])
@pytest.mark.parametrize("columns", BESIDE_A_TEXT)
def test_a_conversation_with_a_text_beside_it_is_a_conversation(tmp_path, columns, form):
    record, wanted = BESIDE_A_TEXT[columns]
    if columns == "capitals" and form in ("jsonl", "json"):
        wanted = None  # titles of tables alone are read in small letters
    [one] = read(written(tmp_path, form, record)).documents
    assert one.messages == wanted and (wanted or one.text == "p r")


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "parquet"])
def test_a_prompt_and_its_completion_may_be_turns(tmp_path, form):
    said = [{"role": "system", "content": "Be brief."}, *turns("Hi", "Hello!"), {"role": "user", "content": "p"}]
    record = {"prompt": said, "completion": [{"role": "assistant", "content": "r"}]}
    [one] = read(written(tmp_path, form, record)).documents
    read_alone = {"role": "assistant", "content": "Hello!", "weight": "0"}
    assert one.messages == (*said[:2], read_alone, said[3], {"role": "assistant", "content": "r"})
    half = {"prompt": "p", "response": record["completion"]}
    [one] = read(written(tmp_path, form, half)).documents
    assert one.messages == turns("p", "r")
    pair = {"prompt": said[3:], "chosen": record["completion"], "rejected": [{"role": "assistant", "content": "no"}]}
    [one] = read(written(tmp_path, form, pair)).documents
    assert one.messages == turns("p", "r")


@pytest.mark.parametrize("others", [{"prompt": None, "response": None}, {"prompt": "", "completion": ""}])
def test_a_text_beside_empty_columns_is_a_text(others):
    """As sets of several kinds are in one table."""
    assert records.document({**others, "text": "A whole document."}, "s").text == "A whole document."


def test_a_completion_may_call_tools_and_a_cell_that_is_json_without_roles_is_a_text(tmp_path):
    tools = [{"name": "stop", "parameters": {"type": "object", "properties": {}}}]
    called = [
        {"role": "assistant", "tool_calls": [{"name": "stop"}]},
        {"role": "tool", "content": ""},
        {"role": "assistant", "content": "It stands."},
    ]
    [one] = read(written(tmp_path, "csv", {"prompt": "Stop.", "completion": called, "tools": tools})).documents
    assert one.calls == 1 and len(one.messages) == 4 and one.tools[0]["function"]["name"] == "stop"
    plain = {"prompt": '[{"a": 1}]', "completion": "r", "tools": "saw"}
    [one] = read(written(tmp_path, "csv", plain)).documents
    assert one.messages == turns('[{"a": 1}]', "r") and dict(one.metadata) == {"tools": ("saw",)}


@pytest.mark.parametrize(
    ("content", "reason"),
    [("{}", "it is JSON and no list of records"), ("[{", "not JSON"), ("[" * 100_000, "not JSON")],
)
def test_a_json_file_of_another_kind_is_named(tmp_path, content, reason):
    (tmp_path / "notes.txt").write_text("a note")
    (tmp_path / "other.json").write_text(content)
    [skipped] = read(str(tmp_path)).skipped
    assert reason in skipped.reason


def test_a_message_in_parts_is_one_text(tmp_path):
    parts = [{"type": "text", "text": "Who is "}, {"type": "text", "text": "Ann?"}]
    turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": "The harbour master."}]
    (tmp_path / "chats.jsonl").write_text(json.dumps({"messages": turns}))
    [one] = read(str(tmp_path / "chats.jsonl")).documents
    assert one.messages is not None and one.messages[0] == {"role": "user", "content": "Who is Ann?"}
    turns[0]["content"] = [*parts, {"type": "image_url", "image_url": {"url": "data:"}}]
    (tmp_path / "chats.jsonl").write_text(json.dumps({"messages": turns}) + '\n{"text": "a note"}')
    assert "messages[0].content is list" in read(str(tmp_path / "chats.jsonl")).skipped[0].reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON (Expecting property name enclosed in double quotes)"),
        ('{"text": "cut off', "not JSON (Invalid control character at character 18)"),
        ("[" * 100_000, "not JSON (maximum recursion depth exceeded"),
        ("1" * 10_000, "not JSON (Exceeds the limit"),
        ("[1]", "it is not an object with a `text`"),
        ('{"title": "x"}', "it has none of a `text`, `messages`"),
        ('{"text": 3}', "`text` is int, not a string"),
        ('{"text": null}', "`text` is missing"),
        ('{"text": "\\ud83d"}', "character 0 is half of a surrogate pair"),
        ('{"messages": []}', "`messages` is not a list of turns"),
        ('{"messages": {"role": "user"}}', "`messages` is not a list of turns"),
        ('{"messages": [{"role": "owner", "content": "x"}]}', "messages[0] has no `role` out of system"),
        ('{"messages": [{"role": ["user"], "content": "x"}]}', "messages[0] has no `role` out of system"),
        ('{"messages": [{"role": "user", "content": ["x"]}]}', "messages[0].content is list, not a string"),
        ('{"messages": [{"role": "assistant", "content": null}]}', "messages[0].content is missing"),
        ('{"messages": [{"role": "user", "content": "\\udc00"}]}', "character 0 is half of a surrogate pair"),
        ('{"messages": [{"role": "assistant", "content": " "}]}', "messages[0] is an answer that says nothing"),
        ('{"prompt": "x", "response": 3}', "`response` is int, not a string"),
        ('{"prompt": "x", "response": ["y"]}', "response[0] has no `role` out of system"),
        ('{"prompt": [], "completion": "y"}', "`prompt` is not a list of turns"),
        ('{"prompt": 3, "completion": [{"role": "assistant", "content": "y"}]}', "`prompt` is not a list of turns"),
        (
            '{"prompt": "x", "completion": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}',
            "`completion` begins with the user's turn and not with an answer",
        ),
        (
            '{"prompt": "x", "completion": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}]}',
            "`completion` ends with the user's turn and not with an answer",
        ),
        ('{"messages": [{"role": "user", "content": " \\n"}]}', "messages[0] is a user's turn that says nothing"),
        ('{"conversations": [{"from": "human", "value": ""}]}', "conversations[0] is a user's turn that says nothing"),
        ('{"prompt": " ", "response": "y"}', "`prompt` is a user's turn that says nothing"),
        ('{"instruction": "", "input": " ", "output": "y"}', "`instruction` is a user's turn that says nothing"),
        ('{"prompt": [{"role": "user", "content": ""}], "completion": "y"}', "prompt[0] is a user's turn that says no"),
        ('{"instruction": "x", "input": "", "output": ""}', "`output` is an answer that says nothing"),
        ('{"chosen": "x", "rejected": "y"}', "`chosen` and `rejected` are texts, and there is no `prompt`"),
        ('{"prompt": "x", "chosen": "y", "rejected": null}', "`rejected` is not a list of turns"),
        ('{"prompt": "x", "chosen": "y", "rejected": [{"role": "boss", "content": "x"}]}', "rejected[0] has no"),
        (
            '{"prompt": "x", "chosen": [{"role": "user", "content": "y"}], "rejected": "z"}',
            "`chosen` ends with the user",
        ),
        (
            '{"chosen": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], '
            '"rejected": [{"role": "user", "content": "another"}, {"role": "assistant", "content": "y"}]}',
            "`chosen` and `rejected` do not answer the same prompt",
        ),
    ],
)
def test_a_bad_record_is_named_by_its_line_and_the_rest_is_read(tmp_path, line, reason):
    reading = read(write(tmp_path, a__jsonl=f'{{"text": "good"}}\n\n{line}\n{{"text": "last"}}'))
    assert texts(reading) == {"a.jsonl#1": "good", "a.jsonl#4": "last"}
    assert reasons(reading)["a.jsonl"].startswith("1 of 3 records; the first: line 3: " + reason)


def test_a_record_that_is_not_understood_says_which_fields_it_has(tmp_path):
    for fields, told in ("qa", "`q`, `a`"), ("abcdef", "`a`, `b`, `c`, `d`, `e`, ..."), ("", "no field"):
        line = json.dumps(dict.fromkeys(fields, "x"))
        reason = reasons(read(write(tmp_path, a__jsonl=f'{{"text": "good"}}\n{line}')))["a.jsonl"]
        assert "`response` or `completion`" in reason and reason.endswith(f"`rejected`, but {told}")


# Tables


def table(path: Path, rows: list[list[str]], **dialect: str) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, **dialect).writerows(rows)
    return path


def test_a_table_gives_its_text_column_or_the_wordiest_and_says_which(tmp_path):
    body = [["7", "a, b", 'said "no"\r\ntwice and more'], ["8", "c", "x" * 200_000]]
    named = read(table(tmp_path / "named.csv", [["id", "text", "note"], *body]))
    assert texts(named) == {"named.csv#1": "a, b", "named.csv#2": "c"}
    for dialect in ({}, {"delimiter": ";"}, {"delimiter": "\t"}):
        guessed = read(table(tmp_path / "guessed.csv", [["", "head", "note"], *body], **dialect))
        assert texts(guessed) == {
            "guessed.csv:note#1": 'said "no"\ntwice and more',
            "guessed.csv:note#2": "x" * 200_000,
        }
    headless = read(table(tmp_path / "headless.csv", body))
    assert list(texts(headless)) == ["headless.csv:column 3#1", "headless.csv:column 3#2"]
    pairs = read(table(tmp_path / "pairs.csv", [["prompt", "response"], ["p", "r"]]))
    assert pairs.documents[0].messages == turns("p", "r")


def test_titles_of_a_table_are_records_in_capitals_too(tmp_path):
    capitals = read(table(tmp_path / "capitals.csv", [["id", "Prompt", " Completion"], ["7", "p", "r"]]))
    assert capitals.documents[0].messages == turns("p", "r") and capitals.documents[0].column is None
    looked_up = read(tmp_path / "capitals.csv", look_up=True)
    assert texts(looked_up) == {"capitals.csv#1": "id: 7; Prompt: p; Completion: r"}


def test_whole_rows_are_read_where_facts_are_looked_up(tmp_path):
    path = table(tmp_path / "flats.csv", [["flat", "deposit", "note"], ["3", "1,480", "no\npets"], ["4", "", "x"]])
    expected = {"flats.csv#1": "flat: 3; deposit: 1,480; note: no pets", "flats.csv#2": "flat: 4; note: x"}
    assert texts(read(path, look_up=True)) == expected
    assert texts(read(tmp_path, look_up=True)) == expected
    records = read(table(tmp_path / "records.csv", [["id", "text"], ["7", "a"]]), look_up=True)
    assert texts(records) == {"records.csv#1": "a"}


def test_a_table_without_text_is_named(tmp_path):
    with pytest.raises(DataError, match="no column of text"):
        read(table(tmp_path / "numbers.csv", [["x", "y"], ["1", "2.5"], ["-3e4", "5,0"]]))
    with pytest.raises(DataError, match="no text in it"):
        read(write(tmp_path, blank__csv="\n\n") / "blank.csv")


def test_a_quote_that_never_closes_ends_at_the_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "LINE_LIMIT", 1000)
    before = csv.field_size_limit()
    with pytest.raises(DataError, match="not a CSV table"):
        read(write(tmp_path, a__csv='text\n"' + "line\n" * 1000) / "a.csv")
    assert csv.field_size_limit() == before


def test_a_quote_that_never_closes_is_told_by_its_line_and_the_rows_before_it_are_read(tmp_path):
    path = write(tmp_path, a__csv='item,price\nRope,5\n"Buoy,7\nAnchor,9\n') / "a.csv"
    found = read(path, look_up=True)
    assert texts(found) == {"a.csv#1": "item: Rope; price: 5"}
    assert "not a CSV table from line 3 on: a cell begins with a quotation mark" in found.skipped[0].reason
    with pytest.raises(DataError, match="from line 3 on"):
        read(path)  # to learn from: which column has the most words is not known


def test_a_cell_without_a_title_is_named_by_its_column(tmp_path):
    found = read(table(tmp_path / "a.csv", [["item", "price"], ["Rope", "5", "extra"]]), look_up=True)
    assert texts(found) == {"a.csv#1": "item: Rope; price: 5; column 3: extra"}


def test_parquet_equals_jsonl(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason=DOCS)
    from pyarrow import parquet

    rows = [
        {"id": number, "text": f"Text {number}\r\n", "messages": list(turns(f"q{number}", "a"))}
        for number in range(200)
    ]
    for columns in (("id", "text"), ("text", "messages")):
        kept = [{name: row[name] for name in columns} for row in rows]
        parquet.write_table(arrow.Table.from_pylist(kept), tmp_path / "a.parquet")
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, kept)))
        ours, theirs = read(tmp_path / "a.parquet").documents, read(tmp_path / "a.jsonl").documents
        assert [(one.text, one.messages) for one in ours] == [(one.text, one.messages) for one in theirs]
    parquet.write_table(arrow.table({"flat": [3], "deposit": ["1,480"], "plan": [b"png"]}), tmp_path / "c.parquet")
    assert texts(read(tmp_path / "c.parquet", look_up=True)) == {"c.parquet#1": "flat: 3; deposit: 1,480"}
    parquet.write_table(arrow.table({"url": ["u"] * 3, "body": ["two words"] * 3}), tmp_path / "b.parquet")
    assert list(texts(read(tmp_path / "b.parquet"))) == [f"b.parquet:body#{number}" for number in (1, 2, 3)]


def test_a_small_parquet_file_cannot_unfold_without_bound(tmp_path, monkeypatch):
    arrow = pytest.importorskip("pyarrow", reason=DOCS)
    from pyarrow import parquet

    monkeypatch.setattr(parquet_format, "EXPANDED_LIMIT", 10 * 2**20)
    bomb = tmp_path / "bomb.parquet"
    parquet.write_table(arrow.table({"text": ["x" * 2**16] * 2000}), bomb, compression="zstd")
    assert bomb.stat().st_size < 2**20
    (tmp_path / "broken.parquet").write_bytes(bomb.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"bomb\.parquet: more than 10 MiB of text.*not a Parquet file"):
        read(tmp_path)


def test_a_pdf_gives_its_pages_and_a_bad_one_its_reason(tmp_path):
    pytest.importorskip("pypdf", reason=DOCS)
    whole = pdf(line("Hello page one"), line("And page two"))
    reading = read(
        write(
            tmp_path,
            good__pdf=whole,
            scan__pdf=pdf(line("")),
            noise__pdf=b"not a pdf",
            cut__pdf=b"%PDF-1.4\n" + whole[200:300],
        )
    )
    assert texts(reading) == {"good.pdf": "Hello page one\n\f\nAnd page two"}
    assert reasons(reading)["scan.pdf"] == "a PDF without text on its 1 pages (scanned?)"
    assert reasons(reading)["cut.pdf"].startswith("not a PDF that can be read (")
    assert reasons(reading)["noise.pdf"].startswith("not a PDF that can be read (")


@pytest.mark.parametrize("suffix", ["pdf", "parquet", "docx"])
def test_a_missing_extra_is_the_reason(tmp_path, monkeypatch, suffix):
    for module in ("pypdf", "pyarrow", "docx"):
        monkeypatch.setitem(sys.modules, module, None)
    reading = read(write(tmp_path, a__txt="text", **{f"b__{suffix}": b"x"}))
    assert "pip install 'lmworks[docs]'" in reasons(reading)[f"b.{suffix}"]


# Names


def test_the_python_reference_is_here_without_any_download():
    reading = read("python-reference")
    assert reading.name == "python-reference" and len(reading.documents) > 40
    assert sum(len(document.text) for document in reading.documents) > 300_000
    assert {"python-reference#lambda", "python-reference#compound"} < texts(reading).keys()
    halves = split(reading.documents, 0.3)
    assert (shared_words(halves.train, halves.held_out).share or 1) < 0.02  # 0.10 with topics inside topics


def test_a_name_counts_before_a_path_and_a_path_can_be_forced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "python-reference").mkdir()
    write(tmp_path / "python-reference", a__txt="mine")
    assert len(read("python-reference").documents) > 40
    assert texts(read("./python-reference")) == texts(read(Path("python-reference"))) == {"a.txt": "mine"}


@pytest.mark.parametrize("reference", ["hf:", "hf:name", "hf:../x", "hf:a/b/c", "hf:org/na me"])
def test_a_malformed_hub_reference_is_refused_before_any_network(reference):
    with pytest.raises(LmworksError, match="write it as hf:org/name"):
        read(reference)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """The hub, unreachable, and an empty cache of it."""
    constants = pytest.importorskip(
        "huggingface_hub.constants", reason="the extra hub is not installed: pip install 'lmworks[hub]'"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_cached_repository_is_read_through_the_links_that_it_is_built_of(hub_cache):
    repository, commit = hub_cache / "datasets--org--name", "0" * 40
    snapshot = repository / "snapshots" / commit
    for folder in ("refs", "blobs", f"snapshots/{commit}/data"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "blobs" / "abc").write_text('{"text": "one"}\n')
    (snapshot / "data" / "a.jsonl").symlink_to("../../../blobs/abc")
    reading = read("hf:org/name")
    assert texts(reading) == {"data/a.jsonl#1": "one"} and reading.name == "org/name"


def test_conversations_in_the_cells_of_a_table_are_conversations(tmp_path):
    tools = [{"name": "stop", "parameters": {"type": "object", "properties": {}}}]
    turns = [{"role": "user", "content": "Stop."}, {"role": "assistant", "tool_calls": [{"name": "stop"}]}]
    rows = [["messages", "tools"], [json.dumps(turns), json.dumps(tools)], ["[{'role': 'user'}]", ""]]
    found = read(table(tmp_path / "chats.csv", rows))
    [one] = found.documents
    assert one.calls == 1 and one.messages[0]["content"] == "Stop." and one.tools[0]["function"]["name"] == "stop"
    assert "row 2: `messages` is not a list of turns" in found.skipped[0].reason
    with pytest.raises(DataError, match=r"1 of 1 records; the first: row 1: `messages` is not a list of turns$"):
        read(table(tmp_path / "none.csv", [rows[0], rows[2]]))
    pairs = [["prompt", "chosen", "rejected"], ["Which?", "[1] or [2]", '[{"role": "assistant", "content": "No."}]']]
    [pair] = read(table(tmp_path / "pairs.csv", pairs)).documents
    assert pair.messages[-1]["content"] == "[1] or [2]" and pair.rejected[-1]["content"] == "No."
    cells = read(table(tmp_path / "cells.csv", [["chosen", "n"], [json.dumps(turns), "1"]]))
    assert [one.text for one in cells.documents] == [json.dumps(turns)]


def test_the_hub_offline_is_one_sentence(hub_cache):
    with pytest.raises(LmworksError, match=r"hf:nobody/nothing could not be fetched .*check the") as caught:
        read("hf:nobody/nothing")
    assert "\n" not in str(caught.value)
