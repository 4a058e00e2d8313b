"""What a model directory in Hugging Face's layout says, without its weights: JSON files, where the weights are, whether
a folder may be replaced. Nothing here waits for PyTorch (directory.py reads and writes the weights)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.basics.files import (
    must_be_elsewhere,
    must_be_writable,
    names_in,
    refuse_pointer,
    regular,
    sha256,
    write_json,
)
from lmworks.models.config import ModelConfig
from lmworks.models.families import family_of, torchvision
from lmworks.models.files.ctranslate2_file import is_ctranslate2
from lmworks.models.files.safetensors_header import described
from lmworks.models.hearing.config import hears
from lmworks.models.vision.config import reads_images

INDEX, FACTS, ONNX = "model.safetensors.index.json", "lmworks.json", "model.onnx"
CTRANSLATE2 = "model.bin"
"""Of a converted Whisper, whose header says that it is no pickle (ctranslate2_file.py)."""
EFFICIENTNET = "efficientnet-lite0-57934424.pth"
"""Of EfficientNet-Lite0, the one pickle that is read (efficientnet_file.py)."""
MODULES = "modules.json"
"""Of sentence-transformers: what is done with the states of the network."""
MOST_JSON = 100_000_000
OWN_FILES = ("*.json", "*.jsonl", "*.safetensors", "*.jinja", "*.txt", "*.md", "*.model", "*.toml")
"""What a model directory may hold; a folder with anything else is somebody's work and is not replaced."""
NO_GROUPS = {"bitsandbytes", "fp8"}
"""A quantization_config's methods whose values are no groups of whole numbers: PyTorch runs what they stand for."""
COMPRESSED_TENSORS, FLOAT_QUANTIZED, INT_QUANTIZED = "compressed-tensors", "float-quantized", "int-quantized"
"""A method of several formats, the one of FP8, which PyTorch runs too, and the one of int8 that is not packed."""
INDEX_FOLDER = "index"
"""A folder in a model directory: the index of the documents that it answers from."""
IMAGES_FOLDER = "image_tokens"
"""Of a model whose vocabulary holds images: the tokenizer that they are written by, a model directory itself."""
SEEING_FOLDER = "image_model"
"""Of a language model that reads images: what sees them, a model directory itself."""
DENSE_FILES = {"config.json", "model.safetensors"}
"""Of a folder beside the weights that holds a layer of sentence-transformers."""
INDEX_FILES = ("index.sqlite", "index.sqlite-*", "*.i8")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model directory; ModelError if it is missing, not JSON or not an object."""
    try:
        if path.stat().st_size > MOST_JSON:
            raise ModelError(
                f"{path} has more than {MOST_JSON:,} bytes, which no such file has; fetch or copy it again"
            )
        refuse_pointer(path)
        value = json.loads(regular(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist; a model directory holds it beside its weights") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON ({error}); fetch or copy it again") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds a {type(value).__name__} and not an object; fetch or copy it again")
    return value


def torchvision_weights(path: Path) -> Path | None:
    """The safetensors file, this one or a folder's, whose tensors have torchvision's names; None where there is none,
    or the folder's config.json is of another layout. ModelError where a folder holds several."""
    if path.is_dir():
        if (path / "adapter_config.json").exists() or not set(_said_beside(path)) <= set(torchvision.SAID):
            return None
        single = path / "model.safetensors"
        files = [single] if single.is_file() else sorted(path.glob("*.safetensors"))
    else:
        files = [path] if path.suffix.lower() == ".safetensors" else []
    named = [file for file in files if torchvision.kind_of(described(file)) is not None]
    if len(named) > 1:
        raise ModelError(f"{path} holds several models, {named[0].name} and {named[1].name}; give the file of one")
    return named[0] if named else None


def _said_beside(path: Path) -> dict[str, Any]:
    """The config.json of a folder; nothing where it has none, and of a file."""
    return read_json(path / "config.json") if (path / "config.json").is_file() else {}


def read_packing(path: Path) -> Any:
    """The quantization_config of a model directory's config.json; None where it has none."""
    return _said_beside(path).get("quantization_config")


def read_config(folder: Path) -> ModelConfig:
    """The ModelConfig of a model directory, or of a file with torchvision's names. ModelError for that of an
    adapter."""
    if (weights := torchvision_weights(folder)) is not None:
        shapes = {name: one.shape for name, one in described(weights).items()}
        try:
            return torchvision.config_from(shapes, _said_beside(folder))
        except ModelError as error:
            raise ModelError(f"{weights}: {error}") from None
    if not (folder / "config.json").exists() and (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{folder} holds an adapter, and a whole model is needed here; give its base, or what "
            f"`lmworks merge {folder}` writes"
        )
    theirs = read_json(folder / "config.json")
    try:
        family = family_of(theirs.get("model_type"))
        if _pools(folder):  # it runs the body, whatever class its config.json was copied with
            if str(theirs.get("architectures")).endswith("Model']"):
                theirs["tie_word_embeddings"] = True  # there is no head
            theirs["architectures"] = [family.architecture]
        return family.config_from(theirs)
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from None


def is_vision(folder: Path) -> bool:
    """Whether a folder or file holds a model of images."""
    says = (folder / "config.json").is_file() or torchvision_weights(folder) is not None
    return says and reads_images(read_config(folder))


def is_hearing(folder: Path) -> bool:
    """Whether a folder or file holds a model that hears."""
    return folder.is_dir() and (folder / "config.json").is_file() and hears(read_config(folder))


def is_mxfp4(said: Any) -> bool:
    """Does a config.json's quantization_config say that experts are in MXFP4 (mxfp4.py)?"""
    return isinstance(said, dict) and said.get("quant_method") == "mxfp4"


def is_float_quantized(said: Any) -> bool:
    """Does a config.json's quantization_config say that matrices are in compressed-tensors' FP8?"""
    known = isinstance(said, dict) and said.get("quant_method") == COMPRESSED_TENSORS
    return bool(known and said.get("format") == FLOAT_QUANTIZED)


def runs_as_stored(said: Any) -> bool:
    """Do the kernels know matrices as a config.json's quantization_config says that they are stored?"""
    if said is None or is_float_quantized(said):
        return False
    return not (isinstance(said, dict) and str(said.get("quant_method")) in NO_GROUPS)


def _pools(folder: Path) -> bool:
    """Is it a folder of sentence-transformers that makes vectors of texts?"""
    path = folder / MODULES
    return path.is_file() and '.Pooling"' in path.read_text(encoding="utf-8", errors="replace")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a directory, as its index lists them; its ONNX, CTranslate2 or published file
    where it has none."""
    single = folder / "model.safetensors"
    if single.exists():
        return [single]
    if (folder / INDEX).exists():
        weight_map = read_json(folder / INDEX).get("weight_map")
        listed = list(weight_map.values()) if isinstance(weight_map, dict) else []
        names = sorted({name for name in listed if isinstance(name, str) and Path(name).name == name})
        if not names or not all(name in names for name in listed):
            raise ModelError(f"{folder / INDEX} does not list files of its own folder; fetch it again")
        return [folder / name for name in names]
    if (named := torchvision_weights(folder)) is not None:
        return [named]
    if (folder / ONNX).exists():
        return [folder / ONNX]
    if is_ctranslate2(folder / CTRANSLATE2):
        return [folder / CTRANSLATE2]
    if (folder / EFFICIENTNET).exists():
        return [folder / EFFICIENTNET]
    refuse_pickles(folder)
    raise ModelError(f"{folder} holds no model.safetensors; is the download complete?")


def refuse_pickles(path: Path) -> None:
    """ModelError for a pickle, and for a folder that holds one and no other weights."""
    if path.is_dir():
        pickles = [file for kind in ("*.bin", "*.pt", "*.pth") for file in sorted(path.glob(kind))]
        what, made = "holds only {}, a pickle", "model.safetensors"
    else:
        pickles = [path] if path.suffix.lower() in (".pt", ".pth") else []
        what, made = "is a pickle", f"{path.stem}.safetensors"
    if pickles:
        name = pickles[0].name
        raise ModelError(
            f"{path} {what.format(name)}, which can run code when it is read; convert it to safetensors first, in "
            f"Python: safetensors.torch.save_file(torch.load({name!r}, weights_only=True), {made!r})"
        )


def refuse_foreign_files(folder: Path) -> None:
    """ModelError if a folder that is about to be replaced holds anything but a model, LmworksError if nothing can be
    written there."""
    if folder.is_file():
        raise ModelError(f"{folder} is a file; give a folder that does not exist yet")
    must_be_elsewhere(folder)
    must_be_writable(folder)
    if not folder.is_dir():
        return
    names = names_in(folder)
    foreign = [name for name in names if not _is_ours(folder / name)]
    if foreign or (names and not {"config.json", "adapter_config.json"} & set(names)):
        raise ModelError(
            f"{folder} holds {(foreign or names)[0]} and is not a model directory; "
            "it would be replaced, so give a folder that does not exist yet"
        )


def _is_ours(path: Path) -> bool:
    """Whether it is part of a model directory: a file of a known kind, a dense layer, a tokenizer of images, or an
    index and nothing besides."""
    if not path.is_dir():
        return any(path.match(kind) for kind in OWN_FILES)
    held = [path / name for name in names_in(path)]
    if {one.name for one in held} == DENSE_FILES:
        return True
    if path.name in (IMAGES_FOLDER, SEEING_FOLDER):
        return all(one.is_file() and _is_ours(one) for one in held)
    return path.name == INDEX_FOLDER and all(
        one.is_file() and any(one.match(kind) for kind in INDEX_FILES) for one in held
    )


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write lmworks.json into a folder that holds its weights already: the facts, and the SHA-256 of each file of
    weights by its name."""
    hashes = {file.name: sha256(file) for file in sorted(folder.glob("*.safetensors"))}
    write_json(folder / FACTS, {**facts, "sha256": hashes})


def read_facts(folder: Path) -> dict[str, Any]:
    """What lmworks.json says; nothing where there is none, as beside what others wrote."""
    return read_json(folder / FACTS) if (folder / FACTS).is_file() else {}
