"""The tokenizer that a GGUF file describes: byte-level BPE ("gpt2"), SentencePiece BPE ("llama"), and those of
encoders (`gguf_pieces.py`).

GGUF stores the tokens, their types, and merges or scores; the rule that splits a text into words is only
named (`tokenizer.ggml.pre`). Here each name has the rule of the model's own tokenizer.json; a name that is
not in the table is an error, because a wrong rule gives wrong ids without any sign.
Sources: the GGUF specification; names and rules of llama.cpp's llama-vocab.cpp, in the form that the models' own
tokenizer.json has. SmolLM2 splits every digit off, which transformers' own reader forgets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from lmworks.models.files.gguf_facts import (
    CONTROL,
    LONGEST_TOKEN,
    NORMAL,
    STRIPPING_NAME,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Described,
    Facts,
    strips_after,
)
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_pieces import unigram, word_pieces
from lmworks.tokens.chat.harmony import implied_template
from lmworks.tokens.library import in_words
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.vocabulary import Vocabulary, add_around, make_special

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTION}"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTION}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_SEED = _QWEN2.replace(r"[^\s\p{L}\p{N}]+[\r\n]*", r"[^\s\p{L}\p{N}\r\n]+")
_BAILING = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
_BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"
_CASED = (
    "(?![\u0560-\u0588\u10c7-\u10ff\u1c80-\u1c8f\u2d00-\u2d2d\ua790-\uab6f"
    "\U00010570-\U000105bc\U00010d50-\U00010d85\U00016000-\U0001dfff])[\\p{Lu}\\p{Ll}\\p{Lt}]"
)
"""A letter with case, as DeepSeek's first rule lists them: without Armenian's and Georgian's small ones, and some that
are younger or rare."""
_DEEPSEEK = (
    r"[\r\n]",
    rf"\s?(?:{_CASED})+",
    "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
    r"\s+$",
    "[一-龥ࠀ-一가-퟿]+",
    r"\p{N}+",
)
_DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_ROBERTA = "roberta-bpe"
"""It adds both ends by default."""
_GPT2 = {
    *("gpt-2", "default", "phi-2", "olmo", "mpt", "jais", "trillion", "mellum", "exaone4", "gigachat", "a.x-4.0"),
    *("jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "granite-docling", _ROBERTA),
}
"""The split that is built into ByteLevel."""
_SINGLE_DIGITS = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"}
"""The same, after each digit was split off."""
_LLAMA3_WITH_BOS = ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "lfm2", "midm-2.0")
PATTERNS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((*_LLAMA3_WITH_BOS, "dbrx", "smaug-bpe", "glm4", "chatglm-bpe"), (_LLAMA3,)),
    **dict.fromkeys(("qwen2", "stablelm2", "deepseek-r1-qwen", "megrez", "hunyuan", "grok-2", "solar-open"), (_QWEN2,)),
    **dict.fromkeys(("kormo", "f2llmv2"), (_QWEN2,)),
    "qwen35": (_QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]"),),
    "tekken": (_TEKKEN,),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"), (_GPT4O,)),
    **dict.fromkeys(("tiny_aya", "cohere2moe"), (r"\d{1,3}(?=(?:\d{3})*\b)", _GPT4O)),
    "minicpm5": (r"\p{N}{1,3}", _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}+")),
    "seed-coder": (_SEED,),
    **dict.fromkeys(("bailingmoe", "bailingmoe2", "llada-moe"), (_BAILING,)),
    **dict.fromkeys(("bloom", "poro-chat", "gpt3-finnish"), (_BLOOM,)),
    "viking": (_BLOOM, r"\p{N}"),
    **dict.fromkeys(
        ("deepseek-v3", "hunyuan-dense", "joyai-llm"), (r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", _DEEPSEEK3)
    ),
    "deepseek-llm": _DEEPSEEK,
    "deepseek-coder": (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"),
}
"""Patterns, each of which splits what those before it left."""
_FALCON = [
    pre_tokenizers.Punctuation("contiguous"),
    pre_tokenizers.ByteLevel(add_prefix_space=False),
    pre_tokenizers.Digits(individual_digits=False),
    pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), behavior="isolated"),
]
_WHOLE_WORDS_FIRST = {*_LLAMA3_WITH_BOS, "tekken", "minicpm5"}
_BEGIN = _WHOLE_WORDS_FIRST - {"minicpm5"}
"""Those that put BOS before a text unless the file says otherwise."""


def gguf_tokenizer(file: GGUFFile) -> Tokenizer:
    """The tokenizer of a GGUF file; ModelError where it has none, or one of an unknown kind."""
    return Tokenizer(read_vocabulary(file))


def read_vocabulary(file: Described) -> Vocabulary:
    """The vocabulary that a GGUF file, or what is like one, describes; ModelError where it has none, or one of an
    unknown kind."""
    facts = Facts(file)
    kind = facts.text("model")
    roles = {role: facts.token(role) for role in ("bos", "eos", "padding", "unknown", "mask", "seperator")}
    adds_bos, adds_eos = False, False
    if kind == "gpt2":
        backend, adds_bos = _byte_level(facts)
        adds_eos = facts.text("pre", "default") == _ROBERTA
    elif kind == "llama":
        backend, adds_bos = _sentencepiece(facts), True
    elif kind == "t5":
        backend, adds_eos = unigram(facts), True
    elif kind == "bert":
        backend, roles = word_pieces(facts)
    else:
        raise facts.wrong(f"has a tokenizer of the kind {kind!r}, and 'gpt2', 'llama', 't5' and 'bert' are known here")
    _add_tokens(backend, facts, roles)
    bos, eos = roles.get("bos") if kind != "bert" else None, roles.get("eos")  # BERT has a token of its own for it
    if kind != "bert":
        add_around(
            backend,
            bos if facts.flag("add_bos_token", adds_bos) else None,
            eos if facts.flag("add_eos_token", adds_eos) else None,
        )
    architecture = file.metadata.get("general.architecture")
    length, start = (
        value if type(value := file.metadata.get(f"{architecture}.{key}")) is int else None
        for key in ("context_length", "decoder_start_token_id")
    )
    template = file.metadata.get("tokenizer.chat_template")
    return Vocabulary(
        backend,
        name=file.path.name,
        bos=bos,
        eos=eos,
        pad=roles.get("padding"),
        unknown=roles.get("unknown"),
        stops=frozenset(stop for stop in (facts.token("eot"), facts.token("eom"), *facts.ends()) if stop is not None),
        chat_template=template if isinstance(template, str) else implied_template(facts.ids),
        max_length=length,
        target_start=start,
        scores=tuple(facts.scores()) if kind == "llama" else None,
        unused=frozenset(number for number, one in enumerate(facts.kinds) if one == UNUSED),
    )


def _byte_level(facts: Facts) -> tuple[tokenizers.Tokenizer, bool]:
    ollamas = facts.file.metadata.get("general.architecture") == "gptoss"
    rule = "gpt-4o" if ollamas else facts.text("pre", "default")  # which Ollama does not read there
    merges = _pairs(facts, facts.entries("merges", str))
    backend = _by_merges(facts, merges, ignore_merges=whole_words_first(rule))
    backend.pre_tokenizer = splitter(rule)
    if backend.pre_tokenizer is None:
        raise facts.wrong(f"splits words by the rule {rule!r}, which is none of the {len(known_rules())} known here")
    if composes(rule):
        backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    return backend, rule in _BEGIN or rule == _ROBERTA


def known_rules() -> list[str]:
    """The names of all rules that split a text into words."""
    return sorted({*_GPT2, *_SINGLE_DIGITS, *PATTERNS, "falcon"})


def splitter(rule: str) -> Any:
    """What splits a text into words by a rule of llama.cpp's; None for an unknown one."""
    if rule in _GPT2:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if rule in _SINGLE_DIGITS:
        return pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    if rule == "falcon":
        return pre_tokenizers.Sequence(_FALCON)
    if rule in PATTERNS:
        return pre_tokenizers.Sequence(
            [
                *(pre_tokenizers.Split(Regex(one), behavior="isolated") for one in PATTERNS[rule]),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    return None


def composes(rule: str) -> bool:
    """Is the text brought into composed form first, as Qwen's own tokenizer does?"""
    return rule in ("qwen2", "qwen35")


def whole_words_first(rule: str) -> bool:
    """Is a word that is a token taken whole, whatever its merges say?"""
    return rule in _WHOLE_WORDS_FIRST


def _by_merges(facts: Facts, merges: list[tuple[str, str]], **options: Any) -> tokenizers.Tokenizer:
    with in_words(lambda error: facts.wrong(f"has merges that do not fit its vocabulary: {error}")):
        return tokenizers.Tokenizer(models.BPE(vocab=facts.ids, merges=merges, **options))


def _pairs(facts: Facts, merges: list[str]) -> list[tuple[str, str]]:
    pairs: list[Any] = [merge.partition(" ")[::2] for merge in merges]  # a vocabulary has a hundred thousand
    for merge, pair in zip(merges, pairs, strict=True):
        if "" in pair:
            raise facts.wrong(f"holds the merge {merge!r}, which is not a pair")
    return pairs


def _sentencepiece(facts: Facts) -> tokenizers.Tokenizer:
    """BPE that merges the best score first, as SentencePiece does; unknown characters become bytes."""
    if facts.flag("remove_extra_whitespaces", False):
        raise facts.wrong("removes extra white space before it splits, which is not supported")
    unknown = facts.token("unknown")
    backend = _by_merges(
        facts,
        _merges_by_score(facts),
        byte_fallback=True,
        fuse_unk=True,
        unk_token=None if unknown is None else facts.tokens[unknown],
    )
    space: list[Any] = [normalizers.Replace(" ", "▁")]
    decode: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if facts.flag("add_space_prefix", True):
        space = [normalizers.Prepend("▁"), *space]
        decode.append(decoders.Strip(" ", 1, 0))
    backend.normalizer = normalizers.Sequence(space)
    backend.decoder = decoders.Sequence(decode)
    return backend


def _merges_by_score(facts: Facts) -> list[tuple[str, str]]:
    """Every pair of tokens that makes a third, best score first.

    Control tokens take no part: "</s>" must not grow out of "</" and "s>". User-defined ones do, as in llama.cpp: what
    is found whole in a text is not always what it is after its spaces were replaced.
    """
    normal = {
        token: score
        for token, score, kind in zip(facts.tokens, facts.scores(), facts.kinds, strict=True)
        if kind in (NORMAL, USER_DEFINED)
    }
    found = [
        (score, cut, token[:cut], token[cut:])
        for token, score in normal.items()
        if len(token) <= LONGEST_TOKEN
        for cut in range(1, len(token))
        if token[:cut] in normal and token[cut:] in normal
    ]
    found.sort(key=lambda merge: merge[:2], reverse=True)
    return [(left, right) for _, _, left, right in found]


def _add_tokens(backend: tokenizers.Tokenizer, facts: Facts, roles: Mapping[str, int | None]) -> None:
    """Control tokens are special, and those with a role; user-defined ones are found whole in any text."""
    kinds = list(zip(facts.tokens, facts.kinds, strict=True))
    strips = facts.text("model") == "llama" and STRIPPING_NAME.search(str(facts.file.metadata.get("general.name", "")))
    of_roles = [*roles.values(), facts.token("eot"), facts.token("eom")]
    make_special(
        backend,
        [token for token, kind in kinds if kind in (CONTROL, UNKNOWN)]
        + [str(backend.id_to_token(number)) for number in of_roles if number is not None],
        strips_after if strips else lambda text: False,
    )
    if facts.text("model") == "t5":  # a unigram model finds those that it has a score for by itself
        scored = {token for token, score in zip(facts.tokens, facts.scores(), strict=True) if score >= 0}
        kinds = [(token, kind) for token, kind in kinds if token not in scored]
    whole = [token for token, kind in kinds if kind == USER_DEFINED]
    backend.add_tokens(
        [AddedToken(token, normalized=False, rstrip=bool(strips) and strips_after(token)) for token in whole]
    )
