"""Scores of pairs: what the network reads, the compiled path, the real cross-encoder, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

import lmworks as lm
from lmworks.basics.errors import ConfigError, DataError, LmworksError
from lmworks.encoding.comparing import compare
from lmworks.kernels import unavailable
from lmworks.language_model import LanguageModel
from lmworks.models.families.bert import BERT
from lmworks.tokens.source import around_a_text

CROSS = {**BERT.fixed, "family": "bert", "segments": 2, "activation": "gelu", "pooler": True, "labels": ("relevance",)}
CROSS |= {"kv_heads": 4, "context": 64, "tied": True}
PAIRS = [("a cat", "The cat sat."), ("who?", "x " * 20), ("a cat", "y"), ("Zürich", "日本語")]


@pytest.fixture(scope="module")
def cross() -> LanguageModel:
    return tiny.language_model(**CROSS)


def test_a_score_is_that_of_the_pair_alone_with_the_second_text_in_its_segment(cross: LanguageModel):
    scores = cross.compare(PAIRS)
    assert scores.shape == (4,) and scores.dtype == torch.float32
    start, end = around_a_text(cross.tokenizer)
    for (first, second), score in zip(PAIRS, scores, strict=True):
        a, b = ([*cross.tokenizer.encode(one, special=False), *end] for one in (first, second))
        a = start + a
        segments = torch.tensor([[0] * len(a) + [1] * len(b)])
        with torch.inference_mode():
            alone = cross.network.classify(cross.network.hidden(torch.tensor([a + b]), segments=segments))
        torch.testing.assert_close(score, alone[0, 0])
    assert not torch.allclose(scores, cross.compare([(second, first) for first, second in PAIRS]))


def test_what_is_too_long_is_an_error_or_loses_its_end(cross: LanguageModel):
    room = 64 - 3  # the beginning, and the ends of both texts
    with pytest.raises(DataError, match=r"the pair 'q+'..., 'pp.* has 83 tokens and the model reads 61; shorten it"):
        cross.compare([("q" * 3, "p" * 80)])
    for given, kept in (((3, 80), (3, room - 3)), ((80, 3), (room - 3, 3)), ((80, 80), (room - room // 2, room // 2))):
        texts, cut = (("q" * pair[0], "p" * pair[1]) for pair in (given, kept))
        torch.testing.assert_close(cross.compare([texts], cut=True), cross.compare([cut]))


def test_what_gives_no_scores_says_so(cross: LanguageModel):
    for settings in ({"labels": ("yes", "no")}, {"labels": (), "pooler": False}):
        with pytest.raises(ConfigError, match="gives pairs of texts no score; load a cross-encoder"):
            tiny.language_model(**(CROSS | settings)).compare(PAIRS)
    with pytest.raises(ConfigError, match="gives pairs of texts no score"):
        tiny.language_model().compare(PAIRS)
    one_number = "no classifier of texts, but a head that gives one number"  # one class would always be certain
    with pytest.raises(ConfigError, match=one_number):
        cross.classify(["a cat"])
    with pytest.raises(ConfigError, match=r"no classifier of texts, but one of tokens \(2 classes\)"):
        tiny.language_model(**(CROSS | {"labels": ("a", "b"), "labels_of": "tokens"})).classify(["a cat"])
    for wrong in ("a cat", ["a cat"], [("a", "b", "c")], [("a", 3)], ["ab"], 3, None):
        with pytest.raises(DataError, match="takes a list of pairs of texts"):
            cross.compare(wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="'', 'x' is empty; leave the pair out"):
        cross.compare([("", "x")])
    assert cross.compare([]).shape == (0,)


def test_pairs_come_from_a_generator_too(cross: LanguageModel):
    assert torch.equal(cross.compare(pair for pair in PAIRS), cross.compare(PAIRS))  # type: ignore[arg-type]
    assert torch.equal(cross.compare(np.array(PAIRS)), cross.compare(PAIRS))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def reranker() -> LanguageModel:
    try:
        return lm.load("reranker", dtype="float32")
    except LmworksError as error:
        pytest.skip(f"reranker is not here ({error}); fetch it with: lmworks check reranker")


ASKED = "How many people live in Berlin?"
ANSWER = "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers."
RELATED, UNRELATED = "Berlin is well known for its museums.", "The cat sat on the mat."


def test_the_real_cross_encoder_tells_an_answer_from_what_is_only_related(reranker: LanguageModel):
    """Its own page gives about 8.6 and -4.3 for the first two, from float weights."""
    answer, related, unrelated = reranker.compare([(ASKED, one) for one in (ANSWER, RELATED, UNRELATED)]).tolist()
    assert answer > 8 and -6 < related < 0 and unrelated < -10


@pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
def test_the_compiled_path_scores_as_the_network_does(reranker: LanguageModel):
    pairs = [(ASKED, one) for one in (ANSWER, RELATED, UNRELATED, ANSWER * 9)]
    quick = lm.load("reranker")
    assert quick._embeds_with().name == "compiled"
    exact, scores = reranker.compare(pairs), quick.compare(pairs)
    assert (scores - exact).abs().max() < 0.5
    swapped = compare(quick._embeds_with(), quick.tokenizer, [(second, first) for first, second in pairs])
    assert np.abs(swapped - scores.numpy()).max() > 1
