"""A build indexes its text, answers from it first, and the index travels with the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import lmworks as lm
from jobs.small_builds import recipe, stopped
from lmworks.basics.errors import ModelError
from lmworks.cli.models import _one
from lmworks.evaluation.measurement import Measurement
from lmworks.grounding.beside import index_beside
from lmworks.jobs.build import BuildResult, build
from lmworks.jobs.recipe import Recipe

QUESTION = "When is the rent due?"


@pytest.fixture
def settings(here: Path, minilm: str) -> Recipe:
    """The small recipe with an index, of notes that say when the rent is due."""
    more = (
        "The keys of the cellar are kept by Mrs Berger on the second floor. The rubbish is collected every Monday "
        "before seven in the morning. The heating was serviced by the firm Lorenz in October 2025."
    )
    (here / "notes" / "rent.md").write_text(
        f"# The flat\n\nThe rent is due on the third day.\n\n## Pets\n\nCats may.\n\n## House\n\n{more}\n"
    )
    return recipe().but(
        grounding={"embedder": minilm, "questions": 0},
        generation={"prompt": QUESTION, "max_new_tokens": 4},
        method="lora",
    )


def built(settings: Recipe, lines: list[str], out: str = "models/notes", resume: bool = False) -> BuildResult:
    return build(out=out, recipe=settings, say=lines.append, resume=resume)


def test_a_build_answers_from_its_text_before_it_trains_and_keeps_the_index(settings: Recipe):
    lines: list[str] = []
    result = built(settings.but(grounding=settings.grounding.but(questions=20)), lines)
    assert result.grounded is not None and not result.grounded.answer.refused
    kinds = [line.split(maxsplit=1)[0] for line in lines if line[:1].strip()]
    assert kinds.index("index") < kinds.index("asked") < kinds.index("answer") < kinds.index("own") < kinds.index("to")
    assert f"asked          {QUESTION}" in lines
    assert any(line.startswith("answer ") and "third day" in line and "[1]" in line for line in lines)
    assert any(line.startswith("    ") and "[1] rent.md, line 3  (The flat)" in line for line in lines)

    index, remark = index_beside(result.folder)
    assert index is not None and not remark
    citation = result.grounded.answer.citations[0]
    text = index.document(citation.file)
    assert text is not None and text[citation.start : citation.end] == citation.text
    facts = json.loads((result.folder / "lmworks.json").read_text())["index"]
    assert facts["sha256"] == index.digest and facts["chunks"] == len(index)
    assert result.grounded.outcome is not None and facts["tested"] == index.tested == result.grounded.outcome.kept
    assert f"own test       {result.grounded.outcome.counts}" in lines
    for figure in map(Measurement.from_json, facts["tested"]["figures"]):
        way = figure.name.rpartition(", ")[2]
        told = [one for one in lines if one.strip().startswith(f"{figure.name} ") and figure.certainty in one]
        # Neither figures of ways that it does not search by, nor those that the settings were chosen by.
        assert told or way in ("keywords", "vectors", "reranked") or " gained by " in figure.name
    assert not any(" gained by " in one for one in lines)
    assert any("recall@5, hybrid" in one and "chance" in one for one in lines)
    assert sorted(path.name for path in Path("models").iterdir()) == ["notes"]
    built(settings, [])  # over the first one


def test_a_directory_that_is_moved_keeps_its_index_and_one_without_it_says_so(settings: Recipe):
    folder = built(settings, []).folder
    Path("elsewhere").mkdir()
    folder.replace("elsewhere/moved")
    moved = Path("elsewhere/moved")
    index, remark = index_beside(lm.load(moved).source)
    assert index is not None and index.search("rent")[0].file == "rent.md" and not remark
    shutil.copytree(moved, "copied", ignore=shutil.ignore_patterns("index"))
    index, remark = index_beside(Path("copied"))
    assert index is None and "copied was built with an index that is not in it" in remark and "copied/index" in remark
    Path("notes/rent.md").write_text("The rent is due on the fifth day.")
    index, _ = index_beside(moved)
    assert index is not None and index.update()
    index, remark = index_beside(moved)
    assert index is not None and "is not as it was when the model was built" in remark
    assert index_beside(Path("base")) == (None, "") == index_beside(None)


def test_somebodys_files_in_the_index_are_not_replaced(settings: Recipe):
    folder = built(settings, []).folder
    (folder / "index" / "thesis.docx").write_text("mine")
    with pytest.raises(ModelError, match="models/notes holds index and is not a model directory"):
        built(settings, [])


def test_a_run_that_is_resumed_keeps_its_index(settings: Recipe, monkeypatch: pytest.MonkeyPatch):
    stopped(settings, monkeypatch, out="models/notes")
    monkeypatch.setattr("lmworks.jobs.grounding.build", None)  # indexed once
    assert index_beside(built(settings, [], resume=True).folder)[0] is not None


def test_without_an_embedder_the_build_says_so_and_goes_on(settings: Recipe, monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there: a machine without a network
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("LMWORKS_CACHE", "empty-cache")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    lines: list[str] = []
    result = built(settings.but(grounding={"embedder": "minilm"}), lines)
    assert result.grounded is None and "index" not in json.loads((result.folder / "lmworks.json").read_text())
    [line] = [line for line in lines if line.startswith("index")]
    assert "left out, so nothing is cited: minilm could not be fetched" in line
    with pytest.raises(ModelError, match="minilmm is neither a known model nor a path; did you mean minilm"):
        built(settings.but(grounding={"embedder": "minilmm"}), [])


def test_a_smaller_copy_takes_the_index_along_and_a_listing_names_it(
    settings: Recipe, capsys: pytest.CaptureFixture[str]
):
    folder = built(settings, []).folder
    before = index_beside(folder)[0]
    smaller = lm.compress(folder, "smaller", bits=8, text="general").folder
    index, remark = index_beside(smaller)
    assert index is not None and before is not None and index.digest == before.digest and not remark
    _one(str(smaller), json_=True)
    assert json.loads(capsys.readouterr().out)["passages"] == len(index)
    shutil.rmtree(smaller / "index")
    _one(str(smaller), json_=False)
    assert "but smaller was built with an index that is not in it" in " ".join(capsys.readouterr().out.split())
