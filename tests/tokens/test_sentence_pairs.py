"""Sentences and pairs of them: what follows, what does not, drawn anew each epoch; nothing but content gives it
away."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from objectives.small_texts import document, sentences, tokenizer

from lmworks.basics.errors import ConfigError, DataError
from lmworks.text.document import Document
from lmworks.text.sentences import sentences as cut
from lmworks.tokens.sentence_pairs import Passages, SentencePairs, Sentences, write_sentences
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer


def test_sentences_end_where_a_reader_says():
    prose = 'He met Dr. Smith (J. R. Smith), e.g. on Friday. "Was it 3.5 or 4?" he asked! Then\nnothing.'
    text = prose + "\n\nA heading\n\n- 你好。再见"
    assert cut(text) == [
        "He met Dr. Smith (J. R. Smith), e.g. on Friday.",
        '"Was it 3.5 or 4?" he asked!',
        "Then\nnothing.",
        "A heading",
        "- 你好。",
        "再见",
    ]
    assert cut(" \n\n ") == []


def halves(rows: SentencePairs, place: int) -> tuple[list[int], list[int], int]:
    batch = rows.batch([place])
    ids = batch.tokens[0][batch.documents[0] >= 0].tolist()
    segments = batch.segments[0][batch.documents[0] >= 0].tolist()
    start, end = tokenizer().document_start, tokenizer().document_end
    split = segments.index(1)
    first, second = ids[:split], ids[split:]
    assert first[0] == start and first[-1] == second[-1] == end and set(segments[split:]) == {1}
    assert ids.count(end) == 2 and len(ids) <= 64
    return first[1:-1], second[:-1], int(batch.classes[0])


def whole(kept: Sentences, number: int) -> list[int]:
    return [int(token) for one in kept.document(number) for token in one]


def stands_in(part: list[int], ids: list[int]) -> bool:
    return any(ids[at : at + len(part)] == part for at in range(len(ids) - len(part) + 1))


@pytest.mark.parametrize("wrong", ["random", "swapped"])
def test_half_of_the_pairs_follow_one_another(wrong, tmp_path: Path):
    kept = sentences(tmp_path)
    texts = [whole(kept, number) for number in range(len(kept))]
    rows, classes = SentencePairs(kept, tokenizer(), 64, wrong=wrong), []
    for epoch in range(12):
        drawn = rows.at_epoch(epoch, 3)
        assert len(drawn) == len(rows)
        for place in range(len(drawn)):
            first, second, label = halves(drawn, place)
            classes.append(label)
            if min(len(first), len(second)) < 20:  # so few pieces may stand anywhere
                continue
            (home,) = [text for text in texts if stands_in(first, text)]
            assert stands_in(second, home) == (label == 0 or wrong == "swapped")
            assert stands_in(first + second, home) == (label == 0)
            assert stands_in(second + first, home) == (label == 1 and wrong == "swapped")
            assert any(stands_in(second, text) for text in texts)
    share, n = sum(classes) / len(classes), len(classes)
    assert abs(share - 0.5) < 4 * (0.25 / n) ** 0.5


def test_pairs_are_drawn_anew_each_epoch_and_by_seed_alone(tmp_path: Path):
    rows = SentencePairs(sentences(tmp_path), tokenizer(), 64)
    places = list(range(len(rows)))
    first, again, next_, other = (
        rows.at_epoch(epoch, seed).batch(places).tokens for epoch, seed in ((1, 2), (1, 2), (2, 2), (1, 3))
    )
    assert torch.equal(first, again)
    assert first.shape != next_.shape or not torch.equal(first, next_)
    assert first.shape != other.shape or not torch.equal(first, other)
    alone = rows.at_epoch(1, 2).batch([3])
    size = int((alone.documents >= 0).sum())
    assert torch.equal(alone.tokens[0, :size], first[3, :size])


def test_a_rule_of_lengths_alone_stays_at_chance(tmp_path: Path):
    """Documents of two to twenty sentences, so that passages are full or not; the rule knows, for each length of both
    texts and for each sum of them, which class had it more often in half of the epochs, and is judged by the others."""
    texts = [document(number, 2 + number % 19) for number in range(150)]
    kept = write_sentences(texts, tokenizer(), tmp_path / "sentences.safetensors")
    rows, drawn = SentencePairs(kept, tokenizer(), 64), []
    for epoch in range(12):
        batch = rows.at_epoch(epoch, 0).batch(range(len(rows)))
        width = (batch.documents >= 0).sum(1)
        second = batch.segments.sum(1)
        drawn.append(torch.stack([width - second, second, width, batch.classes], 1))
    learnt, judged = torch.cat(drawn[:6]).tolist(), torch.cat(drawn[6:]).tolist()
    error = (0.25 / len(judged)) ** 0.5
    for rule in (lambda a, b, both: b // 4, lambda a, b, both: both // 4, lambda a, b, both: (a // 8, b // 8)):
        votes: dict[object, int] = {}
        for *lengths, label in learnt:
            votes[rule(*lengths)] = votes.get(rule(*lengths), 0) + 2 * label - 1
        right = sum((votes.get(rule(*lengths), 0) > 0) == label for *lengths, label in judged) / len(judged)
        assert abs(right - 0.5) < 3 * error, right


def test_a_wrong_text_is_as_long_as_the_true_one_and_drawn_as_often(tmp_path: Path):
    """Other documents have texts of the same length, if perhaps few; each is drawn as often as it is the true one."""
    texts = [
        Document(text, str(number))
        for number, text in enumerate(
            ["The model. Reads. Text.", "The folder. Page. Learns. Text.", "The text. How.", "The page. Other."]
        )
    ]
    rows = SentencePairs(write_sentences(texts, tokenizer(), tmp_path / "s.safetensors"), tokenizer(), 64)
    size, second, found = 3, {}, {}  # a word in two pieces and a full stop
    for home, first, last in rows.runs[1:]:
        for at in range(first + 1, last):
            text = tuple(int(one) for piece in rows.documents[home][at:last] for one in piece)
            if len(text) == size:
                second[text] = second.get(text, 0.0) + 1 / (last - first - 1)
    for draw in range(3000):
        text = tuple(rows._elsewhere(random.Random(draw), 0, [1], [1] * size))
        found[text] = found.get(text, 0) + 1
    assert len(second) == 3 and found.keys() == second.keys()
    for text, weight in second.items():
        share = weight / sum(second.values())
        assert abs(found[text] / 3000 - share) < 4 * (share * (1 - share) / 3000) ** 0.5


def test_passages_hold_every_sentence_once(tmp_path: Path):
    kept = sentences(tmp_path)
    rows = Passages(kept, tokenizer(), 64)
    batch = rows.batch(range(len(rows)))
    special = torch.tensor([tokenizer().document_start, tokenizer().document_end])
    ids = [
        token
        for row, documents in zip(batch.tokens, batch.documents, strict=True)
        for token in row[documents >= 0].tolist()
    ]
    assert [token for token in ids if token not in special] == [
        token for n in range(len(kept)) for token in whole(kept, n)
    ]
    assert batch.segments is None and batch.classes is None and batch.supervised == 0


def test_a_sentence_that_is_longer_than_a_row_is_cut(tmp_path: Path):
    long = Document("the model reads " * 60, "long")
    kept = write_sentences([long, document(1)], tokenizer(), tmp_path / "long.safetensors")
    rows = Passages(kept, tokenizer(), 64)
    batch = rows.batch(range(len(rows)))
    assert batch.tokens.shape[1] == 64
    assert int((batch.documents >= 0).sum()) - 2 * len(rows) == kept.tokens


def test_what_cannot_be_paired_is_refused(tmp_path: Path):
    one = write_sentences([document(1)], tokenizer(), tmp_path / "one.safetensors")
    with pytest.raises(DataError, match="has one document of two sentences or more"):
        SentencePairs(one, tokenizer(), 64)
    assert len(SentencePairs(one, tokenizer(), 64, wrong="swapped"))
    with pytest.raises(ConfigError, match="context is 10; a row of sentences needs at least 11 tokens"):
        SentencePairs(one, tokenizer(), 10)
    with pytest.raises(DataError, match="no document holds text"):
        write_sentences([Document(" ", "blank")], tokenizer(), tmp_path / "none.safetensors")
    with pytest.raises(DataError, match="is a conversation"):
        write_sentences(
            [Document.conversation([{"role": "user", "content": "a"}], "chat")], tokenizer(), tmp_path / "c"
        )
    other = train_tokenizer(["a b c d"] * 3, TokenizerConfig(kind="wordpiece", vocab_size=9))
    with pytest.raises(DataError, match="was written with another tokenizer"):
        Sentences(tmp_path / "one.safetensors", other)
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="holds no sentences"):
        Sentences(tmp_path / "bad.safetensors", tokenizer())
    with pytest.raises(ConfigError, match="has no tokens that begin and end a text"):
        bare = train_tokenizer(["a b c d"] * 3, TokenizerConfig(kind="byte", special_tokens=()))
        SentencePairs(write_sentences([document(1)], bare, tmp_path / "bare.safetensors"), bare, 64)
