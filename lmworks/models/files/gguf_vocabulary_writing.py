"""A tokenizer as entries of a GGUF file: the way back from `gguf_vocabulary.py`, for byte-level BPE and SentencePiece's
BPE (`gguf_pieces_writing.py`).

llama.cpp knows the rule that splits a text into words by a name alone, so of byte-level tokenizers only those whose
rule has one can be written; the others are refused, as a near rule gives other ids without any sign.
"""

from __future__ import annotations

import json
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.files.gguf_facts import CONTROL, NORMAL, UNUSED, USER_DEFINED
from lmworks.models.files.gguf_pieces_writing import is_pieces, piece_entries, refused
from lmworks.models.files.gguf_vocabulary import composes, splitter, whole_words_first
from lmworks.tokens.tokenizer import Tokenizer

NAMES = ("gpt-2", "smollm", "llama-bpe", "glm4", "qwen2", "tekken", "gpt-4o", "deepseek-v3", "deepseek-llm")
"""The name to write for each rule that is known."""


def vocabulary_entries(tokenizer: Tokenizer, size: int) -> dict[str, Any]:
    """The `tokenizer.*` entries for a network with `size` rows; ModelError where llama.cpp has no such tokenizer."""
    state = json.loads(tokenizer.vocabulary.backend.to_str())
    tokens, kinds = _tokens(tokenizer, size)
    if is_pieces(state):
        entries = piece_entries(tokenizer, state, tokens, kinds)
    elif state["model"]["type"] == "BPE" and _is_byte_level(state["decoder"]):
        entries = _byte_level_entries(tokenizer, state, tokens, kinds)
    else:
        raise ModelError(
            f"the tokenizer of {tokenizer.name} is neither byte-level BPE nor SentencePiece's BPE (its model is "
            f"{state['model']['type']}), and only these two are written to a GGUF file; use the model directory"
        )
    entries |= {
        "tokenizer.ggml.add_bos_token": _adds(tokenizer, tokenizer.prefix, tokenizer.bos, "before"),
        "tokenizer.ggml.add_eos_token": _adds(tokenizer, tokenizer.suffix, tokenizer.eos, "after"),
    }
    further = sorted(tokenizer.vocabulary.stops - {tokenizer.eos})
    roles = {
        "bos": tokenizer.bos,
        "eos": tokenizer.eos,
        "padding": tokenizer.pad,
        "unknown": tokenizer.unknown,
        **dict(zip(("eot", "eom"), further, strict=False)),
    }
    entries |= {f"tokenizer.ggml.{role}_token_id": number for role, number in roles.items() if number is not None}
    if tokenizer.chat_template is not None:
        entries["tokenizer.chat_template"] = tokenizer.chat_template
    return entries


def _byte_level_entries(
    tokenizer: Tokenizer, state: dict[str, Any], tokens: list[str], kinds: list[int]
) -> dict[str, Any]:
    merges = state["model"]["merges"]
    if not merges:
        raise refused(tokenizer, "has no merges")
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": _rule(tokenizer, state),
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": [merge if isinstance(merge, str) else " ".join(merge) for merge in merges],
    }


def _tokens(tokenizer: Tokenizer, size: int) -> tuple[list[str], list[int]]:
    """Every token by its id, and its type; rows of the network without a token are unused."""
    texts = {number: text for text, number in tokenizer.vocabulary.backend.get_vocab(with_added_tokens=True).items()}
    added = {
        number: CONTROL if token.special else USER_DEFINED
        for number, token in tokenizer.vocabulary.backend.get_added_tokens_decoder().items()
    }
    tokens = [texts.get(number, f"[PAD{number}]") for number in range(size)]
    return tokens, [added.get(number, NORMAL if number in texts else UNUSED) for number in range(size)]


def _rule(tokenizer: Tokenizer, state: dict[str, Any]) -> str:
    """llama.cpp's name for how this tokenizer splits and prepares a text."""
    wanted, ours = _plain(state["pre_tokenizer"]), state["model"].get("ignore_merges", False)
    normalizer = (state["normalizer"] or {}).get("type")
    for rule in NAMES:
        same = _plain(json.loads(splitter(rule).__getstate__())) == wanted
        if same and whole_words_first(rule) == ours and normalizer == ("NFC" if composes(rule) else None):
            return rule
    raise refused(tokenizer, f"splits words by a rule of its own (known are {', '.join(NAMES)})")


def _plain(rule: Any) -> Any:
    """A rule without what only moves the borders of tokens in the text, without sequences of one, and with ends of
    lines in its patterns as escapes."""
    if isinstance(rule, str):
        return rule.replace("\r", "\\r").replace("\n", "\\n")
    if not isinstance(rule, dict):
        return rule
    if rule.get("type") == "Sequence":
        parts = [_plain(part) for part in rule["pretokenizers"]]
        return parts[0] if len(parts) == 1 else parts
    return {key: _plain(value) for key, value in rule.items() if key != "trim_offsets"}


def _is_byte_level(decoder: dict[str, Any] | None) -> bool:
    parts = (decoder or {}).get("decoders", [decoder or {}])
    return any(part.get("type") == "ByteLevel" for part in parts)


def _adds(tokenizer: Tokenizer, ids: tuple[int, ...], token: int | None, where: str) -> bool:
    if ids and ids != (token,):
        raise refused(tokenizer, f"puts the ids {list(ids)} {where} a text")
    return bool(ids)
