"""The main job: read a text, measure a model on it, adapt the model, measure again, save.

    result = build("notes/", model="smollm2", out="models/notes", recipe="quick")
    print(result.measurements, result.folder)

What a run needs to be resumed lies in `<out>.run` until the model directory is complete.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmworks.adaptation.lora import add_lora, merge_adapters
from lmworks.adaptation.peft_format import write_adapter
from lmworks.basics.config import merge as tables_as_one
from lmworks.basics.config import overrides
from lmworks.basics.errors import DataError
from lmworks.basics.files import directory_written_whole, write_json
from lmworks.basics.memory import keep_freed_memory
from lmworks.evaluation.drift import drift, own_texts
from lmworks.evaluation.likelihood import Change, Likelihood, change, measure
from lmworks.evaluation.measurement import Measurement
from lmworks.jobs.recipe import Recipe
from lmworks.jobs.runs import check_run, end_run, provenance, say_replaced, say_skipped, start_run
from lmworks.language_model import LanguageModel
from lmworks.loading import fingerprint
from lmworks.models.files.directory import refuse_foreign_files, write_network
from lmworks.models.precision import fast_dtype
from lmworks.models.torch_runner import TorchRunner
from lmworks.objectives import CausalLM
from lmworks.text import registry
from lmworks.text.corpus.folder import read_split
from lmworks.text.document import Document
from lmworks.text.sources import Reading, read
from lmworks.text.splits import Split, data_hash, ngram_overlap
from lmworks.tokens.batch import example_of, pack
from lmworks.training.loop import TrainingResult, steps_of, train
from lmworks.training.ranks import refuse_ranks

Say = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """One text before and after, and whether the difference is more than chance."""

    text: str
    before: Measurement
    after: Measurement
    difference: Measurement
    change: Change


@dataclass(frozen=True)
class BuildResult:
    """What a build made."""

    folder: Path
    model: LanguageModel
    recipe: Recipe
    comparisons: list[Comparison]
    drift: Measurement | None
    """How far from the base, where no general text could be had."""
    training: TrainingResult
    adapter_bytes: int

    @property
    def measurements(self) -> list[Measurement]:
        """All figures."""
        rows = [figure for one in self.comparisons for figure in (one.before, one.after, one.difference)]
        return [*rows, self.drift] if self.drift else rows


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

    The directory holds the adapter in PEFT's format, or with `merge` the whole merged model; in both cases the
    tokenizer and lmworks.json with recipe, data hashes, versions, measurements and seeds. Raises LmworksError
    with one sentence; Stopped when it was interrupted, after saving what `resume` needs.
    """
    refuse_ranks("lmworks build")
    chosen = _recipe(recipe, list(changes), text, model)
    folder = Path(out) if out is not None else Path("models") / Path(chosen.data.text).resolve().stem
    run = folder.with_name(f"{folder.name}.run")
    refuse_foreign_files(folder)
    check_run(run, chosen, resume, say)
    say_replaced(folder, say)
    keep_freed_memory()

    started = time.time()
    _, parts = _read(chosen, say)
    sides = {"text": parts.train, "held_out": parts.held_out}
    start_run(run, chosen, {side: (chosen.data.text, data_hash(one)) for side, one in sides.items()}, resume)
    language_model = LanguageModel.load(chosen.model.reference, dtype=chosen.model.dtype or fast_dtype())
    rows = pack(
        [example_of(document, language_model.tokenizer) for document in parts.train],
        chosen.training.context,
        seed=chosen.training.seed,
    )
    say(
        f"to train       {len(rows):,} rows of {chosen.training.context} tokens, {steps_of(chosen.training, len(rows)):,} steps"
    )
    general = _general(chosen, say)
    _run_as_the_result(language_model, chosen, merge)
    before = _measure(language_model, chosen, parts.held_out, general)
    texts = [] if general else own_texts(language_model)
    language_model.runner = TorchRunner(language_model.network)  # packed weights are of no use to training

    network = add_lora(language_model.network, chosen.lora, chosen.training.seed)
    training = train(network, CausalLM(), rows, chosen.training, run, resume=resume)
    _run_as_the_result(language_model, chosen, merge)
    after = _measure(language_model, chosen, parts.held_out, general)
    comparisons = [_compare(name, before[name], after[name]) for name in before]
    moved = drift(language_model, texts) if texts else None

    facts = _facts(chosen, language_model, parts, comparisons, moved, training, started)
    size = _save(folder, run, language_model, facts, merge)
    end_run(run, folder)
    return BuildResult(folder, language_model, chosen, comparisons, moved, training, size)


def answer(result: BuildResult) -> Iterator[str]:
    """What the result answers to the recipe's prompt, in pieces as they come."""
    generation = result.recipe.generation
    return result.model.stream(
        [{"role": "user", "content": generation.prompt}], max_new_tokens=generation.max_new_tokens
    )


def _recipe(
    recipe: str | Path | Recipe | None, changes: list[str], text: str | os.PathLike[str] | None, model: str | None
) -> Recipe:
    if isinstance(recipe, Recipe):
        chosen = Recipe(**tables_as_one(recipe.model_dump(), overrides(changes)))
    else:
        chosen = Recipe.read("adapt" if recipe is None else recipe, changes)
    if text is not None:
        chosen = chosen.but(data=chosen.data.but(text=str(text)))
    return chosen.but(model=chosen.model.but(reference=model)) if model is not None else chosen


def _read(recipe: Recipe, say: Say) -> tuple[Reading, Split]:
    reading, parts = read_split(recipe.data.text, recipe.data.held_out)
    say_skipped(reading, say)
    size = {
        name: sum(len(one.text.encode()) for one in side) / 1e3
        for name, side in (("train", parts.train), ("held out", parts.held_out))
    }
    say(
        f"text           {reading.name}: "
        + ", ".join(
            f"{name} {len(side):,} documents, {size[name]:,.0f} KB"
            for name, side in (("train", parts.train), ("held out", parts.held_out))
        )
    )
    overlap = ngram_overlap(parts.train, parts.held_out)
    say(
        f"overlap        {100 * overlap:.1f} % of the held-out runs of 13 words occur in the training text"
        + (f"; {parts.duplicates:,} duplicates left out" if parts.duplicates else "")
    )
    return reading, parts


def _general(recipe: Recipe, say: Say) -> list[Document]:
    """The general text; none where it is a set of the data registry that cannot be had here. Anything else is an error."""
    try:
        return read(recipe.data.general).documents
    except DataError as error:
        if recipe.data.general not in registry.ENTRIES:
            raise
        say(f"no general text: {error}")
        say("instead        the drift from the base is measured on texts that the base itself writes")
        return []


def _run_as_the_result(model: LanguageModel, recipe: Recipe, merge: bool) -> None:
    """Measure and answer in the way in which the result will run: an adapter as its base's file does; merged weights in PyTorch, as they
    are in no file's few bits. Where a recipe names the type of the weights, PyTorch measures, whatever runs the result later."""
    model.network.requires_grad_(False)
    if recipe.model.dtype is None and not merge:
        model.choose_runner()


def _measure(
    model: LanguageModel, recipe: Recipe, held_out: Sequence[Document], general: Sequence[Document]
) -> dict[str, Likelihood]:
    settings = recipe.evaluation
    texts = {"held-out text": held_out} | ({"general text": general} if general else {})
    return {
        name: measure(model, documents, name, window=settings.window, tokens=settings.tokens)
        for name, documents in texts.items()
    }


def _compare(name: str, before: Likelihood, after: Likelihood) -> Comparison:
    difference, verdict = change(before, after, f"{name}, change")
    return Comparison(
        name, before.bits_per_byte(f"{name}, before"), after.bits_per_byte(f"{name}, after"), difference, verdict
    )


def _facts(
    recipe: Recipe,
    model: LanguageModel,
    parts: Split,
    comparisons: Sequence[Comparison],
    moved: Measurement | None,
    training: TrainingResult,
    started: float,
) -> dict[str, Any]:
    """What lmworks.json says: enough to know where the result comes from, and to make it again."""
    assert model.source is not None
    figures = [figure for one in comparisons for figure in (one.before, one.after, one.difference)]
    return {
        "base": {"reference": recipe.model.reference, "sha256": fingerprint(model.source)},
        "recipe": recipe.model_dump(mode="json"),
        "data": {
            "train": data_hash(parts.train),
            "held_out": data_hash(parts.held_out),
            "documents": [len(parts.train), len(parts.held_out)],
            "duplicates": parts.duplicates,
        },
        "measurements": [figure.to_json() for figure in ([*figures, moved] if moved else figures)],
        "training": {
            **{key: value for key, value in dataclasses.asdict(training).items() if key != "losses"},
            "first_loss": training.losses[0] if training.losses else None,
            "last_loss": training.losses[-1] if training.losses else None,
        },
        "seeds": [recipe.training.seed],
        "dtype": str(model.network.dtype).removeprefix("torch."),
        **provenance(started),
    }


def _save(folder: Path, run: Path, model: LanguageModel, facts: dict[str, Any], merge: bool) -> int:
    """Write the model directory; return the bytes of what was learnt."""
    refuse_foreign_files(folder)
    with directory_written_whole(folder) as temporary:
        if merge:
            write_network(temporary, merge_adapters(model.network))
        else:
            write_adapter(temporary, model.network, _lasting(facts["base"]["reference"]))
        model.write_tokenizer(temporary)
        write_json(temporary / "lmworks.json", facts)
        shutil.copyfile(run / "log.jsonl", temporary / "log.jsonl")
    model.source, model.reference = folder, str(folder)
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _lasting(reference: str) -> str:
    """A reference that still holds when the command is run from another folder."""
    path = Path(reference)
    return str(path.resolve()) if path.exists() else reference
