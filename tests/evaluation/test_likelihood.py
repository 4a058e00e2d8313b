"""Bits per byte of texts and conversations, changes of it, and the drift from the base."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import tiny
import torch
from adaptation.adapted import randomise_adapters
from hypothesis import given, settings
from hypothesis import strategies as st
from tokens.small import byte_level

from lmworks.adaptation.lora import LoRAConfig, add_lora, lora_layers
from lmworks.adaptation.old_text import own_texts
from lmworks.basics.errors import DataError
from lmworks.evaluation.drift import drift, kl, moved_on
from lmworks.evaluation.likelihood import SEGMENT, Likelihood, change, measure
from lmworks.generation.scoring import grouped, texts_logprobs, token_logprobs
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document
from lmworks.text.splits import split
from lmworks.tokens.chat.conversation import encode_conversation
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer

LONG = "größer 🙂 than a segment; " * 30
TEXTS = ["a text", "naïve café", "\n\n  two  ", "日本語", LONG, "x"]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny.language_model(context=1200)


def documents(texts: list[str]) -> list[Document]:
    return [Document(text, str(number)) for number, text in enumerate(texts)]


def test_bits_per_byte_equal_the_models_own_score(model: LanguageModel):
    scores = [model.score(text) for text in TEXTS]
    measured = measure(model, documents(TEXTS), "texts")
    assert measured.bits.sum() == pytest.approx(sum(score.bits for score in scores), rel=1e-6)
    figure = measured.bits_per_byte("texts")
    assert figure.value == pytest.approx(
        sum(score.bits for score in scores) / sum(map(len, map(str.encode, TEXTS))), rel=1e-6
    )
    assert (figure.unit, figure.chance, figure.ideal, figure.n) == ("bits/byte", 8.0, 0.0, len(measured.bits))


def test_a_token_of_several_bytes_counts_them_all():
    """Pitfall 6: bytes, not characters."""
    text = "naïve café, größer"
    tokenizer = train_tokenizer([text] * 20, TokenizerConfig(kind="bpe", vocab_size=275))
    tokens = tokenizer.encode(text, special=False)
    assert any(len(one.decode(errors="ignore")) < len(one) > 2 for one in tokenizer.bytes_of(tokens))
    model = LanguageModel(tiny.network(vocab_size=tokenizer.vocab_size), tokenizer)
    assert measure(model, documents([text]), "text").bytes.sum() == 22 == len(text.encode())


def test_a_tokenizer_that_adds_bos_adds_it_once_when_texts_are_measured():
    """Pitfall 4."""
    tokenizer = byte_level(adds_bos=True)
    model = LanguageModel(tiny.network(vocab_size=tokenizer.vocab_size, context=1200), tokenizer)
    assert tokenizer.encode("x")[0] == tokenizer.bos != tokenizer.encode("x", special=False)[0]
    measured, scores = measure(model, documents(TEXTS), "texts"), [model.score(text) for text in TEXTS]
    assert measured.tokens == sum(len(score.tokens) for score in scores)
    assert measured.bytes.sum() == sum(len(text.encode()) for text in TEXTS)
    assert measured.bits.sum() == pytest.approx(sum(score.bits for score in scores), rel=1e-6)


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1), min_size=1, max_size=4))
@settings(max_examples=25)
def test_bytes_add_up_to_the_length_of_the_text(texts: list[str]):
    """Pitfall 6."""
    measured = measure(tiny.language_model(), documents(texts), "texts")
    assert measured.bytes.sum() == sum(len(text.encode()) for text in texts)


def test_a_long_document_is_many_segments_and_a_short_one_is_one(model: LanguageModel):
    size = len(LONG.encode())
    assert len(measure(model, documents([LONG]), "long").bits) == -(-size // SEGMENT) > 2
    assert len(measure(model, documents(["short", "x"]), "short").bits) == 2


def test_the_order_of_the_documents_changes_nothing(model: LanguageModel):
    first, other = (measure(model, documents(texts), "texts", tokens=120) for texts in (TEXTS, TEXTS[::-1]))
    assert np.array_equal(first.bits, other.bits) and np.array_equal(first.bytes, other.bytes)


@pytest.mark.parametrize("tokens", [1, 50, 300, 10_000])
def test_no_more_tokens_are_scored_than_asked_for(tokens: int, model: LanguageModel):
    measured = measure(model, documents([LONG, *TEXTS[:4]]), "texts", tokens=tokens)
    assert 0 < measured.tokens <= tokens
    assert measured.bytes.sum() == measured.tokens  # a token of this tokenizer is a byte


def test_a_text_longer_than_the_window_is_scored_once_from_end_to_end():
    narrow = tiny.language_model(context=64)
    measured = measure(narrow, documents([LONG]), "long", window=32)
    assert measured.bytes.sum() == len(LONG.encode())
    assert measured.bits.sum() == pytest.approx(narrow.score(LONG, window=32).bits, rel=1e-6)


def test_of_a_conversation_only_the_assistants_words_count(model: LanguageModel):
    turns = [{"role": "user", "content": "how many?"}, {"role": "assistant", "content": "drei Äpfel"}]
    measured = measure(model, [Document.conversation(turns, "chat")], "chat")
    ids, supervised = encode_conversation(model.tokenizer, turns)
    logprobs = model.logits([ids]).log_softmax(-1)[0]
    wanted = [
        float(logprobs[at - 1, ids[at]])
        for at in range(1, len(ids))
        if supervised[at] and ids[at] not in model.tokenizer.stop_ids
    ]
    assert measured.bytes.sum() == len("drei Äpfel".encode())
    assert measured.bits.sum() == pytest.approx(-sum(wanted) / np.log(2), rel=1e-5)


def test_nothing_to_score_is_an_error_that_names_the_text(model: LanguageModel):
    """Pitfall 3."""
    with pytest.raises(DataError, match="held-out text: no document holds anything that can be scored"):
        measure(model, [], "held-out text")
    asks = Document.conversation(
        [{"role": "user", "content": "word " * 30}, {"role": "assistant", "content": "yes"}], "chat"
    )
    with pytest.raises(DataError, match="in the 8 tokens that are read; read more of it"):
        measure(model, [asks], "held-out text", tokens=8)


def likelihood(bits: list[float]) -> Likelihood:
    return Likelihood(np.array(bits), np.full(len(bits), 100.0), 100)


@pytest.mark.parametrize(
    "moves, verdict",
    [
        ([-9, -10, -11, -10], "better"),
        ([9, 10, 11, 10], "worse"),
        ([-10, 10, -9, 9], "tie"),
        ([0, 0, 0, 0], "tie"),
        ([-50], "open"),  # one segment has no interval, so nothing can be said
        ([-20, -24], "tie"),  # two have a wide one: Student's t has a factor of 12.7
        ([-9, -9, -9], "open"),  # a few that are all the same do not tell how much others would differ
    ],
)
def test_a_change_is_better_worse_or_a_tie(moves: list[float], verdict: str):
    before = [100.0, 300.0, 200.0, 250.0][: len(moves)]
    figure, said = change(
        likelihood(before), likelihood([one + move for one, move in zip(before, moves, strict=True)]), "change"
    )
    assert said == verdict and figure.difference
    assert figure.value == pytest.approx(sum(moves) / len(moves) / 100)


def test_held_out_documents_are_never_trained_on():
    """Pitfall 9: also where a text comes twice under two names."""
    texts = [f"text {number % 20}" for number in range(40)]
    parts = split(documents(texts), 0.3)
    train, held_out = ({document.text for document in side} for side in (parts.train, parts.held_out))
    assert not train & held_out and train | held_out == set(texts) and parts.duplicates == 20
    more = split(documents([*texts, *(f"later {number}" for number in range(20))]), 0.3)
    assert held_out <= {document.text for document in more.held_out}


def test_drift_is_the_mean_divergence_from_the_base_and_zero_without_a_change():
    model = tiny.language_model(context=64)
    base = tiny.language_model(context=64)
    add_lora(model.network, LoRAConfig(rank=2))
    texts = own_texts(model, texts=3, length=12)
    assert [len(text) for text in texts] == [13, 13, 13] or all(2 <= len(text) <= 13 for text in texts)
    assert len({tuple(text) for text in texts}) == 3 and texts == own_texts(base, texts=3, length=12)
    still = drift(model, texts, base.network)
    assert still.value == 0.0 and still.ideal == 0.0 and still.n == 3
    randomise_adapters(model.network, size=0.1)
    by_hand = []
    for text in texts:
        p, q = (one.logits([text])[0].double().log_softmax(-1) for one in (base, model))
        by_hand.append(float((p.exp() * (p - q)).sum(-1).mean()) / np.log(2))
    assert drift(model, texts, base.network).value == pytest.approx(np.mean(by_hand), rel=1e-4)
    assert all(layer.enabled for layer in lora_layers(model.network).values())


@pytest.mark.parametrize("settings", [{}, {"window": 6, "positions": "learned"}], ids=["plain", "windowed"])
def test_short_texts_are_scored_together_as_each_by_itself(settings: dict[str, object]):
    made = tiny.language_model(context=64, **settings)
    texts = [tiny.text(1, length, 200, seed=length)[0].tolist() for length in (3, 60, 2, 20, 40, 90, 5, 4)]
    together = list(texts_logprobs(made.runner, texts, 64))
    for ids, found in zip(texts, together, strict=True):
        assert found == pytest.approx(token_logprobs(made.runner, ids, 64), rel=1e-5, abs=1e-5)
    assert [list(one) for one in grouped([2, 59, 1, 19, 39, 89, 4, 3], 64)] == [[0, 1, 2], [3, 4], [5], [6, 7]]
    assert list(grouped([], 5)) == []


def test_how_far_a_model_moved_on_new_text_is_the_mean_over_what_counts():
    """Of a conversation the assistant's words; a text longer than the window is read window after window."""
    model, base = (tiny.language_model(context=64) for _ in range(2))
    tiny.randomise(model.network, seed=1)
    turns = ({"role": "user", "content": "say"}, {"role": "assistant", "content": "a word"})
    documents = [Document("long " * 30, "long"), Document.conversation(turns, "chat")]
    sums = count = 0.0
    for document in documents:
        ids, counts = (
            encode_conversation(model.tokenizer, document.messages, "chat")
            if document.messages
            else ([model.tokenizer.document_start, *model.tokenizer.encode(document.text)], [True] * 151)
        )
        for start in range(0, len(ids) - 1, 64):
            read = ids[start : min(start + 64, len(ids) - 1)]
            p, q = (one.logits([read])[0].double().log_softmax(-1) for one in (base, model))
            far = (p.exp() * (p - q)).sum(-1) / np.log(2)
            for at in range(len(read)):
                after = start + at + 1
                if counts[after] and ids[after] not in model.tokenizer.stop_ids:
                    sums, count = sums + float(far[at]), count + 1
    found = moved_on(model, documents, lambda: nullcontext(base.network), "new text")
    assert found.value == pytest.approx(sums / count, rel=1e-4) and found.interval is not None and found.n == 4
    assert (
        found.name == "KL(base, tuned) on new text"
        and moved_on(base, documents, lambda: nullcontext(base.network), "it").value == 0
    )
    assert moved_on(model, documents, lambda: nullcontext(base.network), "it", tokens=64).n < 4


def test_divergence_is_from_the_base_to_the_other():
    """Pitfall 26: the two directions differ; this one is large where the base is sure and the other is not."""
    base, other = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    p = torch.softmax(base[0], 0)
    assert kl(base, other).item() == pytest.approx(float((p * (p * 2).log()).sum()), rel=1e-5)
    assert kl(base, other).item() != pytest.approx(kl(other, base).item(), rel=0.1)
