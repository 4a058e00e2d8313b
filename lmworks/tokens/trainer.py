"""Train a tokenizer from text: six kinds, one config, a `Tokenizer` that transformers loads as well.

    tokenizer = train_tokenizer(texts, TokenizerConfig(kind="bpe", vocab_size=4096))
    tokenizer.save("tokenizers/mine")

| kind | pieces | what it has no token for | | --- | --- | --- | | byte | the 256 bytes | nothing | | character | every
character of the text | its bytes, or <unk> | | word | the most frequent words, with the space before them | <unk> | |
bpe | bytes, merged pair by pair (Sennrich et al. 2016, https://arxiv.org/abs/1508.07909; bytes as GPT-2) | nothing | |
wordpiece | words and ##parts (Schuster and Nakajima 2012; case kept, as BERT cased) | [UNK] | | unigram | pieces of the
likeliest split (Kudo 2018, https://arxiv.org/abs/1804.10959; SentencePiece's ▁) | its bytes, or <unk> |

byte and bpe give every text back exactly, and so do character and unigram with byte fallback (but for the
character ▁, which reads back as a space from unigram, as from SentencePiece). word does so for known words. wordpiece
keeps no white space. The same texts and config give the same tokenizer.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import ClassVar, Literal

import tokenizers
from pydantic import Field, model_validator
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from lmworks.basics import progress
from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError, DataError
from lmworks.tokens.chat.template import ChatTemplate
from lmworks.tokens.chunks import ONE_SPACE, segments
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.vocabulary import END_OF_DOCUMENT, END_OF_TURN, Vocabulary, add_around, make_special

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""OpenAI's chat markup, as SmolLM2, Qwen and others read it."""

LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
_BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LEARNT = 4096
_MOST = 1_000_000

Backend = tokenizers.Tokenizer


class TokenizerConfig(Config):
    """Every choice that shapes a trained tokenizer."""

    explain_as: ClassVar[str] = "tokenizer"

    kind: Literal["byte", "character", "word", "bpe", "wordpiece", "unigram"] = "bpe"
    """How text is cut: byte, character, word, bpe, wordpiece or unigram."""

    vocab_size: int | None = None
    """Tokens in all, the special ones included; 4,096 unless given. byte and character take no number: the bytes or
    the text decide."""

    special_tokens: tuple[str, ...] | None = None
    """Tokens that no text can write. <|endoftext|> unless given; for wordpiece [PAD] [UNK] [CLS] [SEP] [MASK]. Known
    names get their role: <|endoftext|>, </s> and [SEP] end, <s> and [CLS] begin, <pad> and [PAD] fill up."""

    sentinels: int = Field(default=0, ge=0, le=1000)
    """The number of tokens <extra_id_0>, <extra_id_1>, ... at the end of the vocabulary, the first of them last (T5:
    100): what stands for spans cut out of a text. They count in vocab_size."""

    chat_template: str | None = None
    """The word chatml, which brings its two special tokens, or the source of a Jinja template; None for a model that
    does not chat."""

    byte_fallback: bool = True
    """Whether character and unigram write what they have no token for as bytes (256 more tokens) instead of <unk>."""

    @model_validator(mode="after")
    def makes_sense(self) -> TokenizerConfig:
        """Refuse sizes and special tokens that cannot be."""
        if self.kind in ("byte", "character") and self.vocab_size is not None:
            raise ConfigError(
                f"{{at}}vocab_size is {self.vocab_size:,}, and a {self.kind} tokenizer takes none: "
                f"{'there are 256 bytes' if self.kind == 'byte' else 'the text decides'}; leave it out"
            )
        if not 0 < self.size <= _MOST:
            least = f"more than the {self.sentinels} {{at}}sentinels, and " if self.sentinels else ""
            raise ConfigError(
                f"{{at}}vocab_size is {self.size + self.sentinels:,}; give {least}a number between 1 and {_MOST:,}"
            )
        if not all(text.strip() for text in self.special) or len(set(self.special)) < len(self.special):
            raise ConfigError("{at}special_tokens names a token twice, or an empty one; give each a text of its own")
        return self

    @property
    def size(self) -> int:
        """Tokens to learn for the kinds that take a number, the sentinels left out."""
        return (_LEARNT if self.vocab_size is None else self.vocab_size) - self.sentinels

    @property
    def unknown(self) -> str | None:
        """The token for what has none; None where there is no such thing."""
        if self.kind in ("byte", "bpe") or (self.kind == "character" and self.byte_fallback):
            return None
        return "[UNK]" if self.kind == "wordpiece" else "<unk>"

    @property
    def template(self) -> str | None:
        """The chat template's source."""
        return CHATML if self.chat_template == "chatml" else self.chat_template

    @property
    def special(self) -> tuple[str, ...]:
        """All special tokens, in the order of their ids."""
        given = self.special_tokens
        if given is None:
            given = _BERT if self.kind == "wordpiece" else ("<|endoftext|>",)
        turns = ("<|im_start|>", "<|im_end|>") if self.chat_template == "chatml" else ()
        needed = () if self.unknown is None else (self.unknown,)
        return (*given, *(text for text in (*needed, *turns) if text not in given))


def train_tokenizer(texts: Iterable[str], config: TokenizerConfig, name: str = "tokenizer") -> Tokenizer:
    """Learn a tokenizer from texts, which are read once and never held together.

    ConfigError where the vocabulary is larger than the text allows (it says how many tokens there are) or too
    small for what it must hold; DataError where there is no text; ModelError for a broken chat template.
    """
    if config.template is not None:
        ChatTemplate(config.template, name=name)  # whatever is wrong with it shows before the work begins
    pieces = _Pieces(texts)
    try:
        with progress.task(f"training a {config.kind} tokenizer", unit="characters") as advance:
            pieces.advance = advance
            backend = _TRAINERS[config.kind](pieces, config)
    except UnicodeEncodeError as error:
        raise DataError(
            f"the text to train on holds half of a surrogate pair ({error.object[error.start]!r} in "
            f"text {pieces.texts:,}), which is no Unicode character; repair its encoding"
        ) from None
    make_special(backend, config.special)
    if config.kind not in ("byte", "character"):
        _check_size(backend.get_vocab_size(), config)
    make_special(backend, (f"<extra_id_{number}>" for number in reversed(range(config.sentinels))))
    return Tokenizer(_vocabulary(backend, config, name))


class _Pieces:
    """The texts in pieces that a trainer can hold, looked at as they go by."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._source = texts
        self.texts = 0
        self.alphabet: set[str] = set()
        self.advance: progress.Advance = lambda amount=1, **facts: None

    def __iter__(self) -> Iterator[str]:
        for text in self._source:
            self.texts += 1
            self.alphabet.update(text)
            self.advance(len(text))
            yield from segments(text)


def _learn(backend: Backend, pieces: _Pieces, trainer: trainers.Trainer, config: TokenizerConfig) -> Backend:
    try:
        backend.train_from_iterator(pieces, trainer)
    except Exception as error:
        if type(error) is not Exception or "not large enough" not in str(error):  # the library raises the bare class
            raise
        letters = len(pieces.alphabet | _spelling(config))
        # At exactly this many the library does not stop; with one more it does.
        raise _too_small(letters + len(config.special) + len(_fallback(config)) + 1, config) from None
    _needs_text(pieces)
    return backend


def _needs_text(pieces: _Pieces) -> None:
    if not pieces.alphabet:
        raise DataError("there is no text to train a tokenizer on; give some that is not empty")


def _byte(pieces: _Pieces, config: TokenizerConfig) -> Backend:
    """Id b is byte b, the special tokens follow; nothing is learnt, so no text is read."""
    # GPT-2 writes a printable byte of Latin-1 as itself, and the others, in order, by the letters from U+0100 on.
    others = iter(letter for letter in LETTERS if letter >= "\u0100")
    letters = [chr(byte) if chr(byte) in LETTERS else next(others) for byte in range(256)]
    backend = Backend(models.BPE({letter: byte for byte, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _character(pieces: _Pieces, config: TokenizerConfig) -> Backend:
    for piece in pieces:
        piece.encode()  # half of a surrogate pair is found here
    _needs_text(pieces)
    # Readers of such a vocabulary take ▁ for a space; its bytes say what it is.
    tokens = dict.fromkeys(chain(config.special, _fallback(config), sorted(pieces.alphabet - {"▁"})))
    backend = Backend(
        models.BPE(
            {token: number for number, token in enumerate(tokens)},
            [],
            unk_token=config.unknown,
            byte_fallback=config.byte_fallback,
        )
    )
    backend.decoder = _sentencepiece_decoder()
    return backend


def _word(pieces: _Pieces, config: TokenizerConfig) -> Backend:
    backend = _byte_level(Backend(models.WordLevel(unk_token="<unk>")))
    trainer = trainers.WordLevelTrainer(
        vocab_size=config.size, special_tokens=list(config.special), show_progress=False
    )
    return _learn(backend, pieces, trainer, config)


def _bpe(pieces: _Pieces, config: TokenizerConfig) -> Backend:
    backend = _byte_level(Backend(models.BPE()))
    trainer = trainers.BpeTrainer(
        vocab_size=config.size,
        special_tokens=list(config.special),
        initial_alphabet=LETTERS,
        show_progress=False,
    )
    return _learn(backend, pieces, trainer, config)


def _wordpiece(pieces: _Pieces, config: TokenizerConfig) -> Backend:
    """BERT's trainer numbers ##a, ##b ... as its hash table gives them, and breaks ties by number: it gets them in
    order, as special tokens. So the text is read once before, and kept in a file meanwhile."""
    backend = _bert(models.WordPiece(unk_token="[UNK]"))
    with tempfile.TemporaryFile("w+", encoding="utf-8") as held:
        for piece in pieces:
            piece.encode()  # half of a surrogate pair is found here
            held.write(json.dumps(piece) + "\n")
        held.seek(0)
        inside = sorted(f"##{letter}" for letter in _inside_words(map(json.loads, held), backend))
        held.seek(0)
        trainer = trainers.WordPieceTrainer(
            vocab_size=config.size, special_tokens=[*config.special, *inside], show_progress=False
        )
        backend.train_from_iterator(map(json.loads, held), trainer)
    _needs_text(pieces)
    vocabulary = json.loads(backend.to_str())["model"]["vocab"]
    return _bert(models.WordPiece(vocabulary, unk_token="[UNK]"))


def _bert(model: models.WordPiece) -> Backend:
    backend = Backend(model)
    backend.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=False)
    return backend


def _inside_words(pieces: Iterable[str], backend: Backend) -> set[str]:
    """The characters that stand anywhere but at the beginning of a word."""
    letters: set[str] = set()
    seen: set[str] = set()
    for piece in pieces:
        new = set(piece.split()) - seen
        seen |= new
        for chunk in new:
            for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(chunk)):
                letters.update(word[1:])
    return letters


def _unigram(pieces: _Pieces, config: TokenizerConfig) -> Backend:
    fallback = _fallback(config)
    trainer = trainers.UnigramTrainer(
        vocab_size=max(config.size - len(fallback), 1),
        special_tokens=list(config.special),
        unk_token="<unk>",
        initial_alphabet=sorted(_spelling(config)),
        show_progress=False,
    )
    learnt = _learn(_sentencepiece(models.Unigram()), pieces, trainer, config)
    return _sentencepiece(_with_fallback(learnt, config.special, fallback))


def _spelling(config: TokenizerConfig) -> set[str]:
    """The letters of tokens that no text may be read as: spelt with these, it never is. Needless without fallback."""
    return set("".join((*_fallback(config), *config.special))) - {" "} if config.byte_fallback else set()


def _sentencepiece(model: models.Unigram) -> Backend:
    backend = Backend(model)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="never", split=True),
            pre_tokenizers.Split(Regex(ONE_SPACE), "isolated"),
        ]
    )
    backend.decoder = _sentencepiece_decoder()
    return backend


def _with_fallback(learnt: Backend, special: tuple[str, ...], fallback: list[str]) -> models.Unigram:
    """The learnt pieces between the special tokens and the bytes, these at a score that no split of a text chooses."""
    apart = {*special, *fallback}
    pieces = json.loads(learnt.to_str())["model"]["vocab"]
    known = _in_order([(piece, score) for piece, score in pieces if piece not in apart])
    never = min((score for _, score in known), default=0.0) - 1000.0
    vocabulary = [*((token, never) for token in special), *known, *((token, never) for token in fallback)]
    return models.Unigram(vocabulary, special.index("<unk>"), byte_fallback=bool(fallback))


def _in_order(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """The likeliest pieces first, in the same way each time.

    The trainer gives characters that it must keep the lowest score plus 0.0001 for each before it, in the order of its
    hash table, which changes from run to run, and sums in that order too.
    """
    if not pieces:
        return []
    rounded = {piece: round(score, 8) for piece, score in pieces}
    lowest, letters = min(rounded.values()), [piece for piece in rounded if len(piece) == 1]
    kept = sorted(piece for piece in letters if rounded[piece] < lowest + 0.0001 * (len(letters) + 1))
    rounded |= zip(kept, sorted((rounded[piece] for piece in kept), reverse=True), strict=True)
    return sorted(rounded.items(), key=lambda item: (-item[1], item[0]))


_TRAINERS: dict[str, Callable[[_Pieces, TokenizerConfig], Backend]] = {
    "byte": _byte,
    "character": _character,
    "word": _word,
    "bpe": _bpe,
    "wordpiece": _wordpiece,
    "unigram": _unigram,
}


def _byte_level(backend: Backend) -> Backend:
    """GPT-2's split into words, each with the space before it, written in letters for bytes."""
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _sentencepiece_decoder() -> decoders.Decoder:
    return decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])


def _fallback(config: TokenizerConfig) -> list[str]:
    return BYTE_TOKENS if config.byte_fallback else []


def _check_size(found: int, config: TokenizerConfig) -> None:
    if found < config.size:
        raise ConfigError(
            f"vocab_size is {config.size + config.sentinels:,}, and a {config.kind} tokenizer finds "
            f"{found + config.sentinels:,} tokens in this text (special ones included); give "
            f"{found + config.sentinels} or "
            "fewer, or more text"
        )
    if found > config.size:
        raise _too_small(found, config)


def _too_small(needed: int, config: TokenizerConfig) -> ConfigError:
    return ConfigError(
        f"vocab_size is {config.size + config.sentinels:,}, and a {config.kind} tokenizer of this text needs "
        f"{needed + config.sentinels:,} tokens for its single signs and special tokens alone; give "
        f"{needed + config.sentinels} or more"
    )


def _vocabulary(backend: Backend, config: TokenizerConfig, name: str) -> Vocabulary:
    def first(*texts: str) -> int | None:
        return next((backend.token_to_id(text) for text in texts if text in config.special), None)

    begin, end = first("<s>", "[CLS]"), first(*END_OF_TURN[:1], *END_OF_DOCUMENT, "</s>", "[SEP]")
    if config.kind == "wordpiece" and {"[CLS]", "[SEP]"} <= set(config.special):
        add_around(backend, backend.token_to_id("[CLS]"), backend.token_to_id("[SEP]"))
    return Vocabulary(
        backend,
        name,
        bos=begin,
        eos=end,
        pad=first("<pad>", "[PAD]"),
        unknown=None if config.unknown is None else backend.token_to_id(config.unknown),
        chat_template=config.template,
    )
