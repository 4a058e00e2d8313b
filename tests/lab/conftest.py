"""Small models for claims whose code is the point, not what a model knows; slow tests run the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

SHAPE = {"seed": 4, "layers": 6, "heads": 8, "dim": 64, "hidden_dim": 96, "context": 1024}


@pytest.fixture(scope="session")
def small_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random decoder that reads bytes."""
    return _saved(tmp_path_factory, "decoder", kv_heads=4)


@pytest.fixture(scope="session")
def many_tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with tokens that no text has: claim 22 draws random ones after the first thousand."""
    return _saved(tmp_path_factory, "many", kv_heads=4, vocab_size=1100)


@pytest.fixture(scope="session")
def small_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder that reads bytes."""
    return _saved(tmp_path_factory, "encoder", kv_heads=8, family="lmworks", arrangement="encoder")


def _saved(folders: pytest.TempPathFactory, name: str, **settings: object) -> Path:
    return tiny.language_model(**(SHAPE | settings)).save(folders.mktemp("models") / name)
