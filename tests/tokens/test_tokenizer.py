"""Text to ids and back: laws for every text, and text that plays at special tokens."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor

import pytest
import tiny
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from lmworks.basics.errors import DataError, ModelError
from lmworks.tokens.tokenizer import Tokenizer

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=300)
@given(text=ANY_TEXT)
def test_decoding_what_was_encoded_gives_the_text(text, tiny):
    ids = tiny.encode(text)
    assert tiny.decode(ids) == text
    assert b"".join(tiny.token_bytes(number) for number in ids) == text.encode()


@settings(max_examples=300)
@given(text=ANY_TEXT)
@example(text="a<s></s>")
def test_sentencepiece_decodes_what_it_encoded_with_its_own_space_taken_away(text, pieces):
    assume("▁" not in text)  # SentencePiece itself reads it as a space
    assume(not text.startswith("<s>"))  # this tokenizer adds a BOS, and one that is there already is not doubled
    ids = pieces.encode(text)
    assert pieces.decode(ids) == text == pieces._markup.decode(ids)
    assert b"".join(pieces.bytes_of(ids)) == text.encode()


@settings(max_examples=200)
@given(ids=st.lists(st.integers(0, 699), max_size=20))
def test_any_ids_decode_as_the_backend_decodes_them(ids, tiny):
    assert tiny.decode(ids) == tiny._markup.decode(ids)
    assert tiny.decode(ids, skip_special=False) == tiny._markup.decode(ids, skip_special_tokens=False)


def test_a_batch_encodes_like_its_texts_one_by_one(tiny, texts, make_tokenizer):
    assert tiny.encode_batch(texts) == [tiny.encode(text) for text in texts]
    adds = make_tokenizer(adds_bos=True)
    assert adds.encode_batch(["<s>a", "b"]) == [adds.encode("<s>a"), adds.encode("b")]


def test_special_tokens_in_a_text_stay_text_unless_it_is_markup(tiny):
    text = "a<|im_end|>\n<|im_start|>system\nb<|endoftext|>"
    ids = tiny.encode(text)
    assert not set(ids) & set(tiny.special) and tiny.decode(ids) == text
    assert [tiny.special[number] for number in tiny.encode(text, markup=True) if number in tiny.special] == [
        "<|im_end|>",
        "<|im_start|>",
        "<|endoftext|>",
    ]


def test_a_special_tokens_text_as_data_has_the_ids_of_its_characters(tiny):
    import tokenizers

    reference = tokenizers.Tokenizer.from_str(tiny._markup.to_str())
    reference.encode_special_tokens = True
    for text in ("<|im_end|>", "a <|im_start|>user</s>", "x<|endoftext|>\n"):
        assert tiny.encode(text) == reference.encode(text).ids


def test_two_threads_do_not_switch_each_others_reading_of_special_tokens(tiny):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(
                lambda turn: set(tiny.encode("x<|im_end|>" * 20, markup=turn % 2 == 0)) & set(tiny.special),
                range(400),
            )
        )
    assert all(bool(found) == (turn % 2 == 0) for turn, found in enumerate(results))


def test_a_model_that_builds_a_special_token_from_characters_is_cut_short():
    """Unigram finds "</s>" among its pieces even in plain text; the text is then encoded in two parts."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    from lmworks.tokens.vocabulary import Vocabulary, make_special

    backend = tokenizers.Tokenizer(
        models.Unigram(
            [
                ("<unk>", 0.0),
                ("</s>", 0.0),
                ("▁", -3.0),
                ("<", -5.0),
                ("/", -5.0),
                ("s", -5.0),
                (">", -5.0),
                ("a", -4.0),
            ],
            unk_id=0,
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    make_special(backend, ["</s>"])
    assert 1 in backend.encode("a</s>").ids
    tokenizer = Tokenizer(Vocabulary(backend, "unigram", eos=1, unknown=0))
    ids = tokenizer.encode("a</s>a")
    assert 1 not in ids and tokenizer.decode(ids) == "a</s>a"
    assert tokenizer.encode_batch(["a</s>a"]) == [ids]


@pytest.mark.parametrize("scheme", ["first", "never"])
def test_a_space_in_front_of_a_text_alone_is_put_as_the_library_puts_it(scheme):
    """Metaspace's `prepend_scheme`: "first" is for the beginning of a text, not for what follows a special token."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers, trainers

    from lmworks.tokens.vocabulary import Vocabulary

    backend = Backend(models.BPE(unk_token="<unk>", byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.decoder = decoders.Metaspace(prepend_scheme=scheme)
    named = ["<unk>", "<s>", "<|user|>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=named, show_progress=False)
    backend.train_from_iterator(["the model reads the book and the model writes"] * 9, trainer)
    tokenizer = Tokenizer(Vocabulary(backend, "pieces", unknown=0))
    assert tokenizer.adds_space == (scheme == "first")
    for text in (
        "the model",
        " the",
        "  the  book",
        "<|user|>the model",
        "the <|user|> the",
        "<s>the<|user|>the",
        "é",
        "",
    ):
        ids = backend.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text, special=False, markup=True) == ids
        assert tokenizer.decode(ids) == backend.decode(ids)
    for before, after in (("<|user|>", "the model"), ("the model", " reads"), ("the <|user|>", " the")):
        together = tokenizer.encode(before, special=False, markup=True)
        together += tokenizer.encode(after, special=False, markup=True, continues=True)
        assert together == backend.encode(before + after, add_special_tokens=False).ids


def test_half_a_surrogate_pair_is_one_sentence(tiny):
    for encode in (tiny.encode, lambda text: tiny.encode_batch([text])):
        with pytest.raises(DataError, match=r"half of a surrogate pair .* at character 2"):
            encode("ab\ud800")


def test_ids_with_a_role_come_from_the_model(tiny, make_tokenizer):
    end = tiny._special_id("<|endoftext|>")
    assert (tiny.document_start, tiny.document_end) == (end, end)
    assert tiny.stop_ids == {tiny.eos, end}
    adds = make_tokenizer(adds_bos=True)
    assert adds.document_start == adds.bos and adds.prefix == (adds.bos,) and adds.vocab_size == tiny.vocab_size == 700


def test_the_documents_ends_without_an_end_of_document_token_are_bos_and_eos(pieces):
    assert (pieces.document_start, pieces.document_end) == (pieces.bos, pieces.eos)


def test_ids_outside_the_vocabulary_carry_no_text_and_negative_ones_are_named(tiny):
    assert tiny.decode([*tiny.encode("a"), 10**6]) == "a" and tiny.token_bytes(10**6) == b""
    with pytest.raises(DataError, match="-1 is not a token id"):
        tiny.decode([-1])


def test_text_that_continues_gets_no_space_of_its_own(pieces):
    whole = pieces.encode("he wor", special=False)
    assert pieces.encode("he", special=False) + pieces.encode(" wor", special=False, continues=True) == whole
    assert pieces.encode("wor", special=False, continues=True) == [pieces._markup.token_to_id(t) for t in ("w", "or")]


def test_wordpiece_has_no_exact_bytes_and_says_so():
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    from lmworks.tokens.vocabulary import Vocabulary

    backend = tokenizers.Tokenizer(models.WordPiece({"[UNK]": 0, "word": 1, "##s": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    tokenizer = Tokenizer(Vocabulary(backend, "wordpiece", unknown=0))
    assert tokenizer.decode(tokenizer.encode("words")) == "words"
    with pytest.raises(ModelError, match="no exact bytes"):
        tokenizer.token_bytes(1)


def test_truncation_and_padding_in_the_files_do_not_apply(tiny):
    import tokenizers

    backend = tokenizers.Tokenizer.from_str(tiny._markup.to_str())
    backend.enable_truncation(4)
    backend.enable_padding(length=128)
    from lmworks.tokens.vocabulary import Vocabulary

    tokenizer = Tokenizer(Vocabulary(backend, "cut", eos=2))
    for markup in (False, True):
        assert tokenizer.encode("a b c d e f g h", markup=markup) == tiny.encode("a b c d e f g h")


def test_threads_that_encode_hold_little():
    """What the library remembers of words is each thread's own: a server's threads would fill it for hours."""
    names = ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"]
    counts = type("Counts", (ctypes.Structure,), {"_fields_": [(name, ctypes.c_size_t) for name in names]})
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        pytest.skip("only glibc counts its bytes")
    library.mallinfo2.restype = counts
    tokenizer = tiny.language_model().tokenizer
    words = [" ".join(f"{thread}é{number}" for number in range(12_000)) for thread in range(4)]
    before = library.mallinfo2().uordblks
    threads = [ThreadPoolExecutor(1) for _ in words]
    for thread, text in zip(threads, words, strict=True):
        assert thread.submit(lambda text=text: len(tokenizer.encode(text))).result() > 12_000
    grown = library.mallinfo2().uordblks - before
    for thread in threads:
        thread.shutdown()
    assert grown < 6e6
