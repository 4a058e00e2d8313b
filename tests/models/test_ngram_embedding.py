"""n-gram embeddings against a dictionary, and through files."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

from lmworks.basics.errors import ConfigError
from lmworks.models.config import ModelConfig
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.ngram_embedding import NGramEmbedding, count_ngrams

VOCAB, DIM = 5, 3


def made(text: torch.Tensor, most: int = 1000) -> NGramEmbedding:
    counted = count_ngrams(text, VOCAB, 3, most)
    embedding = NGramEmbedding(VOCAB, DIM, tuple(map(len, counted)))
    embedding.know(counted)
    torch.nn.init.normal_(embedding.weight, generator=torch.Generator().manual_seed(1))
    return embedding


def by_hand(
    embedding: NGramEmbedding, known: list[list[tuple[int, ...]]], tokens: list[int], start: int, at: int
) -> torch.Tensor:
    """The sum of the rows of the 2-gram and the 3-gram that end at `at` of a text that begins at `start`."""
    total, first = torch.zeros(DIM), 0
    for size, grams in enumerate(known, start=2):
        gram = tuple(tokens[at - size + 1 : at + 1]) if at - size + 1 >= start else None
        total = total + embedding.weight[first + (grams.index(gram) + 1 if gram in grams else 0)]
        first += len(grams) + 1
    return total


def test_each_token_gets_the_rows_of_the_ngrams_that_end_at_it():
    text = tiny.text(1, 40, VOCAB, seed=3)[0]
    embedding, ids = made(text), text.tolist()
    known = [sorted({tuple(ids[at : at + n]) for at in range(40 - n + 1)}) for n in (2, 3)]
    # Keys sort by their tokens from the last digit up: the first token of the n-gram is the highest.
    tokens = tiny.text(1, 30, VOCAB, seed=4)
    positions = torch.cat([torch.arange(12), torch.arange(18)])[None]  # two documents
    found = embedding(tokens, positions)[0]
    for at in range(30):
        torch.testing.assert_close(found[at], by_hand(embedding, known, tokens[0].tolist(), 0 if at < 12 else 12, at))
    assert (embedding._rows(tokens, positions) == torch.tensor([0, len(known[0]) + 1])).any()  # some are unknown


def test_only_the_most_frequent_have_a_row():
    text = torch.tensor([0, 1] * 10 + [2, 3] * 5 + [4, 4])
    (pairs, _) = count_ngrams(text, VOCAB, 3, 2)
    assert pairs.tolist() == [0 * VOCAB + 1, 1 * VOCAB + 0]


def test_padding_inside_a_row_is_jumped_over():
    text = tiny.text(1, 200, VOCAB, seed=3)[0]
    embedding, tokens = made(text), tiny.text(1, 10, VOCAB, seed=5)
    alone = embedding(tokens, torch.arange(10)[None])
    holed = torch.cat([tokens[:, :4], torch.ones(1, 3, dtype=torch.long), tokens[:, 4:]], dim=1)
    real = torch.tensor([[True] * 4 + [False] * 3 + [True] * 6])
    found = embedding(holed, real.long().cumsum(1) - 1, real)
    torch.testing.assert_close(found[real], alone[0])


def test_a_network_of_our_own_comes_back_from_its_files(tmp_path: Path):
    for dtype in (torch.float32, torch.bfloat16):
        network = tiny.network(**tiny.OWN).to(dtype)
        write_network(tmp_path, network)
        back, tokens = read_network(tmp_path), tiny.text(2, 30)
        assert back.config == network.config
        assert torch.equal(back(tokens), network(tokens))
        back.ngram_embedding.keys.zero_()
        assert not torch.equal(back(tokens), network(tokens))  # they do count


def test_ngrams_without_a_number_are_refused():
    with pytest.raises(ConfigError, match="4-grams"):
        ModelConfig(family="lmworks", vocab_size=100_000, dim=8, layers=1, heads=1, context=8, ngrams=(5, 5, 5))
