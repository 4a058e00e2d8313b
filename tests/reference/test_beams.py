"""Beams, and what encoder-decoders write, against transformers: equal tokens and equal scores from the same weights.

transformers 5 has no groups of beams any more; they are compared with a plain search that is written here.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from lmworks.generation.answer import Answer
from lmworks.generation.decoding import decode, start
from lmworks.generation.limits import ForcedTokens
from lmworks.generation.request import Request
from lmworks.generation.strategies import Beam, Greedy, Strategy
from lmworks.language_model import LanguageModel
from lmworks.models.files.directory import read_network
from lmworks.models.network import Network
from lmworks.tokens.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

VOCAB, START, PAD = 259, 258, 257
SOURCES = [[5, 6, 7, 8, 9, 3, 2], [11, 4], [20, 21, 22, 23, 24], [9], [100, 7, 100, 7, 100]]
NEW, SHORT = 10, 4
LAYERS = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
SMALL: dict[str, dict[str, Any]] = {
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    "bart": {"d_model": 32, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64, **LAYERS},
    "marian": {"d_model": 32, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64, **LAYERS},
    "llama": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
}
KINDS = {
    "t5": "T5ForConditionalGeneration",
    "bart": "BartForConditionalGeneration",
    "marian": "MarianMTModel",
    "llama": "LlamaForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}
BOTH = ("t5", "bart", "marian")
FURTHER = {
    "mt5": ("MT5ForConditionalGeneration", "t5"),
    "mbart": ("MBartForConditionalGeneration", "bart"),
    "pegasus": ("PegasusForConditionalGeneration", "bart"),
    "m2m_100": ("M2M100ForConditionalGeneration", "bart"),
}
"""Encoder-decoders that are searched as those are; their class, and whose sizes they have."""
Pair = tuple[LanguageModel, Any]


def with_ends(network: Network, ends: set[int]) -> LanguageModel:
    """Bytes, and tokens that end an answer."""
    vocabulary = tiny.byte_tokenizer().vocabulary
    return LanguageModel(network, Tokenizer(replace(vocabulary, stops=frozenset(ends), target_start=START)))


def that_end_at_different_lengths(network: Network) -> LanguageModel:
    """Random ones hardly end: what the network writes further on, and does not begin with, ends its answers."""
    model = with_ends(network, set())
    endless = (Greedy(min_new_tokens=NEW), Beam(width=4, min_new_tokens=NEW))
    answers = [one for how in endless for one in model.generate_batch(SOURCES, how, max_new_tokens=NEW)]
    wholes = [one.tokens for answer in answers for one in all_of(answer)]
    begins = {token for tokens in wholes for token in tokens[:2]}
    return with_ends(network, {token for tokens in wholes for token in tokens[2::3]} - begins)


@pytest.fixture(scope="module", params=list(KINDS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """One model, ours and transformers'."""
    return pair_of(request.param, tmp_path_factory.mktemp("models") / request.param)


def sizes_of(family: str) -> dict[str, Any]:
    sizes = SMALL.get(family) or SMALL[FURTHER[family][1]]
    return sizes | ({"max_position_embeddings": 2 * VOCAB} if family == "m2m_100" else {})  # more than the padding's id


def pair_of(family: str, folder: Path) -> Pair:
    """A model of this family, saved in the folder."""
    special = {"vocab_size": VOCAB, "pad_token_id": PAD, "eos_token_id": 256, "bos_token_id": 0}
    special |= {"decoder_start_token_id": START} if family in (*BOTH, *FURTHER) else {}
    config = transformers.AutoConfig.for_model(family, **special, **sizes_of(family))
    theirs = getattr(transformers, KINDS.get(family) or FURTHER[family][0])._from_config(config, dtype=torch.float32)
    tiny.randomise(theirs, seed=3)
    for part in theirs.modules():
        if hasattr(part, "create_weight"):  # Marian's sines are no parameters to be trained
            part.weight.data.copy_(part.create_weight())
    for name, weight in theirs.named_parameters():
        if name.endswith(("fc2.weight", "down_proj.weight", "wo.weight", "mlp.c_proj.weight")):
            weight.data *= 4  # else the token that was read is the most probable one, over and over
    theirs.save_pretrained(folder)
    return that_end_at_different_lengths(read_network(folder)), theirs.eval()


def written(pair: Pair, **settings: Any) -> list[list[tuple[list[int], float | None]]]:
    """What transformers writes for each source: tokens and score of each of its `num_return_sequences`."""
    theirs, returned = pair[1], settings.get("num_return_sequences", 1)
    longest, left = max(map(len, SOURCES)), not pair[0].translates
    blank = [[PAD] * (longest - len(source)) for source in SOURCES]
    rows = [gap + source if left else source + gap for gap, source in zip(blank, SOURCES, strict=True)]
    real = [[0] * len(gap) + [1] * len(source) for gap, source in zip(blank, SOURCES, strict=True)]
    ends = sorted(pair[0].tokenizer.stop_ids)
    out = theirs.generate(
        input_ids=torch.tensor(rows),
        attention_mask=torch.tensor(real if left else [row[::-1] for row in real]),
        **{"max_new_tokens": NEW, "do_sample": False, "eos_token_id": ends, "forced_eos_token_id": None} | settings,
        output_scores=True,
        return_dict_in_generate=True,
    )
    begun = longest if left else 1
    scores = [None] * len(out.sequences) if out.get("sequences_scores") is None else out.sequences_scores.tolist()
    flat = [(_ended(row[begun:].tolist(), ends), score) for row, score in zip(out.sequences, scores, strict=True)]
    return [flat[at : at + returned] for at in range(0, len(flat), returned)]


def _ended(tokens: list[int], ends: Collection[int]) -> list[int]:
    """Without what fills the row after the end."""
    end = next((at for at, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[: end + 1]


def all_of(answer: Answer) -> list[Answer]:
    return [answer, *answer.others]


def assert_same(answers: list[Answer], expected: list[list[tuple[list[int], float | None]]]) -> None:
    for answer, wanted in zip(answers, expected, strict=True):
        assert [one.tokens for one in all_of(answer)] == [tokens for tokens, _ in wanted]
        for one, (_, score) in zip(all_of(answer), wanted, strict=True):
            assert score is None or one.score == pytest.approx(score, rel=1e-5, abs=2e-5)


@pytest.mark.parametrize("width, early_stopping", itertools.product((2, 5), (True, False, "never")), ids=str)
def test_every_finished_answer_and_its_score_equal_transformers(pair: Pair, width: int, early_stopping: bool | str):
    found = {}
    for penalty in (-0.5, 0.0, 1.0, 2.5):
        strategy = Beam(width=width, length_penalty=penalty, early_stopping=early_stopping)
        answers = pair[0].generate_batch(SOURCES, strategy, max_new_tokens=NEW)
        settings = {"num_beams": width, "length_penalty": penalty, "early_stopping": early_stopping}
        assert_same(answers, written(pair, **settings, num_return_sequences=width))
        found[penalty] = [one.tokens for answer in answers for one in all_of(answer)]
    assert len({len(tokens) for some in found.values() for tokens in some}) > 2  # they do end at different lengths
    assert found[-0.5] != found[2.5]
    greedy = pair[0].generate_batch(SOURCES, max_new_tokens=NEW)
    assert [one.tokens for one in greedy] != [answer.tokens for answer in answers]


def test_when_to_stop_makes_a_difference(pair: Pair):
    """Pitfall 40: the three values of early_stopping are three searches."""
    found = []
    for early_stopping in (True, False, "never"):
        strategy = Beam(width=3, length_penalty=2.5, early_stopping=early_stopping)
        found.append(
            [
                one.tokens
                for answer in pair[0].generate_batch(SOURCES, strategy, max_new_tokens=24)
                for one in all_of(answer)
            ]
        )
    assert found[0] != found[2] and (found[0] != found[1] or found[1] != found[2])


@pytest.mark.parametrize("family", FURTHER)
def test_further_families_write_the_tokens_of_transformers(family: str, tmp_path: Path):
    pair = pair_of(family, tmp_path)
    assert_same(pair[0].generate_batch(SOURCES, max_new_tokens=NEW), written(pair))
    beams = pair[0].generate_batch(SOURCES, Beam(width=3), max_new_tokens=NEW)
    assert_same(beams, written(pair, num_beams=3, num_return_sequences=3))


def test_greedy_tokens_of_an_encoder_decoder_equal_transformers(pair: Pair):
    assert_same(pair[0].generate_batch(SOURCES, max_new_tokens=NEW), written(pair))


@pytest.mark.parametrize(
    "ours, theirs",
    [
        ({"no_repeat_ngram": 1}, {"no_repeat_ngram_size": 1}),
        ({"no_repeat_ngram": 2}, {"no_repeat_ngram_size": 2}),
        ({"repetition_penalty": 1.7}, {"repetition_penalty": 1.7}),
        ({"no_repeat_ngram": 3, "repetition_penalty": 0.6}, {"no_repeat_ngram_size": 3, "repetition_penalty": 0.6}),
        ({"min_new_tokens": 9}, {"min_new_tokens": 9}),
    ],
    ids=str,
)
@pytest.mark.parametrize("width", [1, 4])
def test_penalties_and_forbidden_tokens_equal_transformers(pair: Pair, ours: Any, theirs: Any, width: int, monkeypatch):
    """One source at a time for a decoder: transformers counts padding on the left as text that may not come again."""
    least = 0 if "min_new_tokens" in ours else NEW
    plain: Strategy = Greedy(min_new_tokens=least)
    beams = {}
    if width > 1:  # short answers are preferred
        plain = Beam(width=width, min_new_tokens=least, length_penalty=-1.0)
        beams = {"num_beams": width, "num_return_sequences": width, "length_penalty": -1.0}
    batches = [SOURCES] if pair[0].translates else [[source] for source in SOURCES]
    changed = []
    for batch in batches:
        monkeypatch.setitem(globals(), "SOURCES", batch)
        answers = pair[0].generate_batch(batch, plain.but(**ours), max_new_tokens=NEW)
        assert_same(answers, written(pair, **beams, **({"min_new_tokens": least} | theirs)))
        before = pair[0].generate_batch(batch, plain, max_new_tokens=NEW)
        changed += [one.tokens != other.tokens for one, other in zip(answers, before, strict=True)]
    assert any(changed)


@pytest.mark.parametrize("width", [1, 4])
def test_forced_and_bad_tokens_equal_transformers(pair: Pair, width: int):
    ours, _ = pair
    if not ours.translates:
        pytest.skip("a model's own forced tokens are honoured for encoder-decoders")
    plain: Strategy = Greedy() if width == 1 else Beam(width=width, length_penalty=2.0)
    beams = {"num_beams": width, "num_return_sequences": width, "length_penalty": 2.0} if width > 1 else {}
    first, end = ours.generate_batch(SOURCES, plain, max_new_tokens=SHORT), min(ours.tokenizer.stop_ids)
    bad = [first[0].tokens[:1], first[1].tokens[:2], [end]]  # an end is not taken for a bad word
    forced_tokens = ForcedTokens(first=77, last=256, bad_words=tuple(map(tuple, bad)))
    requests = [
        Request(ours.tokenizer, [START], plain, SHORT, [], 64, source=source, forced=forced_tokens)
        for source in SOURCES
    ]
    sequences = [start(request, ours.runner) for request in requests]
    for _ in decode(ours.runner, sequences):
        pass
    forced = {"forced_bos_token_id": 77, "forced_eos_token_id": 256, "bad_words_ids": bad, "max_new_tokens": SHORT}
    assert_same([Answer.of(sequence) for sequence in sequences], written(pair, **beams, **forced))
    assert all(sequence.tokens[0] == 77 for sequence in sequences)
    assert any(len(sequence.tokens) == SHORT and sequence.tokens[-1] == 256 for sequence in sequences)


def diverse(
    logprobs_of: Callable[[tuple[int, ...]], list[float]], ends: Collection[int], strategy: Beam, longest: int
) -> list[tuple[float, tuple[int, ...]]]:
    """A diverse beam search in plain Python, of one source: (score, tokens) of all that is finished."""
    each = strategy.width // strategy.groups
    beams: list[list[tuple[float, tuple[int, ...]]]] = [[(0.0, ())] for _ in range(strategy.groups)]
    finished: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in beams]
    for length in range(1, longest + 1):
        taken: Counter[int] = Counter()
        for group, running in enumerate(beams):
            tried = [
                (total + logprob - strategy.diversity_penalty * taken[token], (*tokens, token))
                for total, tokens in running
                for token, logprob in enumerate(logprobs_of(tokens))
            ]
            tried.sort(reverse=True)
            over = [one for one in tried[:each] if one[1][-1] in ends or length == longest]
            kept = [one for one in tried if one[1][-1] not in ends][:each] if running and length < longest else []
            finished[group] += [(total / length**strategy.length_penalty, tokens) for total, tokens in over]
            finished[group] = sorted(finished[group], reverse=True)[:each]
            taken.update(tokens[-1] for _, tokens in kept)
            worst = finished[group][-1][0] if len(finished[group]) == each else -float("inf")
            hopeless = bool(kept) and kept[0][0] / length**strategy.length_penalty <= worst
            full = strategy.early_stopping is True and worst > -float("inf")
            beams[group] = [] if hopeless or full else kept
    return sorted((one for group in finished for one in group), reverse=True)


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("width, groups, penalty", [(4, 2, 0.7), (6, 3, 2.0), (3, 3, 0.2)])
def test_groups_equal_a_plain_diverse_search(pair: Pair, width: int, groups: int, penalty: float, early_stopping: bool):
    ours = pair[0]
    strategy = Beam(width=width, groups=groups, diversity_penalty=penalty, early_stopping=early_stopping)
    answers = ours.generate_batch(SOURCES, strategy, max_new_tokens=6)
    for source, answer in zip(SOURCES, answers, strict=True):
        known: dict[tuple[int, ...], list[float]] = {}

        def logprobs_of(tokens: tuple[int, ...], source=source, known=known) -> list[float]:
            if tokens not in known:
                read = [START, *tokens] if ours.translates else [*source, *tokens]
                with torch.inference_mode():
                    memory = ours.network.encode(torch.tensor([source])) if ours.translates else None
                    logits = ours.network(torch.tensor([read]), memory=memory)[0, -1]
                known[tokens] = logits.log_softmax(0).tolist()
            return known[tokens]

        expected = diverse(logprobs_of, ours.tokenizer.stop_ids, strategy, 6)
        assert [tuple(one.tokens) for one in all_of(answer)] == [tokens for _, tokens in expected]
        assert [one.score for one in all_of(answer)] == pytest.approx([score for score, _ in expected], abs=2e-5)
    plain = ours.generate_batch(SOURCES, Beam(width=width, early_stopping=early_stopping), max_new_tokens=6)
    assert [[one.tokens for one in all_of(answer)] for answer in answers] != [
        [one.tokens for one in all_of(answer)] for answer in plain
    ]


def test_a_target_is_scored_as_transformers_does(pair: Pair):
    ours, theirs = pair
    if not ours.translates:
        pytest.skip("of encoder-decoders")
    source, target = "né😀", "one two"
    score = ours.score(target, prompt=source)
    read = [*ours.tokenizer.encode(source, special=False), ours.tokenizer.document_end]
    labels = [*ours.tokenizer.encode(target, special=False), ours.tokenizer.document_end]
    with torch.inference_mode():
        logits = theirs(input_ids=torch.tensor([read]), decoder_input_ids=torch.tensor([[START, *labels[:-1]]])).logits
    expected = logits[0].log_softmax(-1).gather(1, torch.tensor(labels)[:, None])[:, 0]
    assert (
        score.tokens == labels
        and score.bytes == len(target)
        and score.logprobs == pytest.approx(expected.tolist(), abs=2e-5)
    )
    assert ours.score(target, prompt=read).logprobs == score.logprobs != ours.score(target, prompt="x").logprobs


def test_what_we_write_is_read_by_transformers_with_its_generation(pair: Pair, tmp_path: Path):
    ours, _ = pair
    if not ours.translates:
        pytest.skip("of encoder-decoders")
    folder = ours.save(tmp_path / "saved")
    theirs = getattr(transformers, KINDS[ours.config.family]).from_pretrained(folder, dtype=torch.float32)
    back = LanguageModel.load(folder)
    tokens = theirs.generate(torch.tensor([SOURCES[0]]), num_beams=3, max_new_tokens=NEW)[0, 1:].tolist()
    assert back.generate(SOURCES[0], Beam(width=3), max_new_tokens=NEW).tokens == _ended(
        tokens, back.tokenizer.stop_ids
    )
