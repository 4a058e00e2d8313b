"""Experiments about attention: tiny runs, and their parts against what is known beforehand."""

from __future__ import annotations

import pytest
import tiny
import torch

from lab.whole import whole
from lmworks.basics.errors import DataError, LmworksError
from lmworks.jobs.planning.parameters import count_parameters
from lmworks.lab.bench import head_links, head_roles, longer_windows, order_task
from lmworks.lab.bench.verb_objects import Clause, verb_objects
from lmworks.lab.experiments import q21_positions
from lmworks.models.network import Network
from lmworks.text.document import Document
from lmworks.text.sources import read

TINY = {
    2: ["choose=8", "judge=8"],
    21: [
        *("text=python-reference", "steps=2", "dim=16", "context=32", "held_out_windows=4"),
        "order_steps=2",
    ],
    22: [
        *("tokens=16", "texts=2", "every=30", "clauses=4", "learnt=python-reference", "steps=2"),
        "held_out_windows=4",
    ],
}
MODELS = {2: {"decoder": "small_decoder", "encoder": "small_encoder"}, 22: {"model": "many_tokens"}}
"""Random models in the place of the real ones."""


@pytest.fixture
def texts():
    try:
        for text in ("brown-tagged", "wikitext2"):
            read(text)
    except LmworksError as error:
        pytest.skip(f"{text} is not here ({error}); connect once and run: lmworks lab 22")


def test_a_tiny_run_gives_a_whole_finding():
    whole(21, TINY[21])


@pytest.mark.parametrize("question", MODELS)
def test_a_tiny_run_on_small_models_gives_a_whole_finding(question: int, texts, request: pytest.FixtureRequest):
    small = [f"{name}={request.getfixturevalue(model)}" for name, model in MODELS[question].items()]
    whole(question, [*small, *TINY[question]])


@pytest.mark.slow
@pytest.mark.parametrize("question", MODELS)
def test_a_tiny_run_on_the_real_models_gives_a_whole_finding(question: int, texts, smollm2_path, minilm):
    whole(question, TINY[question])


def clause(line: str) -> tuple[str, str, int] | None:
    found = list(verb_objects([Document(line, "x")]))
    return (found[0].words[found[0].verb], found[0].words[found[0].object], found[0].distance) if found else None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("The/at cat/nn chased/vbd the/at small/jj mouse/nn ./.", (" chased", " mouse", 3)),
        ("He/pps ate/vbd apple/nn pie/nn quickly/rb today/nr ./.", (" ate", " pie", 2)),
        ("The/at mouse/nn was/bedz chased/vbn by/in the/at cat/nn ./.", None),
        ("The/at cat/nn became/vbd a/at mouse/nn in/in time/nn ./.", None),
        ("She/pps gave/vbd the/at man/nn a/at book/nn ./.", None),
        ("She/pps knew/vbd the/at man/nn was/bedz old/jj ./.", None),
        ("They/ppss waited/vbd a/at week/nn for/in it/ppo ./.", None),
        ("A/at training/vbg program/nn helps/vbz ,/, he/pps said/vbd ./.", None),
        ("They/ppss went/vbd to/in the/at house/nn again/rb ./.", None),
        ("He/pps ate/vbd it/ppo ./.", None),
    ],
)
def test_a_verbs_object_is_found_and_what_may_be_something_else_is_left_out(line: str, expected: object):
    assert clause(line) == expected


def test_a_clause_is_written_as_it_was_printed():
    line = "``/`` She/pps-hl saw/vbd (/( once/rb )/) a/at dog/nn ''/'' ,/, he/pps said/vbd ;/. ;/."
    [found] = verb_objects([Document("The/at end/nn\n" + line.replace("(/( once/rb )/) ", ""), "x")])
    assert "".join(found.words) == '"She saw a dog", he said;'
    assert (found.words[found.verb], found.words[found.object]) == (" saw", " dog")


def test_halves_share_no_document_and_every_distance_is_as_frequent():
    words = tuple(" w" for _ in range(9))
    clauses = [Clause(words, 1, 1 + one, f"d{at % 12}") for at in range(240) for one in (1, 2, 3, 4)]
    sample = head_links.Halves.of(clauses, 16, 32)
    assert not {one.source for one in sample.choose} & {one.source for one in sample.judge}
    for half, each in ((sample.choose, 4), (sample.judge, 8)):
        assert [sum(one.distance == d for one in half) for d in (1, 2, 3, 4)] == [each] * 4
    with pytest.raises(DataError, match="take fewer clauses"):
        head_links.Halves.of(clauses, 4, 4_000)


@pytest.mark.parametrize("arrangement", ["decoder", "encoder"])
def test_a_head_that_looks_at_the_verb_links_and_one_that_looks_elsewhere_does_not(arrangement: str, monkeypatch):
    model = tiny.language_model(family="lmworks", arrangement=arrangement)
    made = head_links.sentences(0, 12)

    def patterns(network: Network, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Head 1 of layer 0 looks from every word to "chased" and its like, all others to the first word."""
        weights = torch.zeros(2, *tokens.shape[:1], 4, tokens.shape[1], tokens.shape[1])
        weights[..., int(model.tokenizer.document_start is not None)] = 0.5
        rows = head_links.encode(model, made[patterns.start : patterns.start + len(tokens)])
        patterns.start += len(tokens)
        assert torch.equal(rows.filled, tokens)
        for at, one in enumerate(rows.clauses):
            weights[0, at, 1, :, rows.words[at] == one.verb] = 0.2  # as letters they outweigh the first word together
        return weights

    patterns.start = 0
    monkeypatch.setattr(head_links, "attention_patterns", patterns)
    seen = head_links.look(model, made)
    assert seen.scores[:, 0, 1].eq(1).all() and seen.scores.sum() == 12
    assert head_links.ranked(seen.scores)[0] == (0, 1)
    expected = [one.object if arrangement == "decoder" else len(one.words) - 1 for one in made]
    assert seen.chances == pytest.approx([1 / one for one in expected])


def test_words_of_a_sentence_are_its_tokens():
    model = tiny.language_model()
    [one] = head_links.sentences(1, 1)
    rows = head_links.encode(model, [one, Clause((*one.words, " so"), 2, 4, "")])
    text = model.tokenizer.decode(
        [int(token) for token, word in zip(rows.tokens[0], rows.words[0], strict=True) if word >= 0]
    )
    assert text == "".join(one.words) and rows.mask[1].all() and not rows.mask[0].all()


def test_the_loss_at_objects_is_that_of_their_tokens():
    model = tiny.language_model()
    made = head_links.sentences(2, 3)
    rows = head_links.encode(model, made)
    logprobs = model.network(rows.filled, rows.mask).log_softmax(dim=-1)
    bits = [
        -float(logprobs[at, place - 1, rows.filled[at, place]]) / 0.6931471805599453
        for at, one in enumerate(made)
        for place in range(1, rows.tokens.shape[1])
        if rows.words[at, place] == one.object
    ]
    found, rest = head_links.losses(model, made)
    assert sum(one for one, _ in found) == pytest.approx(sum(bits), rel=1e-5)
    assert sum(tokens for _, tokens in found) == len(bits)
    words = int((rows.words[:, 1:] >= 0).sum())
    assert sum(tokens for _, tokens in rest) == words - len(bits)


KINDS = [one.name for one in q21_positions.KINDS]


def test_marks_are_labelled_by_their_order():
    rows, labels = order_task.marks(50, 10, torch.Generator().manual_seed(0))
    for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
        assert row[0] == row[-1] == order_task.START
        assert (row.index(order_task.SECOND) < row.index(order_task.FIRST)) == bool(label)


def test_order_moves_an_encoder_only_by_its_positions():
    moved = {kind: order_task.moved_by_order(order_task.order_network(0, kind, 10, 2), 10, 0) for kind in KINDS}
    assert moved.pop("none") < 1e-12 and min(moved.values()) > 1e-6
    layers = [order_task.marks_network(0, "none", 10, "decoder", layers) for layers in (1, 2)]
    one, two = (order_task.moved_by_order(network, 10, 0) for network in layers)
    assert one < 1e-12 < 1e-6 < two


@pytest.mark.parametrize("kind", KINDS)
def test_a_lengthened_network_reads_short_texts_as_before(kind: str):
    network = longer_windows.reader(0, kind, 16, 32).eval()
    tiny.randomise(network)
    longer = longer_windows.lengthened(network, 64, 1)
    tokens = tiny.text(2, 32)
    torch.testing.assert_close(longer(tokens), network(tokens))
    assert longer(tiny.text(1, 64)).isfinite().all()


def test_networks_of_any_number_of_heads_and_keys_have_equally_many_parameters():
    shapes = [(1, 1), (4, 4), (8, 8), (8, 2), (8, 1)]
    counts = {count_parameters(head_roles.split_network(0, 96, *shape, 64).config).base for shape in shapes}
    assert len(counts) == 1


def test_heads_that_look_alike_have_no_distance_and_disjoint_ones_have_one():
    alike = torch.full((1, 1, 3, 4, 4), 0.25)
    assert head_roles.distance_of_heads(alike) == 0
    apart = torch.zeros(1, 1, 2, 4, 4)
    apart[:, :, 0, :, 0] = apart[:, :, 1, :, 1] = 1
    assert head_roles.distance_of_heads(apart) == 1


def test_a_text_with_too_few_long_documents_is_one_sentence():
    with pytest.raises(DataError, match=r"^0 of 1 documents have 64 tokens, and .* are wanted; give another text"):
        head_roles.beginnings(tiny.language_model(seed=0), [Document("Too short.", "notes")], 64, 3)


def test_copying_is_looking_after_the_same_token():
    network = tiny.network(vocab_size=2000, context=128)
    twice = head_roles.said_twice(network, 0, 4)
    half = head_roles.REPEATED
    assert torch.equal(twice[:, :half], twice[:, half:])
    seq = twice.shape[1]
    copying = torch.zeros(1, 4, 1, seq, seq)
    for at in range(half, seq):
        copying[..., at, at - half + 1] = 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_roles, "attention_patterns", lambda *_: copying)
        assert float(head_roles.copy_scores(network, twice)) == 1


def test_losses_begin_where_they_are_asked_to():
    network, rows = tiny.network(), tiny.text(2, 12)
    logprobs = network(rows).log_softmax(dim=-1)
    bits = [
        -float(logprobs[row, at - 1, rows[row, at]]) / 0.6931471805599453 for row in range(2) for at in range(5, 12)
    ]
    costs = head_roles.costs(network, rows, start=4)
    assert [tokens for _, tokens in costs] == [7, 7]
    assert [one for one, _ in costs] == pytest.approx([sum(bits[:7]), sum(bits[7:])], rel=1e-5)
    assert head_roles.costs(network, rows, [(0, 0)]) != head_roles.costs(network, rows)
