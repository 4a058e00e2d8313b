"""The n-gram model against the formulas, computed by brute force, against KenLM and against NLTK's Kneser-Ney."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

import numpy as np
import pytest

from lmworks.models.relatives.ngram import FALLBACK, Ngram, estimate_discounts
from lmworks.text import registry

START = "start"


class ModifiedKneserNey:
    """Chen and Goodman 1998, section 3, with dictionaries, one gram after the other."""

    def __init__(self, documents, vocabulary, order):
        self.vocabulary, self.order = vocabulary, order
        self.count = Counter()
        for document in documents:
            text = (START, *document)
            for length in range(1, order + 1):
                self.count.update(text[at : at + length] for at in range(len(text) - length + 1))
        del self.count[(START,)]
        before = {}
        for gram in self.count:
            if len(gram) > 1:
                before.setdefault(gram[1:], set()).add(gram[0])
        self.adjusted = {
            gram: count if len(gram) == order or gram[0] == START else len(before[gram])
            for gram, count in self.count.items()
        }
        self.followers = {}
        for gram, count in self.adjusted.items():
            self.followers.setdefault(gram[:-1], []).append(count)
        self.discounts = [
            estimate_discounts(np.array([a for gram, a in self.adjusted.items() if len(gram) == length]))
            for length in range(1, order + 1)
        ]
        self.p = cache(self.p)

    def discount(self, length, count):
        return 0.0 if count == 0 else self.discounts[length - 1][min(count, 3) - 1]

    def p(self, token, context):
        shorter = self.p(token, context[1:]) if context else 1 / self.vocabulary
        if context not in self.followers:
            return shorter
        counts, length = self.followers[context], len(context) + 1
        own = self.adjusted.get((*context, token), 0)
        backoff = sum(self.discount(length, count) for count in counts) / sum(counts)
        return (own - self.discount(length, own)) / sum(counts) + backoff * shorter

    def logprobs(self, document):
        text = (START, *document)
        return [math.log(self.p(text[at], text[max(at - self.order + 1, 0) : at])) for at in range(1, len(text))]


def shakespeare(words):
    """Ids of words; the split is of no matter here."""
    if not registry.available("tinyshakespeare"):
        pytest.skip("tinyshakespeare is not here; set LMWORKS_DATA to the folder that holds it, or connect once")
    text = registry.documents("tinyshakespeare")[0].text.split()[:words]
    known: dict[str, int] = {}
    return [known.setdefault(word, len(known)) for word in text], len(known)


def zipf(tokens, vocabulary, seed):
    """A text of which every second token depends on the one before it."""
    generator = np.random.default_rng(seed)
    text = np.minimum(generator.zipf(1.5, tokens), vocabulary) - 1
    text[1::2] = (text[::2][: len(text[1::2])] * 7 + generator.integers(0, 2, len(text[1::2]))) % vocabulary
    return text.tolist()


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_every_probability_equals_the_formula(order):
    train = [zipf(n, 40, n) for n in (900, 400, 3, 1)]
    reference, ours = ModifiedKneserNey(train, 40, order), Ngram.train(train, 40, order)
    assert list(ours.discounts) == reference.discounts
    assert order == 1 or any(triple != FALLBACK for triple in ours.discounts)
    for text in (zipf(500, 40, 99), train[1], [39, 38, 37, 36]):
        assert ours.score(text) == pytest.approx(reference.logprobs(text), rel=1e-5, abs=1e-5)


def test_the_perplexity_of_shakespeares_words_equals_the_formula():
    ids, vocabulary = shakespeare(30_000)
    train, held_out = ids[:27_000], ids[27_000:]
    reference, ours = ModifiedKneserNey([train], vocabulary, 3), Ngram.train([train], vocabulary, 3)
    assert FALLBACK not in ours.discounts
    assert -ours.score(held_out).mean() == pytest.approx(-np.mean(reference.logprobs(held_out)), rel=1e-6)


def test_the_perplexity_of_shakespeares_lines_is_kenlms():
    """What KenLM 0.3.0 answered: `lmplz -o 3 --text TRAIN --arpa A`, then `query -v summary A < TEST`, a line a
    sentence.

    Its vocabulary also holds </s>, the last token of each line, and <unk>, which stands for new words and was never
    seen.
    """
    if not registry.available("tinyshakespeare"):
        pytest.skip("tinyshakespeare is not here; set LMWORKS_DATA to the folder that holds it, or connect once")
    lines = [line.split() for line in registry.documents("tinyshakespeare")[0].text.split("\n") if line.strip()]
    cut = int(0.9 * len(lines))
    known: dict[str, int] = {}
    train = [[known.setdefault(word, len(known)) for word in line] for line in lines[:cut]]
    end, unknown = len(known), len(known) + 1
    ours = Ngram.train([[*ids, end] for ids in train], len(known) + 2, 3)
    held_out = [[*(known.get(word, unknown) for word in line), end] for line in lines[cut:]]
    logprobs = np.concatenate([ours.score(ids) for ids in held_out])
    seen = np.concatenate(held_out) != unknown
    assert (len(seen), int((~seen).sum())) == (21_863, 2_205)
    assert np.exp(-logprobs.mean()) == pytest.approx(582.916947731371, rel=1e-5)
    assert np.exp(-logprobs[seen].mean()) == pytest.approx(286.77704391702224, rel=1e-5)
    kenlm = [(0.690415, 1.04484, 1.37414), (0.837933, 1.17113, 1.28334), (0.922061, 1.27736, 1.45847)]
    assert np.array(ours.discounts) == pytest.approx(np.array(kenlm), rel=1e-5)


def test_with_one_fixed_discount_it_is_nltks_kneser_ney():
    """NLTK smooths with one discount and leaves single tokens unsmoothed; its texts here begin with the start token."""
    lm = pytest.importorskip("nltk.lm", reason="nltk is not installed; run: pip install nltk")
    everygrams = pytest.importorskip("nltk.util").everygrams
    order, discount = 3, 0.75
    ids, vocabulary = shakespeare(3_000)
    text = [*ids[:100], *reversed(ids[-200:])]
    words = [str(token) for token in text]  # NLTK's vocabulary knows texts only
    theirs = lm.KneserNeyInterpolated(order, discount=discount)
    source = [START, *map(str, ids)]
    theirs.fit([list(everygrams(source, max_len=order))], vocabulary_text=source)
    ours = Ngram.train([ids], vocabulary, order, [(0.0, 0.0, 0.0), *[(discount,) * 3] * (order - 1)])
    places = range(order - 1, len(text))  # NLTK divides by zero after the start token
    expected = [theirs.score(words[at], words[at - order + 1 : at]) for at in places]
    assert np.exp(ours.score(text)[order - 1 :]) == pytest.approx(expected, rel=1e-5)
