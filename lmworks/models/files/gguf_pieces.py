"""Vocabularies of encoders and of T5 in a GGUF file: WordPiece ("bert") and SentencePiece's unigram model ("t5").

llama.cpp writes WordPiece's pieces turned round: a word's beginning has "▁" before it and its continuation nothing,
where BERT has nothing and "##". Of a unigram model it keeps what SentencePiece does: the table of characters, a space
in front, no more than one space between words.
Sources: BertModel and T5Model of convert_hf_to_gguf.py; llama-vocab.cpp; SentencePiece's normalizer.cc.
"""

from __future__ import annotations

import re
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

from lmworks.models.files.gguf_facts import BYTE, CONTROL, LONGEST_TOKEN, NORMAL, UNKNOWN, Facts
from lmworks.tokens.library import in_words

SPACE = "▁"
MOST_LETTERS = 100
"""Characters of the longest word that BERT cuts; a longer one is unknown."""
ROLES = {"bos": "[CLS]", "seperator": "[SEP]", "unknown": "[UNK]", "padding": "[PAD]", "mask": "[MASK]"}
"""Roles as the format spells them -> the tokens that have them where a file does not say."""


def word_pieces(facts: Facts) -> tuple[tokenizers.Tokenizer, dict[str, int | None]]:
    """BERT's tokenizer, and which of its tokens has which role."""
    turned = [_as_bert_writes(token, kind) for token, kind in zip(facts.tokens, facts.kinds, strict=True)]
    ids = {token: number for number, token in enumerate(turned)}
    roles = {
        role: facts.token(role) if facts.token(role) is not None else ids.get(text) for role, text in ROLES.items()
    }
    if len(ids) != len(turned) or any(roles[role] is None for role in ("bos", "seperator", "unknown")):
        raise facts.wrong("has two tokens of one text, or no [CLS], [SEP] or [UNK]")
    known = {role: number for role, number in roles.items() if number is not None}
    cls, sep, unknown = (known[role] for role in ("bos", "seperator", "unknown"))
    backend = tokenizers.Tokenizer(
        models.WordPiece(ids, unk_token=turned[unknown], max_input_chars_per_word=MOST_LETTERS)
    )
    # A file seldom says whether texts are put into lower case; a vocabulary that has capitals needs them.
    normal = [one for one, kind in zip(turned, facts.kinds, strict=True) if kind == NORMAL and one[0] != "["]
    capitals = any(re.search("[A-Z]", one) for one in normal)
    lower = facts.flag("normalizer.lowercase", not capitals)
    backend.normalizer = normalizers.BertNormalizer(
        lowercase=lower, strip_accents=facts.flag("normalizer.strip_accents", lower)
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.BertProcessing((turned[sep], sep), (turned[cls], cls))
    return backend, roles


def _as_bert_writes(token: str, kind: int) -> str:
    if kind in (CONTROL, UNKNOWN) or (token[0] == "[" and token[-1] == "]"):
        return token
    return token.removeprefix(SPACE) if token.startswith(SPACE) and token != SPACE else f"##{token}"


def unigram(facts: Facts) -> tokenizers.Tokenizer:
    """The most probable pieces of a text, by SentencePiece's rules."""
    scores, unknown = facts.scores(), facts.token("unknown")
    unknown = facts.kinds.index(UNKNOWN) if unknown is None and UNKNOWN in facts.kinds else unknown
    if unknown is None or max(map(len, facts.tokens)) > LONGEST_TOKEN:
        raise facts.wrong(f"has no unknown token, or one of over {LONGEST_TOKEN:,} characters")
    pieces = list(zip(facts.tokens, scores, strict=True))
    with in_words(lambda error: facts.wrong(f"has a unigram vocabulary that cannot be used: {error}")):
        backend = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=unknown, byte_fallback=BYTE in facts.kinds))
        backend.normalizer = normalizers.Sequence(_normalised(facts))
    decode: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if facts.flag("add_space_prefix", True):
        decode.append(decoders.Strip(" ", 1, 0))
    backend.decoder = decoders.Sequence(decode)
    if SPACE in facts.ids and not any(SPACE in token[1:].lstrip(SPACE) for token in facts.tokens):
        # No piece goes on into another word, so each word is cut by itself, and remembered.
        backend.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme="never")
    return backend


def _normalised(facts: Facts) -> list[Any]:
    table = bytes(number & 255 for number in facts.entries("precompiled_charsmap", int))
    steps: list[Any] = [normalizers.Precompiled(table)] if table else []
    if facts.flag("remove_extra_whitespaces", True):
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if facts.flag("add_space_prefix", True):
        steps.append(normalizers.Prepend(SPACE))
    return [*steps, normalizers.Replace(" ", SPACE)]
