"""Facts come in from RDF, CSV and JSON: whole or not at all, in place of what the same file gave before."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lmworks.basics.errors import ConfigError, DataError
from lmworks.grounding.graph.graph import open_graph
from lmworks.grounding.graph.mapping import RecordMapping, values_at
from lmworks.grounding.graph.store import load, read_state
from tests.grounding.graph.made import MAPPING, islands_file

ALL = "SELECT ?s ?p ?o WHERE { ?s ?p ?o }"
TURTLE = """@prefix : <http://example.org/> . @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
:ann rdfs:label "Ann" ; :birthPlace :york ; :boss :bob . :york rdfs:label "York" . :bob rdfs:label "Bob" .
"""


def facts(folder: Path) -> set[tuple[str, ...]]:
    return {tuple(str(one) for one in row) for row in open_graph(folder).query(ALL).rows}


def test_paths_reach_into_records():
    record = {"a": {"b": [1, {"c": "x"}]}, "d.e": "dotted", "f": ["", None, " two  words "]}
    assert list(values_at(record, "a.b.*.c")) == ["x"]
    assert list(values_at(record, "a.b")) == [1]
    assert list(values_at(record, "d.e")) == ["dotted"]
    assert list(values_at(record, "f")) == ["two words"]
    assert list(values_at(record, "a.q")) == []


def test_json_by_a_mapping_counts_what_it_left_out(tmp_path):
    done = load(islands_file(tmp_path), tmp_path / "g", MAPPING, embedder=None)
    assert (done.records, done.skipped, done.dangling) == (5, 1, 1)
    held = facts(tmp_path / "g")
    base = "urn:lmworks:islands"
    assert (f"<{base}:island:NOR>", f"<{base}:property:neighbour>", f"<{base}:island:SOU>") in held
    assert (f"<{base}:island:SOU>", f"<{base}:property:currency>", f"<{base}:coin:penny>") in held
    assert len(held) == done.triples == done.total


def test_a_table_needs_no_mapping(tmp_path):
    file = tmp_path / "staff.csv"
    file.write_text("Name,Department,Manager,Salary\nAnn,Sales,Bob,100\nBob,Law,,200.5\nCem,Sales,Bob,007\n")
    load(file, tmp_path / "g", embedder=None)
    graph = open_graph(tmp_path / "g")
    assert graph.ask("Who is the manager of Cem?").text == "Bob"
    assert graph.ask("What is the salary of Ann?").text == "100"
    assert graph.ask("What is the salary of Cem?").text == "007"  # a number of that form is a code
    assert graph.ask("What is the department of the manager of Ann?").text == "Law"


def test_commas_at_the_ends_of_a_table_s_lines_make_no_property(tmp_path):
    (tmp_path / "staff.csv").write_text("name,manager,,\nAnn,Bob,,\nBob,\n")
    load(tmp_path / "staff.csv", tmp_path / "g", embedder=None)
    labels = {value for _, prop, value in facts(tmp_path / "g") if prop.endswith("rdf-schema#label>")}
    assert labels == {'"staff"', '"manager"', '"Ann"', '"Bob"'}


def test_half_of_a_surrogate_pair_in_json_is_kept_as_a_question_mark(tmp_path):
    (tmp_path / "boats.json").write_text(json.dumps([{"name": "Sea \ud83d", "col\ud83dour": ["re\ud83dd", "a\0b"]}]))
    load(tmp_path / "boats.json", tmp_path / "g", embedder=None)
    held = facts(tmp_path / "g")
    for value in ('"re?d"', '"a\ufffdb"'):
        assert ("<urn:lmworks:boats:boats:Sea%20%3F>", "<urn:lmworks:boats:property:col%3Four>", value) in held


def test_turtle_is_asked_by_labels_and_by_the_names_of_its_properties(tmp_path):
    (tmp_path / "people.ttl").write_text(TURTLE)
    load(tmp_path / "people.ttl", tmp_path / "g", embedder=None)
    answer = open_graph(tmp_path / "g").ask("What is the birth place of Ann?")
    assert answer.text == "York" and [str(one) for one in answer.triples] == ["Ann | birth place | York"]
    assert answer.triples[0].file == "people.ttl"


def test_a_file_that_is_loaded_again_replaces_its_own_facts_alone(tmp_path):
    one, two = tmp_path / "one.ttl", tmp_path / "two.nt"
    one.write_text(TURTLE)
    two.write_text("<http://example.org/bob> <http://example.org/boss> <http://example.org/eve> .\n")
    load(one, tmp_path / "g", embedder=None)
    first = facts(tmp_path / "g")
    assert not load(one, tmp_path / "g").changed
    assert load(two, tmp_path / "g").total == len(first) + 1
    one.write_text(TURTLE.replace(":boss :bob", ":boss :eve"))
    assert load(one, tmp_path / "g").changed
    held = facts(tmp_path / "g")
    assert len(held) == len(first) + 1 and len(held - first) == 2
    assert ("<http://example.org/bob>", "<http://example.org/boss>", "<http://example.org/eve>") in held


STAFF = {"y1": "name,manager\nAnn,Bob\nBob,Cem\n", "y2": "name,manager\nDan,Eve\nAnn,Eve\n"}


def staff(folder: Path) -> list[Path]:
    """Two files of one name."""
    for year, text in STAFF.items():
        (folder / year).mkdir()
        (folder / year / "staff.csv").write_text(text)
    return [folder / year / "staff.csv" for year in STAFF]


def cited(folder: Path, question: str) -> set[tuple[str, str]]:
    """The facts below an answer, with their files."""
    return {(str(one), one.file) for one in open_graph(folder).ask(question).triples}


def test_a_graph_keeps_the_embedder_that_it_was_made_with(tmp_path):
    first, second = staff(tmp_path)
    load(first, tmp_path / "g", embedder=None)
    with pytest.raises(ConfigError, match="g was made with embedder none, and not minilm"):
        load(second, tmp_path / "g", embedder="minilm")
    assert load(second, tmp_path / "g").changed and read_state(tmp_path / "g").embedder == ""


def test_files_of_one_name_from_two_folders_stand_beside_each_other(tmp_path):
    first, second = staff(tmp_path)
    one = load(first, tmp_path / "g", embedder=None)
    assert cited(tmp_path / "g", "Who is the manager of Bob?") == {("Bob | manager | Cem", "staff.csv")}
    both = load(second, tmp_path / "g", embedder=None)
    assert both.total == one.triples + both.triples and not both.replaced
    assert cited(tmp_path / "g", "Who is the manager of Ann?") == {
        ("Ann | manager | Bob", "y1/staff.csv"),
        ("Ann | manager | Eve", "y2/staff.csv"),
    }
    assert not load(first, tmp_path / "g").changed and not load(second, tmp_path / "g").changed
    first.write_text("name,manager\nAnn,Fay\n")
    assert load(first, tmp_path / "g").changed
    assert open_graph(tmp_path / "g").ask("Who is the manager of Bob?").refused
    assert cited(tmp_path / "g", "Who is the manager of Ann?") == {
        ("Ann | manager | Fay", "y1/staff.csv"),
        ("Ann | manager | Eve", "y2/staff.csv"),
    }


def test_what_a_turtle_file_calls_itself_is_its_own(tmp_path):
    """Files of one name in two folders, and a neighbour of one that speaks of it."""
    for folder, name in (("a", "Zed Alpha"), ("b", "Quinn Beta")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.ttl").write_text(f'<#me> <http://www.w3.org/2000/01/rdf-schema#label> "{name}" .')
    (tmp_path / "b" / "y.ttl").write_text('<x.ttl#me> <http://example.org/size> "12" .')
    for file in ("a/x.ttl", "b/x.ttl", "b/y.ttl"):
        load(tmp_path / file, tmp_path / "g", embedder=None)
    graph = open_graph(tmp_path / "g")
    assert graph.ask("What is the size of Quinn Beta?").text == "12"
    assert graph.ask("What is the size of Zed Alpha?").refused


def test_a_file_that_was_moved_replaces_its_facts_and_the_load_says_so(tmp_path):
    first, second = staff(tmp_path)
    load(first, tmp_path / "g", embedder=None)
    first.unlink()
    assert load(second, tmp_path / "g").replaced == str(first)
    assert cited(tmp_path / "g", "Who is the manager of Ann?") == {("Ann | manager | Eve", "staff.csv")}


def test_a_graph_that_does_not_say_where_its_files_lay_opens_and_is_loaded_again(tmp_path):
    first, second = staff(tmp_path)
    load(first, tmp_path / "g", embedder=None)
    state = json.loads((tmp_path / "g" / "graph.json").read_text())
    for one in state["sources"]:
        del one["path"]
    (tmp_path / "g" / "graph.json").write_text(json.dumps(state))
    assert open_graph(tmp_path / "g").ask("Who is the manager of Ann?").text == "Bob"
    assert load(first, tmp_path / "g").replaced == "staff.csv"
    assert load(second, tmp_path / "g").replaced == "" and not load(first, tmp_path / "g").changed
    assert open_graph(tmp_path / "g").ask("Who is the manager of Ann?").text == "Bob, Eve"


def test_a_broken_file_leaves_the_graph_as_it_was(tmp_path):
    good, bad = tmp_path / "good.ttl", tmp_path / "bad.ttl"
    good.write_text(TURTLE)
    load(good, tmp_path / "g", embedder=None)
    before = facts(tmp_path / "g")
    bad.write_text(TURTLE + ":this is not turtle")
    with pytest.raises(DataError, match=r"bad\.ttl is not Turtle"):
        load(bad, tmp_path / "g")
    assert facts(tmp_path / "g") == before
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".g.")] == [".g.lock"]


def test_a_folder_that_holds_other_files_is_not_replaced(tmp_path):
    notes = tmp_path / "notes"
    (notes / "store").mkdir(parents=True)
    (notes / "people.ttl").write_text(TURTLE)
    with pytest.raises(ConfigError, match=r"notes holds people\.ttl, which is no part of a graph and would be lost"):
        load(notes / "people.ttl", notes, embedder=None)
    with pytest.raises(ConfigError, match=r"people\.ttl is a file; give an empty folder"):
        load(notes / "people.ttl", notes / "people.ttl", embedder=None)
    (notes / "people.ttl").rename(tmp_path / "people.ttl")
    with pytest.raises(ConfigError, match="notes holds store, which is no part of a graph"):
        load(tmp_path / "people.ttl", notes, embedder=None)
    assert [one.name for one in notes.iterdir()] == ["store"] and (tmp_path / "people.ttl").read_text() == TURTLE
    (notes / "store").rmdir()
    (notes / ".DS_Store").write_bytes(b"Bud1")  # as a desktop leaves it where a folder was looked at
    assert load(tmp_path / "people.ttl", notes, embedder=None).total == 5
    (notes / ".DS_Store").write_bytes(b"Bud1")
    assert not load(tmp_path / "people.ttl", notes, embedder=None).changed
    (notes / "README").write_text("Made for the staff.")
    (tmp_path / "people.ttl").write_text(TURTLE + ":bob :boss :york .")
    with pytest.raises(ConfigError, match="notes holds README"):
        load(tmp_path / "people.ttl", notes, embedder=None)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "[1, 2", "is not JSON"),
        ("a.json", "[1, 2]", "holds no list of records"),
        ("a.json", "[{}]", "holds no list of records"),
        ("a.json", "[" * 100_000, "is not JSON"),
        ("a.txt", "hello", "in no format that is read here"),
        ("a.csv", "name\n", "holds no list of records"),
        ("a.csv", ",\n,\n", "holds no list of records"),
        ("a.csv", "name,price, price\nx,1,2\n", r"a\.csv: two columns are called price; give each a title of its own"),
        ("a.csv", "name,price,\nx,1,2\n", r"a\.csv: column 3 has values and no title; give it one in the first row"),
        ("a.csv", b"\0\0\0", "binary, not text"),
        ("a.nt", "", "holds no facts"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(tmp_path, name, text, said):
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=said):
        load(file, tmp_path / "g", embedder=None)
    assert not (tmp_path / "g").exists()


def test_a_mapping_with_an_unknown_key_or_field_is_refused(tmp_path):
    (tmp_path / "m.toml").write_text('nmae = "x"')
    with pytest.raises(ConfigError, match="nmae is not a setting; did you mean name"):
        RecordMapping.read(tmp_path / "m.toml")
    with pytest.raises(ConfigError, match=r"properties\.size: no record has a field sise; there are name, code"):
        load(islands_file(tmp_path), tmp_path / "g", MAPPING.but(properties={"size": {"field": "sise"}}), None)


KILLED = """
import os, sys
from pathlib import Path
from lmworks.grounding.graph import store
after = int(sys.argv[3])
real, seen = Path.replace, 0
def replace(self, target):
    global seen
    if seen == after:
        os.kill(os.getpid(), 9)
    seen += 1
    return real(self, target)
Path.replace = replace
store.load(sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_killed_load_leaves_the_old_graph_or_the_new_one(tmp_path, after):
    file = tmp_path / "people.ttl"
    file.write_text(TURTLE)
    load(file, tmp_path / "g", embedder=None)
    before = facts(tmp_path / "g")
    file.write_text(TURTLE + ':eve <http://example.org/boss> "nobody" .')
    ran = subprocess.run([sys.executable, "-c", KILLED, str(file), str(tmp_path / "g"), str(after)], check=False)
    assert ran.returncode == -signal.SIGKILL
    held = facts(tmp_path / "g")
    assert held == before or len(held) == len(before) + 1
    assert load(file, tmp_path / "g").total == len(before) + 1
