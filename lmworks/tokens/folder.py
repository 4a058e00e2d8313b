"""A tokenizer's files in a Hugging Face model directory: read what is there, write what transformers reads.

tokenizer.json (or vocab.json + merges.txt of GPT-2's kind), tokenizer_config.json, special_tokens_map.json,
chat_template.jinja, and from generation_config.json the ends of an answer and the start of a target.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from lmworks.basics.errors import ModelError
from lmworks.basics.files import must_be_elsewhere, names_in, refuse_pointer, regular, write_json, written_whole
from lmworks.tokens.clip import START, clip_backend
from lmworks.tokens.library import in_words
from lmworks.tokens.vocabulary import Vocabulary, add_around, make_special

_MAX_BYTES = 256 * 2**20  # the largest public tokenizer.json has 34 MB
_LONGEST = 10**9  # transformers writes 1e30 where no length is known
_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")


def read_folder(folder: Path) -> Vocabulary:
    """The vocabulary of a model directory; ModelError where files are missing or damaged."""
    config = _json(folder / "special_tokens_map.json") | _json(folder / "tokenizer_config.json")
    if (folder / "tokenizer.json").exists():
        backend = _backend(folder / "tokenizer.json")
    elif (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        backend = _of_merges(folder)
        config = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>") | config
        if backend.token_to_id(START) is not None:  # CLIP's
            config |= {"bos_token": START}
    else:
        raise ModelError(
            f"{folder} has no tokenizer.json (nor vocab.json and merges.txt); give the folder of a whole model"
        )
    texts = {role: _text(config.get(role)) for role in _ROLES}
    make_special(backend, [text for text in [*texts.values(), *_further_special(folder, config)] if text])
    ids = {role: backend.token_to_id(text) if text else None for role, text in texts.items()}
    if "add_bos_token" in config or "add_eos_token" in config:
        add_around(
            backend,
            ids["bos_token"] if config.get("add_bos_token") else None,
            ids["eos_token"] if config.get("add_eos_token") else None,
        )
    return Vocabulary(
        backend,
        name=folder.name,
        bos=ids["bos_token"],
        eos=ids["eos_token"],
        pad=ids["pad_token"],
        unknown=ids["unk_token"],
        stops=_stops(folder),
        target_start=_target_start(folder),
        chat_template=_template(folder, config),
        max_length=_length(config.get("model_max_length")),
    )


OWN_FILES = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"}


def refuse_foreign_files(folder: Path) -> None:
    """ModelError if a folder in which a tokenizer is about to be replaced holds anything else, a model say."""
    if folder.is_file():
        raise ModelError(f"{folder} is a file; give a folder that does not exist yet")
    must_be_elsewhere(folder)
    foreign = [name for name in names_in(folder) if name not in OWN_FILES]
    if foreign:
        raise ModelError(
            f"{folder} holds {foreign[0]} and is not a tokenizer's folder; its tokenizer would be replaced, so give a "
            "folder that does not exist yet"
        )


def write_folder(vocabulary: Vocabulary, folder: Path, mask: str | None, adds_bos: bool | None) -> None:
    """Write a tokenizer's files, each whole or not at all.

    `mask` is the text of its mask token, and `adds_bos` whether it begins a text with BOS (None: that is not all it
    adds)."""
    ids = (vocabulary.bos, vocabulary.eos, vocabulary.unknown, vocabulary.pad)
    roles = {
        role: vocabulary.backend.id_to_token(number)
        for role, number in zip(_ROLES, ids, strict=True)
        if number is not None
    }
    if mask is not None:
        roles["mask_token"] = mask
    config = roles | {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if vocabulary.max_length is not None:
        config["model_max_length"] = vocabulary.max_length
    if adds_bos is not None:
        config["add_bos_token"] = adds_bos
    with written_whole(folder / "tokenizer.json") as temporary:
        temporary.write_text(vocabulary.backend.to_str(pretty=True), encoding="utf-8")
    write_json(folder / "special_tokens_map.json", roles)
    template = folder / "chat_template.jinja"
    if vocabulary.chat_template is not None:
        config["chat_template"] = vocabulary.chat_template
        with written_whole(template) as temporary:
            temporary.write_text(vocabulary.chat_template, encoding="utf-8")
    else:
        template.unlink(missing_ok=True)
    write_json(folder / "tokenizer_config.json", config)


def _backend(path: Path) -> tokenizers.Tokenizer:
    text = _read(path)
    with in_words(lambda error: ModelError(f"{path} is not a tokenizer ({error}); fetch or copy it again")):
        return tokenizers.Tokenizer.from_str(text)


def _of_merges(folder: Path) -> tokenizers.Tokenizer:
    """GPT-2's byte-level BPE from its vocabulary and merges, or CLIP's."""
    lines = _read(folder / "merges.txt").split("\n")
    merges: list[Any] = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    vocabulary = _json(folder / "vocab.json")
    unfit = f"{folder}: vocab.json and merges.txt do not fit together"
    with in_words(lambda error: ModelError(f"{unfit} ({error}); fetch or copy them again")):
        if START in vocabulary:
            return clip_backend(vocabulary, merges)
        backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{path} has over {_MAX_BYTES:,} bytes, which no tokenizer has; fetch it again")
        refuse_pointer(path)
        return regular(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read as text ({error}); fetch or copy it again") from error


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no such file."""
    if not path.exists():
        return {}
    try:
        value = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON ({error}); fetch or copy it again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds no JSON object; fetch or copy it again")
    return value


def _text(token: Any) -> str | None:
    """A special token as its text; files name it by text, or by an object with `content`."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) and text else None


def _further_special(folder: Path, config: dict[str, Any]) -> list[str]:
    """Special tokens without a role: they count even where tokenizer.json does not mark them. ModelError where they are
    not listed as they should be."""
    further = config.get("additional_special_tokens") or config.get("extra_special_tokens") or []
    added = config.get("added_tokens_decoder") or {}
    if not isinstance(further, list | dict) or not isinstance(added, dict):
        raise ModelError(
            f"{folder / 'tokenizer_config.json'} or special_tokens_map.json does not list its special tokens in a list "
            "or an object; fetch or copy it again"
        )
    listed = list(further.values() if isinstance(further, dict) else further)
    listed += [token for token in added.values() if isinstance(token, dict) and token.get("special")]
    return [text for text in map(_text, listed) if text]


def _stops(folder: Path) -> frozenset[int]:
    ends = _json(folder / "generation_config.json").get("eos_token_id")
    ends = ends if isinstance(ends, list) else [ends]
    return frozenset(end for end in ends if type(end) is int and end >= 0)


def _target_start(folder: Path) -> int | None:
    """`decoder_start_token_id`, which older folders have in config.json."""
    said = _json(folder / "config.json") | _json(folder / "generation_config.json")
    start = said.get("decoder_start_token_id")
    return start if type(start) is int and start >= 0 else None


def _template(folder: Path, config: dict[str, Any]) -> str | None:
    """The chat template: its own file first, as transformers does; of several the one named "default"."""
    path = folder / "chat_template.jinja"
    if path.exists():
        return _read(path)
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _length(length: Any) -> int | None:
    return int(length) if isinstance(length, int | float) and 0 < length < _LONGEST else None
