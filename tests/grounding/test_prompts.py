"""An index whose embedder wants something put before questions and chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny

from lmworks.grounding.index import Index, IndexSettings, build, open_index

PROMPTS = {"query": "query: ", "document": "passage: "}


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notes")
    for name, text in (("a", "The rent is due on Monday."), ("b", "A boat lies at the pier.")):
        (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An embedder whose folder has prompts."""
    model = tiny.language_model(family="lmworks", arrangement="encoder", context=256)
    return str(model.save(tmp_path_factory.mktemp("models") / "prompted", {"pooling": {"prompts": PROMPTS}}))


def vectors_of(index: Index) -> np.ndarray:
    with index.storage.reading() as reading:
        return np.stack([reading.products(one) for one in np.eye(32, dtype=np.float32)])


def test_questions_and_chunks_are_embedded_after_their_prompts(notes: Path, prompted: str, tmp_path: Path):
    index = build(notes, tmp_path / "index", IndexSettings(embedder=prompted))
    assert open_index(tmp_path / "index").prompts == {"query": "query: ", "passage": "passage: "}
    plain = index.query_embedder.embed(["query: rent?", "passage: The rent is due on Monday."], prompt="")
    np.testing.assert_allclose(index.query_vector("rent?"), plain[0].numpy(), atol=1e-5)
    [best] = [one for one in index.search("rent?", 2, "vectors") if one.file.endswith("a.txt")]
    assert best.score == pytest.approx(float(plain[0] @ plain[1]), abs=0.02)  # kept in 8 bits


def test_prompts_that_the_user_gives_count_and_are_part_of_what_an_index_is(notes: Path, prompted: str, tmp_path: Path):
    made = {
        name: build(notes, tmp_path / name, IndexSettings(embedder=prompted, **settings))
        for name, settings in (("said", {}), ("none", {"query_prompt": "", "passage_prompt": ""}))
    }
    assert len({index.digest for index in made.values()}) == 2
    assert not np.allclose(vectors_of(made["said"]), vectors_of(made["none"]), atol=1e-3)
    again = open_index(tmp_path / "none")
    (notes / "a.txt").write_text("The rent is due on Friday.")
    again.update()  # as it was made, whatever the folder says
    fresh = build(notes, tmp_path / "fresh", IndexSettings(embedder=prompted, query_prompt="", passage_prompt=""))
    assert again.digest == fresh.digest
    np.testing.assert_allclose(sorted(vectors_of(again)[0]), sorted(vectors_of(fresh)[0]), atol=1e-6)
