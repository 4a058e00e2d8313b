"""Question 5: beam search beside greedy decoding and sampling, with a source that says what to write and without.

Small translators write the same sentences with beams of growing width, with other length penalties, and by sampling. A
real decoder continues real texts, and is compared with the people who wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from lmworks.evaluation.answers import whole_answers
from lmworks.evaluation.measurement import Measurement
from lmworks.generation.strategies import Beam, Greedy, Sample, Strategy
from lmworks.lab.bench.continuations import FEATURES, excerpts, mean_repeated, sampled, seeded_strategies
from lmworks.lab.bench.translators import CONTEXT, TRANSFORMER, copied, pairs_of, quality, translation, translator
from lmworks.lab.chart import Chart, Series
from lmworks.lab.finding import Check, Observation, Rule
from lmworks.lab.registry import Count, Several, experiment, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.text.sources import read

WIDTHS = (1, 2, 4, 8, 16)
"""Widths of the beam; one is greedy decoding."""
USUAL, WIDEST = 4, WIDTHS[-1]
PENALTIES = (0.0, 2.0)
"""Length penalties besides the usual 1."""
PROMPT_TOKENS = 32
"""Tokens of the beginning that a text is continued from."""
SAMPLED, PEOPLE = "sampled", "people"
REPEATED, DISTINCT, BITS = "repeated runs of 4 tokens", "different pairs of tokens", "bits a token"
BLEU, CHRF, RATIO, LOGPROB = "BLEU", "chrF", "length ratio", "log-probability of a translation"
UNITS = {BLEU: "", CHRF: "", RATIO: "", LOGPROB: "nats", REPEATED: "share", DISTINCT: "share", BITS: "bits"}
IDEALS = {BLEU: 100.0, CHRF: 100.0, RATIO: 1.0}


def beams(width: int) -> str:
    """The name of a width."""
    return "greedy" if width == 1 else f"{width} beams"


STRATEGIES: dict[str, Strategy] = {
    **{beams(width): Beam(width=width) if width > 1 else Greedy() for width in WIDTHS},
    **{f"{beams(USUAL)}, length penalty {one:g}": Beam(width=USUAL, length_penalty=one) for one in PENALTIES},
    SAMPLED: Sample(),
}


@experiment(
    question=5,
    claim="Beam search explores multiple sequences simultaneously, keeping the top k candidates (beams), where greedy "
    "decoding takes the most probable word at each step; this ensures more coherent outputs by balancing probability "
    "and diversity.",
    rule=Rule(
        holds_if=(
            Check(f"{LOGPROB}, {beams(USUAL)} minus greedy", ">", 0),
            Check(f"{BLEU}, {beams(USUAL)} minus greedy", ">", 0),
        ),
        only_if=(
            (
                Check(f"{BLEU}, {beams(WIDEST)} minus {beams(USUAL)}", ">", 0.5),
                f"few beams are meant: {WIDEST} bring no half point of BLEU more than {USUAL}",
            ),
            (
                Check(f"open text, {REPEATED}, {beams(USUAL)} minus {PEOPLE}", "<", 0.1),
                "a source says what is to be written: where a text is only continued, beams go round in circles",
            ),
        ),
    ),
)
def beam_search(
    model: str | None = None,
    pairs: Several = scaled(3000, 29_000),
    epochs: Count = scaled(1, 2),
    judged: str = scaled("multi30k-validation-en-de", "multi30k-test2016-en-de"),
    sentences: Several = scaled(60, 300),
    writer: str = "smollm2",
    text: str = "wikitext2",
    prompts: Several = scaled(6, 16),
    length: Several = scaled(32, 64),
    seeds: Count = 3,
) -> Observation:
    """BLEU, chrF, log-probability and length by width, penalty and sampling; repetition and variety in open text.

    `model` is an existing translator, whose seeds are then disjoint parts of the judged text; else each seed trains
    one.
    """
    found: dict[str, dict[str, dict[int, float]]] = {}
    chance: dict[str, dict[int, float]] = {BLEU: {}, CHRF: {}}
    for seed in range(seeds):
        asked = pairs_of(judged, sentences, seed, seeds if model else 1)
        recipe = translation(TRANSFORMER, epochs=epochs, seed=seed)
        chosen = load(model, dtype="float32") if model else translator(recipe, pairs)
        for name, strategy in STRATEGIES.items():
            for figure, value in _translated(chosen, asked, strategy, seed).items():
                found.setdefault(figure, {}).setdefault(name, {})[seed] = value
        for figure, value in copied(asked).items():
            chance[figure][seed] = value
    usual, greedy, widest = beams(USUAL), beams(1), beams(WIDEST)
    open_text = _open_text(writer, text, prompts, length, seeds)
    measurements = (
        *(
            measured(
                f"{figure}, {name}", by_seed, UNITS[figure], ideal=IDEALS.get(figure), chance=_mean(chance, figure)
            )
            for figure, by_name in found.items()
            for name, by_seed in by_name.items()
        ),
        *(
            difference(f"{figure}, {one} minus {other}", found[figure][one], found[figure][other], UNITS[figure])
            for figure in (BLEU, CHRF, LOGPROB, RATIO)
            for one, other in ((usual, greedy), (widest, usual), (greedy, SAMPLED))
        ),
        *(
            measured(f"open text, {figure}, {name}", by_seed, UNITS[figure])
            for figure, by_name in open_text.items()
            for name, by_seed in by_name.items()
        ),
        *(
            difference(f"open text, {figure}, {usual} minus {other}", by_name[usual], by_name[other], UNITS[figure])
            for figure, by_name in open_text.items()
            for other in (greedy, PEOPLE)
        ),
    )
    return Observation(measurements=measurements, chart=_chart(measurements), note=NOTE)


NOTE = (
    "Small translators from nothing, one a seed, all of them judged by the same sentences; BLEU and chrF by sacrebleu. "
    "The log-probability is that of the whole translation under the model, its end included: what beams look for. "
    "Answers are compared by it over their length unless a penalty is named: 0 compares by the sum alone, 2 by the sum "
    "over the square. Sampled: from all of the model's own distribution. That wider beams find likelier and yet not "
    "better translations, shorter ones too, is known of larger models (Koehn & Knowles 2017, "
    "https://arxiv.org/abs/1706.03872; Stahlberg & Byrne 2019, https://arxiv.org/abs/1908.10090). In open text a real "
    "decoder goes on from the beginning of real pieces, each seed from others; people are those who wrote them "
    "(Holtzman et al. 2020, https://arxiv.org/abs/1904.09751). Coherence itself is not measured: likeness to a "
    "reference stands for it in translation, repetition for the lack of it in open text."
)


def _translated(
    model: LanguageModel, asked: Sequence[tuple[str, str]], strategy: Strategy, seed: int
) -> dict[str, float]:
    sources, strategies = [source for source, _ in asked], seeded_strategies(strategy, seed, len(asked))
    answers = whole_answers(model, sources, strategies, CONTEXT - 2)
    return {**quality(answers, asked), LOGPROB: fmean(sum(answer.logprobs) for answer in answers)}


def _mean(chance: Mapping[str, Mapping[int, float]], figure: str) -> float | None:
    return fmean(chance[figure].values()) if figure in chance else None


def _open_text(writer: str, text: str, prompts: int, length: int, seeds: int) -> dict[str, dict[str, dict[int, float]]]:
    """What a decoder writes after pieces of real text, and what people wrote."""
    model, documents = load(writer), read(text).documents
    found: dict[str, dict[str, dict[int, float]]] = {figure: {} for figure in (REPEATED, DISTINCT, BITS)}
    for seed in range(seeds):
        asked = excerpts(model, documents, prompts, seed, PROMPT_TOKENS, length)
        written = {PEOPLE: [excerpt.human for excerpt in asked]}
        for name in (beams(1), beams(USUAL), SAMPLED):
            written[name] = sampled(model, asked, STRATEGIES[name], seed, length)
        for name, texts in written.items():
            found[REPEATED].setdefault(name, {})[seed] = mean_repeated(texts)
            found[DISTINCT].setdefault(name, {})[seed] = fmean(map(FEATURES["distinct pairs"], texts))
            found[BITS].setdefault(name, {})[seed] = fmean(map(FEATURES["bits per token"], texts))
    return found


def _chart(measurements: Sequence[Measurement]) -> Chart:
    """BLEU by width, beside sampling."""
    found = {one.name: one for one in measurements}

    def line(name: str, names: Sequence[str]) -> Series:
        points = [found[f"{BLEU}, {one}"] for one in names]
        ends = [point.interval or (point.value, point.value) for point in points]
        return Series(
            name=name,
            x=tuple(map(float, WIDTHS)),
            y=tuple(point.value for point in points),
            low=tuple(low for low, _ in ends),
            high=tuple(high for _, high in ends),
        )

    return Chart(
        kind="line",
        title="Translations by the number of beams",
        x_label="beams",
        y_label="BLEU",
        log_x=True,
        series=(line("beams", [beams(width) for width in WIDTHS]), line(SAMPLED, [SAMPLED] * len(WIDTHS))),
    )
