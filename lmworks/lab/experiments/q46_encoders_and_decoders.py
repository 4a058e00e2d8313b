"""Question 46: encoders understand and decoders write, as the parts of one translator, and each alone.

One block in three arrangements learns the same pairs: an encoder and a decoder that attends to it; a decoder alone,
which reads the source as a prefix and goes on; an encoder alone, which fills targets that are gaps. Which translates
best? What is left of the translator without its cross-attention? And from whose states can be told what a question asks
for?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lmworks.encoding.embedding import batches_by_length, pooled
from lmworks.evaluation.answers import whole_answers
from lmworks.evaluation.measurement import Measurement
from lmworks.generation.answer import Answer
from lmworks.generation.strategies import Greedy
from lmworks.lab.bench.arrangements import continue_sources, fill_targets, single_stack
from lmworks.lab.bench.encoders import MEAN, Labelled, drawn_labelled, regressed
from lmworks.lab.bench.translators import CONTEXT, TRANSFORMER, copied, pairs_of, quality, translation, translator
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.language_model import LanguageModel
from lmworks.models.hooks import HookFunction, hook_points, hooked
from lmworks.models.network import Network
from lmworks.text.sources import read
from lmworks.tokens.pairs import padded, real
from lmworks.tokens.source import source_ids, target_start
from lmworks.tokens.tokenizer import Tokenizer

BOTH, DECODER, ENCODER = "encoder-decoder", "decoder alone", "encoder alone"
ROUNDS = (1, 4)
"""Rounds in which an encoder fills a target."""
BLOCKS, WIDTH = 2, 640
"""Blocks of a stack that is alone, and the width inside their feed-forwards: as many operations a pair as the 2 + 2
narrower blocks of the encoder-decoder, since both texts pass through all of them."""
SILENCED, SHUFFLED = "without cross-attention", "with the source of another sentence"
BLEU, CHRF = "BLEU", "chrF"
TOLD = "what is asked for, told from"
OF_ENCODER, OF_DECODER = "the encoder's states", "the decoder's states as it writes"
OF_PREFIX, OF_FILLER, OF_FRESH = "a lone decoder's states", "a lone encoder's states", "an untrained encoder's states"
WRITTEN = 40
"""Tokens that the decoder writes for a question, at most."""


def filled(rounds: int) -> str:
    """How an encoder's answers are called."""
    return f"{ENCODER}, {rounds} round{'s' if rounds > 1 else ''}"


BEST_FILLED = filled(ROUNDS[-1])


@experiment(
    question=46,
    claim="Encoders process input into abstract representations capturing context; decoders generate outputs using the "
    "encoder's data and previously generated tokens. In translation, the encoder understands the source and the "
    "decoder writes the target.",
    rule=Rule(
        holds_if=(
            Check(f"{BLEU}, {BOTH} minus {BEST_FILLED}", ">", 0),
            Check(f"{BLEU}, {SILENCED} minus {BOTH}", "<", 0),
            Check(f"{TOLD} {OF_ENCODER} minus {OF_DECODER}", ">", 0),
            Check(f"{TOLD} {OF_ENCODER} minus {OF_FRESH}", ">", 0),
        ),
        only_if=(
            (
                Check(f"{BLEU}, {BOTH} minus {DECODER}", ">", 0),
                "the two are parts of one: with as many operations a decoder that reads and writes translates as well",
            ),
        ),
    ),
)
def encoders_and_decoders(
    pairs: Several = scaled(2000, 29_000),
    epochs: Count = scaled(1, 2),
    judged: str = scaled("multi30k-validation-en-de", "multi30k-test2016-en-de"),
    sentences: Several = scaled(60, 500),
    labelled: str = "trec-train",
    labelled_held_out: str = "trec-test",
    labels: Several = scaled(200, 1000),
    seeds: Count = 3,
) -> Observation:
    """BLEU of three arrangements, of a translator that is cut; accuracy of linear probes on their states."""
    asked = pairs_of(judged, sentences)
    found: dict[str, dict[str, dict[int, float]]] = {BLEU: {}, CHRF: {}, TOLD: {}}
    for seed in range(seeds):
        recipe = translation(TRANSFORMER, epochs=epochs, seed=seed)
        models = {BOTH: translator(recipe, pairs)}
        models |= {
            DECODER: single_stack("decoder", recipe, pairs, BLOCKS, WIDTH),
            ENCODER: single_stack("encoder", recipe, pairs, BLOCKS, WIDTH),
        }
        for name, written in _written(models, asked, _ratio(models[BOTH].tokenizer, pairs)).items():
            for figure, value in quality(written, asked).items():
                found.setdefault(figure, {}).setdefault(name, {})[seed] = value
        data = drawn_labelled(read(labelled).documents, read(labelled_held_out).documents, labels, seed)
        for name, value in _probed(models, data, seed).items():
            found[TOLD].setdefault(name, {})[seed] = value
    chance = copied(asked)
    bleu, told = found[BLEU], found[TOLD]
    measurements = (
        *(
            measured(f"{figure}, {name}", by_seed, "", chance=chance[figure], ideal=100.0)
            for figure in (BLEU, CHRF)
            for name, by_seed in found[figure].items()
        ),
        *(difference(f"{BLEU}, {BOTH} minus {name}", bleu[BOTH], bleu[name]) for name in (DECODER, BEST_FILLED)),
        *(difference(f"{BLEU}, {name} minus {BOTH}", bleu[name], bleu[BOTH]) for name in (SILENCED, SHUFFLED)),
        *(measured(f"{TOLD} {name}", by_seed, "", chance=data.chance, ideal=1.0) for name, by_seed in told.items()),
        *(
            difference(f"{TOLD} {OF_ENCODER} minus {name}", told[OF_ENCODER], told[name])
            for name in told
            if name != OF_ENCODER
        ),
    )
    sizes = ", ".join(f"{name} {_parameters(model):,}" for name, model in models.items())
    return Observation(measurements=measurements, chart=_chart(measurements), note=f"Parameters: {sizes}. {NOTE}")


NOTE = (
    "All read the same pairs equally often with the same optimiser and rates, which were chosen for the "
    "encoder-decoder. A decoder alone reads the source from both sides, and passes both texts through all of its "
    "blocks: at equal operations it has fewer parameters, at equal parameters it would take about twice the operations "
    "(Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 3.2.2). The encoder alone fills targets "
    "of five lengths around the mean ratio, in one round or in four, and keeps the one it is surest of. Answers are "
    "greedy. Without cross-attention: what the trained decoder takes from the source is set to zero, so it was not "
    "made to do without. Probes: the mean of the states over each of TREC's questions, frozen, into logistic "
    "regression that learns which of six kinds of thing is asked for; the translators learnt from captions, questions "
    "are new to them. The decoder's states are those at the tokens of its own translation. Translators are small and "
    "learn a narrow text; nothing is said of large models, which today are decoders alone."
)


def _parameters(model: LanguageModel) -> int:
    return sum(weight.numel() for weight in model.network.parameters())


def _ratio(tokenizer: Tokenizer, pairs: int) -> float:
    """Tokens of targets by tokens of sources, their end included, in the first pairs of the training text."""
    texts = [document.pair for document in read("multi30k-en-de").documents[: min(pairs, 2000)]]
    sizes = [sum(map(len, tokenizer.encode_batch(side, special=False))) for side in zip(*texts, strict=True)]
    return sizes[1] / (sizes[0] + len(texts))


def _written(
    models: Mapping[str, LanguageModel], asked: Sequence[tuple[str, str]], ratio: float
) -> dict[str, Sequence[str]]:
    """What each writes for the same sources."""
    sources = [source for source, _ in asked]
    both = models[BOTH]
    written: dict[str, Sequence[str]] = {BOTH: _answers(both, sources)}
    written[DECODER] = continue_sources(models[DECODER], sources)
    written |= {filled(rounds): fill_targets(models[ENCODER], sources, ratio, rounds) for rounds in ROUNDS}
    with hooked(both.network, silenced(both.network)):
        written[SILENCED] = _answers(both, sources)
    return written | {SHUFFLED: [*written[BOTH][1:], written[BOTH][0]]}


def _answers(model: LanguageModel, sources: Sequence[str]) -> list[Answer]:
    return whole_answers(model, sources, Greedy(), CONTEXT - 2)


def silenced(network: Network) -> dict[str, HookFunction]:
    """Functions that take away what a decoder reads of the source."""
    return {path: torch.zeros_like for path in hook_points(network) if path.endswith("cross_attention_output")}


def _probed(models: Mapping[str, LanguageModel], data: Labelled, seed: int) -> dict[str, float]:
    """Test accuracy of a linear probe on the states of each network."""
    both = models[BOTH]
    fresh = LanguageModel(Network(both.network.config).initialise(seed, "width"), both.tokenizer)
    readers = {
        OF_ENCODER: lambda texts: encoder_states(both, texts),
        OF_DECODER: lambda texts: decoder_states(both, texts),
        OF_PREFIX: lambda texts: lone_states(models[DECODER], texts),
        OF_FILLER: lambda texts: lone_states(models[ENCODER], texts),
        OF_FRESH: lambda texts: encoder_states(fresh, texts),
    }
    classes = {part: numbers for part, (_, numbers) in data.parts.items()}
    return {
        name: regressed({part: states(texts) for part, (texts, _) in data.parts.items()}, classes)
        for name, states in readers.items()
    }


Vectors = Float[Tensor, "texts dim"]


@torch.inference_mode()
def encoder_states(model: LanguageModel, texts: Sequence[str]) -> Vectors:
    """The mean over what the encoder makes of each text."""
    vectors = torch.zeros(len(texts), model.config.dim)
    for places, tokens, mask in batches_by_length(_read(model, texts), model.network.device):
        vectors[places] = pooled(model.network.encode(tokens, mask).states.float(), mask, MEAN)
    return vectors


@torch.inference_mode()
def lone_states(model: LanguageModel, texts: Sequence[str]) -> Vectors:
    """The same of a decoder, to which the text is a prefix that it reads from both sides, or of an encoder."""
    vectors = torch.zeros(len(texts), model.config.dim)
    for places, tokens, mask in batches_by_length(_read(model, texts), model.network.device):
        prefix = mask if model.config.arrangement == "decoder" else None
        vectors[places] = pooled(model.network.hidden(tokens, mask, prefix=prefix).float(), mask, MEAN)
    return vectors


@torch.inference_mode()
def decoder_states(model: LanguageModel, texts: Sequence[str]) -> Vectors:
    """The mean over the decoder's states at the tokens that it writes for each text."""
    sources, start = _read(model, texts), target_start(model.tokenizer)
    written = [[start, *answer.tokens[:-1]] for answer in whole_answers(model, texts, Greedy(), WRITTEN)]
    vectors = torch.zeros(len(texts), model.config.dim)
    for places, tokens, mask in batches_by_length(sources, model.network.device):
        rows = [written[place] for place in places]
        hidden = model.network.hidden(padded(rows), memory=model.network.encode(tokens, mask))
        vectors[places] = pooled(hidden.float(), real(rows), MEAN)
    return vectors


def _read(model: LanguageModel, texts: Sequence[str]) -> list[list[int]]:
    return [source_ids(model.tokenizer, text)[:CONTEXT] for text in texts]


def _chart(measurements: Sequence[Measurement]) -> Chart:
    """BLEU of each arrangement, and of the translator that is cut."""
    names = (BOTH, DECODER, *map(filled, ROUNDS), SILENCED, SHUFFLED)
    found = {one.name: one for one in measurements}
    points = [found[f"{BLEU}, {name}"] for name in names]
    ends = [point.interval or (point.value, point.value) for point in points]
    return Chart(
        kind="bars",
        title="The same translations by one block in three arrangements, and without its parts",
        x_label="arrangement",
        y_label="BLEU",
        categories=names,
        series=(
            Series(
                name=BLEU,
                x=tuple(map(float, range(len(names)))),
                y=tuple(point.value for point in points),
                low=tuple(low for low, _ in ends),
                high=tuple(high for _, high in ends),
            ),
        ),
    )
