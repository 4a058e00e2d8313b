"""Queries run where they can be ended; what is no query is refused; an endpoint answers the same."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest

from lmworks.basics.errors import ConfigError, DataError
from lmworks.grounding.graph.extract import extract
from lmworks.grounding.graph.graph import Graph, open_graph
from lmworks.grounding.graph.running import Endpoint, Worker, check_query
from lmworks.grounding.graph.store import load, load_endpoint
from lmworks.grounding.graph.worker import answer
from tests.grounding.graph.made import MAPPING, islands_file

ox = pytest.importorskip("pyoxigraph")
ENDLESS = "SELECT (COUNT(*) AS ?n) WHERE { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i . ?j ?k ?l . ?m ?n2 ?o }"


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> Graph:
    folder: Path = tmp_path_factory.mktemp("islands")
    load(islands_file(folder), folder / "graph", MAPPING, embedder=None)
    return open_graph(folder / "graph")


def test_an_endless_query_is_ended_and_the_next_one_answered(graph):
    worker = Worker(graph.folder / "store", seconds=0.3)
    with pytest.raises(DataError, match=r"ended after 0\.3 s"):
        worker.run(ENDLESS)
    assert worker.run("ASK { ?s ?p ?o }").rows[0][0].value == "true"
    worker.close()


def test_a_program_that_ends_ends_its_queries_process_and_says_nothing(graph):
    told = """if True:
        import pathlib, sys
        from lmworks.grounding.graph.running import Worker
        sys.kept = Worker(pathlib.Path(sys.argv[1]))  # until the modules are gone
        sys.kept.run("ASK { ?s ?p ?o }")
        print(sys.kept._process.pid)
    """
    ran = subprocess.run(
        [sys.executable, "-c", told, str(graph.folder / "store")], capture_output=True, text=True, check=True
    )
    assert not ran.stderr and not Path(f"/proc/{int(ran.stdout)}").exists()


def test_rows_are_bounded(graph):
    found = graph.query("SELECT ?s ?t WHERE { ?s ?p ?o . ?t ?q ?r }", rows=7)
    assert len(found.rows) == 7 and found.more
    assert not graph.query("SELECT ?s WHERE { ?s ?p ?o } LIMIT 7", rows=7).more
    assert graph.query("CONSTRUCT { ?s ?p ?o } WHERE { ?s ?p ?o }").variables == ["subject", "predicate", "object"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("DELETE WHERE { ?s ?p ?o }", "DELETE changes a graph"),
        ("PREFIX a: <http://SELECT/> # SELECT\nINSERT DATA { a:a a:b 'SELECT' }", "INSERT changes a graph"),
        ("drop all", "DROP changes a graph"),
        ("SELECT * WHERE { SERVICE <http://localhost:1/> { ?s ?p ?o } }", "SERVICE asks another server"),
        ("SELECT * WHERE { sErViCe silent ?s { ?s ?p ?o } }", "SERVICE asks another server"),
        (r"SELECT * WHERE { S\u0045RVICE <http://localhost:1/> { ?s ?p ?o } }", "SERVICE asks another server"),
        (r"\U00000044ROP ALL", "DROP changes a graph"),
    ],
)
def test_updates_and_other_servers_are_refused(graph, query, said):
    with pytest.raises(ConfigError, match=said):
        graph.query(query)


def test_words_in_texts_and_comments_are_no_orders():
    check_query("SELECT ?s WHERE { ?s ?p 'DROP SERVICE' } # SERVICE")
    check_query(r"SELECT ?s WHERE { ?s ?p 'Z\u00fcrich \UFFFFFFFF' }")
    check_query('SELECT ?s WHERE { ?s <http://a/SERVICE> """DELETE " SERVICE""" }')
    check_query("PREFIX load: <http://a/> SELECT ?service $add WHERE { ?service load:service $add }")
    check_query("PREFIX web-service: <http://a/> SELECT ?s WHERE { ?s web-service:move 1 }")
    check_query("SELECT ?s WHERE { ?s <http://a/> 'x'@add }")


@pytest.mark.parametrize(
    "order",
    [
        "SERVICE<{}>",
        "?s ?p ?o.SERVICE <{}>",
        "?s ?p 1SERVICE <{}>",
        "?s ?p true\nSERVICE <{}>",
        "?s ?p trueSERVICE <{}>",
        "SERVICESILENT <{}>",
        "SERVICE:x",
        "SERVICEa:x",
        """?s ?p '''x\\'''' SERVICE <{}>""",
    ],
)
def test_no_query_reaches_another_server(graph, order):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        there = f"http://127.0.0.1:{server.server_port}/"
        query = f"PREFIX : <{there}> PREFIX a: <{there}> SELECT * WHERE {{ {order.format(there)} {{ ?a ?b ' ' }} }}"
        with pytest.raises(ConfigError, match="SERVICE asks another server"):
            graph.query(query)


def test_a_wrong_query_is_said_in_a_sentence(graph):
    with pytest.raises(DataError, match="the query is not SPARQL"):
        graph.query("SELECT WHERE")


class Server(http.server.BaseHTTPRequestHandler):
    """An endpoint that answers from a store, and some that do not."""

    store = ox.Store()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        query = urllib.parse.parse_qs(body)["query"][0]
        if self.path == "/refuses":
            self.send_error(500, "no")
            return
        self.send_response(200)
        self.end_headers()
        if self.path == "/endless":
            try:
                while True:
                    self.wfile.write(b" " * 2**20)
            except OSError:
                return
        if self.path == "/html":
            self.wfile.write(b"<html>")
            return
        found = answer(self.store, query, 10_000)
        rows = [
            {name: one for name, one in zip(found["variables"], row, strict=True) if one is not None}
            for row in found["rows"]
        ]
        reply = {"head": {"vars": found["variables"]}, "results": {"bindings": rows}}
        self.wfile.write(json.dumps(reply).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def address(graph):
    Server.store = ox.Store.read_only(str(graph.folder / "store"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_endpoint_answers_as_the_store_does(graph, address):
    there = open_graph(graph.folder, endpoint=f"{address}/sparql")
    for question in ("What is the currency of the island whose capital is Cedar?", "Which island is the largest?"):
        here, remote = graph.ask(question), there.ask(question)
        assert (here.text, here.query, list(here.triples)) == (remote.text, remote.query, list(remote.triples))
        assert not remote.refused


@pytest.mark.parametrize(
    ("path", "said"),
    [("refuses", "refuses the query"), ("endless", "sends more than 32 MiB"), ("html", "no results of SPARQL")],
)
def test_an_endpoint_that_misbehaves_is_said_in_a_sentence(address, path, said):
    with pytest.raises(DataError, match=said):
        Endpoint(f"{address}/{path}", seconds=60).run("ASK { ?s ?p ?o }")


def test_an_address_is_http():
    for wrong in ("file:///etc/passwd", "ftp://a/b", "localhost", "http://"):
        with pytest.raises(ConfigError, match="no address of a SPARQL endpoint"):
            Endpoint(wrong)
    with pytest.raises(DataError, match="gave no results"):
        Endpoint("http://127.0.0.1:9/").run("ASK { ?s ?p ?o }")


def test_the_catalog_of_an_endpoint_is_that_of_its_store(graph, address, tmp_path):
    load_endpoint(f"{address}/sparql", tmp_path / "there", embedder=None)
    there = open_graph(tmp_path / "there")
    assert {str(one) for one in there.catalog.edges} == {str(one) for one in graph.catalog.edges}
    assert there.ask("Which islands are next to Northmark?").text == "Eastmark, Southmark"


def test_facts_are_not_brought_into_a_graph_that_asks_an_endpoint(address, tmp_path):
    load_endpoint(f"{address}/sparql", tmp_path / "there", embedder=None)
    (tmp_path / "staff.csv").write_text("name,manager\nAnn,Bob\nBob,\n")
    for bring in (load, extract):
        with pytest.raises(ConfigError, match=r"a graph whose facts are at .*; give another --out"):
            bring(tmp_path / "staff.csv", tmp_path / "there")
    assert open_graph(tmp_path / "there").ask("Which islands are next to Northmark?").text == "Eastmark, Southmark"
