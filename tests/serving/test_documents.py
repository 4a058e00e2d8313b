"""The server's documents: search, passages, and answers with citations, over HTTP and OpenAI's client."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tiny
from grounding.small_index import indexed

from lmworks.grounding.index import Index, IndexSettings, build, open_index
from lmworks.serving.service import Service
from lmworks.serving.settings import ServerLimits
from serving.live import Live, running, small

QUESTION = "When is the rent due?"
NOTES = {
    "rent.md": "# The flat\n\nThe rent is due on the third day. It costs 700 euros.\n\n## Pets\n\nCats are allowed.\n",
    "boat.txt": "The boat lies at pier 7 <b>and</b> costs 90 euros.\n\n" + "It has a red sail. " * 40,
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Index:
    folder = tmp_path_factory.mktemp("documents")
    (folder / "secret.txt").write_text("SECRET")
    return indexed(folder, NOTES, minilm, longest=80, language="english")


@pytest.fixture(scope="module")
def docs(index: Index) -> Iterator[Live]:
    """A server with documents."""
    limits = ServerLimits(seats=2, queue=20, question=300, passages=5, surrounding=200)
    with running(Service(small(context=2048), name="tiny", limits=limits, index=index)) as made:
        yield made


def chat(docs: Live, *said: str, **more: Any) -> Any:
    turns = [{"role": "user" if at % 2 == 0 else "assistant", "content": one} for at, one in enumerate(said)]
    return docs.post("/v1/chat/completions", messages=turns, **more)


def test_an_answer_cites_spans_that_stand_in_the_documents(docs: Live, index: Index):
    answer = chat(docs, QUESTION).json()
    message = answer["choices"][0]["message"]
    assert "third day" in message["content"] and "[1]" in message["content"]
    assert message["refusal"] is None and message["grounding"]["refused"] is False
    citation = message["citations"][0]
    assert citation["number"] == 1 and citation["file"] == "rent.md" and citation["place"] == "line 3"
    assert citation["at"] == {"kind": "line", "number": 3, "end": None}
    assert NOTES["rent.md"][citation["start"] : citation["end"]] == citation["text"]
    passage = docs.http.get(f"/v1/passages/{citation['chunk']}").json()
    assert citation["text"] in passage["text"] and passage["before"] == "# The flat\n\n"
    assert answer["usage"]["total_tokens"] == len(QUESTION) + len(message["content"])  # it reads bytes


def test_openais_client_reads_answers_whole_and_streamed(docs: Live):
    messages: Any = [{"role": "user", "content": QUESTION}]
    whole = docs.openai.chat.completions.create(model="tiny", messages=messages)
    citations = whole.choices[0].message.model_extra["citations"]
    assert [one["file"] for one in citations] == ["rent.md"] and whole.choices[0].finish_reason == "stop"
    stream = docs.openai.chat.completions.create(
        model="tiny", messages=messages, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert text == whole.choices[0].message.content and chunks[-1].usage == whole.usage
    last = chunks[-2].choices[0]
    assert last.finish_reason == "stop" and last.delta.model_extra["citations"] == citations


def test_a_response_cites_as_a_chat_does(docs: Live):
    """Its message has what a chat's message has; a response that goes on has the question before it."""
    message = chat(docs, QUESTION).json()["choices"][0]["message"]
    whole = docs.openai.responses.create(model="tiny", input=QUESTION)
    [item] = whole.to_dict()["output"]  # type: ignore[misc]
    assert whole.output_text == message["content"] and whole.status == "completed"
    assert (item["citations"], item["grounding"]) == (message["citations"], message["grounding"])
    stream = docs.openai.responses.create(model="tiny", input=QUESTION, stream=True)
    *told, last = list(stream)
    assert last.type == "response.completed" and last.response.output_text == whole.output_text
    assert "".join(one.delta for one in told if one.type == "response.output_text.delta") == whole.output_text
    assert last.response.to_dict()["output"][0]["citations"] == message["citations"]  # type: ignore[index]
    follow = docs.openai.responses.create(model="tiny", input="And how much is it?", previous_response_id=whole.id)
    assert "700" in follow.output_text
    again: Any = [{"role": "user", "content": QUESTION}, *whole.output, {"role": "user", "content": "And its cost?"}]
    assert docs.openai.responses.create(model="tiny", input=again).status == "completed"
    asked = {"input": QUESTION, "text": {"format": {"type": "json_object"}}}
    error = docs.error("/v1/responses", **asked)
    assert error["message"].startswith("text.format does not go with an answer from documents")
    off = docs.post("/v1/responses", input="a", grounding={"way": "off"}, max_output_tokens=2).json()
    assert "citations" not in off["output"][0]


def test_a_model_that_cannot_write_answers_from_the_documents_and_writes_nothing(index: Index, minilm: str):
    import lmworks as lm

    with running(Service(lm.load(minilm), name="minilm", index=index)) as live:
        message = chat(live, QUESTION).json()["choices"][0]["message"]
        assert "third day" in message["content"] and message["citations"]
        for more in ({"grounding": {"way": "off"}}, {"grounding": {"way": "write"}}):
            body = {"messages": [{"role": "user", "content": QUESTION}]} | more
            assert "does not" in live.error("/v1/chat/completions", **body)["message"]


def test_where_chats_are_answered_from_is_said_at_the_start_of_several_models_too(index: Index, tmp_path: Path):
    for name in ("a", "b"):
        small().save(tmp_path / name)
    command = [sys.executable, "-m", "lmworks", "serve", "a", "b", "--index", index.place, "--port", "0"]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as server:
        try:
            said = next(json.loads(line) for line in server.stderr if '"serving"' in line)
            told = [server.stdout.readline() for _ in range(2)]
        finally:
            server.kill()
    assert said["index"] == index.place
    assert f"chats are answered from the documents in {index.place};" in told[1] and '{"way": "off"}' in told[1]


def test_what_the_documents_do_not_say_is_refused(docs: Live):
    message = chat(docs, "Xyzzy plugh?").json()["choices"][0]["message"]
    assert message["content"] == "not in these documents" and message["citations"] == []
    told = message["grounding"]
    assert told["refused"] is True and told["why"]["kind"] == "not_mentioned"
    assert told["reason"].endswith(" do not mention " + " or ".join(told["why"]["named"]))
    assert told["nearest"].startswith(f"{told['nearest_at']['file']}, {told['nearest_at']['place']}")


def test_an_answer_that_is_not_probably_right_enough_is_refused(docs: Live):
    told = chat(docs, QUESTION).json()["choices"][0]["message"]["grounding"]
    assert 0 < told["probably_right"] < 1
    least = (told["probably_right"] + 1) / 2
    message = chat(docs, QUESTION, grounding={"way": "extract", "min_right": least}).json()["choices"][0]["message"]
    assert message["grounding"]["why"]["kind"] == "unsure" and message["grounding"]["probably_right"] is None
    assert message["content"] == "not sure enough to answer" and message["grounding"]["nearest_at"]["file"] == "rent.md"


def test_a_question_that_leans_on_the_one_before_it_takes_its_words(docs: Live):
    alone = chat(docs, "And how many euros is it?").json()["choices"][0]["message"]
    after = chat(docs, QUESTION, "The third day [1].", "And how many euros is it?").json()["choices"][0]["message"]
    assert after["citations"] and after["citations"][0]["file"] == "rent.md"
    assert alone["citations"] != after["citations"] or alone["citations"][0]["file"] == "rent.md"


def test_the_model_answers_by_itself_where_that_is_asked_for(docs: Live, live: Live):
    off = chat(docs, "hello", grounding={"way": "off"}, max_tokens=4, temperature=0).json()["choices"][0]["message"]
    assert "citations" not in off
    assert off == chat(live, "hello", max_tokens=4, temperature=0).json()["choices"][0]["message"]
    asked = {"messages": [{"role": "user", "content": "a"}], "grounding": {"way": "extract"}}
    for path, body in (("/v1/search", {"query": "a"}), ("/v1/chat/completions", asked)):
        assert live.error(path, **body)["message"] == "this server has no documents; start it with --index DIR"


def test_a_request_with_tools_goes_to_the_model_which_is_told(docs: Live):
    """Many clients can add no field; whoever sends tools wants them called, which documents cannot do."""
    function = {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}}
    tools = {"tools": [{"type": "function", "function": function}], "max_tokens": 3}
    [choice] = chat(docs, QUESTION, **tools).json()["choices"]
    assert choice["message"]["grounding"]["way"] == "off" and "tools" in choice["message"]["grounding"]["reason"]
    assert "citations" not in choice["message"]
    asked: Any = [{"role": "user", "content": QUESTION}]
    stream = docs.openai.chat.completions.create(model="tiny", messages=asked, stream=True, **tools)
    last = list(stream)[-1].choices[0]
    assert last.finish_reason and last.delta.model_extra["grounding"] == choice["message"]["grounding"]
    off = chat(docs, QUESTION, grounding={"way": "off"}, **tools).json()["choices"][0]["message"]
    assert "grounding" not in off
    extract = chat(docs, QUESTION, grounding={"way": "extract"}, **tools).json()["error"]
    assert extract["message"].startswith("tools does not go with an answer from documents")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"grounding": {"way": "guess"}}, "grounding.way is 'guess'; give 'extract', 'write' or 'off'"),
        ({"grounding": {}}, "grounding.way is missing"),
        ({"grounding": {"way": "off", "k": 3}}, "grounding.k is not a setting of this request"),
        ({"grounding": {"way": "extract", "min_right": 1}}, "grounding.min_right"),
        ({"grounding": {"way": "off", "min_right": 0.5}}, "min_right is measured for answers that no model writes"),
        ({"grounding": {"way": "write", "min_right": 0.5}}, "min_right is measured for answers that no model writes"),
        ({"n": 2}, 'n does not go with an answer from documents; leave it out, or give grounding {"way": "off"}'),
        ({"logprobs": True}, "logprobs does not go with an answer from documents"),
        ({"stop": "a"}, "stop does not go with"),
        ({"response_format": {"type": "json_object"}}, "response_format does not go with"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages is blank; give some words or a question"),
        ({"messages": [{"role": "user", "content": "a" * 301}]}, "messages has 301 characters; a question to the"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "the last message is not the user's"),
    ],
)
def test_what_does_not_go_with_documents_is_a_sentence(docs: Live, more: dict[str, Any], sentence: str):
    error = docs.error("/v1/chat/completions", **{"messages": [{"role": "user", "content": QUESTION}]} | more)
    assert sentence in error["message"]


def test_search_finds_what_the_index_finds(docs: Live, index: Index):
    for by in ("hybrid", "keywords", "vectors"):
        found = docs.post("/v1/search", query="rent", k=2, by=by).json()["data"]
        expected = index.search("rent", 2, by)
        assert [(one["chunk"], one["score"], one["text"]) for one in found] == [
            (one.chunk, one.score, one.text) for one in expected
        ]
        for one in found:
            file = Path(index.reference) / one["file"]
            line = file.read_text().count("\n", 0, one["start"]) + 1
            assert (one["place"], one["at"]) == (f"line {line}", {"kind": "line", "number": line, "end": None})
            assert one["hash"] == hashlib.sha256(file.read_bytes()).hexdigest()
            around = docs.http.get(f"/v1/passages/{one['chunk']}").json()
            assert (around["place"], around["at"], around["hash"]) == (one["place"], one["at"], one["hash"])
    among = docs.post("/v1/search", query="rent boat", by="keywords", where={"paths": ["boat.*"]}).json()["data"]
    assert {one["file"] for one in among} == {"boat.txt"}
    for body, sentence in (
        ({"query": ""}, "query is empty"),
        ({"query": " "}, "query is blank"),
        ({"query": "a" * 301}, "query has 301 characters; a question to the documents has at most 300"),
        ({"query": "a", "k": 6}, "k is 6; at most 5 passages"),
        ({"query": "a", "by": "guess"}, "by is 'guess'; give 'hybrid', 'keywords' or 'vectors'"),
        ({"query": "a", "where": {"since": "soon"}}, "since"),
        ({"query": "a", "where": {"folder": "/etc"}}, "where.folder is not a setting of this request"),
        ({"query": "a", "file": "../secret.txt"}, "file is not a setting of this request"),
    ):
        assert sentence in docs.error("/v1/search", **body)["message"]


@pytest.mark.parametrize(
    "name",
    [
        "..%2f..%2fsecret.txt",
        "../../secret.txt",
        "%2e%2e/%2e%2e/secret.txt",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "rent.md",
        "link.txt",
        "0/../../secret.txt",
        "0%00",
        "-1",
        "1e3",
        "0x1",
        "99999",
        "9" * 30,
        "1;DROP TABLE chunks",
        "1%20OR%201=1",
        "NaN",
    ],
)
def test_a_passage_has_a_number_and_no_other_name_leads_to_a_file(docs: Live, index: Index, name: str):
    notes = Path(index.reference)
    if not (notes / "link.txt").is_symlink():
        (notes / "link.txt").symlink_to(notes.parent / "secret.txt")
    sent = docs.http.build_request("GET", docs.address)
    sent.url = sent.url.copy_with(raw_path=b"/v1/passages/" + name.encode())  # as it is written, not tidied up
    response = docs.http.send(sent)
    assert response.status_code in (400, 404) and set(response.json()) == {"error"}
    for held in ("SECRET", "root:", "rent is due"):
        assert held not in response.text


def test_what_stands_around_a_passage_is_bounded(docs: Live, index: Index):
    [found] = [one for one in index.search("sail", 5) if one.file == "boat.txt" and one.start > 0][:1]
    shown = docs.http.get(f"/v1/passages/{found.chunk}", params={"around": 10}).json()
    text = NOTES["boat.txt"]
    assert shown["before"] == text[max(found.start - 10, 0) : found.start]
    assert shown["after"] == text[found.end : found.end + 10] and shown["text"] == found.text
    refused = docs.http.get(f"/v1/passages/{found.chunk}", params={"around": 201})
    assert refused.status_code == 400 and "at most 200 characters" in refused.json()["error"]["message"]
    assert docs.http.get(f"/v1/passages/{found.chunk}", params={"around": "x"}).status_code == 400


def test_many_ask_at_once_while_the_index_is_updated(docs: Live, index: Index):
    notes = Path(index.reference)

    def one(number: int) -> int:
        if number == 10:
            (notes / "late.txt").write_text("The lamp is in the cellar.")
            index.update()
        found = docs.post("/v1/search", query=("rent", "boat", "cats")[number % 3], k=3)
        assert found.status_code in (200, 429), found.text
        return len(found.json().get("data", ()))

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(one, range(24))) == 3
    found = docs.post("/v1/search", query="lamp", by="keywords")
    assert found.json().get("data", [found.text])[0]["file"] == "late.txt"


def test_a_key_opens_the_documents_and_they_are_counted(index: Index):
    with running(Service(small(), name="tiny", index=index, keys=["sesame"])) as live:
        for path in ("/v1/search", "/v1/chat/completions"):
            assert live.post(path, query="a").status_code == 401
        assert live.http.get("/v1/passages/0").status_code == 401
        live.http.headers["Authorization"] = "Bearer sesame"
        chat(live, QUESTION)
        chat(live, "Xyzzy plugh?")
        live.http.get("/v1/passages/0")
        text = live.http.get("/metrics").text
    for line in (
        'lmworks:grounded_answers_total{model_name="tiny",outcome="answered",way="extract"} 1.0',
        'lmworks:grounded_answers_total{model_name="tiny",outcome="refused",way="extract"} 1.0',
        'lmworks:http_requests_total{model_name="tiny",path="/v1/passages/{chunk}",status="200"} 1.0',
    ):
        assert line in text


def test_an_index_that_broke_is_a_sentence(tmp_path: Path, index: Index):
    folder = tmp_path / "index"
    folder.mkdir()
    for path in Path(index.place).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    with running(Service(small(), name="tiny", index=open_index(folder))) as live:
        with sqlite3.connect(folder / "index.sqlite") as connection:
            connection.execute("DROP TABLE chunks")
        answer = live.post("/v1/search", query="rent", by="keywords")
        error = answer.json()["error"]
        assert answer.status_code == 503  # no client's mistake
        assert "cannot be read (no such table: chunks)" in error["message"]
        assert error["type"] == "server_error" and error["code"] == "documents_unreadable"
        assert json.dumps(error).count("Traceback") == 0


def test_a_search_gives_images_beside_passages(tmp_path: Path):
    image = pytest.importorskip("PIL.Image", reason="the extra vision is not installed")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "apple.txt").write_text("a red apple")
    image.new("RGB", (20, 20), "red").save(tmp_path / "notes" / "apple.png")
    settings = IndexSettings(embedder=tiny.embedder(tmp_path / "encoder"), images=tiny.clip(tmp_path / "clip"))
    made = build(tmp_path / "notes", tmp_path / "index", settings)
    with running(Service(small(), name="tiny", index=made)) as docs:
        found = docs.post("/v1/search", query="an apple").json()
        assert [one["file"] for one in found["data"]] == ["apple.txt"]
        (shown,) = found["images"]
        assert (shown["object"], shown["file"], shown["caption"]) == ("image", "apple.png", "a red apple")
        assert docs.post("/v1/search", query="an apple", kind="passage").json()["images"] == []
        assert docs.post("/v1/search", query="an apple", kind="image").json()["data"] == []
        # A query is words: it reads no file of the server.
        path = str(tmp_path / "notes" / "apple.png")
        assert docs.post("/v1/search", query=path, kind="image").json()["images"][0]["score"] < 0.9
