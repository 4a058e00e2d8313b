"""Claims 18, 37, 47 and 49: tiny runs give whole findings; their parts against laws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lab.whole import whole
from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation.scaling import ScalingLaw
from lmworks.generation.scoring import token_logprobs
from lmworks.lab.bench import mixtures, read_once, readers, remedies
from lmworks.lab.bench.byte_rows import byte_rows, nats_per_byte
from lmworks.lab.bench.small_network import BYTES, byte_text, small_network
from lmworks.lab.bench.task_matrix import QUESTIONS
from lmworks.lab.bench.training import fit
from lmworks.lab.experiments import q47_ngrams, q49_scale
from lmworks.lab.run import RunOptions, run
from lmworks.models.network import Network
from lmworks.models.torch_runner import TorchRunner
from lmworks.objectives import CausalLM
from lmworks.text import registry
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.tokens.batch import IGNORE, stack
from lmworks.training.settings import TrainingConfig

TINY = {
    18: ["train_bytes=600", "steps=4", "dim=16", "l1=[1e-5]", "l2=[1e-3]", "decay=[1.0]", "dropout=[0.1]"],
    37: [
        "steps=4",
        "rows=2",
        "dim=16",
        "experts=4",
        "trained_experts=4",
        "widths=[16,32]",
        "held_out_windows=4",
    ],
}


@pytest.mark.parametrize("question", TINY)
def test_a_tiny_run_gives_a_whole_finding(question, monkeypatch):
    monkeypatch.setattr(remedies, "WINDOWS", 4)  # of held-out text, at each of many validations
    whole(question, ["text=python-reference", *TINY[question]])


def test_a_tiny_run_on_the_real_model_gives_a_whole_finding(smollm2_path, tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "BLOCK", 16)
    longest = sorted(read("python-reference").documents, key=lambda one: len(one.text))[-12:]
    for number, one in enumerate(longest):  # of which each has a block after 512 tokens, and n-grams are soon counted
        (tmp_path / f"{number}.txt").write_text(one.text[:4000])
    tiny = [f"text={tmp_path}", "sizes=[3000,6000]", "steps=4", "dim=16", "layers=1", "blocks=1", "articles=4"]
    finding = whole(47, tiny)
    bits = finding.by_seed[q47_ngrams.BITS.name]
    assert bits["real model 512"]["all"] < bits["real model 2"]["all"]


def test_a_tiny_run_on_sizes_and_a_matrix_of_tasks_gives_a_whole_finding(smollm2_path, task_texts):
    tiny = ["text=python-reference", "widths=[16,32,48,64]", "amounts=[400,800,1200,2400]", "held_out_windows=4"]
    finding = whole(49, [*tiny, "asked=2"])
    right = finding.by_seed[q49_scale.RIGHT.name]
    assert right["a guess, piqa"]["all"] == 0.5 and right["a guess, arc-easy"]["all"] < 0.5


@pytest.fixture
def task_texts():
    needed = (*QUESTIONS, "multi30k-validation-de", "multi30k-validation-en", "ag-news")
    if missing := [name for name in needed if not registry.available(name)]:
        pytest.skip(f"{missing[0]} is not here; set LMWORKS_DATA, or connect once and run: lmworks lab 49")


def test_rows_of_bytes_predict_each_byte_but_the_first_once():
    text = torch.arange(200)
    batch = stack(byte_rows(text, 64))
    labels = batch.labels[batch.labels != IGNORE]
    assert sorted(labels.tolist()) == list(range(1, 200))


def test_early_stopping_gives_back_the_network_with_the_lowest_loss():
    data = byte_text("python-reference")
    network, seen = small_network(0, dim=32, layers=1, context=32), []

    def validate(network: Network) -> float:
        seen.append(nats_per_byte(network, data.choose, 20))
        return seen[-1]

    config = TrainingConfig(context=32, rows=8, steps=120, learning_rate=2e-2, evaluate_every=6, patience=2)
    result = fit(network, CausalLM(), byte_rows(data.train[:400], 32), config, validate)
    assert result.best_step is not None and result.steps < 120 and seen[-1] > min(seen)
    assert nats_per_byte(network, data.choose, 20) == pytest.approx(min(seen), abs=1e-6)


@pytest.fixture
def setting():
    return remedies.Setting(byte_text("python-reference"), train_bytes=600, steps=6, dim=16, rows=4)


def test_strengths_are_chosen_without_the_judged_text(setting):
    blind = replace(setting, data=replace(setting.data, held_out=torch.empty(0, dtype=torch.long)))
    candidates = [remedies.Remedy(dropout=0.9), remedies.Remedy()]
    assert remedies.chosen(blind, candidates, seed=3) == candidates[1]


def test_each_seed_learns_another_piece_and_each_way_of_a_seed_the_same(setting):
    pieces = [setting.piece(seed) for seed in range(3)]
    assert all(len(piece) == 600 for piece in pieces)
    assert not any(torch.equal(pieces[0], other) for other in pieces[1:])
    plain, weak = (remedies.trained(setting, remedy, 1) for remedy in (remedies.Remedy(), remedies.Remedy(decay=1e-12)))
    assert weak.end == pytest.approx(plain.end, abs=1e-4)


def test_the_best_checkpoint_is_the_one_of_the_text_for_choosing():
    seen = remedies.Curve((1, 2, 3), choose=(3.0, 2.0, 2.5), held_out=(1.0, 4.0, 0.5), train=0.0, end=0.5)
    assert seen.at_best == 4.0


def test_all_together_have_each_strength_and_may_be_weaker():
    both = remedies.Remedy(l1=2.0).with_all_of(remedies.Remedy(dropout=0.4)).with_all_of(remedies.Remedy())
    assert both == remedies.Remedy(l1=2.0, dropout=0.4)
    assert both.weaker(0.5) == remedies.Remedy(l1=1.0, dropout=0.2)


@pytest.fixture(scope="module")
def reader():
    ids = torch.randint(BYTES, (700,), generator=torch.Generator().manual_seed(0)).tolist()
    return small_network(0, dim=32, context=1024), ids


@pytest.mark.parametrize("context", readers.CONTEXTS)
def test_a_cut_context_is_all_that_is_read(reader, context):
    network, ids = reader
    start = readers.WHOLE

    def read(changed: int) -> float:
        edited = [*ids]
        edited[changed] = (edited[changed] + 1) % BYTES
        return readers.with_context(TorchRunner(network), edited, start, context)

    plain = readers.with_context(TorchRunner(network), ids, start, context)
    assert read(start - context - 1) == plain and read(start + readers.BLOCK) == plain
    assert read(start - context) != plain
    # Its last token is judged, and so is its first.
    assert abs(read(start + readers.BLOCK - 1) - plain) > 1e-3 and abs(read(start) - plain) > 1e-3


def test_the_whole_context_scores_as_the_text_does(reader):
    network, ids = reader
    stop = readers.WHOLE + readers.BLOCK
    expected = sum(token_logprobs(TorchRunner(network), ids[:stop], 1024)[readers.WHOLE - 1 :])
    assert readers.with_context(TorchRunner(network), ids, readers.WHOLE, readers.WHOLE) == pytest.approx(
        expected, abs=1e-2
    )


def test_shuffling_moves_far_tokens_only(reader):
    _, ids = reader
    start = 600
    mixed = readers.shuffled(ids, start, seed=1)
    far = slice(start - readers.WHOLE, start - readers.NEAR)
    assert mixed[far] != ids[far] and sorted(mixed[far]) == sorted(ids[far])
    assert mixed[: far.start] == ids[: far.start] and mixed[far.stop :] == ids[far.stop :]


def test_each_document_is_held_out_once_and_never_learnt_from_then():
    documents = [Document(f"text {number}", f"{number}") for number in range(23)]
    folds = [readers.fold(documents, seed, 4) for seed in range(4)]
    assert sorted(one.text for fold in folds for one in fold.held_out) == sorted(one.text for one in documents)
    for fold in folds:
        parts = [{one.text for one in part} for part in (fold.train, fold.choose, fold.held_out)]
        assert sum(map(len, parts)) == len(documents) == len(set.union(*parts))
    with pytest.raises(DataError, match="too few"):
        readers.fold(documents[:1], 0, 4)


def test_the_order_is_chosen_by_the_text_for_choosing():
    learnt, alike = np.array([1, 2, 3, 4] * 20), np.array([1, 2, 3, 4] * 3)
    assert readers.best([learnt], [alike], 8, (1, 3)).order == 3
    assert readers.best([learnt], [np.array([4, 2, 4, 2])], 8, (1, 3)).order == 1


def test_losses_that_follow_a_law_are_foretold():
    law = ScalingLaw(floor=1.5, size_term=30.0, size_power=0.4, data_term=200.0, data_power=0.5)
    sizes = {16: 8_000, 32: 32_000, 64: 130_000, 128: 520_000}
    cells = [*((width, amount) for width in (16, 32, 64) for amount in (20_000, 40_000, 80_000)), (128, 160_000)]
    losses = {(width, amount): law.loss(sizes[width], amount) for width, amount in cells}
    fitted = q49_scale.law_of(losses | {(128, 160_000): 99.0}, sizes)  # it is not seen
    assert fitted.loss(520_000, 160_000) == pytest.approx(losses[128, 160_000], abs=0.02)
    each = {cell: torch.tensor([loss, loss + 1]) for cell, loss in losses.items()}
    found = {condition.name: bits.tolist() for condition, bits in q49_scale.compared(each).items()}
    gain = [found["largest network"][at] - found["smallest network"][at] for at in (0, 1)]
    assert gain == pytest.approx([30.0 * (130_000**-0.4 - 8_000**-0.4)] * 2, abs=1e-5)
    gain = found["most text"][0] - found["least text"][0]
    assert gain == pytest.approx(200.0 * (80_000**-0.5 - 20_000**-0.5), abs=1e-5)
    gain = found["run held back"][0] - found["largest with most of the others"][0]
    assert gain == pytest.approx(law.loss(520_000, 160_000) - law.loss(130_000, 80_000), abs=1e-5)


def test_a_network_reads_its_piece_once_and_size_counts_the_blocks(monkeypatch):
    read = []
    monkeypatch.setattr(read_once, "fit", lambda network, objective, rows, config: read.append((rows, config)))
    network = read_once.trained(torch.arange(256).repeat(4), 16, 0)
    [(rows, config)] = read
    assert sum(len(piece.tokens) - 1 for row in rows for piece in row) == 1023 and config.epochs == 1
    # Attention 4 x 16 x 16, feed-forward 3 x 16 x 64, two norms; two blocks.
    assert read_once.parameters(network) == 2 * (4 * 256 + 3 * 1024 + 2 * 16)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (["widths=[16,32,64]"], ConfigError),
        (["amounts=[4,3,2,1]"], ConfigError),
        (["amounts=[1,2,3,9000000]"], DataError),
    ],
)
def test_sizes_that_make_no_forecast_are_refused(settings, error):
    with pytest.raises(error):
        run(49, "quick", RunOptions(["text=python-reference", *settings]))


def test_bits_are_nats_by_the_logarithm_of_two():
    data = byte_text("python-reference")
    fresh = small_network(0, dim=16, layers=1, context=32)
    assert nats_per_byte(fresh, data.choose, 8) == pytest.approx(math.log(BYTES), abs=0.1)


def test_experts_hold_what_the_large_network_holds_and_compute_what_the_small_one_does():
    shape, rows = mixtures.Shape(32, 8), torch.randint(BYTES, (4, 64))
    held = {way: shape.parameters(way) for way in mixtures.WAYS}
    router = mixtures.LAYERS * 8 * 32
    assert held[mixtures.EXPERTS].base == held[mixtures.LARGE].base + router
    assert held[mixtures.EXPERTS].active == held[mixtures.DENSE].base + router
    networks = {way: Network(shape.config(way)).initialise(0).eval() for way in mixtures.WAYS}
    work = {way: mixtures.multiplications(network, rows) for way, network in networks.items()}
    assert work[mixtures.EXPERTS] == work[mixtures.DENSE] + router < work[mixtures.LARGE]
    by_layer = mixtures.loads(networks[mixtures.EXPERTS], byte_text("python-reference").held_out, 8)
    assert [sum(layer) for layer in by_layer] == pytest.approx([8, 8])
    assert all(layer == sorted(layer, reverse=True) for layer in by_layer)
