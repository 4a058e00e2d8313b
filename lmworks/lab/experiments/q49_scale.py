"""Question 49: large language models are large. Does size pay, does text, and does the loss follow a law of both?

Small networks of several sizes read several amounts of real text once. A scaling law is fitted to the smaller ones
alone, and has to foretell the run that is larger in both and was held back. A real model of 135 million parameters is
asked to translate, to summarize and to answer questions that take reasoning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lmworks.basics.arrays import Float64
from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation.scaling import ScalingLaw, fit_scaling_law
from lmworks.lab.bench.read_once import parameters, piece, trained
from lmworks.lab.bench.small_network import byte_text, frequency_bits, named, window_bits
from lmworks.lab.bench.task_matrix import QUESTIONS, TaskMatrix
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.table import FIXED
from lmworks.language_model import LanguageModel

LARGEST, SMALLEST, MOST, LEAST = Condition.named("largest network", "smallest network", "most text", "least text")
HELD_BACK, BELOW, FREQUENCIES = Condition.named("run held back", "largest with most of the others", "byte frequencies")
LAW = Condition("law of the others")
MODEL, GUESSED, COPIED = Condition.named("the model", "a guess", "words of the source")
WIDTHS = tuple(Condition(f"width {width}") for width in (16, 32, 48, 64, 128))
BITS = Metric("held-out text", "bits/byte", margin=0.02, chance=8, ideal=0)
ERROR = Metric("run held back minus what the law foretold", "bits/byte", ideal=0)
RIGHT = Metric("questions right", margin=0.02, ideal=1)
TRANSLATION, HEADLINE = (
    Metric("translation, words shared with a person's", margin=0.02, ideal=1),
    Metric("headline, words shared with a person's", margin=0.02, ideal=1),
)
SIZE_POWER, DATA_POWER, FLOOR = (
    Metric("power of size"),
    Metric("power of data"),
    Metric("floor of the fit", "bits/byte"),
)

Cell = tuple[int, int]
"""Width, and bytes read."""
Bits = Float64[Tensor, " windows"]


@experiment(
    49,
    claim="LLMs are AI systems trained on vast text corpora to understand and generate human-like language; they "
    "typically feature billions of parameters and excel at translation, summarization, and reasoning.",
    parts=(
        Part("a larger network foretells new text better, after the same text", BITS, LARGEST - SMALLEST, below=0),
        Part("more text makes a network better, of the same size", BITS, MOST - LEAST, below=0),
        Part("more of both does more than any of the smaller runs", BITS, HELD_BACK - BELOW, below=0),
        Part("a real model reasons: it answers more questions than a guess does", RIGHT, MODEL - GUESSED, above=0),
        Part(
            "it translates: its English is more like a person's than the German source is",
            *(TRANSLATION, MODEL - COPIED),
            above=0,
            otherwise="a model that read little German does not translate it",
        ),
        Part(
            "it summarizes: its headlines are more like a person's than the article's first words are",
            *(HEADLINE, MODEL - COPIED),
            above=0,
            otherwise="the first words of the news say as much",
        ),
    ),
    also=(
        # A tenth of a bit was named before the first run of all: a third of what four times the size brings.
        Part("a law fitted to the smaller runs foretells the larger one", ERROR, LAW, between=(-0.1, 0.1)),
    ),
    requires=(Requirement("the smallest network beats byte frequencies", BITS, SMALLEST - FREQUENCIES, below=0),),
    picture=Lines(
        BITS,
        of=(*WIDTHS, LAW),
        x="bytes read, each once",
        title="Held-out loss by size and text",
        log_x=True,
        log_y=True,
    ),
    not_true_when="there is no more text to be had: more steps over the same text are not tried here",
    headlines={
        "yyyyy?": "Yes: a larger network and more text foretell new text better, and a real model answers and "
        "translates better than what needs no model. Whether its headlines beat an article's first words is open."
    },
    not_tested="how far large models excel: asked here is more than a guess or a copy, of a model of 135 million "
    "parameters. Nothing here has billions",
    note="Every run reads its bytes once, with one schedule and one learning rate for all sizes, so that more data is "
    "also more steps. Size counts the blocks' parameters. A law, floor + a / size^b + c / data^d, is fitted to each "
    "seed's smaller runs; the line shows its forecast for the width held back. Published powers, over far larger runs, "
    "are 0.076 and 0.095 without a floor (Kaplan et al. 2020, https://arxiv.org/abs/2001.08361) and 0.34 and 0.28 with "
    "one (Hoffmann et al. 2022, https://arxiv.org/abs/2203.15556). The real model is SmolLM2-135M-Instruct, asked five "
    "sets of multiple choice without examples, captions of Multi30k and news of AG; likeness is F1 of words. The first "
    "100 pieces of news, asked before, left the part on headlines open (-0.018, 95 % -0.047 ... +0.011) and are not "
    "among those asked here.",
    minutes=40,
)
def scale(
    run: Run,
    text: str = "tinyshakespeare",
    widths: tuple[int, ...] = scaled((16, 32, 48, 64), (16, 32, 48, 64, 128)),
    amounts: tuple[int, ...] = scaled((20_000, 40_000, 80_000, 160_000), (30_000, 60_000, 120_000, 240_000, 480_000)),
    held_out_windows: Several = scaled(100, 400),
    model: str = "smollm2",
    asked: Several = scaled(10, 300),
    news_read: Count = scaled(1, 100),
) -> None:
    """Loss by size and data, the law fitted to it, and its forecast for the largest of both, which it has not seen; and
    a real model's matrix of tasks.

    The last width with the last amount is held back; no other run has either.
    """
    if sorted(widths) != list(widths) or sorted(amounts) != list(amounts) or min(len(widths), len(amounts)) < 4:
        raise ConfigError("widths and amounts must rise, and be at least four each: the last is held back")
    data = byte_text(text)
    if len(data.train) < amounts[-1]:
        raise DataError(f"the text leaves {len(data.train):,} bytes to train on, fewer than {amounts[-1]:,}")
    for fixed in run.once():
        run.log(fixed, FREQUENCIES, {BITS: frequency_bits(data)})
        log_matrix(run, TaskMatrix(LanguageModel.load(model), asked, news_read))
    grid = [*((width, amount) for width in widths[:-1] for amount in amounts[:-1]), (widths[-1], amounts[-1])]
    for seed in run.seeds:
        cells: dict[Cell, Bits] = {}
        sizes: dict[int, int] = {}
        for width, amount in grid:
            network = trained(piece(data.train, amount, seed), width, seed)
            windows = window_bits(network, data.held_out, held_out_windows)
            cells[width, amount] = torch.tensor(windows, dtype=torch.float64)
            sizes[width] = parameters(network)
            run.log(seed, Condition(f"width {width}")[amount], {BITS: float(cells[width, amount].mean())})
        for condition, bits in compared(cells).items():
            run.log(seed, condition, {BITS: bits.tolist()}, items=named(windows))
        law = law_of({cell: float(bits.mean()) for cell, bits in cells.items()}, sizes)
        error = float(cells[grid[-1]].mean()) - law.loss(sizes[widths[-1]], amounts[-1])
        run.log(seed, LAW, {ERROR: error, SIZE_POWER: law.size_power, DATA_POWER: law.data_power, FLOOR: law.floor})
        for amount in amounts:
            run.log(seed, LAW[amount], {BITS: law.loss(sizes[widths[-1]], amount)})


def log_matrix(run: Run, matrix: TaskMatrix) -> None:
    """What the model makes of each task, and of all questions together."""
    tasks = {name: matrix.questions(name) for name in QUESTIONS}
    for name, one in tasks.items():
        for condition, values in ((MODEL, one.model), (GUESSED, one.without)):
            run.log(FIXED, condition[name], {RIGHT: values}, one.names)
    names = [name for one in tasks.values() for name in one.names]
    run.log(FIXED, MODEL, {RIGHT: [value for one in tasks.values() for value in one.model]}, names)
    run.log(FIXED, GUESSED, {RIGHT: [value for one in tasks.values() for value in one.without]}, names)
    for metric, one in ((TRANSLATION, matrix.translations()), (HEADLINE, matrix.headlines())):
        run.log(FIXED, MODEL, {metric: one.model}, one.names)
        run.log(FIXED, COPIED, {metric: one.without}, one.names)


def compared(cells: Mapping[Cell, Bits]) -> dict[Condition, Bits]:
    """The figures that parts compare: means over the amounts of a width, and over the widths of an amount; the last
    cell is the one held back."""
    *others, held_back = cells
    widths, amounts = zip(*others, strict=True)

    def mean(axis: int, value: int) -> Bits:
        return torch.stack([cells[cell] for cell in others if cell[axis] == value]).mean(dim=0)

    return {
        LARGEST: mean(0, max(widths)),
        SMALLEST: mean(0, min(widths)),
        MOST: mean(1, max(amounts)),
        LEAST: mean(1, min(amounts)),
        BELOW: cells[max(widths), max(amounts)],
        HELD_BACK: cells[held_back],
    }


def law_of(losses: Mapping[Cell, float], sizes: Mapping[int, int]) -> ScalingLaw:
    """The law of all cells but the last."""
    *others, _ = losses
    fitted_to: Sequence[Cell] = others
    return fit_scaling_law(
        [sizes[width] for width, _ in fitted_to],
        [amount for _, amount in fitted_to],
        [losses[cell] for cell in fitted_to],
        resamples=0,
    ).law
