"""The main job: read a text, measure a model on it, adapt the model by a method, measure again, save.

    result = build("notes/", model="smollm2", out="models/notes", recipe="quick")
    print(result.measurements, result.verdicts, result.folder)

What a run needs to be resumed lies in `<out>.run` until the model directory is complete.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmworks.adaptation.declaration import Method, Setup
from lmworks.adaptation.methods import METHODS
from lmworks.basics.config import merge as tables_as_one
from lmworks.basics.config import overrides
from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.files import directory_written_whole, write_json
from lmworks.basics.memory import keep_freed_memory
from lmworks.evaluation.drift import drift
from lmworks.evaluation.leaks import leaks
from lmworks.evaluation.measurement import Measurement
from lmworks.jobs.comparing import GENERAL, HELD_OUT, Comparison, Texts, compare, measure_base, measure_texts
from lmworks.jobs.question import question_of
from lmworks.jobs.recipe import Recipe
from lmworks.jobs.runs import (
    check_run,
    end_run,
    logged_losses,
    provenance,
    say_replaced,
    say_skipped,
    start_run,
    training_facts,
)
from lmworks.jobs.verdicts import leak_remark, training_remark, verdict
from lmworks.language_model import LanguageModel
from lmworks.loading import fingerprint
from lmworks.models.files.directory import refuse_foreign_files, write_network
from lmworks.models.network import Network
from lmworks.models.precision import fast_dtype
from lmworks.models.torch_runner import TorchRunner
from lmworks.objectives import CausalLM
from lmworks.text import registry
from lmworks.text.corpus.folder import read_split
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import Split, data_hash, ngram_overlap
from lmworks.tokens.batch import Row, example_of, pack
from lmworks.training.loop import TrainingResult, steps_of, train
from lmworks.training.processes import refuse_ranks

Say = Callable[[str], None]
NAMED = 5
"""Held-out documents whose names are printed; lmworks.json holds all of them."""


@dataclass(frozen=True)
class BuildResult:
    """What a build made."""

    folder: Path
    model: LanguageModel
    recipe: Recipe
    comparisons: list[Comparison]
    verdicts: dict[str, str]
    """What each comparison means, by text, in a few words."""
    remarks: list[str]
    """Why the figures may mean less than they seem: a leak, a run of too few steps."""
    drift: Measurement | None
    """How far the result moved from the base, where no general text could be had."""
    training: TrainingResult
    prompt: str
    """A question for the result: the recipe's, or one that the text's own headings suggest."""
    whole: bool
    """The folder holds a whole model and not an adapter."""
    weight_bytes: int
    """Bytes of the weights in the folder."""

    @property
    def measurements(self) -> list[Measurement]:
        """All figures."""
        return _figures(self.comparisons, self.drift)


def build(
    text: str | os.PathLike[str] | None = None,
    model: str | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    recipe: str | Path | Recipe | None = None,
    changes: Sequence[str] = (),
    merge: bool = False,
    resume: bool = False,
    say: Say = lambda line: None,
) -> BuildResult:
    """Adapt `model` to `text` and write a model directory to `out`; arguments left out come from the recipe.

    The directory holds what the recipe's method learnt: an adapter in PEFT's format (with `merge` the whole merged
    model), or a whole model; and the tokenizer and lmworks.json with recipe, data hashes, versions, measurements and
    seeds. Raises LmworksError with one sentence; Stopped when it was interrupted, after saving what `resume` needs.
    """
    refuse_ranks("lmworks build")
    chosen = _recipe(recipe, list(changes), text, model)
    method = METHODS[chosen.method]
    folder = Path(out) if out is not None else Path("models") / Path(chosen.data.text).resolve().stem
    run = folder.with_name(f"{folder.name}.run")
    refuse_foreign_files(folder)
    check_run(run, chosen, resume, say)
    say_replaced(folder, say)
    keep_freed_memory()

    started = time.time()
    parts = _read(chosen, say)
    remark = _leak(chosen, parts, say)
    sides = {"text": parts.train, "held_out": parts.held_out}
    start_run(run, chosen, {side: (chosen.data.text, data_hash(one)) for side, one in sides.items()}, resume, started)
    language_model = LanguageModel.load(chosen.model.reference, dtype=chosen.model.dtype or fast_dtype())
    _check_fit(method, chosen, language_model.network)
    base = {"reference": chosen.model.reference, "sha256": _weights_of(language_model)}
    rows = _rows(chosen, language_model, parts, say)
    texts = {HELD_OUT: parts.held_out} | _general(chosen, say)
    whole = merge or method.adapter is None
    _run_as_the_result(language_model, chosen, whole)
    before, kept = measure_base(
        language_model,
        texts,
        chosen.evaluation,
        run / "before.json",
        _depends_on(chosen, language_model, texts, base["sha256"], whole),
    )
    if kept:
        say("before         the base was measured when the run was started; those figures count")
    language_model.runner = TorchRunner(language_model.network)  # packed weights are of no use to training

    setup = Setup(language_model.network, CausalLM(), rows, chosen.training.seed)
    setup = method.prepare(setup, chosen.settings)
    training = train(setup.network, setup.objective, setup.rows, chosen.training, run, resume=resume)
    _run_as_the_result(language_model, chosen, whole)
    comparisons = compare(before.likelihoods, measure_texts(language_model, texts, chosen.evaluation))
    moved = None
    if before.own_texts:
        moved = drift(language_model, before.own_texts, _base_of(method, chosen, language_model))

    verdicts = {one.text: verdict(one.text, one.change, bool(remark)) for one in comparisons}
    remarks = [one for one in (remark, training_remark(logged_losses(run))) if one]
    facts = {
        "base": base,
        "recipe": chosen.model_dump(mode="json"),
        "data": _data_facts(parts),
        "measurements": [figure.to_json() for figure in _figures(comparisons, moved)],
        "verdicts": verdicts,
        "remarks": remarks,
        "training": training_facts(training, run),
        "seeds": [chosen.training.seed],
        "dtype": str(language_model.network.dtype).removeprefix("torch."),
        **provenance(run),
    }
    size = _save(folder, run, language_model, method, facts, merge)
    end_run(run, folder)
    prompt = chosen.generation.prompt or question_of(chosen.data.text, parts.held_out, parts.train)
    return BuildResult(
        folder, language_model, chosen, comparisons, verdicts, remarks, moved, training, prompt, whole, size
    )


def answer(result: BuildResult) -> Iterator[str]:
    """What the result answers to its prompt, in pieces as they come."""
    return result.model.stream(
        [{"role": "user", "content": result.prompt}], max_new_tokens=result.recipe.generation.max_new_tokens
    )


def _recipe(
    recipe: str | Path | Recipe | None, changes: list[str], text: str | os.PathLike[str] | None, model: str | None
) -> Recipe:
    if isinstance(recipe, Recipe):
        chosen = Recipe(**tables_as_one(recipe.model_dump(), overrides(changes))) if changes else recipe
    else:
        chosen = Recipe.read("adapt" if recipe is None else recipe, changes)
    if text is not None:
        chosen = chosen.but(data=chosen.data.but(text=str(text)))
    return chosen.but(model=chosen.model.but(reference=model)) if model is not None else chosen


def _read(recipe: Recipe, say: Say) -> Split:
    """The text, split; says what was read, and what is held out."""
    reading, parts = read_split(recipe.data.text, recipe.data.held_out)
    say_skipped(reading, say)
    sizes = ", ".join(
        f"{name} {len(side):,} documents, {sum(len(one.text.encode()) for one in side) / 1e3:,.0f} KB"
        for name, side in (("train", parts.train), ("held out", parts.held_out))
    )
    say(f"text           {reading.name}: {sizes}")
    sources = [one.source for one in parts.held_out]
    more = f" and {len(sources) - NAMED:,} more" if len(sources) > NAMED else ""
    say(f"held out       {', '.join(sources[:NAMED])}{more}")
    return parts


def _leak(recipe: Recipe, parts: Split, say: Say) -> str:
    """Say how much held-out text stands in the training text; returns a remark where that makes figures mislead."""
    overlap = ngram_overlap(parts.train, parts.held_out)
    duplicates = f"; {parts.duplicates:,} duplicates left out" if parts.duplicates else ""
    say(f"overlap        {overlap:.1%} of the held-out runs of 13 words occur in the training text{duplicates}")
    return leak_remark(overlap, leaks(parts.train, parts.held_out), recipe.data.text)


def _check_fit(method: Method, recipe: Recipe, network: Network) -> None:
    """ConfigError where the method does not fit the network, before anything is measured: tried without values."""
    with torch.device("meta"):
        sketch = type(network)(network.config)
    try:
        method.prepare(Setup(sketch, CausalLM(), []), recipe.settings)
    except ConfigError as error:
        raise error.inside((method.name,)) from None


def _weights_of(model: LanguageModel) -> str:
    """SHA-256 of the file or files that a model was read from."""
    assert model.source is not None
    return fingerprint(model.source)


def _rows(recipe: Recipe, model: LanguageModel, parts: Split, say: Say) -> list[Row]:
    """The training text as rows of tokens."""
    settings = recipe.training
    examples = [example_of(document, model.tokenizer) for document in parts.train]
    rows = pack(examples, settings.context, seed=settings.seed)
    say(f"to train       {len(rows):,} rows of {settings.context} tokens, {steps_of(settings, len(rows)):,} steps")
    return rows


def _general(recipe: Recipe, say: Say) -> dict[str, list[Document]]:
    """The general text; none where the data registry's file cannot be had here. Any other trouble is an error."""
    name = recipe.data.general
    try:
        return {GENERAL: read(name).documents}
    except DataError:
        if name not in registry.ENTRIES:
            raise
        say(f"general text   {name} is not on this machine and cannot be fetched; connect once, or set LMWORKS_DATA")
        say("instead        forgetting is measured as the drift from the base, on texts that the base itself writes")
        return {}


def _run_as_the_result(model: LanguageModel, recipe: Recipe, whole: bool) -> None:
    """Measure and answer as the result will run: an adapter as the file of its base does, whole weights in PyTorch.

    Where a recipe names the type of the weights, PyTorch measures, whatever runs the result later.
    """
    model.network.requires_grad_(False)
    if recipe.model.dtype is None and not whole:
        model.choose_runner()


def _depends_on(recipe: Recipe, model: LanguageModel, texts: Texts, weights: str, whole: bool) -> dict[str, Any]:
    """What the base's figures depend on."""
    return {
        "weights": weights,
        "dtype": str(model.network.dtype),
        "whole": whole,
        "texts": {name: data_hash(documents) for name, documents in texts.items()},
        "evaluation": recipe.evaluation.model_dump(mode="json"),
    }


def _base_of(method: Method, recipe: Recipe, model: LanguageModel) -> Callable[[Tensor], Tensor]:
    """What gives the base's logits: the network with its adapter off, or, where its own weights were trained, the base
    read anew."""
    if method.adapter is None:
        return LanguageModel.load(recipe.model.reference, dtype=model.network.dtype).logits
    off = method.adapter.off

    def without_adapter(tokens: Tensor) -> Tensor:
        with off(model.network):
            return model.logits(tokens)

    return without_adapter


def _figures(comparisons: Sequence[Comparison], moved: Measurement | None) -> list[Measurement]:
    rows = [figure for one in comparisons for figure in (one.before, one.after, one.difference)]
    return [*rows, moved] if moved else rows


def _data_facts(parts: Split) -> dict[str, Any]:
    return {
        "train": data_hash(parts.train),
        "held_out": data_hash(parts.held_out),
        "held_out_sources": [document.source for document in parts.held_out],
        "documents": [len(parts.train), len(parts.held_out)],
        "duplicates": parts.duplicates,
    }


def _save(folder: Path, run: Path, model: LanguageModel, method: Method, facts: dict[str, Any], merge: bool) -> int:
    """Write the model directory; return the bytes of its weights."""
    refuse_foreign_files(folder)
    with directory_written_whole(folder) as temporary:
        if method.adapter is None:
            write_network(temporary, model.network)
        elif merge:
            write_network(temporary, method.adapter.merge(model.network))
        else:
            method.adapter.write(temporary, model.network, _lasting(facts["base"]["reference"]))
        model.write_tokenizer(temporary)
        write_json(temporary / "lmworks.json", facts)
        shutil.copyfile(run / "log.jsonl", temporary / "log.jsonl")
    model.source, model.reference = folder, str(folder)
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _lasting(reference: str) -> str:
    """A reference that still holds when the command is run from another folder."""
    path = Path(reference)
    return str(path.resolve()) if path.exists() else reference
