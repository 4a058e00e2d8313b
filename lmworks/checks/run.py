"""All checks of a model, a text, a tokenizer, packed shards or a recipe.

results = check_model(lm.load("smollm2"))
results += check_data(lm.load("smollm2"), read("notes"))
results = check_anything("tokenizers/mine", data="notes")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError
from lmworks.checks import adapters, answers, corpus, data, files, network, shards, templates, tokenizers
from lmworks.checks.probes import exact_copy
from lmworks.checks.recipes import check_recipe
from lmworks.checks.result import CheckResult
from lmworks.checks.subjects import kind_of
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.models.network import evaluating
from lmworks.models.torch_runner import TorchRunner
from lmworks.text.sources import Reading, read
from lmworks.tokens.shards import Shards
from lmworks.tokens.tokenizer import Tokenizer

ModelCheck = Callable[[LanguageModel], CheckResult]

ONCE: tuple[ModelCheck, ...] = (
    files.files,
    files.finite,
    tokenizers.bytes_add_up,
    tokenizers.comes_back,
    tokenizers.saved_tokenizer,
    tokenizers.special_tokens,
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

TOKENIZER: tuple[Callable[[tokenizers.HasTokenizer], CheckResult], ...] = (
    tokenizers.bytes_add_up,
    tokenizers.comes_back,
    tokenizers.saved_tokenizer,
    tokenizers.special_tokens,
    tokenizers.unknown_rate,
)
"""Checks of a tokenizer without a model."""

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
    """Every check that needs no data, in PyTorch. The model is left as it was."""
    runner, model.runner = model.runner, TorchRunner(model.network)
    try:
        return _checked(model)
    finally:
        model.runner = runner


def _checked(model: LanguageModel) -> list[CheckResult]:
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


def check_tokenizer(tokenizer: Tokenizer, reading: Reading | None = None) -> list[CheckResult]:
    """Every check of a tokenizer without a model, and of a text that it is to cut."""
    alone = tokenizers.Alone(tokenizer)
    results = [one(alone) for one in TOKENIZER]
    if reading is not None:
        prepared = data.prepare(reading, alone)
        results += [one(prepared) for one in data.OF_TOKENS]
    return results


def check_shards(opened: Shards, tokenizer: Tokenizer | None = None) -> list[CheckResult]:
    """Every check of a packed corpus, and of its tokenizer where there is one."""
    results = [one(opened) for one in shards.CHECKS]
    if tokenizer is not None:
        results += [one(shards.Packed(opened, tokenizer)) for one in shards.BESIDE_A_TOKENIZER]
    return results


def check_corpus(reference: str) -> list[CheckResult]:
    """Every check of a folder that `lmworks corpus` made, or of any other text."""
    opened = corpus.open_corpus(reference)
    return [one(opened) for one in corpus.CHECKS]


def check_anything(
    reference: str,
    kind: str | None = None,
    *,
    data: str | None = None,
    base: str | None = None,
    changes: Sequence[str] = (),
) -> tuple[str, list[CheckResult]]:
    """What the reference is (`kind` says it where that is open), and every check of it.

    `data` is a text for a model or a tokenizer, or the shards that a tokenizer packed; `base` an adapter's base model;
    `changes` are a recipe's. ConfigError for options that do not go with the kind.
    """
    kind = kind_of(reference, kind)
    for name, given, kinds in (
        ("--data", data, ("model", "tokenizer")),
        ("--base", base, ("model",)),
        ("--set", changes, ("recipe",)),
    ):
        if given and kind not in kinds:
            raise ConfigError(f"{reference} is a {kind}, and {name} goes with a {' or a '.join(kinds)}; leave it out")
    if kind == "recipe":
        return kind, list(check_recipe(reference, changes))
    if kind == "text":
        return kind, check_corpus(reference)
    if kind == "shards":
        return kind, check_shards(Shards(reference))
    if kind == "tokenizer":
        tokenizer = Tokenizer.load(reference)
        if data is not None and kind_of(data) == "shards":
            return kind, check_tokenizer(tokenizer) + check_shards(Shards(data), tokenizer)
        return kind, check_tokenizer(tokenizer, read(data) if data is not None else None)
    reading = read(data) if data is not None else None
    model = load(reference, base=base, compress="none")
    return kind, check_model(model) + (check_data(model, reading) if reading is not None else [])
