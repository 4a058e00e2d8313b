"""What a model answers to sources, compared with references: BLEU and chrF of translations, ROUGE of summaries.

    answers = answered(model, sources, Beam(width=5))
    for one in likeness(answers, references, sources, ("bleu", "chrf")): print(one)

BLEU: Papineni et al. 2002; chrF: Popović 2015; both as sacrebleu computes them on text as it is, with the signature
that says how (Post 2018, https://arxiv.org/abs/1804.08771). ROUGE: Lin 2004, as rouge-score computes it, F1 of stems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError
from lmworks.basics.extras import require
from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement
from lmworks.generation.answer import Answer
from lmworks.generation.strategies import Strategy
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document

Figure = Literal["bleu", "chrf", "rouge"]
AT_ONCE = 32
"""Sources that are answered together, of similar length."""
RESAMPLES = 1000


def answered(
    model: LanguageModel, sources: Sequence[str], strategy: Strategy | None = None, longest: int = 128
) -> list[str]:
    """The model's answer to each source, of at most `longest` tokens; sources longer than it reads are cut."""
    return [answer.text.strip() for answer in whole_answers(model, sources, strategy, longest)]


def whole_answers(
    model: LanguageModel,
    sources: Sequence[str],
    strategy: Strategy | Sequence[Strategy] | None = None,
    longest: int = 128,
) -> list[Answer]:
    """The same with what is known of each answer: its tokens, their log-probabilities, why it ended.

    `strategy` is one for all, or one for each.
    """
    ids = [model.encode_prompt(source) for source in sources]
    ids = [one if len(one) <= model.longest else [*one[: model.longest - 1], one[-1]] for one in ids]
    order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
    answers: dict[int, Answer] = {}
    with progress.task("answering", len(ids), "texts") as advance:
        for start in range(0, len(order), AT_ONCE):
            part = order[start : start + AT_ONCE]
            chosen = [strategy[number] for number in part] if isinstance(strategy, Sequence) else strategy
            found = model.generate_batch([ids[number] for number in part], chosen, max_new_tokens=longest)
            answers |= zip(part, found, strict=True)
            advance(len(part))
    return [answers[number] for number in range(len(ids))]


def answers_measured(
    model: LanguageModel,
    documents: Sequence[Document],
    figures: Sequence[str],
    strategy: Strategy | None = None,
    longest: int | None = None,
) -> list[Measurement]:
    """How like their targets the model's answers to the sources of pairs are.

    Each figure names the strategy, and `longest` where it is given. DataError for a document that is no pair,
    ConfigError for an unknown figure.
    """
    must_be_measurable(figures)
    pairs = [document.pair for document in documents]
    known = [one for one in get_args(Figure) if one in figures]
    sources, references = [source for source, _ in pairs], [target for _, target in pairs]
    written = " then ".join((strategy or model.generation_config.strategy).order)
    answers = answered(model, sources, strategy, longest or model.longest)
    written += "" if longest is None else f", at most {longest} tokens"
    return [
        one.model_copy(update={"name": f"{one.name}, {written}"})
        for one in likeness(answers, references, sources, known)
    ]


def must_be_figures(names: Sequence[str]) -> None:
    """ConfigError for a name that is not of a `Figure`."""
    if strange := next((one for one in names if one not in get_args(Figure)), None):
        raise ConfigError(f"{strange!r} is no figure; there are {', '.join(get_args(Figure))}")


def must_be_measurable(names: Sequence[str]) -> None:
    """The same, and LmworksError where the package of a figure is not installed: better missed now than when all
    answers are written."""
    must_be_figures(names)
    for name in names:
        require("rouge_score.rouge_scorer" if name == "rouge" else "sacrebleu.metrics", "text")


def likeness(
    answers: Sequence[str], references: Sequence[str], sources: Sequence[str], figures: Sequence[Figure]
) -> list[Measurement]:
    """How like the references the answers are, each with an interval over texts.

    The chance level is what copying the beginning of each source gives, as many words as references have on average.
    """
    words = round(sum(len(one.split()) for one in references) / len(references))
    copies = [" ".join(source.split()[:words]) for source in sources]
    return [one for figure in figures for one in _FIGURES[figure](list(answers), list(references), copies)]


def _bleu(answers: list[str], references: list[str], copies: list[str]) -> list[Measurement]:
    metric = require("sacrebleu.metrics", "text").BLEU()
    return [_corpus("BLEU", metric, answers, references, copies)]


def _chrf(answers: list[str], references: list[str], copies: list[str]) -> list[Measurement]:
    metric = require("sacrebleu.metrics", "text").CHRF()
    return [_corpus("chrF", metric, answers, references, copies)]


def _corpus(name: str, metric: Any, answers: list[str], references: list[str], copies: list[str]) -> Measurement:
    """A figure of sacrebleu; its own counts of each text are resampled, as its --confidence does, or of few texts left
    out in turn."""
    score = metric.corpus_score(answers, [references])
    signature = str(metric.get_signature())
    counts = np.array(metric._extract_corpus_statistics(answers, [references]), dtype=float)

    def of(sums: np.ndarray) -> float:
        return float(metric._compute_score_from_stats(sums.tolist()).score)

    estimate = _resampled(score.score, counts, of)
    return Measurement(
        name=f"{name} ({signature})",
        value=score.score,
        interval=estimate.interval,
        n=len(answers),
        seeds=(0,),
        chance=metric.corpus_score(copies, [references]).score,
        ideal=100.0,
    )


def _resampled(value: float, counts: np.ndarray, of: Callable[[np.ndarray], float]) -> statistics.Estimate:
    """A figure `of` the sums of counts [texts, kinds], within 0 and 100."""
    texts = len(counts)
    if texts < statistics.FEW:
        without = [of(counts.sum(0) - one) for one in counts] if texts > 1 else [value]
        return statistics.within(statistics.jackknife(value, without), (0, 100), texts)
    draw = np.random.default_rng(0)
    drawn = [of(counts[draw.integers(texts, size=texts)].sum(0)) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [(1 - statistics.LEVEL) / 2, (1 + statistics.LEVEL) / 2])
    return statistics.Estimate(value, (min(float(low), value), max(float(high), value)))


def _rouge(answers: list[str], references: list[str], copies: list[str]) -> list[Measurement]:
    names = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}
    scorer = require("rouge_score.rouge_scorer", "text").RougeScorer(list(names), use_stemmer=True)
    scored = [scorer.score(reference, answer) for reference, answer in zip(references, answers, strict=True)]
    copied = [scorer.score(reference, copy) for reference, copy in zip(references, copies, strict=True)]
    found = []
    for key, name in names.items():
        estimate = statistics.mean([100 * one[key].fmeasure for one in scored], bounds=(0, 100))
        found.append(
            Measurement(
                name=f"{name} (F1 of stems)",
                value=estimate.value,
                interval=estimate.interval,
                n=len(answers),
                seeds=(0,),
                chance=100 * sum(one[key].fmeasure for one in copied) / len(copied),
                ideal=100.0,
            )
        )
    return found


_FIGURES: dict[Figure, Callable[[list[str], list[str], list[str]], list[Measurement]]] = {
    "bleu": _bleu,
    "chrf": _chrf,
    "rouge": _rouge,
}
