"""Models in Ollama's store on this machine: `ollama:name`, `ollama:name:tag`, `ollama:hf.co/org/name:tag`.

A manifest, JSON under manifests/REGISTRY/NAMESPACE/NAME/TAG, lists the layers of a model by their checksums; the layer
of the weights is a GGUF file in blobs/. Nothing is fetched or changed. Source: Ollama's docs/import.md and
types/model/name.go.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.basics.files import cache_folder

PREFIX = "ollama:"
WEIGHTS, ADAPTER = "application/vnd.ollama.image.model", "application/vnd.ollama.image.adapter"
_NAMESPACE, _TAG = "library", "latest"
_PART, _DIGEST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"), re.compile(r"sha256[:-]([0-9a-f]{64})")


def stored(reference: str) -> Path:
    """The GGUF file of a model in the store, as a link whose name ends in .gguf; ModelError where it is not there, or
    not what its manifest says."""
    digest, size = _weights(_manifest(reference), reference)
    blob = _root() / "blobs" / f"sha256-{digest}"
    if not blob.is_file():
        raise ModelError(f"{reference}: its weights are not in the store ({blob}); run: ollama pull {_name(reference)}")
    if blob.stat().st_size != size:
        raise ModelError(
            f"{reference}: {blob} has {blob.stat().st_size:,} bytes and the manifest says {size:,}; run: ollama pull "
            f"{_name(reference)}"
        )
    link = cache_folder("models", "ollama") / f"{re.sub(r'[^A-Za-z0-9._-]', '-', _name(reference))}-{digest[:12]}.gguf"
    if not link.exists() or not link.samefile(blob):
        link.unlink(missing_ok=True)
        link.symlink_to(blob.resolve())
    return link


def names() -> list[str]:
    """The models in the store, as one would name them."""
    manifests = _root() / "manifests"
    found = sorted(file.relative_to(manifests).parts for file in manifests.glob("*/*/*/*") if file.is_file())
    return [_short(*parts) for parts in found]


def _root() -> Path:
    return Path(os.environ.get("OLLAMA_MODELS") or Path.home() / ".ollama" / "models")


def _registry() -> str:
    """The folder of what Ollama's own registry gave: the one that is named as a registry."""
    return min((one.name for one in (_root() / "manifests").glob("registry.*")), default="registry")


def _name(reference: str) -> str:
    return reference.removeprefix(PREFIX)


def _short(registry: str, namespace: str, name: str, tag: str) -> str:
    before = "" if registry == _registry() else f"{registry}/"
    before += "" if not before and namespace == _NAMESPACE else f"{namespace}/"
    return f"{PREFIX}{before}{name}{'' if tag == _TAG else f':{tag}'}"


def _manifest(reference: str) -> dict[str, Any]:
    path, _, tag = _name(reference).partition(":")
    parts = [*path.split("/"), tag or _TAG]
    whole = [*(_registry(), _NAMESPACE)[: max(4 - len(parts), 0)], *parts]
    if len(whole) != 4 or not all(_PART.fullmatch(part) for part in whole):
        raise ModelError(f"{reference!r} is no name of a model in Ollama's store; give ollama:NAME or ollama:NAME:TAG")
    file = (_root() / "manifests").joinpath(*whole)
    if not file.is_file():
        there = names()
        holds = f"it holds {', '.join(there[:8])}{', ...' if len(there) > 8 else ''}" if there else "it holds no model"
        raise ModelError(
            f"{reference} is not in Ollama's store at {_root()} ({holds}); run: ollama pull {_name(reference)}"
        )
    from lmworks.models.files.model_folder import read_json  # loads torch

    return read_json(file)


def _weights(manifest: dict[str, Any], reference: str) -> tuple[str, int]:
    """Checksum and size of the weights."""
    layers = manifest.get("layers")
    known = [one for one in layers if isinstance(one, dict)] if isinstance(layers, list) else []
    if any(one.get("mediaType") == ADAPTER for one in known):
        raise ModelError(
            f"{reference} is an adapter on another model, which is not read from Ollama's store; use that one"
        )
    found = next((one for one in known if one.get("mediaType") == WEIGHTS), {})
    digest, size = _DIGEST.fullmatch(str(found.get("digest"))), found.get("size")
    if digest is None or type(size) is not int:
        raise ModelError(
            f"{reference}: its manifest names no weights by their SHA-256 and size; run: ollama pull {_name(reference)}"
        )
    return digest[1], size
