"""Masked tokens: how many, which, what stands in their place; whole words; loss and gradient against transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from objectives.small_texts import bert, sentences, tokenizer

from lmworks.basics.errors import ConfigError
from lmworks.evaluation.held_out import fixed_seed, restored
from lmworks.models.files.directory import write_network
from lmworks.objectives import MaskedLM, NextSentence
from lmworks.tokens.batch import IGNORE, Batch, Example, stack
from lmworks.tokens.sentence_pairs import Passages, SentencePairs
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer
from lmworks.tokens.words import begins_a_word


def long_rows(count: int = 64, size: int = 120) -> Batch:
    """Rows of ordinary tokens between [CLS] and [SEP], with padding after some of them."""
    ordinary = [number for number in range(tokenizer().vocab_size) if number not in tokenizer().special]
    draw = np.random.default_rng(1)
    start, end = tokenizer().document_start, tokenizer().document_end
    rows = [
        (Example([start, *draw.choice(ordinary, size - row % 30).tolist(), end], [True] * (size - row % 30 + 2), ""),)
        for row in range(count)
    ]
    return stack(rows)


@pytest.mark.parametrize("share", [0.15, 0.4])
def test_the_share_is_masked_of_each_row_and_80_10_10_in_all(share: float):
    objective, plain = MaskedLM.of(tokenizer(), share=share), long_rows()
    masked = objective.prepare(plain, range(len(plain.tokens)))
    chosen = masked.labels != IGNORE
    special = torch.isin(plain.tokens, torch.tensor(sorted(tokenizer().special)))
    candidates = (plain.documents >= 0) & ~special
    assert not (chosen & ~candidates).any()
    assert (chosen.sum(1) == (share * candidates.sum(1)).round()).all()
    assert torch.equal(masked.labels[chosen], plain.tokens[chosen])
    assert torch.equal(masked.tokens[~chosen], plain.tokens[~chosen])
    became, stood = masked.tokens[chosen], plain.tokens[chosen]
    n, hidden = len(became), (became == tokenizer().mask).float().mean()
    kept, other = (became == stood).float().mean(), ((became != stood) & (became != tokenizer().mask)).float().mean()
    by_chance = 1 / 105  # a random token is the same again
    for found, wanted in ((hidden, 0.8), (kept, 0.1 * (1 + by_chance)), (other, 0.1 * (1 - by_chance))):
        assert abs(float(found) - wanted) < 4 * (wanted * (1 - wanted) / n) ** 0.5
    assert not torch.isin(became[became != tokenizer().mask], torch.tensor(sorted(tokenizer().special))).any()


def test_masks_depend_on_the_rows_seed_alone():
    objective, plain = MaskedLM.of(tokenizer()), long_rows(4)
    whole = objective.prepare(plain, [5, 6, 7, 8])
    one = objective.prepare(
        replace(plain, tokens=plain.tokens[2:3], labels=plain.labels[2:3], documents=plain.documents[2:3]), [7]
    )
    assert torch.equal(one.tokens[0], whole.tokens[2]) and torch.equal(one.labels[0], whole.labels[2])
    again = objective.prepare(plain, [9, 6, 7, 8])
    assert not torch.equal(again.labels[0], whole.labels[0]) and torch.equal(again.labels[1:], whole.labels[1:])


def test_whole_words_are_masked_whole(tmp_path: Path):
    rows = Passages(sentences(tmp_path), tokenizer(), 64)
    plain = rows.batch(range(len(rows)))
    masked = MaskedLM.of(tokenizer(), whole_word=True).prepare(plain, range(len(rows)))
    begins = begins_a_word(tokenizer())
    pieces = 0
    for tokens, labels, documents in zip(plain.tokens, masked.labels, plain.documents, strict=True):
        size = int((documents >= 0).sum()) - 1
        word = np.cumsum(begins[tokens[:size].numpy()])
        chosen = labels[:size].numpy() != IGNORE
        assert chosen.any()
        for number in set(word[chosen]):
            assert chosen[word == number].all()
            pieces += (word == number).sum() > 1
    assert pieces > 5
    apart = MaskedLM.of(tokenizer()).prepare(plain, range(len(rows)))
    assert any(
        0 < chosen[word == number].sum() < (word == number).sum()
        for tokens, labels in zip(plain.tokens, apart.labels, strict=True)
        for word, chosen in [(np.cumsum(begins[tokens.numpy()]), labels.numpy() != IGNORE)]
        for number in set(word[chosen])
    )


def test_what_a_network_restores_is_what_its_logits_say(tmp_path: Path):
    rows, network, objective = Passages(sentences(tmp_path), tokenizer(), 64), bert(), MaskedLM.of(tokenizer())
    found = restored(network, objective, rows)
    assert len(found) == len(rows) > 3
    for place, (stood, guessed) in enumerate(found):
        plain = rows.batch([place])
        masked = objective.prepare(plain, [fixed_seed(place)])
        at = (masked.labels[0] != IGNORE).nonzero()[:, 0]
        assert stood == plain.tokens[0, at].tolist() and len(at)
        assert guessed == network(masked.tokens, documents=masked.documents)[0, at].argmax(-1).tolist()


@pytest.mark.parametrize(
    "tokens, documents, words",
    [
        ([1, 2, 0, 2, 2, 1, 2], [0] * 7, {(0, 1), (3, 4), (5, 6)}),  # a special token ends a word
        ([1, 2, 2, 2, 1, 2], [0, 0, 1, 1, 1, 1], {(0, 1), (2, 3), (4, 5)}),  # so does a document
        ([1, 2, 2, 1, 1, 1], [0] * 6, {(3, 4), (3, 5), (4, 5)}),  # a word that would be too many is passed over
        ([1, 2, 2, 1, 2, 2], [0] * 6, {(0, 1, 2), (3, 4, 5)}),  # but something is chosen
    ],
)
def test_where_a_word_ends_and_which_are_too_long(tokens: list[int], documents: list[int], words: set[tuple[int, ...]]):
    """Token 1 begins a word, 2 goes on with it; two tokens of a row are wanted."""
    ordinary, begins = np.array([False, True, True, False]), np.array([True, True, False, True])
    objective = MaskedLM(mask=3, ordinary=ordinary, begins=begins, share=0.3)
    row = torch.tensor([tokens])
    batch = Batch(row, row, row, torch.tensor([documents]))
    chosen = [(objective.prepare(batch, [seed]).labels[0] != IGNORE).nonzero()[:, 0].tolist() for seed in range(60)]
    assert set(map(tuple, chosen)) == words


TEXT = "reconsidering the words, unbelievable words on every page of a folder"
KINDS = {
    "wordpiece": TokenizerConfig(kind="wordpiece", vocab_size=60),
    "bpe": TokenizerConfig(kind="bpe", vocab_size=270, special_tokens=("<|endoftext|>", "<mask>")),
    "unigram": TokenizerConfig(kind="unigram", vocab_size=309, special_tokens=("</s>", "<mask>")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_of_words_finds_as_many_as_there_are(kind: str):
    """Of plain words between single spaces each begins with a token of the table, the first word aside."""
    made = train_tokenizer([TEXT] * 5, KINDS[kind])
    plain = TEXT.replace(",", "")
    ids = made.encode(plain, special=False)
    begins = begins_a_word(made)[ids]
    begins[0] = True
    assert begins.sum() == len(plain.split()) < len(ids)
    assert made.mask is not None and MaskedLM.of(made, whole_word=True).mask == made.mask


def test_a_tokenizer_without_a_mask_or_words_is_refused():
    with pytest.raises(ConfigError, match="has no mask token; train one of kind wordpiece, or with"):
        MaskedLM.of(train_tokenizer(["abc"], TokenizerConfig(kind="byte")))
    made = train_tokenizer(["abc"], TokenizerConfig(kind="byte", special_tokens=("<|endoftext|>", "<mask>")))
    assert MaskedLM.of(made).mask == made.mask
    with pytest.raises(ConfigError, match="share is 0"):
        MaskedLM.of(tokenizer(), share=0.0)
    with pytest.raises(ConfigError, match="MaskedLM restores tokens from both sides, and the network is a decoder"):
        MaskedLM.of(tokenizer())(tiny.network(), long_rows(2))


def test_loss_and_gradients_equal_transformers(tmp_path: Path):
    """BertForPreTraining with the same masked input: the masked loss, the next-sentence loss, and every gradient of
    their sum; the folder that is written is what transformers reads."""
    transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
    network = bert().requires_grad_(True)
    write_network(tmp_path, network)
    theirs = transformers.BertForPreTraining.from_pretrained(tmp_path, attn_implementation="eager").eval()
    rows = SentencePairs(sentences(tmp_path), tokenizer(), 64).at_epoch(0, 3)
    objective = MaskedLM.of(tokenizer()) + NextSentence()
    batch = objective.prepare(rows.batch(range(8)), range(8))
    loss = objective(network, batch)
    assert loss.counts == (batch.supervised, 8) == objective.counts(batch)
    loss.mean.backward()
    found = theirs(
        input_ids=batch.tokens,
        attention_mask=(batch.documents >= 0).long(),
        token_type_ids=batch.segments,
        labels=batch.labels,
        next_sentence_label=batch.classes,
    )
    torch.testing.assert_close(loss.mean, found.loss, rtol=1e-5, atol=1e-5)
    found.loss.backward()
    ours = {name: one.grad for name, one in network.named_parameters()}
    for name, other in (
        ("embedding.weight", "bert.embeddings.word_embeddings.weight"),
        ("segment.weight", "bert.embeddings.token_type_embeddings.weight"),
        ("blocks.1.feed_forward.up.weight", "bert.encoder.layer.1.intermediate.dense.weight"),
        ("pooler.weight", "bert.pooler.dense.weight"),
        ("classifier.weight", "cls.seq_relationship.weight"),
        ("head_transform.dense.weight", "cls.predictions.transform.dense.weight"),
        ("head_bias", "cls.predictions.bias"),
    ):
        torch.testing.assert_close(ours[name], theirs.get_parameter(other).grad, rtol=1e-4, atol=1e-5)
    alone = transformers.BertForNextSentencePrediction.from_pretrained(tmp_path, attn_implementation="eager").eval()
    told = alone(
        input_ids=batch.tokens, attention_mask=(batch.documents >= 0).long(), token_type_ids=batch.segments
    ).logits
    hidden = network.hidden(batch.tokens, documents=batch.documents, segments=batch.segments)
    torch.testing.assert_close(network.classify(hidden), told, rtol=1e-5, atol=1e-5)
