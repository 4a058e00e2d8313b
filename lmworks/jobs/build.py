"""The main job: index a text and answer from it, measure a model on it, adapt the model, measure again, save.

    result = build("notes/", model="smollm2", out="models/notes", recipe="quick")
    print(result.measurements, result.verdicts, result.folder)

What a run needs to be resumed lies in `<out>.run` until the model directory is complete.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmworks.adaptation.declaration import Adapter, Original, Setup
from lmworks.adaptation.small_updates import merge_keeping
from lmworks.basics.arguments import checked
from lmworks.basics.config import merge as tables_as_one
from lmworks.basics.config import overrides
from lmworks.basics.errors import ConfigError
from lmworks.basics.files import as_reference, beside, directory_written_whole
from lmworks.evaluation.drift import drift, moved_on
from lmworks.evaluation.measurement import Measurement
from lmworks.jobs.build_text import data_facts, general_text, leak_of, say_few_steps, task_of_calls
from lmworks.jobs.comparing import HELD_OUT, MeasuredBase, TextComparison, Texts, compare, measure_base, measure_texts
from lmworks.jobs.grounding import Grounded, grounded
from lmworks.jobs.learning import Learning
from lmworks.jobs.private import Promise, promise, way_of, without_private
from lmworks.jobs.question import question_of
from lmworks.jobs.recipe import Recipe
from lmworks.jobs.runs import (
    LOG,
    end_run,
    logged_losses,
    open_run,
    provenance,
    resumable,
    start_run,
    training_facts,
)
from lmworks.jobs.verdicts import training_remark, verdict
from lmworks.language_model import LanguageModel
from lmworks.loading import files_digest, fingerprint, must_learn_text, text_kind
from lmworks.models.config import ModelConfig
from lmworks.models.files.directory import write_network, write_safetensors
from lmworks.models.files.model_folder import INDEX_FOLDER, refuse_foreign_files, write_facts
from lmworks.models.files.references import lasting
from lmworks.models.network import Network
from lmworks.models.network_class import network_class
from lmworks.models.precision import fast_dtype
from lmworks.models.torch_runner import TorchRunner
from lmworks.text.splits import Split, data_hash
from lmworks.tokens.batch import Row
from lmworks.training.by_hand.eight_bits import choose_products
from lmworks.training.loop import TrainingResult, train
from lmworks.training.private.dp_sgd import Private
from lmworks.training.processes import refuse_ranks
from lmworks.training.settings import TrainingConfig

Say = Callable[[str], None]


@dataclass(frozen=True)
class BuildResult:
    """What a build made."""

    folder: Path
    model: LanguageModel
    recipe: Recipe
    comparisons: list[TextComparison]
    verdicts: dict[str, str]
    """What each comparison means, by text, in a few words."""
    remarks: list[str]
    """Why the figures may mean less than they seem: a leak, a run of too few steps."""
    moved: Measurement
    """KL(base, tuned) on the held-out text, which foretells forgetting."""
    drift: Measurement | None
    """How far the result moved from the base on the base's own text, where no general text could be had."""
    training: TrainingResult
    prompt: str
    """A question for the result: the recipe's, or one that the text's own headings suggest."""
    grounded: Grounded | None
    """The index in the folder, and what it answers to the prompt; None where the text was not indexed."""
    whole: bool
    """The folder holds a whole model and not an adapter."""
    weight_bytes: int
    """Bytes of the weights in the folder."""
    further: list[Measurement] = field(default_factory=list)
    """Figures of what was learnt beside gain and loss."""
    private: Promise | None = None
    """What a private run promises."""
    task: str | None = None
    """A file by which `lmworks evaluate --task` asks for calls, or "FILE"; None where nothing learnt calls tools."""

    @property
    def measurements(self) -> list[Measurement]:
        """All figures."""
        return _After(self.comparisons, self.moved, self.drift, self.further).measurements


@checked
@resumable
def build(
    text: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    recipe: str | Path | Recipe | None = None,
    changes: Sequence[str] = (),
    merge: bool = False,
    resume: bool = False,
    learning: Learning | None = None,
    say: Say = lambda line: None,
) -> BuildResult:
    """Adapt `model` to `text` and write a model directory to `out`; arguments left out come from the recipe.

    The directory holds what the recipe's method learnt: an adapter in PEFT's format (with `merge` the whole merged
    model), or a whole model; the tokenizer; lmworks.json with recipe, data hashes, versions, measurements and seeds;
    and the text's index in the folder `index`. Raises LmworksError with one sentence; Stopped when it was interrupted,
    after saving what `resume` needs.
    """
    refuse_ranks("lmworks build")
    chosen = _recipe(recipe, list(changes), as_reference(text), as_reference(model))
    folder = Path(out) if out is not None else Path("models") / Path(chosen.data.text).resolve().stem
    if merge and (adapter := chosen.chosen.method.adapter) is not None and not adapter.merges:
        raise ConfigError(
            f"what {chosen.method} learns fits into no weight, so there is nothing to merge; leave out --merge, and "
            "use the adapter beside its base"
        )
    retention = chosen.chosen.retention
    if merge and retention is not None and retention.apart:
        raise ConfigError(
            f"retain is {chosen.retain!r}, which leaves the base as it is beside an adapter, and a merged model has no "
            "base any more; leave out --merge"
        )
    learning = learning or Learning()
    if (config := must_learn_text(chosen.model.reference)) is not None:
        check_fit(chosen, config, learning)
    job = _Job(chosen, folder, merge, learning, say)
    open_run(folder, chosen, resume, say, chosen.model.reference)

    started = time.time()
    parts = learning.read(chosen, say)
    leak = leak_of(chosen, parts, say)
    sides = {"text": parts.train, "held_out": parts.held_out}
    hashes = {side: (chosen.data.text, data_hash(documents)) for side, documents in sides.items()}
    start_run(job.run, chosen, hashes, resume, started)
    if not resume:
        job.base_figures.unlink(missing_ok=True)
    reference = chosen.model.reference
    language_model = text_kind(reference).load(reference, dtype=chosen.model.dtype or fast_dtype())
    check_fit(chosen, language_model, learning)
    prompt = chosen.generation.prompt or question_of(chosen.data.text, parts.held_out, parts.train)
    cited = grounded(chosen, job.run, prompt, resume, say)
    rows = learning.rows(chosen, language_model, parts, say)
    say_few_steps(chosen.training, len(rows), say)
    texts = {HELD_OUT: parts.held_out} | general_text(chosen, say)
    promised = promise(chosen, len(rows)) if chosen.private.on else None
    if promised is not None:
        say(f"private        {promised}")

    before = job.measure_before(language_model, texts)
    measured = frozenset(one.hash for documents in texts.values() for one in documents)
    way = None if promised is None else way_of(promised, chosen, job.run, resume)
    training = job.train(language_model, rows, measured, resume, way)
    after = job.measure_after(language_model, texts, before)
    return job.finish(language_model, _Read(parts, leak, prompt, cited, promised), before, training, after)


def check_fit(recipe: Recipe, model: LanguageModel | ModelConfig, learning: Learning) -> None:
    """ConfigError, before anything is measured, where the method does not fit the network, or what keeps its old
    skills does not fit the method: tried without values. A config says so before weights and texts are read, unless
    the method starts from how a file stores the weights."""
    config, stored = (model.config, model.stored) if isinstance(model, LanguageModel) else (model, None)
    if config is model and recipe.chosen.method.from_file(recipe.chosen.settings):
        return
    with torch.device("meta"):
        sketch = network_class(config)(config)
    training_settings(recipe, sketch, learning)
    chosen = replace(recipe.chosen, stored=stored)
    setup = chosen.prepare(Setup(sketch, learning.objective(recipe), []), recipe.training.context)
    chosen.retain(setup)


def compares_with_base(recipe: Recipe, learning: Learning) -> bool:
    """Does what is minimised look at what the base predicts?"""
    return recipe.retain != "nothing" or learning.compares_with_base


def training_settings(recipe: Recipe, network: Network, learning: Learning) -> TrainingConfig:
    """The recipe's, with what it leaves to the processor decided. ConfigError where that cannot do what is asked."""
    method, compares = recipe.chosen.method, compares_with_base(recipe, learning)
    return choose_products(
        recipe.training,
        network.config,
        network.dtype,
        adapter=method.adapter is not None,
        compares=compares,
        few_bits=method.few_bits,
    )


def answer(result: BuildResult) -> Iterator[str]:
    """What the result answers to its prompt, in pieces as they come."""
    return result.model.stream(
        [{"role": "user", "content": result.prompt}], max_new_tokens=result.recipe.generation.max_new_tokens
    )


@dataclass(frozen=True)
class _Read:
    """What is known of the text before a model is loaded."""

    parts: Split
    leak: str
    prompt: str
    grounded: Grounded | None
    promised: Promise | None


@dataclass(frozen=True)
class _After:
    """What is known of the result once it was measured."""

    comparisons: list[TextComparison]
    moved: Measurement
    drift: Measurement | None
    further: list[Measurement]

    @property
    def measurements(self) -> list[Measurement]:
        """All figures."""
        rows = [figure for one in self.comparisons for figure in (one.before, one.after, one.difference)]
        return [*rows, self.moved, *([self.drift] if self.drift else []), *self.further]


@dataclass(frozen=True)
class _Job:
    """A build on its way: what it was told, and its steps in their order."""

    recipe: Recipe
    folder: Path
    merge: bool
    learning: Learning
    say: Say

    @property
    def adapter(self) -> Adapter | None:
        """How to handle what is learnt beside frozen weights; None where the weights themselves are trained."""
        return self.recipe.chosen.method.adapter

    @property
    def run(self) -> Path:
        """What is needed to resume."""
        return beside(self.folder, "", ".run")

    @property
    def beside(self) -> Path:
        """What will lie beside the weights."""
        return self.run / "beside"

    @property
    def base_figures(self) -> Path:
        """The base's figures, for when the run is resumed."""
        return self.run / "before.json"

    @property
    def whole(self) -> bool:
        """The result is a whole model and no adapter."""
        return self.merge or self.adapter is None

    def measure_before(self, model: LanguageModel, texts: Texts) -> MeasuredBase:
        """The base's figures; those that were kept where this run is resumed."""
        assert model.source is not None
        self._run_as_the_result(model)
        depends_on = {
            "weights": fingerprint(model.source),
            "files": files_digest(model.source),
            "runner": model.runner.name,
            "dtype": str(model.network.dtype),
            "whole": self.whole,
            "texts": {name: data_hash(documents) for name, documents in texts.items()},
            "evaluation": self.recipe.evaluation.model_dump(mode="json"),
        }
        base, kept = measure_base(model, texts, self.recipe.evaluation, self.base_figures, depends_on)
        if kept:
            self.say("before         the base was measured when the run was started; those figures count")
        model.runner = TorchRunner(model.network)  # packed weights are of no use to training
        return base

    def train(
        self, model: LanguageModel, rows: Sequence[Row], measured: frozenset[str], resume: bool, private: Private | None
    ) -> TrainingResult:
        """Train by the method; `measured` are the hashes of documents that nothing may be learnt from."""
        settings = training_settings(self.recipe, model.network, self.learning)
        chosen = replace(self.recipe.chosen, stored=model.stored)
        base = Original(model, self.adapter, settings.context, measured)
        objective = self.learning.objective(self.recipe)
        calibration = () if compares_with_base(self.recipe, self.learning) or private is not None else rows
        setup = chosen.prepare(Setup(model.network, objective, rows, settings.seed, calibration=calibration))
        setup = chosen.retain(setup, base)
        setup = self.learning.before_the_first_step(self.recipe, setup, base, self.run, resume)
        self._keep_beside(setup)
        result = train(setup.network, setup.objective, setup.rows, settings, self.run, resume=resume, private=private)
        chosen.method.settle(setup.network)
        return result

    def _keep_beside(self, setup: Setup) -> None:
        shutil.rmtree(self.beside, ignore_errors=True)
        self.beside.mkdir(parents=True)
        for name, tensors in setup.beside.items():
            write_safetensors(self.beside / name, tensors)

    def measure_after(self, model: LanguageModel, texts: Texts, before: MeasuredBase) -> _After:
        """The result's figures beside the base's; and how far it moved from the base, on the new text and, where there
        is no general text, on the base's own."""
        self._run_as_the_result(model)
        comparisons = compare(before.likelihoods, measure_texts(model, texts, self.recipe.evaluation))
        base = self._base_of(model)
        moved = moved_on(model, texts[HELD_OUT], base, HELD_OUT, self.recipe.evaluation.tokens)

        def logits(tokens: Tensor) -> Tensor:
            with base() as network:
                return (model if network is model.network else LanguageModel(network, model.tokenizer)).logits(tokens)

        own = drift(model, before.own_texts, logits) if before.own_texts else None
        return _After(comparisons, moved, own, self.learning.measure(self.recipe, model, lambda: logits))

    def finish(
        self,
        model: LanguageModel,
        text: _Read,
        before: MeasuredBase,
        training: TrainingResult,
        after: _After,
    ) -> BuildResult:
        """Judge, and save the model directory; the run's folder goes."""
        recipe = self.recipe
        promised = text.promised
        verdicts = {one.text: verdict(one.text, one.change, bool(text.leak)) for one in after.comparisons}
        slow = training_remark(logged_losses(self.run), private=promised is not None)
        remarks = [one for one in (text.leak, slow) if one]
        facts = {
            "base": {"reference": recipe.model.reference, "sha256": before.weights},
            "recipe": recipe.model_dump(mode="json"),
            "data": data_facts(text.parts) | self.learning.facts(),
            "measurements": [figure.to_json() for figure in after.measurements],
            "verdicts": verdicts,
            "remarks": remarks,
            "training": training_facts(training, self.run),
            **({} if promised is None else {"private": promised.facts}),
            "seeds": [recipe.training.seed],
            "dtype": str(model.network.dtype).removeprefix("torch."),
            "frozen_products": training_settings(recipe, model.network, self.learning).frozen_products,
            **({"index": text.grounded.facts} if text.grounded else {}),
            **provenance(self.run),
        }
        if promised is not None:
            without_private(facts)
            facts["verdicts"] = {one.text: verdict(one.text, one.change, leaking=False) for one in after.comparisons}
            facts["remarks"] = [slow] if slow else []
        size = self._save(model, facts)
        end_run(self.run, self.folder)
        return BuildResult(
            folder=self.folder,
            model=model,
            recipe=recipe,
            comparisons=after.comparisons,
            verdicts=verdicts,
            remarks=remarks,
            moved=after.moved,
            drift=after.drift,
            training=training,
            prompt=text.prompt,
            grounded=text.grounded,
            whole=self.whole,
            weight_bytes=size,
            further=after.further,
            private=promised,
            task=task_of_calls(recipe, text.parts),
        )

    def _run_as_the_result(self, model: LanguageModel) -> None:
        """Measure and answer as the result will run: an adapter as the file of its base does, whole weights in PyTorch.

        Where a recipe names the type of the weights, PyTorch measures, whatever runs the result later.
        """
        model.network.requires_grad_(False)
        if self.recipe.model.dtype is None and not self.whole:
            model.choose_runner()

    def _base_of(self, model: LanguageModel) -> Callable[[], AbstractContextManager[Network]]:
        """What gives the base: the network with its adapter off, or, where its own weights were trained, the base read
        again."""
        if self.adapter is None:
            base = LanguageModel.load(self.recipe.model.reference, dtype=model.network.dtype).network
            return lambda: nullcontext(base)
        off = self.adapter.off

        @contextmanager
        def without_adapter() -> Iterator[Network]:
            with off(model.network):
                yield model.network

        return without_adapter

    def _save(self, model: LanguageModel, facts: dict[str, Any]) -> int:
        """Write the model directory; return the bytes of its weights."""
        refuse_foreign_files(self.folder)
        adapter = self.adapter
        with directory_written_whole(self.folder) as temporary:
            if adapter is not None and not self.merge:
                adapter.write(temporary, model.network, lasting(self.recipe.model.reference))
            else:
                if adapter is not None:
                    merge_keeping(model.network, lambda why: self.say(f"merged         {why}"))
                write_network(temporary, model.network)
                model.write_beside(temporary)
            shutil.copytree(self.beside, temporary, dirs_exist_ok=True)
            model.write_tokenizer(temporary)
            write_facts(temporary, facts)
            if "index" in facts:
                shutil.copytree(self.run / INDEX_FOLDER, temporary / INDEX_FOLDER)
            if "private" not in facts:  # it has the loss of what was learnt
                shutil.copyfile(self.run / LOG, temporary / LOG)
        model.source, model.reference = self.folder, str(self.folder)
        return sum(file.stat().st_size for file in self.folder.glob("*.safetensors"))


def _recipe(recipe: str | Path | Recipe | None, changes: list[str], text: str | None, model: str | None) -> Recipe:
    if isinstance(recipe, Recipe):
        chosen = Recipe(**tables_as_one(recipe.model_dump(), overrides(changes))) if changes else recipe
    else:
        chosen = Recipe.read("adapt" if recipe is None else recipe, changes)
    if text is not None:
        chosen = chosen.but(data=chosen.data.but(text=text))
    return chosen.but(model=chosen.model.but(reference=model)) if model is not None else chosen
