"""Question 6: low temperature is predictable, high temperature diverse, 0.8 the sweet spot for storytelling.

The model continues stories at each temperature; the stories' own continuations show what people's text looks like by
the same measures. Which other temperature is best is chosen on some stories and judged on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import torch

from lmworks.basics import progress
from lmworks.generation.strategies import Sample
from lmworks.lab.bench.continuations import (
    GAP,
    REPEATS,
    SURPRISE,
    VARIETY,
    Excerpt,
    excerpts_by_document,
    gap_of,
    look,
    summed,
    written,
)
from lmworks.lab.bench.step_distributions import entropy
from lmworks.lab.bench.verb_objects import printed
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document
from lmworks.text.sources import read

TEMPERATURE, PEOPLE, BEST = Condition.named("temperature", "people", "the best other temperature")
LOW, SWEET, HIGH = 0.3, 0.8, 1.5
ENTROPY = Metric("entropy of the next token", "bits", margin=0.1)
CHOSEN = Metric("the best other temperature, on stories that choose")
FICTION = "klmnpr"
"""Brown's letters for general fiction, mystery, science fiction, adventure, romance and humour."""
CHOOSING = 3
"""One story in this many chooses, the others judge."""


@experiment(
    6,
    claim="Low temperature (0.3) gives predictable, focused outputs, high temperature (1.5) increases diversity by "
    "flattening the distribution; 0.8 is often the sweet spot for storytelling.",
    parts=(
        Part("text is more predictable at 0.3 than at 1.5", SURPRISE, TEMPERATURE[LOW] - TEMPERATURE[HIGH], below=0),
        Part("1.5 flattens the distribution", ENTROPY, TEMPERATURE[HIGH] - TEMPERATURE[LOW], above=0),
        Part("text is more diverse at 1.5", VARIETY, TEMPERATURE[HIGH] - TEMPERATURE[LOW], above=0),
        Part(
            "at 0.8 stories are as close to people's as at the best other temperature, or closer",
            *(GAP, TEMPERATURE[SWEET] - BEST),
            below=0.1,
            otherwise="0.8 is meant for every model: here another temperature comes closer to people's stories",
        ),
    ),
    also=(
        Part("text repeats itself less at 1.5", REPEATS, TEMPERATURE[HIGH] - TEMPERATURE[LOW], below=0),
        Part("people's text is less predictable than text at 0.8", SURPRISE, PEOPLE - TEMPERATURE[SWEET], above=0),
    ),
    picture=Lines(GAP, of=(TEMPERATURE,), x="temperature", title="Distance of sampled stories to people's"),
    not_tested="what readers or a larger model would say of the stories; whether they are good as a whole",
    headlines={"yyyn": "Low is predictable, high is diverse; stories come closest to people's at 1.0, not at 0.8."},
    note="A small decoder continues American fiction of 1961 (Brown Corpus); the interval is over stories. Quality is "
    "what can be computed: the distance to how the story goes on in surprise under the model at temperature 1, and in "
    "distinct tokens and pairs, in standard deviations of people's texts (as close: within 0.1). Likelihood is no "
    "quality: it grows without end as the temperature falls (Holtzman et al. 2019, https://arxiv.org/abs/1904.09751).",
)
def temperature(
    run: Run,
    model: str = "smollm2",
    text: str = "brown",
    stories: Several = scaled(24, 126),
    temperatures: tuple[float, ...] = scaled((0.3, 0.7, 0.8, 0.9, 1.0, 1.5), (0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5)),
    pieces: Count = scaled(2, 3),
    prompt_tokens: Several = 32,
    length: Several = scaled(32, 48),
) -> None:
    """Entropy, diversity, repetition, likelihood and distance to people's text, by temperature."""
    writer, documents = LanguageModel.load(model), fiction(read(text).documents)
    documents = documents[:: max(len(documents) // stories, 1)][:stories]
    grid = sorted({LOW, SWEET, HIGH, *temperatures})
    for fixed in run.once():
        asked = excerpts_by_document(writer, documents, pieces, prompt_tokens, length)
        names = list(dict.fromkeys(name for name, _ in asked))
        choosing = set(names[::CHOOSING])
        values, items = look([excerpt.human for _, excerpt in asked], asked)
        run.log(fixed, PEOPLE, {one: values[one] for one in (SURPRISE, VARIETY, REPEATS)}, items)
        for t, rows in _entropies(writer, asked, grid).items():
            run.log(fixed, TEMPERATURE[t], {ENTROPY: summed(rows, [name for name, _ in asked])}, names)
        gaps: dict[float, tuple[float, list[list[float]]]] = {}
        with progress.task("sampling", len(grid), "temperatures") as advance:
            for t in grid:
                values, items = look(written(writer, asked, Sample(temperature=t), length), asked)
                chosen_on, judged = _halves(values.pop(GAP), items, choosing)
                gaps[t] = distance(chosen_on), judged
                run.log(fixed, TEMPERATURE[t], values, items)
                advance(1, temperature=t)
        judges = [name for name in names if name not in choosing]
        best = best_other({t: on for t, (on, _) in gaps.items()})
        for condition, t in [*((TEMPERATURE[t], t) for t in grid), (BEST, best)]:
            run.log(fixed, condition, {GAP: gaps[t][1]}, judges)
        run.log(fixed, BEST, {CHOSEN: best})


def fiction(documents: Sequence[Document]) -> list[Document]:
    """The stories among Brown's texts, with spaces as they are printed; other texts as they are, all of them."""
    stories = [one for one in documents if "#c" in one.source and one.source.partition("#c")[2][:1] in FICTION]
    return [Document("\n".join(map(printed, one.text.splitlines())), one.source) for one in stories] or list(documents)


def best_other(distances: dict[float, float]) -> float:
    """The temperature with the least distance, 0.8 left out."""
    return min((t for t in distances if t != SWEET), key=distances.__getitem__)


def distance(rows: Sequence[Sequence[float]]) -> float:
    """The distance to people's text of some stories' counts."""
    return float(gap_of(torch.tensor(rows).double().sum(0).numpy()))


def _halves(
    rows: list[list[float]], names: Sequence[str], choosing: set[str]
) -> tuple[list[list[float]], list[list[float]]]:
    chosen_on = [row for row, name in zip(rows, names, strict=True) if name in choosing]
    return chosen_on, [row for row, name in zip(rows, names, strict=True) if name not in choosing]


@torch.inference_mode()
def _entropies(
    model: LanguageModel, asked: Sequence[tuple[str, Excerpt]], grid: Sequence[float]
) -> dict[float, list[list[float]]]:
    """Mean entropy in bits at each temperature over the same steps of each piece of people's text."""
    rows: dict[float, list[list[float]]] = {t: [] for t in grid}
    for _, excerpt in asked:
        logits = model.logits([excerpt.ids + excerpt.human.tokens])[0, len(excerpt.ids) - 1 : -1]
        for t in grid:
            rows[t].append([fmean(map(entropy, (logits / t).softmax(dim=-1))), 1.0])
    return rows
