"""Trained tokenizers: what goes in comes back, what is saved loads, the same text gives the same vocabulary."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.tokens.chat.conversation import encode_conversation
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import CHATML, TokenizerConfig, train_tokenizer
from tokens.corpus import TEXTS

PROSE = [
    f"The {noun} of the {place} walked {number} miles; the {place}'s {noun}s didn't. <0x41>\n\n"
    f"Жизнь — это {number}, naïve 日本語."
    for noun in ("king", "baker", "child", "sailor")
    for place in ("castle", "village", "harbour")
    for number in range(9)
]
SIZES = {"byte": None, "character": None, "word": 30, "bpe": 320, "wordpiece": 130, "unigram": 330}
MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "The king walked"}]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def trained(kind: str, **settings: object) -> Tokenizer:
    return train_tokenizer(PROSE, TokenizerConfig(kind=kind, vocab_size=SIZES[kind], **settings))


ALL = {kind: trained(kind) for kind in SIZES}
WITHOUT_BYTES = {
    kind: train_tokenizer(PROSE, TokenizerConfig(kind=kind, vocab_size=size, byte_fallback=False))
    for kind, size in (("character", None), ("unigram", 75))
}
LOSSLESS = ("byte", "character", "bpe", "unigram")


@pytest.mark.parametrize("kind", LOSSLESS)
@settings(max_examples=150)
@given(
    text=ANY_TEXT
    | st.lists(
        st.sampled_from([" ", "\n", "\t", "<0x41>", "<unk>", "<|endoftext|>", "the", "é", "▁"]), max_size=12
    ).map("".join)
)
def test_what_goes_in_comes_back(kind, text):
    tokenizer = ALL[kind]
    if kind == "unigram":
        text = text.replace("▁", "")  # SentencePiece's sign for a space
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert sum(map(len, tokenizer.bytes_of(tokenizer.encode(text)))) == len(text.encode())


@pytest.mark.parametrize("tokenizer", [*ALL.values(), *WITHOUT_BYTES.values()])
def test_a_saved_tokenizer_gives_equal_ids_here_and_in_transformers(tokenizer, tmp_path):
    """Pitfall 8."""
    from transformers import PreTrainedTokenizerFast

    tokenizer.save(tmp_path)
    again, theirs = Tokenizer.load(tmp_path), PreTrainedTokenizerFast.from_pretrained(tmp_path)
    for text in [*TEXTS, *PROSE[:3]]:
        assert again.encode(text) == tokenizer.encode(text) == theirs(text)["input_ids"], repr(text)
    for fact in ("special", "prefix", "suffix", "bos", "eos", "pad", "unknown", "document_start", "document_end"):
        assert getattr(again, fact) == getattr(tokenizer, fact), fact
    assert len(theirs) == tokenizer.vocab_size


@pytest.mark.parametrize("kind", [kind for kind, size in SIZES.items() if size])
def test_the_vocabulary_has_the_size_that_was_asked_for(kind):
    assert ALL[kind].vocab_size == SIZES[kind]


def test_byte_ids_are_the_bytes():
    assert ALL["byte"].encode("Aé\n") == [0x41, 0xC3, 0xA9, 0x0A] and ALL["byte"].special == {256: "<|endoftext|>"}


def test_a_character_tokenizer_has_each_character_of_the_text():
    tokenizer = WITHOUT_BYTES["character"]
    letters = set("".join(PROSE))
    assert tokenizer.vocab_size == len(letters) + 2
    assert all(
        len(tokenizer.encode(letter)) == 1 and tokenizer.decode(tokenizer.encode(letter)) == letter
        for letter in letters
    )
    assert tokenizer.encode("Ω") == [tokenizer.unknown]
    assert len(ALL["character"].encode("Ω")) == 2 and ALL["character"].unknown is None


def test_the_sign_for_a_space_stays_itself_where_the_text_has_it():
    tokenizer = train_tokenizer(["a▁b c"], TokenizerConfig(kind="character"))
    assert tokenizer.decode(tokenizer.encode("a▁b c")) == "a▁b c"


def test_the_most_frequent_words_are_known_and_others_are_not():
    tokenizer = ALL["word"]
    assert tokenizer.decode(tokenizer.encode("The castle of the village")) == "The castle of the village"
    assert tokenizer.unknown in tokenizer.encode("The zebra")


def test_wordpiece_is_bert_cased():
    tokenizer = ALL["wordpiece"]
    assert [tokenizer.special[number] for number in (*tokenizer.prefix, *tokenizer.suffix)] == ["[CLS]", "[SEP]"]
    assert tokenizer.encode("The") != tokenizer.encode("the") and tokenizer.unknown in tokenizer.encode("Ω")
    backend = tokenizer.vocabulary.backend
    assert any(token.startswith("##") for token in backend.get_vocab()) and backend.token_to_id("[MASK]") == 4


def test_a_special_tokens_text_stays_text():
    for kind in LOSSLESS:
        tokenizer = ALL[kind]
        assert tokenizer.eos not in tokenizer.encode("<|endoftext|>")
        assert tokenizer.encode("<|endoftext|>", markup=True) == [tokenizer.eos]


def test_chatml_brings_its_tokens_and_learns_to_stop():
    tokenizer = trained("bpe", chat_template="chatml")
    assert tokenizer.chat.source == CHATML and tokenizer.special[tokenizer.eos] == "<|im_end|>"
    ids, supervised = encode_conversation(tokenizer, MESSAGES)
    learnt = [number for number, carries in zip(ids, supervised, strict=True) if carries]
    assert tokenizer.decode(learnt, skip_special=False) == "The king walked<|im_end|>"
    assert tokenizer.special[tokenizer.document_end] == "<|endoftext|>"


def test_the_same_text_gives_the_same_tokenizer_in_another_process():
    program = (
        "import hashlib; from tokens import test_trainer as t\n"
        "print([hashlib.sha256(one.vocabulary.backend.to_str().encode()).hexdigest() for one in t.ALL.values()])"
    )
    runs = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="tests").stdout
        for _ in range(2)
    }
    assert len(runs) == 1


@pytest.mark.parametrize("kind", ["word", "bpe", "wordpiece", "unigram"])
def test_a_vocabulary_larger_than_the_text_allows_says_how_many_there_are(kind):
    with pytest.raises(ConfigError, match=r"vocab_size is 90,000, and a .* finds [\d,]+ tokens in this text") as found:
        train_tokenizer(PROSE, TokenizerConfig(kind=kind, vocab_size=90_000))
    most = int(str(found.value).partition("give ")[2].partition(" or fewer")[0])
    assert train_tokenizer(PROSE, TokenizerConfig(kind=kind, vocab_size=most)).vocab_size == most


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_a_vocabulary_too_small_for_single_signs_says_how_many_it_takes(kind):
    with pytest.raises(ConfigError, match=r"vocab_size is 9, and a .* needs [\d,]+ tokens") as found:
        train_tokenizer(PROSE, TokenizerConfig(kind=kind, vocab_size=9))
    least = int(str(found.value).partition("give ")[2].partition(" or more")[0])
    assert train_tokenizer(PROSE, TokenizerConfig(kind=kind, vocab_size=least)).vocab_size == least


@pytest.mark.parametrize("kind", ["character", "word", "bpe", "wordpiece", "unigram"])
def test_no_text_and_half_a_character_are_refused(kind):
    config = TokenizerConfig(kind=kind, vocab_size=SIZES[kind])
    for nothing in ([], ["", ""]):
        with pytest.raises(DataError, match="there is no text to train a tokenizer on"):
            train_tokenizer(nothing, config)
    with pytest.raises(DataError, match=r"half of a surrogate pair \('\\ud83d' in text 2\)"):
        train_tokenizer(["fine", "broken \ud83d"], config)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"kind": "byte", "vocab_size": 300}, "vocab_size is 300, and a byte tokenizer takes none"),
        ({"kind": "character", "vocab_size": 300}, "a character tokenizer takes none"),
        ({"vocab_size": 0}, "vocab_size is 0; give a number between 1 and 1,000,000"),
        ({"kind": "bpa"}, "kind is 'bpa'"),
        ({"special_tokens": ("a", "a")}, "special_tokens names a token twice"),
        ({"special_tokens": ("",)}, "or an empty one"),
    ],
)
def test_impossible_configs_are_refused(values, sentence):
    with pytest.raises(ConfigError, match=sentence):
        TokenizerConfig(**values)


def test_a_broken_template_shows_before_the_work():
    def texts():
        raise AssertionError("the text was read")
        yield ""

    with pytest.raises(ModelError, match="is not a template"):
        train_tokenizer(texts(), TokenizerConfig(chat_template="{% for"))
