"""Claims 5, 8 and 46: tiny runs give whole findings; their parts against counts by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lab.whole import whole
from lmworks.evaluation.answers import whole_answers
from lmworks.generation.strategies import Greedy
from lmworks.lab.bench import alignment, arrangements, encoders, lengths, translator_states, translators
from lmworks.lab.bench.translators import (
    LSTM,
    TRANSFORMER,
    operations,
    pairs_of,
    translation,
    translator,
    widest_lstm,
)
from lmworks.language_model import LanguageModel
from lmworks.models.hooks import hooked
from lmworks.models.network import Network
from lmworks.models.relatives.recurrent import RecurrentNetwork
from lmworks.objectives import ConditionalMaskedLM, SequenceToSequence
from lmworks.text import registry
from lmworks.tokens.batch import IGNORE
from lmworks.tokens.pairs import PairRows
from lmworks.tokens.source import source_ids, target_start

TEXTS = ("multi30k-en-de", "multi30k-validation-en-de", "trec-train", "trec-test", "wikitext2")
pytestmark = pytest.mark.skipif(
    not all(map(registry.available, TEXTS)),
    reason="Multi30k, TREC or WikiText-2 is not here: set LMWORKS_DATA, or fetch them with lmworks evaluate",
)
FEW = ["pairs=240", "epochs=1"]
TINY = {
    8: [*FEW, "sentences=40"],
    46: [*FEW, "sentences=3", "labels=20"],
}


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Translators that are trained in a second, kept in a folder of the test's own."""
    monkeypatch.setattr(translators, "cache_folder", tmp_path.joinpath)
    monkeypatch.setattr(translators, "DIM", 32)
    monkeypatch.setattr(translators, "VOCABULARY", 500)
    monkeypatch.setattr(translator_states, "WRITTEN", 4)
    monkeypatch.setattr(encoders, "PENALTIES", (1e-2, 1.0))  # two to choose from instead of four


@pytest.mark.parametrize("question", TINY)
def test_a_tiny_run_gives_a_whole_finding(question):
    whole(question, TINY[question])


@pytest.mark.slow
def test_a_tiny_run_of_beams_gives_a_whole_finding(smollm2_path):
    whole(5, [*FEW, "sentences=4", "prompts=2", "length=6"])


def test_a_translator_is_trained_once_and_each_of_its_settings_tells_it_from_others(monkeypatch):
    recipe = translation(TRANSFORMER, epochs=1, seed=0)
    first = translator(recipe, 200)
    monkeypatch.setattr(translators, "fit", lambda *given: pytest.fail("it was trained again"))
    again = translator(recipe, 200)
    assert first.source == again.source
    for other, pairs in ((recipe, 201), (translation(TRANSFORMER, epochs=1, seed=1), 200)):
        with pytest.raises(pytest.fail.Exception):
            translator(other, pairs)


def test_operations_of_a_pair_are_those_that_torch_counts_and_the_lstm_takes_no_more():
    config = translation(TRANSFORMER, epochs=1, seed=0).network(500)
    length, source = 12, torch.zeros(1, 12, dtype=torch.long)
    network = Network(config).initialise(0)
    network.attention_kernel = "explicit"
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        network(source, memory=network.encode(source))
    # The explicit formula computes all pairs of a row, of which a causal mask leaves (12 + 1) / 2 of 12 keys.
    unseen = config.layers * config.dim * (2 * length - (length + 1))
    assert counted.get_total_flops() / 2 / length == operations(config, length) + unseen
    twin = translation(LSTM, epochs=1, seed=0).network(500)
    assert operations(twin) <= operations(config) < operations(twin.but(hidden_dim=twin.hidden_dim + 2))
    assert widest_lstm(config) == twin.hidden_dim


def test_operations_of_an_lstm_are_its_matrices_and_what_attention_mixes():
    config = translation(LSTM, epochs=1, seed=0).network(500)
    matrices = sum(weight.numel() for weight in RecurrentNetwork(config).parameters() if weight.ndim == 2)
    assert operations(config, 7) == matrices + 2 * config.hidden_dim * 7  # each is read once a token; the head is tied


def test_words_that_are_the_same_belong_together_and_the_diagonal_is_the_same_share():
    found = alignment.anchors([("A Baseball, two men and a man .", "Zwei Männer und ein Baseball.")])
    (one,) = found
    assert (one.source_word, one.target_word) == (1, 4)
    assert one.diagonal == 7 and replace(one, target_word=0).diagonal == 0


def test_word_attention_sums_the_pattern_over_the_tokens_of_each_word():
    model = translator(translation(TRANSFORMER, epochs=1, seed=0), 200)
    layer = alignment.attention_layers(model.network)[-1]
    source, target = "Two skateboarders jump.", "Zwei Skateboarder springen."
    looked = alignment.word_attention(model, source, target, 1, layer)
    assert looked.shape == (3,)
    _, spans = model.tokenizer.encode_spans(source)
    seen = []
    rows = PairRows([model.encode_prompt(source), model.tokenizer.encode(target)], model.tokenizer, 64).batch([0])
    with hooked(model.network, {layer: seen.append}), torch.no_grad():
        SequenceToSequence()(model.network, rows)
    first = len(model.tokenizer.encode("Zwei"))
    weights = seen[0][0, :, first].mean(0)
    inside = [at for at, (start, _) in enumerate(spans) if len("Two") <= start < len("Two skateboarders")]
    assert len(inside) > 1 and looked[1] == pytest.approx(float(weights[inside].sum()), abs=1e-6)


def test_groups_are_thirds_and_pairs_of_equal_and_of_other_lengths():
    pairs = [("a", "b"), ("a b", "c d e f"), ("a b c", "d e f")]
    groups = lengths.groups(pairs)
    assert [groups[name] for name in lengths.THIRDS] == [[0], [1], [2]]
    assert groups[lengths.EQUAL] == [0, 2] and groups[lengths.UNEQUAL] == [1]


def test_the_correlation_of_lengths_is_that_of_the_texts_and_0_for_a_fixed_ratio():
    pairs = [("a b c", "a b"), ("a b c", "a b c d"), ("a", "b c")]
    written = ["x", "x y z", "x y"]
    sums = np.array([lengths.lengths(*one) for one in zip(written, *zip(*pairs, strict=True), strict=True)])
    expected = np.corrcoef([1 / 3, 1, 2], [2 / 3, 4 / 3, 2])[0, 1]
    assert lengths.correlation(sums.sum(0)) == pytest.approx(expected)
    fixed = np.array([lengths.lengths(source, source, wanted) for source, wanted in pairs])
    assert lengths.correlation(fixed.sum(0)) == 0


def test_a_lone_decoder_writes_what_its_logits_say_and_reads_its_source_from_both_sides():
    """Against one text at a time, without a cache."""
    model = arrangements.single_stack(
        "decoder", translation(TRANSFORMER, epochs=1, seed=0), 200, layers=2, hidden_dim=64
    )
    model.network.float()  # in bfloat16 a tie may fall either way
    for block in model.network.blocks:  # a network that learnt next to nothing says the same whatever it sees
        block.attention.output.weight.mul_(8)
    texts = ["Two men are talking.", "A girl in a red dress jumps over a small dog in the park."]
    start, end = target_start(model.tokenizer), model.tokenizer.document_end
    for text, written in zip(texts, arrangements.continue_sources(model, texts), strict=True):
        ids = source_ids(model.tokenizer, text)
        sees, ids = len(ids), [*ids, start]  # the token that opens may be the one that ends
        while len(ids) < sees + translators.CONTEXT - 1 and end not in ids[sees + 1 :]:
            prefix = torch.tensor([[at < sees for at in range(len(ids))]])
            with torch.no_grad():
                ids.append(int(model.network(torch.tensor([ids]), prefix=prefix)[0, -1].argmax()))
        assert written == model.tokenizer.decode(ids[sees + 1 :])


def test_a_row_of_a_lone_decoder_is_source_start_and_target_and_learns_the_target_alone():
    model = arrangements.single_stack(
        "decoder", translation(TRANSFORMER, epochs=1, seed=0), 200, layers=1, hidden_dim=64
    )
    start, end = target_start(model.tokenizer), model.tokenizer.document_end
    batch = arrangements.Continued([[5, 6, 7], [8, 9], [5], [7]], model.tokenizer, 64).batch([0, 1])
    assert batch.tokens.tolist() == [[5, 6, 7, start, 8, 9], [5, start, 7, 0, 0, 0]]
    no = IGNORE
    assert batch.labels.tolist() == [[no, no, no, 8, 9, end], [no, 7, end, no, no, no]]
    assert batch.prefix.long().tolist() == [[1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]]
    assert batch.documents.tolist() == [[0] * 6, [0, 0, 0, -1, -1, -1]]


def test_gaps_alone_keep_their_labels_and_reopened_are_the_least_sure():
    tokens, sure = torch.tensor([[9, 5, 6, 7, 8]]), torch.tensor([[0.0, -1.0, -4.0, -2.0, -3.0]])
    target = torch.tensor([[False, True, True, True, True]])
    assert arrangements._reopened(tokens, sure, target, 0.5, 1).tolist() == [[9, 5, 1, 7, 1]]
    model = arrangements.single_stack(
        "encoder", translation(TRANSFORMER, epochs=1, seed=0), 200, layers=1, hidden_dim=64
    )
    mask = model.tokenizer.require_mask()
    rows = arrangements.Gapped([[5, 6], [*range(7, 19)], [5], [7]], model.tokenizer, 64)
    plain = rows.batch([0, 1])
    made = ConditionalMaskedLM(mask=mask).prepare(plain, [3, 4])
    gaps = made.tokens == mask
    assert torch.equal(made.labels != IGNORE, gaps) and torch.equal(made.labels[gaps], plain.tokens[gaps])
    assert 0 < gaps[0].sum() < 12 and gaps[1].sum() == 1 and torch.equal(made.tokens[~gaps], plain.tokens[~gaps])
    (text,) = arrangements.fill_targets(model, ["Two men."], 1.0, 2)
    assert "<mask>" not in text


def test_without_cross_attention_a_translator_writes_the_same_for_every_source():
    model = translator(translation(TRANSFORMER, epochs=1, seed=0), 200)
    asked = [source for source, _ in pairs_of("multi30k-validation-en-de", 3)]
    taken = translator_states.silenced(model.network)
    assert set(taken) == {f"blocks.{layer}.cross_attention_output" for layer in range(translators.LAYERS)}
    with hooked(model.network, taken):
        assert len(set(map(str, whole_answers(model, asked, Greedy(), 12)))) == 1
        silent = model.network(torch.tensor([[0]]), memory=model.network.encode(torch.tensor([[3, 4]])))
    assert not torch.allclose(
        silent, model.network(torch.tensor([[0]]), memory=model.network.encode(torch.tensor([[3, 4]])))
    )


def test_probed_states_do_not_depend_on_the_neighbours(monkeypatch):
    """Nor on how long the other translation is."""
    wrote = {
        "What is a caliper?": SimpleNamespace(tokens=[5, 6, 7, 8]),
        "Who wrote it?": SimpleNamespace(tokens=[5, 9]),
    }
    monkeypatch.setattr(translator_states, "whole_answers", lambda _, texts, *rest: [wrote[text] for text in texts])
    model = translator(translation(TRANSFORMER, epochs=1, seed=0), 200)
    texts = ["What is a caliper?", "Who wrote it?"]
    for states in (translator_states.encoder_states, translator_states.decoder_states):
        together, one_by_one = states(model, texts), torch.cat([states(model, [text]) for text in texts])
        assert torch.allclose(together, one_by_one, atol=1e-5) and not torch.allclose(together[0], together[1])


def test_what_is_kept_is_a_language_model(tmp_path):
    model = translator(translation(LSTM, epochs=1, seed=0), 200)
    assert isinstance(model, LanguageModel) and model.translates and model.network.dtype == torch.float32
