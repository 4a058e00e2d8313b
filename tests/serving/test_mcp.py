"""Documents as tools over the Model Context Protocol: its own client, on standard input and output and over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

pytest.importorskip("mcp", reason="pip install 'lmworks[mcp]'")

from grounding.small_index import indexed
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from lmworks.grounding.beside import index_beside
from lmworks.grounding.index import Index
from lmworks.serving.mcp import TOOLS
from lmworks.serving.opening import Opening, several
from lmworks.serving.service import Service
from serving.live import Live, running, small

Use = Callable[[ClientSession], Awaitable[Any]]
NOTES = {
    "rent.md": "# The flat\n\nThe rent is due on the third day. It costs 700 euros.\n\n## Pets\n\nCats are allowed.\n",
    "boat.txt": "The boat lies at pier 7 and costs 90 euros.\n\n" + "It has a red sail. " * 40,
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Index:
    folder = tmp_path_factory.mktemp("documents")
    (folder / "secret.txt").write_text("SECRET")
    return indexed(
        folder, NOTES | {"ümlaut.txt": "Der Mietvertrag begann 2019 für 500 €."}, minilm, longest=80, language="english"
    )


@pytest.fixture(scope="module")
def live(index: Index) -> Iterator[Live]:
    """A server with documents and their tools."""
    with running(Service(small(), name="tiny", index=index), mcp=True) as made:
        yield made


def on_pipes(index: str | Path, use: Use) -> Any:
    """What a client does that starts `lmworks mcp`."""
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "lmworks", "mcp", str(index)], env=dict(os.environ)
    )

    async def run() -> Any:
        async with stdio_client(command) as (received, sent), ClientSession(received, sent) as client:
            await client.initialize()
            return await use(client)

    return asyncio.run(run())


def over_http(address: str, use: Use) -> Any:
    """What a client does that asks a server."""

    async def run() -> Any:
        async with (
            streamable_http_client(f"{address}/mcp") as (received, sent, *_),
            ClientSession(received, sent) as client,
        ):
            await client.initialize()
            return await use(client)

    return asyncio.run(run())


async def asked(client: ClientSession) -> dict[str, Any]:
    """Every tool once, as a client's model uses them."""
    tools = {one.name: one for one in (await client.list_tools()).tools}
    found = await client.call_tool("search_documents", {"query": "cats", "k": 1})
    chunk = found.structured_content["passages"][0]["chunk"]
    results = {
        "search_documents": found,
        "ask_documents": await client.call_tool("ask_documents", {"question": "When is the rent due?"}),
        "read_passage": await client.call_tool("read_passage", {"chunk": chunk, "around": 30}),
    }
    for name, result in results.items():
        assert not result.is_error, result.content
        jsonschema.validate(result.structured_content, tools[name].output_schema)
    return {name: (result.content[0].text, result.structured_content) for name, result in results.items()}


def test_a_client_finds_asks_and_reads_on(index: Index, live: Live):
    results = on_pipes(index.place, asked)
    assert results == over_http(live.address, asked)
    text, facts = results["search_documents"]
    passage = facts["passages"][0]
    assert (passage["file"], passage["heading"]) == ("rent.md", "The flat > Pets") and passage["place"] in text
    text, facts = results["ask_documents"]
    assert not facts["refused"] and "third day" in facts["text"] and "[1] rent.md, line 3" in text
    assert NOTES["rent.md"].find(facts["citations"][0]["text"]) > 0
    text, facts = results["read_passage"]
    assert (
        facts["before"] + facts["passage"]["text"] + facts["after"] in NOTES["rent.md"] and "euros" in facts["before"]
    )


def test_tools_tell_what_they_take():
    for name, tool in TOOLS.items():
        declared = tool.declared()
        assert declared.name == name and declared.description and declared.annotations.read_only_hint
        for schema in (declared.input_schema, *declared.input_schema.get("$defs", {}).values()):
            assert all(one.get("description") for one in schema["properties"].values()), name
        jsonschema.Draft202012Validator.check_schema(declared.output_schema)


NOISY = """
import lmworks.cli
from lmworks.grounding.index import Index

search = Index.search
Index.search = lambda *given, **more: (print("noise"), search(*given, **more))[1]
lmworks.cli.main()
"""
"""The verb, with something in it that prints."""

WRONG = [
    ("search_documents", {"query": " "}, "the question is blank; give some words or a question"),
    ("ask_documents", {"question": "\n"}, "the question is blank; give some words or a question"),
    ("search_documents", {}, "query"),
    ("search_documents", {"query": "x", "k": 51}, "k is 51; it should be less than or equal to 50"),
    ("search_documents", {"query": "x" * 4097}, "; it should have at most 4096 characters"),
    ("search_documents", {"query": "x", "file": "/etc/passwd"}, "file is not a setting; known here: query, k, paths"),
    ("search_documents", {"query": "x", "since": "lately"}, "write a date as 2026-01-31"),
    ("read_passage", {"chunk": 10**6}, "there is no passage 1000000 (any more); search again"),
    ("read_passage", {"chunk": 10**30}, "chunk"),
    ("read_passage", {"chunk": -1}, "chunk is -1"),
    ("read_passage", {"chunk": "../secret.txt"}, "chunk is '../secret.txt'"),
    ("read_file", {"path": "secret.txt"}, "there is no tool 'read_file'; there are search_documents"),
]


def test_what_is_wrong_is_a_sentence_that_the_clients_model_reads(index: Index, live: Live):
    async def use(client: ClientSession) -> list[str]:
        await client.list_tools()
        said = []
        for name, arguments, _ in WRONG:
            result = await client.call_tool(name, arguments)
            assert result.is_error and result.structured_content is None
            said.append(result.content[0].text)
        still = await client.call_tool("search_documents", {"query": "boat"})
        assert not still.is_error
        return said

    for said in (on_pipes(index.place, use), over_http(live.address, use)):
        for (_, _, wanted), one in zip(WRONG, said, strict=True):
            assert wanted in one and "\n" not in one and "Traceback" not in one, one


def test_files_are_chosen_as_clients_send_them(live: Live):
    async def use(client: ClientSession) -> list[set[str]]:
        given: list[Any] = [["rent*"], "rent*", '["rent*"]', []]
        asked = [await client.call_tool("search_documents", {"query": "euros", "paths": one}) for one in given]
        return [{one["file"] for one in result.structured_content["passages"]} for result in asked]

    assert over_http(live.address, use) == [{"rent.md"}] * 3 + [{"rent.md", "boat.txt", "ümlaut.txt"}]


def test_nothing_else_is_written_to_standard_output(index: Index):
    """A warning, or a line of progress, would be taken for a message."""
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    searched = {"name": "search_documents", "arguments": {"query": "rent"}}
    sent = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": searched},
        {"jsonrpc": "2.0", "id": 3, "method": "ping"},
    ]
    pipe, command = subprocess.PIPE, [sys.executable, "-c", NOISY, "mcp", str(index.place)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        answers = []
        for one in sent:
            process.stdin.write(json.dumps(one) + "\n")
            process.stdin.flush()
            if "id" in one:
                answers.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        assert process.stdout.read() == "" and "noise" in process.stderr.read()
    assert process.returncode == 0
    assert [one["id"] for one in answers] == [1, 2, 3] and not any("error" in one for one in answers)
    assert answers[1]["result"]["structuredContent"]["passages"][0]["file"] == "rent.md"


def test_a_server_asks_for_keys_and_names_first(index: Index):
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    accepts = {"Accept": "application/json, text/event-stream"}
    with running(Service(small(), name="tiny", index=index, keys=["key"]), mcp=True) as live:
        assert live.http.post("/mcp", json=ping, headers=accepts).status_code == 401
        headers = accepts | {"Authorization": "Bearer key"}
        assert live.http.post("/mcp", json=ping, headers=headers).status_code == 200
    with running(Service(small(), name="tiny", index=index), mcp=True, hosts={"localhost"}) as live:
        assert live.http.post("/mcp", json=ping, headers=accepts | {"Host": "elsewhere.org"}).status_code == 403
    with running(Service(small(), name="tiny", index=index)) as live:
        assert live.http.post("/mcp", json=ping, headers=accepts).status_code == 404


def test_nothing_streams_without_end(live: Live):
    for method in ("GET", "DELETE", "PUT"):
        answer = live.http.request(method, "/mcp", headers={"Accept": "text/event-stream"})
        assert answer.status_code == 405, method


def test_a_server_without_documents_says_so():
    with running(Service(small(), name="tiny"), mcp=True) as live:
        result = over_http(live.address, lambda client: client.call_tool("search_documents", {"query": "x"}))
        assert result.is_error and "no documents" in result.content[0].text


def test_of_several_models_the_documents_are_those_of_the_first_that_has_some(index: Index, tmp_path: Path):
    folders = [str(tmp_path / name) for name in ("a", "b")]
    for folder in folders:
        small(layers=1).save(folder)
    shutil.copytree(str(index.place), tmp_path / "b" / "index")
    models = several(folders, Opening(index_of=lambda source: index_beside(source)[0]), memory=None, idle=300)
    with running(models, mcp=True) as live:
        result = over_http(live.address, lambda client: client.call_tool("search_documents", {"query": "cats"}))
        assert result.structured_content["passages"][0]["file"] == "rent.md"


def test_that_no_model_has_documents_is_told_before_anything_is_served(tmp_path: Path):
    folders = [str(tmp_path / name) for name in ("a", "b")]
    for folder in folders:
        small(layers=1).save(folder)
    command = [sys.executable, "-m", "lmworks", "serve", *folders, "--mcp", "--port", "0"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = f"--mcp offers the documents of {folders[0]} or {folders[1]}, and none of them has any; give --index DIR"
    assert ran.returncode == 1 and said in ran.stderr


def test_many_clients_at_once(live: Live):
    async def use(client: ClientSession) -> list[str]:
        asked = [client.call_tool("search_documents", {"query": "boat", "k": 1}) for _ in range(8)]
        return [result.structured_content["passages"][0]["file"] for result in await asyncio.gather(*asked)]

    async def all_of_them() -> list[list[str]]:
        async def one() -> list[str]:
            async with (
                streamable_http_client(f"{live.address}/mcp") as (received, sent, *_),
                ClientSession(received, sent) as client,
            ):
                await client.initialize()
                return await use(client)

        return await asyncio.gather(*(one() for _ in range(4)))

    assert asyncio.run(all_of_them()) == [["boat.txt"] * 8] * 4


def test_a_body_that_is_no_message_is_refused(live: Live):
    accepts = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    for body in (b"{", b"[]", b"null", b'{"jsonrpc":"2.0"}', b"\xff", b"[" * 100_000):
        answer: httpx.Response = live.http.post("/mcp", content=body, headers=accepts)
        assert 400 <= answer.status_code < 500 and "Traceback" not in answer.text, (body[:20], answer.status_code)
