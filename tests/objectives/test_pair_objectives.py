"""Sequence to sequence and classification: losses against transformers', any split of a step, what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import torch.nn.functional as F

from lmworks.basics.errors import ConfigError
from lmworks.models.families.bart import BART, MARIAN, MBART
from lmworks.models.families.bert import BERT
from lmworks.models.files.directory import write_network
from lmworks.models.network import Network
from lmworks.objectives import CausalLM, Classification, Objective, SequenceToSequence
from lmworks.tokens.batch import IGNORE
from lmworks.tokens.pairs import PairRows, RowsByLength, TextClasses
from lmworks.training.step import accumulate

TOKENIZER = tiny.byte_tokenizer()
LABELS = ("a", "b", "c")
SIZES = [(5, 3), (17, 9), (2, 1), (11, 20), (8, 8)]


def ids(size: int, seed: int) -> list[int]:
    return tiny.text(1, size, 90, seed)[0].tolist()


PAIRS = PairRows([one for at, (s, t) in enumerate(SIZES) for one in (ids(s, at), ids(t, 50 + at))], TOKENIZER, 32)
TEXTS = TextClasses([ids(s, at) for at, (s, _) in enumerate(SIZES)], [0, 2, 1, 1, 0], TOKENIZER, 32)
TAGS = TextClasses(
    [ids(s, at) for at, (s, _) in enumerate(SIZES)],
    [[(at + place) % 3 for place in range(s)] for at, (s, _) in enumerate(SIZES)],
    TOKENIZER,
    32,
)


def network(family: Any, **settings: Any) -> Network:
    fixed = {"family": family.name, "vocab_size": TOKENIZER.vocab_size, "kv_heads": 4, **family.fixed}
    return tiny.network(**fixed | settings)


NETWORKS = {
    "translation": lambda: network(MARIAN, activation="relu", scale_embedding=True),
    "text classes": lambda: network(BERT, activation="gelu", pooler=True, segments=2, labels=LABELS),
    "token classes": lambda: network(BERT, activation="gelu", segments=2, labels=LABELS, labels_of="tokens"),
}
ROWS: dict[str, RowsByLength] = {"translation": PAIRS, "text classes": TEXTS, "token classes": TAGS}
OBJECTIVES: dict[str, Objective] = {
    "translation": SequenceToSequence(label_smoothing=0.1, z_loss=0.01),
    "text classes": Classification(label_smoothing=0.1),
    "token classes": Classification(label_smoothing=0.1),
}


def gradients(kind: str, split: list[list[int]]) -> tuple[float, int, dict[str, torch.Tensor]]:
    model = NETWORKS[kind]()
    loss, count = accumulate(model, OBJECTIVES[kind], [ROWS[kind].batch(places) for places in split])
    return loss, count, {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("split", [[[0], [1], [2], [3], [4]], [[3, 0], [1], [2, 4]]], ids=["one by one", "unequal"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_any_split_into_micro_batches_gives_the_same_gradient(kind: str, split: list[list[int]]):
    """Pitfall 19: sources and targets of 1 to 20 tokens, padded to the longest of each micro-batch."""
    one_loss, one_count, one = gradients(kind, [[0, 1, 2, 3, 4]])
    other_loss, other_count, other = gradients(kind, split)
    assert one_loss == pytest.approx(other_loss, rel=1e-6) and one_count == other_count
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.fixture
def transformers(tmp_path: Path) -> Any:
    module = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
    module.logging.set_verbosity_error()
    module.logging.disable_progress_bar()
    return module


def theirs(module: Any, name: str, model: Network, folder: Path) -> Any:
    write_network(folder, model)
    return getattr(module, name).from_pretrained(folder).eval()


@pytest.mark.parametrize(
    ("family", "name"),
    [
        (MARIAN, "MarianMTModel"),
        (BART, "BartForConditionalGeneration"),
        (MBART, "MBartForConditionalGeneration"),
    ],
)
def test_loss_of_targets_equals_transformers(family: Any, name: str, transformers: Any, tmp_path: Path):
    """Their own loss, and torch's with label smoothing on their logits."""
    model = network(family, activation="relu", scale_embedding=True)
    batch = PAIRS.batch([0, 1, 2, 3, 4])
    other = theirs(transformers, name, model, tmp_path)
    out = other(
        input_ids=batch.source, attention_mask=batch.source_real, decoder_input_ids=batch.tokens, labels=batch.labels
    )
    assert float(SequenceToSequence()(model, batch).mean) == pytest.approx(float(out.loss.detach()), rel=1e-5)
    smoothed = F.cross_entropy(out.logits.flatten(0, 1), batch.labels.flatten(), label_smoothing=0.1)
    assert float(SequenceToSequence(label_smoothing=0.1)(model, batch).mean) == pytest.approx(float(smoothed), rel=1e-5)
    assert float(smoothed) != pytest.approx(float(out.loss.detach()), rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("text classes", "BertForSequenceClassification"), ("token classes", "BertForTokenClassification")],
)
def test_loss_of_classes_equals_transformers(kind: str, name: str, transformers: Any, tmp_path: Path):
    model, batch = NETWORKS[kind](), ROWS[kind].batch([0, 1, 2, 3, 4])
    other = theirs(transformers, name, model, tmp_path)
    out = other(input_ids=batch.tokens, attention_mask=batch.documents >= 0, labels=batch.classes)
    assert float(Classification()(model, batch).mean) == pytest.approx(float(out.loss.detach()), rel=1e-5)
    scores = out.logits.flatten(0, -2)
    smoothed = F.cross_entropy(scores, batch.classes.flatten(), label_smoothing=0.2, ignore_index=IGNORE)
    assert float(Classification(label_smoothing=0.2)(model, batch).mean) == pytest.approx(float(smoothed), rel=1e-5)


def test_the_source_matters_and_its_padding_does_not():
    model, alone = NETWORKS["translation"](), PAIRS.batch([0])
    beside = PAIRS.batch([0, 1])
    first = model.hidden(alone.tokens, memory=model.encode(alone.source, alone.source_real))
    second = model.hidden(beside.tokens, memory=model.encode(beside.source, beside.source_real))
    torch.testing.assert_close(first, second[:1, : first.shape[1]], rtol=1e-5, atol=1e-5)
    other = model.hidden(alone.tokens, memory=model.encode(alone.source.flip(1), alone.source_real))
    assert (first - other).abs().max() > 1e-3


def test_what_does_not_go_together_is_an_error_of_one_sentence():
    translator, classifier, tagger = (make() for make in NETWORKS.values())
    for objective, model, rows, said in (
        (SequenceToSequence(), classifier, TEXTS, "the network is an encoder; train an encoder-decoder"),
        (SequenceToSequence(), translator, TEXTS, "needs a source for each target"),
        (Classification(), classifier, PAIRS, "needs texts with their classes"),
        (Classification(), classifier, TAGS, "the rows have classes of tokens"),
        (Classification(), tagger, TEXTS, "the rows have classes of texts"),
        (CausalLM(), translator, PAIRS, "the network is an encoder-decoder"),
    ):
        with pytest.raises(ConfigError, match=said):
            objective(model, rows.batch([0, 1]))
