"""Every experiment runs with tiny settings; its parts against formulas."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lab.whole import whole
from lmworks.basics.errors import ConfigError, DataError, LmworksError
from lmworks.evaluation.lost_text import LostText
from lmworks.jobs.planning.flops import training_flops
from lmworks.jobs.planning.parameters import count_parameters
from lmworks.lab.bench import (
    attention_edits,
    attention_formula,
    continuations,
    corpora,
    made_up,
    recipe_runs,
    squared_error,
    step_distributions,
    writers,
)
from lmworks.lab.bench.continuations import Continuation, excerpts, gap, spread
from lmworks.lab.bench.costs import exponent, peak_memory
from lmworks.lab.bench.small_network import (
    bits_per_byte,
    byte_text,
    held_out_logits,
    small_network,
    train,
    window_bits,
)
from lmworks.lab.experiments import (
    q06_temperature,
    q16_unknown_words,
    q23_softmax,
)
from lmworks.lab.run import RunOptions, run
from lmworks.models.attention import attend
from lmworks.models.hooks import hooked
from lmworks.models.masks import visibility
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer
from lmworks.training.settings import TrainingConfig

REAL = {
    6: ["temperatures=[0.8]", "text=wikitext2", "stories=6", "pieces=1", "prompt_tokens=8", "length=6"],
    12: ["documents=4", "steps=12", "pieces=1", "length=6"],
    13: ["sets=['sst2-test']", "judged=4"],
    38: ["problems=2", "widths=[16, 16]", "steps=3", "sums=8", "written=4"],
    41: ["sets=['sst2-test']", "judged=4"],
    44: ["sets=['sst2-test']", "judged=4", "shots=[2]", "handful=2"],
}
SMALL = (6, 12, 41)
"""Of these, what is run with a small model, too."""
TINY = {
    1: [
        "texts={en='python-reference', de='python-reference', ru='python-reference', zh='python-reference'}",
        "size=800",
        "kilobytes=40",
        "held_out_kilobytes=1",
        "flops=1e8",
        "dim=16",
    ],
    23: ["rows=4", "keys=8"],
    32: ["tokens=8", "head_dim=4"],
    24: ["text=python-reference", "steps=2", "dim=16", "context=32", "held_out_windows=4", "longest=128"],
    48: [
        *("text=python-reference", "trials=8", "epochs=0.002", "dim=16", "context=32", "held_out_windows=4"),
    ],
    25: ["text=python-reference", "steps=2", "dim=16", "context=32", "held_out_windows=4", "rates=[0.001]"],
}


@pytest.mark.parametrize("question", TINY)
def test_a_tiny_run_gives_a_whole_finding(question):
    whole(question, TINY[question])


@pytest.mark.parametrize("question", SMALL)
def test_a_tiny_run_on_a_small_model_gives_a_whole_finding(question, small_decoder, real_text):
    whole(question, [f"model={small_decoder}", *REAL[question]])


@pytest.mark.slow
@pytest.mark.parametrize("question", REAL)
def test_a_tiny_run_on_the_real_model_gives_a_whole_finding(question, smollm2_path, real_text):
    whole(question, REAL[question])


@pytest.fixture(scope="module")
def real_text():
    try:
        return read("sst2-test").documents + read("wikitext2").documents
    except LmworksError as error:
        pytest.skip(
            f"WikiText-2 or SST-2 is not here ({error}); set LMWORKS_DATA, or connect once and run: lmworks lab 12"
        )


def test_a_tiny_run_on_unknown_words_gives_a_whole_finding(tmp_path):
    new = tmp_path / "new.txt"
    new.write_text(
        "".join(f"Zorblax {number} ate a grüne quince — 日本 = {number**3} _or_ so.\n\n" for number in range(60))
    )
    names = ["home=['python-reference']", f"new={{\"Python's reference\"='{new}', 'text messages'='{new}'}}"]
    names += ["vocab_size=600", "kilobytes=40", "held_out_kilobytes=1", "pairs=20", "words=2", "flops=1e8", "dim=16"]
    found = whole(16, names).by_seed
    # What holds of any network: bytes lose nothing, and words lose what they do not know.
    back, lost = (found[one.name] for one in (q16_unknown_words.BACK, q16_unknown_words.LOST))
    assert back["bpe"]["all"] == 1 and back["word"]["all"] == 0
    assert lost["bpe, text messages"]["all"] == 0 and lost["word, text messages"]["all"] > 0.2
    with pytest.raises(ConfigError, match="not new to itself"):
        run(16, "quick", RunOptions(["home=['python-reference']", "new={x='python-reference'}"]))


def test_a_catalogue_that_is_not_here_is_named_with_what_brings_it(monkeypatch, tmp_path):
    monkeypatch.setattr(corpora, "CATALOGUES", tmp_path)
    with pytest.raises(DataError, match=r"messages:xx.*apt install postgresql"):
        run(1, "quick", RunOptions(["texts={xx='messages:xx'}"]))
    for version in (9, 15, 17):
        path = tmp_path / "xx" / "LC_MESSAGES" / f"postgres-{version}.mo"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert corpora.catalogue("messages:xx") == str(path) and corpora.catalogue("sms-spam") == "sms-spam"


@pytest.mark.parametrize("kind", ["byte", "word", "wordpiece"])
def test_bits_of_texts_are_those_of_all_their_tokens_and_of_all_that_these_lose(kind):
    texts = [f"The {noun} walked {number} miles." for noun in ("king", "baker") for number in range(30)]
    size = {"byte": None, "word": 6, "wordpiece": 55}[kind]
    tokenizer = train_tokenizer(texts, TokenizerConfig(kind=kind, vocab_size=size))
    lost = LostText(tokenizer, texts)
    stream = writers.token_stream(tokenizer, texts)
    writer = writers.trained_writer(lost, stream, flops=1e7, rate=1e-3, seed=0, dim=16, context=64)
    held_out = ["The zebra walked 7 miles.", "A kïng!"]
    parts = [[*tokenizer.encode(text, special=False), tokenizer.eos] for text in held_out]
    ids = [tokenizer.eos, *parts[0], *parts[1]]
    logits = writer.network(torch.tensor([ids[:-1]]))[0]
    expected = F.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum").item() / math.log(2)
    costs = writer.costs(held_out)
    assert sum(cost.ids for cost in costs) == pytest.approx(expected, rel=1e-4)
    assert [cost.bytes for cost in costs] == [26, 9]
    assert all((cost.lost > 0) == (kind != "byte") for cost in costs)
    spelt = sum(cost.bits for cost in writer.costs(held_out, lambda words: [100.0] * len(words)))
    words = [word for text in held_out for word in lost.of(text)[1]]
    assert (len(words) > 0) == (kind != "byte")
    plain = sum(cost.ids for cost in costs) + sum(lost.of(text)[2] for text in held_out)
    assert spelt == pytest.approx(plain + 100 * len(words))


def test_a_tokenizer_loses_the_bytes_of_the_words_that_it_does_not_know():
    tokenizer = train_tokenizer(["one two", "one two"], TokenizerConfig(kind="word", vocab_size=4))
    assert corpora.lost_share(tokenizer, ["one two", "one zwei"]) == pytest.approx(5 / 15)  # with its space
    assert corpora.lost_share(train_tokenizer(["x"], TokenizerConfig(kind="byte")), ["one zwei"]) == 0


def test_a_rare_word_came_at_most_twice_and_chinese_has_none_that_is_told(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"the same word {'x' * number} here\n\n" for number in range(3, 60)))
    english, chinese = (corpora.language(name, str(path), 1_000, 200) for name in ("en", "zh"))
    assert english.held_out == chinese.held_out and sum(len(one.text) for one in english.train) <= 1_000
    assert all(english.rare) and not any(chinese.rare)


def test_operations_are_equal_whatever_the_vocabulary():
    spent = []
    for size in (257, 4000):
        config = small_network(0, dim=16, context=32, vocab_size=size).config
        each = training_flops(config, count_parameters(config), 32).all * writers.ROWS
        spent.append(writers.steps_within(1e10, config) * each)
    assert spent == pytest.approx([1e10, 1e10], rel=0.02)


def test_texts_are_drawn_by_seed_up_to_a_size():
    texts = [f"text {number:03}" for number in range(100)]
    first, again, other = (writers.drawn(texts, 90, seed) for seed in (0, 0, 1))
    assert first == again != other and len(first) == 10 and len(set(first)) == 10
    assert writers.drawn(texts, 1, 0) == first[:1]


def test_made_up_words_are_new_and_the_same_for_a_seed():
    once = made_up.nonce_words(50, 3, set())
    assert len(set(once)) == 50 and once == made_up.nonce_words(50, 3, set())
    assert not set(once) & set(made_up.nonce_words(50, 3, set(once)))


def test_cuts_of_a_compound_are_where_tokens_end():
    tokenizer = train_tokenizer(["king", " king", " king", "ship", "ship"], TokenizerConfig(vocab_size=264))
    assert [tokenizer.token_bytes(number) for number in tokenizer.encode(" kingship")] == [b" king", b"ship"]
    assert made_up.cuts(tokenizer, "kingship") == {4}
    assert made_up.cuts(train_tokenizer(["x"], TokenizerConfig(kind="byte")), "abc") == {1, 2}


def test_the_human_text_is_scored_as_the_model_scores_it(smollm2_path, real_text):
    from lmworks.language_model import LanguageModel

    model = LanguageModel.load(str(smollm2_path), dtype="float32")
    [excerpt, _] = excerpts(model, real_text, 2, seed=1, prompt=8, length=6)
    ids = excerpt.ids + excerpt.human.tokens
    expected = model.logits([ids])[0, 7:-1].log_softmax(dim=-1).gather(1, torch.tensor(ids[8:])[:, None])[:, 0]
    assert excerpt.human.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
    again, _ = excerpts(model, real_text, 2, seed=1, prompt=8, length=6)
    assert again == excerpt
    with pytest.raises(DataError, match="longer text"):
        excerpts(model, real_text[:1], 3, seed=1, prompt=8, length=100_000)


def test_text_like_human_text_has_no_distance_and_two_deviations_are_two():
    human = [Continuation([1, 2, 3, 4], [-math.log(2) * bits] * 4) for bits in (4.0, 5.0, 6.0)]
    other = [Continuation([1, 2, 3, 4], [-math.log(2) * 7.0] * 4)]
    rod = spread(human)
    assert gap(human, human, rod) == 0
    assert gap(other, human, rod) == pytest.approx(2 / 3)  # two deviations in one of three features


def test_entropy_of_an_even_distribution_is_the_logarithm_of_its_size():
    assert step_distributions.entropy(torch.full((16,), 1 / 16)) == pytest.approx(4)


def test_the_best_other_temperature_is_chosen_without_the_sweet_spot():
    assert q06_temperature.best_other({0.8: 1.0, 0.5: 2.0, 1.0: 3.0}) == 0.5


def test_stories_are_browns_fiction_as_it_is_printed():
    lines = "`` Come in '' , he said .\nIt was cold ."
    documents = [Document(lines, f"brown#c{name}") for name in ("a01", "k01", "r09")]
    stories = q06_temperature.fiction(documents)
    assert [one.source for one in stories] == ["brown#ck01", "brown#cr09"]
    assert stories[0].text == '"Come in", he said.\nIt was cold.'
    assert q06_temperature.fiction([Document("x", "notes")])[0].text == "x"


def test_counts_of_texts_give_the_distance_of_the_texts():
    human = [Continuation([1, 2, 3, 4], [-math.log(2) * bits] * 4) for bits in (4.0, 5.0, 6.0)]
    other = [Continuation([1, 2, 2, 2], [-math.log(2) * bits] * 4) for bits in (7.0, 7.0, 5.5)]
    sums = torch.tensor(list(map(continuations.likeness, other, human))).double().sum(0).numpy()
    bits, tokens, pairs = (6.5 - 5) / math.sqrt(2 / 3), 0.5 / 1e-6, (1 - 2 / 3) / 1e-6
    assert continuations.gap_of(sums) == pytest.approx((bits + tokens + pairs) / 3)
    assert continuations.gap_of(torch.tensor(continuations.likeness(human[0], human[0])).numpy()) == 0


def test_counts_are_summed_by_document():
    assert continuations.summed([[1, 1], [5, 1], [2, 1]], ["a", "b", "a"]) == [[3, 2], [5, 1]]


def test_the_matched_p_leaves_the_entropy_of_top_k():
    rows = list(torch.randn(20, 500, generator=torch.Generator().manual_seed(0)).mul(3).softmax(dim=-1).numpy())
    p = step_distributions.matching_p([rows[:7], rows[7:]], 40)
    by_p, by_k = (
        sum(step_distributions.entropy(keep / keep.sum()) for keep in kept) / 20
        for kept in (
            [step_distributions.TOP_P.applied(row, top_p=p) for row in rows],
            [step_distributions.TOP_K.applied(row, top_k=40) for row in rows],
        )
    )
    assert by_p == pytest.approx(by_k, abs=0.05)


def test_the_relevant_keys_weight_is_the_formulas():
    for margin, keys in ((2.0, 16), (5.0, 4096)):
        expected = math.exp(margin) / (math.exp(margin) + keys - 1)
        assert q23_softmax.relevant_weight(margin, keys) == pytest.approx(expected, rel=1e-5)


def test_the_written_formula_is_softmax_where_it_does_not_overflow():
    scores = torch.randn(4, 9)
    torch.testing.assert_close(q23_softmax.written_softmax(scores), scores.softmax(dim=-1))
    assert q23_softmax.written_softmax(torch.tensor([[100.0, 0.0]])).isnan().any()


def test_without_the_root_the_network_computes_unscaled_scores():
    network = small_network(0, dim=16, layers=1, heads=1, context=8)
    tokens = torch.arange(6)[None]
    _, plain = network.run_with_cache(tokens)
    with attention_edits.without_root(network):
        _, raised = network.run_with_cache(tokens)
    scores = [one["blocks.0.attention.scores"].tril() for one in (plain, raised)]
    torch.testing.assert_close(4 * scores[0], scores[1])


def test_keys_that_are_taken_away_are_as_many_whichever_way_they_are_chosen():
    network, text = small_network(0, dim=16, layers=1, heads=1, context=16), torch.arange(17 * 4) % 256
    seen = []
    monitor = {"blocks.0.attention.pattern": lambda pattern: seen.append((pattern == 0).sum(-1)[:, 0])}
    with hooked(network, monitor):
        plain, top, drawn = (
            window_bits(network, text, 4),
            attention_edits.without_keys(network, text, 4, 3),
            attention_edits.without_keys(network, text, 4, 3, seed=1),
        )
    assert plain != top != drawn != plain
    lost = [count - seen[0] for count in seen]
    assert lost[1].equal(lost[2]) and lost[1][0].tolist() == [0] * 6 + [3] * 10


def test_an_exponent_is_the_slope_of_logarithms():
    assert exponent([1, 2, 4, 8], [3.0, 12.0, 48.0, 192.0]) == pytest.approx(2)


def test_peak_memory_counts_what_is_held_at_once_and_not_what_was_freed():
    def call():
        first = torch.ones(1000)
        total = first.sum()
        del first
        return torch.ones(500) * total

    def keeps():
        return torch.cat([torch.ones(1000), torch.ones(500)])

    assert 4000 <= peak_memory(call) <= 4100
    assert peak_memory(keeps) == 12_000


def test_squared_error_is_the_brier_score():
    logits, targets = torch.randn(5, 7), torch.tensor([0, 1, 2, 3, 6])
    p, y = logits.softmax(dim=-1), F.one_hot(targets, 7)
    torch.testing.assert_close(squared_error.squared_error(logits, targets), ((p - y) ** 2).sum(dim=-1).mean())


def test_a_model_that_is_as_sure_as_it_is_right_has_no_calibration_error():
    p = torch.tensor([0.75, 0.25]).log().repeat(4, 1)
    p = p.softmax(dim=-1)
    assert squared_error.calibration_error(p, torch.tensor([0, 0, 0, 1])) == pytest.approx(0, abs=1e-7)
    assert squared_error.calibration_error(p, torch.tensor([1, 1, 1, 1])) == pytest.approx(0.75)


def test_the_written_out_formula_equals_a_kernel_with_a_window_shorter_than_the_text():
    query, key, value = torch.randn(3, 2, 4, 9, 8, generator=torch.Generator().manual_seed(0)).double()
    key, value = key[:, :2], value[:, :2]
    case = attention_formula.Case("window", kv_heads=2, window=3)
    monolith = attention_formula.reference(query, key, value, attention_formula.sees(case, 9)[:2])
    torch.testing.assert_close(attend(query, key, value, visibility(9, 9, 3), "explicit"), monolith)


def test_a_level_is_reached_where_the_curve_crosses_it():
    curve = [(0.25, 4.0), (0.5, 3.0), (1.0, 2.0)]
    assert recipe_runs.reached(curve, 2.5) == pytest.approx(0.75)
    assert recipe_runs.reached(curve, 5.0) == 0.25
    assert recipe_runs.reached(curve, 1.0) == 1.0


def test_bits_of_windows_are_those_of_the_text():
    network, text = small_network(1, dim=16, context=16), torch.arange(17 * 20) % 256
    bits = window_bits(network, text, 20)
    assert len(bits) == 20
    assert sum(bits) / 20 == pytest.approx(bits_per_byte(*held_out_logits(network, text, 20)))


def test_training_lowers_the_loss_and_the_same_seed_gives_the_same_network():
    text = byte_text("python-reference")
    assert len(text.train) > 4 * len(text.held_out) > 0 and len(text.choose) > 10_000
    config = TrainingConfig(steps=12, rows=8, learning_rate=1e-2, seed=3)
    first, second = (train(small_network(3, dim=32, context=32), text.train, config) for _ in range(2))
    before = bits_per_byte(*held_out_logits(small_network(3, dim=32, context=32), text.held_out, 8))
    after = bits_per_byte(*held_out_logits(first, text.held_out, 8))
    assert before == pytest.approx(8, abs=0.1) and after < 6
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
