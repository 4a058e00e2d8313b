"""`lmworks check --data`: what it says of a sound text, and a broken one for each check."""

from __future__ import annotations

import dataclasses

import tiny
import tokenizers as library
from tokenizers import decoders, models, pre_tokenizers

from lmworks.checks import data
from lmworks.checks.run import check_data
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document
from lmworks.text.sources import Reading, Skipped
from lmworks.text.splits import Split
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.vocabulary import Vocabulary

TURNS = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Nobody."}]
SOUND = [Document(f"the text number {number} is about the number {number}", f"{number}.txt") for number in range(30)]


def prepared(
    *documents: Document, model: LanguageModel | None = None, skipped: tuple[Skipped, ...] = ()
) -> data.Prepared:
    return data.prepare(Reading(list(documents), list(skipped), "mine"), model or tiny.language_model())


def test_a_sound_text_passes_and_its_facts_are_named():
    long = Document("word " * 200, "long.txt")
    results = {
        one.name: one
        for one in check_data(
            tiny.language_model(),
            Reading(
                [*SOUND, long, Document.conversation(TURNS, "chat")], [Skipped("image.png", "binary, not text")], "mine"
            ),
        )
    }
    assert [one.name for one in results.values() if one.status != "ok"] == []
    assert results["documents are read"].compared.startswith("32 documents")
    assert results["documents are read"].detail == "skipped: image.png: binary, not text"
    assert results["documents fit the context"].detail.startswith("longest: long.txt, 1,002 tokens; 1 are longer")
    assert "longer than a row, and cut into pieces: 1 of 32 documents" in results["no token is lost in packing"].detail


def test_3_a_conversation_with_nothing_to_learn():
    result = data.supervised(prepared(*SOUND, Document.conversation(TURNS[:1], "chats.jsonl#7")))
    assert result.status == "FAILED" and result.detail.startswith(
        "nothing is to be learnt from 1 document; chats.jsonl#7 has no assistant"
    )


def test_3_rows_that_drop_what_is_too_long(monkeypatch):
    text = prepared(Document("word " * 200, "long.txt"))
    assert data.truncation(text).status == "ok"
    honest = data.pack
    monkeypatch.setattr(data, "pack", lambda examples, size: honest(examples, size)[:1])
    assert data.truncation(text).status == "FAILED"


def test_3_a_text_without_any_example():
    assert data.truncation(prepared(Document.conversation(TURNS[:1], "chat"))).status == "FAILED"


def test_9_a_split_that_shares_documents(monkeypatch):
    monkeypatch.setattr(data, "split", lambda documents: Split(list(documents), list(documents)[:2], 0))
    result = data.held_out(prepared(*SOUND))
    assert result.status == "FAILED" and result.differences[0].value == 2


def test_9_duplicates_and_overlap_are_counted():
    twice = [*SOUND, *(Document(one.text, f"copy of {one.source}") for one in SOUND[:3])]
    assert "3 exact duplicates left out" in data.held_out(prepared(*twice)).detail


def test_9_of_short_records_no_share_of_runs_is_told_and_a_repeated_one_is_seen(monkeypatch):
    short = [Document(f"This film was bad number {number} -> neg", f"{number}") for number in range(60)]
    result = data.held_out(prepared(*short))
    assert result.status == "ok" and "0.0 %" not in result.detail
    assert "no held-out document has 13 words; shorter ones that occur whole" in result.detail
    again = Document("this film was bad, number 3: neg", "again")
    monkeypatch.setattr(data, "split", lambda documents: Split(short, [again], 0))
    result = data.held_out(prepared(*short))
    assert result.status == "FAILED" and "shorter ones that occur whole in the training text: 1 of 1" in result.detail


def test_6_a_script_that_the_vocabulary_does_not_know():
    letters = [letter for letter in pre_tokenizers.ByteLevel.alphabet() if ord(letter) < 127]
    backend = library.Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(sorted(letters))}, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = Tokenizer(Vocabulary(backend, "ascii"))
    model = LanguageModel(tiny.network(vocab_size=tokenizer.vocab_size), tokenizer)
    result = data.lost_bytes(prepared(Document("plain", "a.txt"), Document("日本語", "b.txt"), model=model))
    assert result.status == "FAILED" and "b.txt (9 there)" in result.detail


def test_6_words_that_become_the_unknown_token():
    words = {word: at for at, word in enumerate(["[UNK]", "plain", "words", "[END]"])}
    backend = library.Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(["[UNK]", "[END]"])
    for unknown, status in ((0, "FAILED"), (None, "ok")):
        tokenizer = Tokenizer(Vocabulary(backend, "words", unknown=unknown, eos=3))
        model = LanguageModel(tiny.network(vocab_size=4), tokenizer)
        result = data.lost_bytes(prepared(Document("plain strange words", "a.txt"), model=model))
        assert result.status == status
        assert status == "ok" or "a.txt (1 there)" in result.detail


def test_6_an_end_of_document_that_is_also_called_unknown_is_not_lost_text():
    sound = tiny.byte_tokenizer().vocabulary
    tokenizer = Tokenizer(dataclasses.replace(sound, unknown=sound.backend.token_to_id("<|endoftext|>")))
    result = data.lost_bytes(prepared(*SOUND, model=LanguageModel(tiny.network(vocab_size=259), tokenizer)))
    assert result.status == "ok" and result.differences[1].value == 0


def test_special_tokens_in_a_text_are_named():
    result = data.special_text(prepared(*SOUND, Document("see <|im_end|> here", "odd.txt")))
    assert result.detail == "in 1 document (<|im_end|> in odd.txt); there it is read as plain characters"
