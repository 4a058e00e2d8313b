"""What lmworks graph brings into which folder."""

from __future__ import annotations

import json

import pytest

from lmworks.basics.errors import LmworksError
from lmworks.grounding.graph.entities import PIPELINE
from lmworks.models.files.references import resolve
from lmworks.text.wheels import fetched

pytest.importorskip("pyoxigraph")


def test_the_folder_in_which_one_is_gives_the_graph_its_name(run, tmp_path, monkeypatch):
    pytest.importorskip("spacy")
    try:
        fetched(PIPELINE), resolve("minilm")
    except LmworksError as error:
        pytest.skip(f"a model is not here: {error}")
    (tmp_path / "notes" / "new").mkdir(parents=True)
    (tmp_path / "notes" / "a.txt").write_text("The fire caused a power cut in the old library.")
    monkeypatch.chdir(tmp_path / "notes")
    assert run("graph", "extract", ".", "--json").json["graph"] == "graphs/notes"
    assert json.loads((tmp_path / "notes" / "graphs" / "notes" / "graph.json").read_text())["sources"]
    monkeypatch.chdir(tmp_path / "notes" / "new")
    assert run("graph", "extract", "..", "--json").json["graph"] == "graphs/notes"


def test_a_graph_keeps_the_embedder_that_it_was_made_with(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "staff.csv").write_text("name,manager\nAnn,Bob\nBob,\n")
    assert run("graph", "load", "staff.csv", "--embedder", "none").code == 0
    for asked in ((), ("--embedder", "none")):
        assert "as they were" in run("graph", "load", "staff.csv", *asked).out
    ran = run("graph", "load", "staff.csv", "--embedder", "minilm")
    assert (ran.code, ran.err) == (
        1,
        "lmworks: graphs/staff was made with embedder none, and not minilm; give another folder for it, or no "
        "embedder\n",
    )


def test_a_mapping_is_for_a_file_and_not_for_an_endpoint(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = run("graph", "load", "--endpoint", "http://127.0.0.1:9/sparql", "--mapping", "m.toml")
    assert (ran.code, ran.err) == (
        1,
        "lmworks: --mapping m.toml is for the records of a file; an endpoint holds RDF, so leave it out\n",
    )
