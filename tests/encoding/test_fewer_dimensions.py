"""An encoder whose vectors have fewer dimensions: saved, read again, indexed, served as any other."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from torch.nn import functional as F

import lmworks as lm
from lmworks.basics.errors import ConfigError
from lmworks.encoding.principal import principal_components
from lmworks.grounding.index import IndexSettings, build
from lmworks.jobs.reduce import reduce

TEXTS = [f"{'abcdefgh'[at % 8] * (at % 5 + 1)} {at * at} {'xyz'[at % 3] * (at % 7)}" for at in range(60)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.embedder(tmp_path_factory.mktemp("encoder") / "whole")


@pytest.mark.parametrize("whiten", [True, False])
def test_vectors_are_the_components_of_what_it_pooled_and_are_kept(encoder: str, tmp_path: Path, whiten: bool):
    model = lm.load(encoder, compress="none")
    pooled = model.embed(TEXTS, pooling=model.pooling.but(normalise=False))
    kept = model.reduce(TEXTS, 5, whiten=whiten)
    found = principal_components(pooled, 5)
    assert kept == found.kept and model.vector_dim == 5
    expected = F.normalize(found.layer(whiten)(pooled), dim=-1)
    torch.testing.assert_close(model.embed(TEXTS), expected, rtol=1e-5, atol=1e-5)
    model.save(tmp_path / "few")
    again = lm.load(tmp_path / "few", compress="none")
    assert again.vector_dim == 5
    torch.testing.assert_close(again.embed(TEXTS), expected, rtol=1e-5, atol=1e-5)
    assert again.reduce(TEXTS, 3) > 0.5 and again.vector_dim == 3  # and once more


def test_an_index_takes_it_as_any_encoder_and_keeps_fewer_numbers(encoder: str, tmp_path: Path):
    (tmp_path / "notes").mkdir()
    for at in range(40):
        (tmp_path / "notes" / f"{at}.txt").write_text(f"{TEXTS[at]}. {TEXTS[-at]}.", "utf-8")
    made = reduce(encoder, 8, str(tmp_path / "notes"), tmp_path / "few")
    assert made.fitted_on == 32 and 0 < made.kept.value <= 1 and 0 < made.neighbours.value <= 1
    assert made.neighbours.n == 8
    index = build(tmp_path / "notes", tmp_path / "index", IndexSettings(embedder=str(made.folder)))
    assert index.query_vector("abc").shape == (8,)
    [first] = index.search(TEXTS[7], k=1, by="vectors")
    assert first.score > 0.5
    with pytest.raises(ConfigError, match=r"64 dimensions are fitted|dimensions is 64"):
        reduce(encoder, 64, str(tmp_path / "notes"), tmp_path / "more")
    assert not (tmp_path / "more").exists()


def test_what_makes_no_vectors_is_told(tmp_path: Path):
    tiny.language_model().save(tmp_path / "writer")
    with pytest.raises(ConfigError, match="writer is no encoder; fewer dimensions are for what makes vectors"):
        reduce(tmp_path / "writer", 8, "wikitext2", tmp_path / "few")


def test_a_writer_keeps_its_fewer_dimensions_too(tmp_path: Path):
    model = tiny.language_model()
    model.reduce(TEXTS, 4)
    model.save(tmp_path / "writer")
    assert lm.load(tmp_path / "writer").embed(["abc"]).shape == (1, 4)
