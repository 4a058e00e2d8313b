"""All checks of a model, and of a text for it.

results = check_model(lm.load("smollm2"))
results += check_data(lm.load("smollm2"), read("notes"))
"""

from __future__ import annotations

from collections.abc import Callable

from lmworks.basics import progress
from lmworks.checks import adapters, answers, data, files, network, templates, tokenizers
from lmworks.checks.probes import exact_copy
from lmworks.checks.result import CheckResult
from lmworks.generation.language_model import LanguageModel
from lmworks.models.network import evaluating
from lmworks.text.sources import Reading

ModelCheck = Callable[[LanguageModel], CheckResult]

ONCE: tuple[ModelCheck, ...] = (
    files.files,
    files.finite,
    tokenizers.bytes_add_up,
    tokenizers.comes_back,
    tokenizers.saved_tokenizer,
    templates.template_prefix,
    templates.template_closing,
    templates.entrances,
    answers.stream,
    answers.seeds,
    network.dropout,
    files.tie,
    files.round_trip,
    adapters.loaded_whole,
)
"""Checks of tokens, texts and files: the number format makes no difference."""

IN_BOTH: tuple[ModelCheck, ...] = (
    templates.loss_by_hand,
    network.cache,
    network.padding,
    network.padding_rows,
    network.packing,
    network.attention,
    adapters.merged,
)
"""Checks of logits: in the model's own number format, and sharper in float32 where that is cheap."""


def check_model(model: LanguageModel) -> list[CheckResult]:
    """Every check that needs no data. The model is left as it was."""
    results: list[CheckResult] = []
    exact = exact_copy(model)
    with progress.task("checking", len(ONCE) + len(IN_BOTH) + 1, "checks") as advance:
        for one in ONCE:
            results.append(one(model))
            advance(1, last=results[-1].name)
        for one in IN_BOTH:
            with evaluating(model.network):
                result = one(model)
            results.append(result.and_also(one(exact)) if exact is not None else result)
            advance(1, last=results[-1].name)
        results.append(answers.neighbours(exact or model))
        advance(1)
    return results


def check_data(model: LanguageModel, reading: Reading) -> list[CheckResult]:
    """Every check of a text that the model is to learn or to be measured on."""
    prepared = data.prepare(reading, model)
    return [one(prepared) for one in data.CHECKS]
