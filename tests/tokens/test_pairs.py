"""Pairs and labelled texts as rows: what an epoch holds, what a batch holds, what is cut, left out or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

from lmworks.basics.errors import ConfigError, DataError
from lmworks.text.document import Document
from lmworks.tokens.batch import IGNORE
from lmworks.tokens.pairs import KeptTexts, PairRows, TextClasses, require_labels, write_labelled, write_pairs
from tokens import small

TOKENIZER = tiny.byte_tokenizer()
END = TOKENIZER.document_end


def pair(source: str, target: str) -> Document:
    turns = [{"role": "user", "content": source}, {"role": "assistant", "content": target}]
    return Document.conversation(turns, f"of {source}")


def rows(*pairs: tuple[str, str], context: int = 32) -> PairRows:
    texts = [ids for pair in pairs for ids in map(list, map(str.encode, pair))]
    return PairRows(texts, TOKENIZER, context)


MANY = rows(*(("s" * (1 + number * 7 % 13), "t" * (1 + number * 5 % 11)) for number in range(103)))


@pytest.mark.parametrize("size", [1, 8, 103, 200])
def test_an_epoch_holds_each_row_once_in_a_number_of_batches_that_never_changes(size: int):
    for epoch in range(3):
        order = MANY.order(size, epoch, seed=1)
        assert len(order) == MANY.batches(size)
        assert sorted(place for group in order for place in group) == list(range(103))
        assert all(len(group) <= size for group in order)


def test_order_depends_on_seed_and_epoch_alone():
    assert MANY.order(8, 1, seed=3) == MANY.order(8, 1, seed=3)
    assert MANY.order(8, 1, seed=3) != MANY.order(8, 2, seed=3) != MANY.order(8, 2, seed=4)


def test_rows_of_one_batch_are_about_as_long():
    spreads = [
        max(MANY.lengths[place][0] for place in group) - min(MANY.lengths[place][0] for place in group)
        for group in MANY.order(8, 0, seed=0)
    ]
    assert max(spreads) <= 2  # of lengths from 1 to 11


def test_batches_do_not_come_sorted():
    widths = [MANY.lengths[group[0]][0] for group in MANY.order(8, 0, seed=0)]
    assert widths not in (sorted(widths), sorted(widths, reverse=True))


def test_a_target_is_read_behind_its_start_and_its_end_is_learnt():
    """Pitfalls 2 and 7: the label of each token is the one after it, and the last label is the end."""
    batch = rows(("source", "ab"), ("so", "wxyz")).batch([0, 1])
    start = TOKENIZER.document_start
    assert batch.tokens.tolist() == [[start, *b"ab", 0, 0], [start, *b"wxyz"]]
    assert batch.labels.tolist() == [[*b"ab", END, IGNORE, IGNORE], [*b"wxyz", END]]
    assert batch.documents.tolist() == [[0, 0, 0, -1, -1], [0] * 5]
    assert batch.source.tolist() == [list(b"source"), [*b"so", 0, 0, 0, 0]]
    assert batch.source_real.tolist() == [[True] * 6, [True] * 2 + [False] * 4]
    assert batch.supervised == 8


def test_long_sources_are_cut_and_long_or_empty_targets_left_out_and_both_are_counted():
    made = rows(("s" * 40, "t"), ("s", "t" * 31), ("s", "t" * 32), ("s", ""), ("", "t"), context=32)
    assert (len(made), made.cut, made.left_out) == (2, 1, 3)
    assert made.batch([0]).source.shape == (1, 32)
    assert made.batch([1]).tokens.shape == (1, 32)


def test_no_pair_that_can_be_learnt_is_an_error():
    with pytest.raises(DataError, match="none of 1 pairs"):
        rows(("s", "t" * 40), context=32)


def test_pairs_are_written_and_read_with_the_end_of_the_source(tmp_path: Path):
    written = write_pairs([pair("one", "eins"), pair("two", "zwei")], TOKENIZER, tmp_path / "pairs.safetensors")
    kept = KeptTexts(tmp_path / "pairs.safetensors", TOKENIZER)
    one, eins, two, zwei = (TOKENIZER.encode(word, special=False) for word in ("one", "eins", "two", "zwei"))
    assert [kept[number] for number in range(len(kept))] == [[*one, END], eins, [*two, END], zwei]
    assert (kept.tokens, kept.digest()) == (16, written.digest())
    other = write_pairs([pair("one", "eins"), pair("two", "drei")], TOKENIZER, tmp_path / "other.safetensors")
    assert other.digest() != kept.digest()


def test_what_is_no_pair_is_an_error_that_names_it(tmp_path: Path):
    with pytest.raises(DataError, match=r"notes#3 has no answer or label; give records with `prompt` and `response`"):
        write_pairs([pair("one", "eins"), Document("text", "notes#3")], TOKENIZER, tmp_path / "pairs.safetensors")


def test_a_file_of_another_tokenizer_or_none_is_refused(tmp_path: Path):
    path = tmp_path / "pairs.safetensors"
    with pytest.raises(DataError, match="holds no texts"):
        KeptTexts(path, TOKENIZER)
    write_pairs([pair("one", "eins")], TOKENIZER, path)
    with pytest.raises(DataError, match="written with another tokenizer"):
        KeptTexts(path, small.sentencepiece())


def test_labels_are_numbered_and_a_foreign_one_is_refused(tmp_path: Path):
    texts = [pair("good", "yes"), pair("bad", "no")]
    kept = write_labelled(texts, ["no", "yes"], TOKENIZER, tmp_path / "train.safetensors")
    assert (kept.labels, kept.classes.tolist()) == (("no", "yes"), [1, 0])
    with pytest.raises(DataError, match="the label 'maybe' is not among those of the training text"):
        write_labelled([pair("so", "maybe")], ["no", "yes"], TOKENIZER, tmp_path / "held_out.safetensors")


def test_an_empty_label_is_a_label():
    with pytest.raises(DataError, match="the label '' is not among those of the training text"):
        require_labels(["a", ""], ["a"], "training text")


def test_texts_have_their_begin_their_end_and_their_class():
    made = TextClasses([list(b"abc"), list(b"x" * 20), []], [1, 0, 1], TOKENIZER, context=8)
    assert (len(made), made.cut, made.left_out) == (2, 1, 1)
    batch = made.batch([0, 1])
    start = TOKENIZER.document_start
    assert batch.tokens.tolist() == [[start, *b"abc", END, 0, 0, 0], [start, *b"xxxxxx", END]]
    assert batch.classes.tolist() == [1, 0]
    assert batch.supervised == 0 and (batch.documents >= 0).sum(1).tolist() == [5, 8]


def test_classes_of_tokens_stand_at_their_tokens():
    made = TextClasses([list(b"abc"), list(b"z")], [[2, 0, 1], [1]], TOKENIZER, context=8)
    assert made.batch([0, 1]).classes.tolist() == [
        [IGNORE, 2, 0, 1, IGNORE],
        [IGNORE, 1, IGNORE, IGNORE, IGNORE],
    ]
    with pytest.raises(ConfigError, match="3 tokens and 2 classes"):
        TextClasses([list(b"abc")], [[2, 0]], TOKENIZER, context=8)


def test_texts_without_loss_keep_their_shape():
    batch = TextClasses([list(b"abc")], [1], TOKENIZER, context=8).batch([0]).without_loss()
    assert torch.equal(batch.classes, torch.tensor([IGNORE]))
