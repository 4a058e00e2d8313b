"""An index whose embedder wants something put before questions and chunks."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from lmworks.encoding.pooling import Pooling
from lmworks.grounding.index import Index, IndexSettings, build, open_index

PROMPTS = {"query": "query: ", "document": "passage: "}
NONE = {"query_prompt": "", "passage_prompt": ""}


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for name, text in (("a", "The rent is due on Monday."), ("b", "A boat lies at the pier.")):
        (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.fixture(scope="module")
def embedders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """One whose folder has prompts, and the same without."""
    folder = tmp_path_factory.mktemp("models")
    model = tiny.language_model(family="lmworks", arrangement="encoder", context=256)
    plain = str(model.save(folder / "plain"))
    model.pooling = Pooling(prompts=PROMPTS)
    return str(model.save(folder / "prompted")), plain


def scores(index: Index) -> list[float]:
    return [one.score for one in sorted(index.search("rent?", 2, "vectors"), key=lambda one: one.file)]


def test_questions_and_chunks_are_embedded_after_the_prompts_of_the_folder(
    notes: Path, embedders: tuple[str, str], tmp_path: Path
):
    prompted, plain = embedders
    index = build(notes, tmp_path / "said", IndexSettings(embedder=prompted))
    assert index.prompts == {"query": "query: ", "passage": "passage: "} == open_index(tmp_path / "said").prompts
    given = IndexSettings(embedder=plain, query_prompt="query: ", passage_prompt="passage: ")
    assert scores(build(notes, tmp_path / "given", given)) == scores(index)
    by_hand = index.embedder.embed(["query: rent?"], prompt="")[0].numpy()
    assert float(abs(by_hand - index.query_vector("rent?")).max()) < 5e-3
    one_of_each = {"question": {"query_prompt": ""}, "chunks": {"passage_prompt": ""}}
    for name, settings in one_of_each.items():
        other = build(notes, tmp_path / name, IndexSettings(embedder=prompted, **settings))
        assert scores(other) != scores(index) and (other.digest != index.digest)


def test_an_index_stays_with_the_prompts_that_it_was_made_with(notes: Path, embedders: tuple[str, str], tmp_path: Path):
    settings = IndexSettings(embedder=embedders[0], **NONE)
    index = build(notes, tmp_path / "index", settings)
    before = scores(index)
    (notes / "a.txt").write_text("The rent is due on Friday.")
    again = open_index(tmp_path / "index")
    again.update()
    fresh = build(notes, tmp_path / "fresh", settings)
    assert again.digest == fresh.digest and scores(again) == scores(fresh) != before


def test_an_index_of_before_there_were_prompts_has_none_before_chunks(
    notes: Path, embedders: tuple[str, str], tmp_path: Path
):
    index = build(notes, tmp_path / "index", IndexSettings(embedder=embedders[0], passage_prompt=""))
    index.prompts = None
    index.__dict__.pop("embedder", None)
    assert index.embedder.pooling.prompts == {"query": "query: ", "passage": ""}
