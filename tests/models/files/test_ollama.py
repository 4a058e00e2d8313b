"""Ollama's store: found through its manifest, and nothing outside of it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from lmworks.basics.errors import ModelError
from lmworks.models.files.references import resolve

DIGEST = "0123456789abcdef" * 4


def manifest(digest: str = f"sha256:{DIGEST}", size: Any = 8, kind: str = "model") -> dict[str, Any]:
    """As Ollama writes it."""
    layers = [
        {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:00", "size": 1},
        {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest, "size": size},
    ]
    return {"schemaVersion": 2, "layers": layers}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with two models and the weights of both."""
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path / "cache"))
    put(tmp_path / "models", "registry.example/library/qwen3/0.6b")
    put(tmp_path / "models", "hf.co/org/name/Q4_K_M")
    blobs = tmp_path / "models" / "blobs"
    blobs.mkdir()
    (blobs / f"sha256-{DIGEST}").write_bytes(b"GGUF1234")
    return tmp_path / "models"


def put(root: Path, name: str, content: Any = None) -> Path:
    file = root / "manifests" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(manifest() if content is None else content))
    return file


@pytest.mark.parametrize(
    "reference", ["ollama:qwen3:0.6b", "ollama:hf.co/org/name:Q4_K_M", "ollama:library/qwen3:0.6b"]
)
def test_a_model_is_found_through_its_manifest(store: Path, reference: str):
    for _ in range(2):
        path = resolve(reference)
        assert path.suffix == ".gguf" and path.read_bytes() == b"GGUF1234"
        assert path.samefile(store / "blobs" / f"sha256-{DIGEST}")


def test_what_is_there_is_named_where_a_model_is_not(store: Path):
    with pytest.raises(
        ModelError, match=r"ollama:qwen3 is not in Ollama's store .*hf.co/org/name:Q4_K_M, ollama:qwen3:0.6b"
    ):
        resolve("ollama:qwen3")


@pytest.mark.parametrize(
    "name", ["", "../../x", "a/../b", "a/b/c/d/e", "qwen3:../../blobs/x", "/etc/passwd", "a:b:c", "..:.."]
)
def test_no_name_leads_out_of_the_store(store: Path, name: str):
    with pytest.raises(ModelError, match="no name of a model in Ollama's store"):
        resolve(f"ollama:{name}")


@pytest.mark.parametrize(
    "content, words",
    [
        (manifest("sha256:../../../../etc/passwd"), "names no weights by their SHA-256"),
        (manifest(f"sha256:{DIGEST}/../x"), "names no weights by their SHA-256"),
        (manifest(size="8"), "names no weights by their SHA-256"),
        (manifest(size=9), "has 8 bytes and the manifest says 9"),
        (manifest(f"sha256:{'f' * 64}"), "its weights are not in the store"),
        (manifest(kind="adapter"), "is an adapter on another model"),
        ({"layers": 3}, "names no weights"),
        ([1], "holds a list and not an object"),
    ],
)
def test_manifests_that_do_not_fit_are_one_sentence(store: Path, content: Any, words: str):
    put(store, "registry.example/library/odd/latest", content)
    with pytest.raises(ModelError, match=words) as caught:
        resolve("ollama:odd")
    assert "\n" not in str(caught.value)


def test_damaged_manifests_give_the_model_or_one_sentence(store: Path):
    file, draws = put(store, "registry.example/library/odd/latest"), random.Random(0)
    whole = file.read_bytes()
    for number in range(200):
        data = bytearray(whole[: draws.randrange(len(whole))] if number < 100 else whole)
        if number >= 100:
            data[draws.randrange(len(data))] ^= 1 << draws.randrange(8)
        file.write_bytes(data)
        try:
            assert resolve("ollama:odd").samefile(store / "blobs" / f"sha256-{DIGEST}")
        except ModelError as error:
            assert "\n" not in str(error)
