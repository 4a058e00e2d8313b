"""All checks of a model, a text, a tokenizer, packed shards or a recipe.

results = check_model(lm.load("smollm2"))
results += check_data(lm.load("smollm2"), read("notes"))
results = check_anything("tokenizers/mine", data="notes")
"""

from __future__ import annotations

from collections.abc import Sequence

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError
from lmworks.checks import corpus, data, repeats, shards, tokenizers
from lmworks.checks.probes import exact_copy
from lmworks.checks.recipes import check_recipe
from lmworks.checks.result import CheckResult, checks_of
from lmworks.checks.subjects import kind_of
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.models.network import evaluating
from lmworks.models.torch_runner import TorchRunner
from lmworks.models.vision.config import reads_images
from lmworks.text.sources import Reading, read
from lmworks.tokens.shards import Shards
from lmworks.tokens.tokenizer import Tokenizer

SUBJECTS = {
    "model": LanguageModel,
    "tokenizer": tokenizers.Alone,
    "text": corpus.Corpus,
    "two texts": repeats.TwoTexts,
    "text of a model": data.Prepared,
    "text of a tokenizer": data.Prepared,
    "shards": Shards,
    "shards of a tokenizer": shards.TokenizedShards,
}
"""What a check can be of, and what it is called with."""


def check_model(model: LanguageModel) -> list[CheckResult]:
    """Every check that needs no data, in PyTorch. The model is left as it was. ConfigError for one of images or
    sound."""
    if reads_images(model.config) or model.hears:
        what = "sound" if model.hears else "images"
        raise ConfigError(f"{model.reference or 'the model'} reads {what}, and models of texts are checked here")
    runner, model.runner = model.runner, TorchRunner(model.network)
    try:
        return _checked(model)
    finally:
        model.runner = runner


def _checked(model: LanguageModel) -> list[CheckResult]:
    results: list[CheckResult] = []
    exact, checks = exact_copy(model), checks_of("model")
    with progress.task("checking", len(checks), "checks") as advance:
        for one in checks:
            if one.numbers == "both":
                with evaluating(model.network):
                    result = one(model)
                results.append(result.and_also(one(exact)) if exact is not None else result)
            else:
                results.append(one(exact or model) if one.numbers == "float32" else one(model))
            advance(1, last=results[-1].name)
    return results


def check_data(model: LanguageModel, reading: Reading) -> list[CheckResult]:
    """Every check of a text that the model is to learn or to be measured on."""
    prepared = data.prepare(reading, model)
    return [one(prepared) for one in checks_of("text of a model")]


def check_tokenizer(tokenizer: Tokenizer, reading: Reading | None = None) -> list[CheckResult]:
    """Every check of a tokenizer without a model, and of a text that it is to tokenize."""
    alone = tokenizers.Alone(tokenizer)
    results = [one(alone) for one in checks_of("tokenizer")]
    if reading is not None:
        prepared = data.prepare(reading, alone)
        results += [one(prepared) for one in checks_of("text of a tokenizer")]
    return results


def check_shards(opened: Shards, tokenizer: Tokenizer | None = None) -> list[CheckResult]:
    """Every check of a packed corpus, and of its tokenizer where there is one."""
    results = [one(opened) for one in checks_of("shards")]
    if tokenizer is not None:
        packed = shards.TokenizedShards(opened, tokenizer)
        results += [one(packed) for one in checks_of("shards of a tokenizer")]
    return results


def check_corpus(reference: str, other: str | None = None) -> list[CheckResult]:
    """Every check of a folder that `lmworks corpus` made, or of any other text; and of another one beside it."""
    opened = corpus.open_corpus(reference)
    results = [one(opened) for one in checks_of("text")]
    if other is not None:
        both = repeats.TwoTexts(opened.reading, read(other), (reference, other))
        results += [one(both) for one in checks_of("two texts")]
    return results


def check_anything(
    reference: str,
    kind: str | None = None,
    *,
    data: str | None = None,
    base: str | None = None,
    changes: Sequence[str] = (),
) -> tuple[str, list[CheckResult]]:
    """What the reference is (`kind` says so where that is ambiguous), and every check of it.

    `data` is a text for a model or a tokenizer, one to compare a text with, or the shards that a tokenizer packed;
    `base` an adapter's base model; `changes` are a recipe's. ConfigError for options that do not go with the kind.
    """
    kind = kind_of(reference, kind)
    for name, given, kinds in (
        ("--data", data, ("model", "tokenizer", "text")),
        ("--base", base, ("model",)),
        ("--set", changes, ("recipe",)),
    ):
        if given and kind not in kinds:
            every = ", a ".join(kinds[:-1]) + (" or a " if kinds[1:] else "") + kinds[-1]
            raise ConfigError(f"{reference} is a {kind}, and {name} goes with a {every}; leave it out")
    if kind == "recipe":
        return kind, list(check_recipe(reference, changes))
    if kind == "text":
        return kind, check_corpus(reference, data)
    if kind == "shards":
        return kind, check_shards(Shards(reference, verify=False))
    if kind == "tokenizer":
        tokenizer = Tokenizer.load(reference)
        if data is not None and kind_of(data) == "shards":
            return kind, check_tokenizer(tokenizer) + check_shards(Shards(data, verify=False), tokenizer)
        return kind, check_tokenizer(tokenizer, read(data) if data is not None else None)
    reading = read(data) if data is not None else None
    model = load(reference, base=base, compress="none")
    return kind, check_model(model) + (check_data(model, reading) if reading is not None else [])
