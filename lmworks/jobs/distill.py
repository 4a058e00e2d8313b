"""A smaller model from a larger one: the student learns a text, and what its teacher predicts of it.

    result = distill("smollm2", "notes/", layers=15, out="models/small")
    print(result.measurements, result.folder)

What a run needs to be resumed lies in `<out>.run` until the model directory is complete; what the teacher was asked
stays in the cache, for other students of the same text.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmworks.adaptation.adapter_files import is_adapter
from lmworks.adaptation.distillation.cache import Lessons, TaughtRows, lessons_folder
from lmworks.adaptation.distillation.student import must_be_narrower, must_be_shallower, narrower, shallower
from lmworks.adaptation.lora import merge_adapters
from lmworks.adaptation.old_text import rows_written
from lmworks.basics import amounts
from lmworks.basics.arguments import checked
from lmworks.basics.errors import ConfigError
from lmworks.evaluation.beside_teacher import BesideTeacher, beside, writing_costs
from lmworks.evaluation.measurement import Measurement
from lmworks.jobs.build_text import data_facts, general_text, leak_of, read_text, rows_of, say_few_steps
from lmworks.jobs.comparing import HELD_OUT
from lmworks.jobs.distill_recipe import DistillRecipe, with_arguments
from lmworks.jobs.runs import logged_losses, open_run, provenance, resumable, save_result, start_run, training_facts
from lmworks.jobs.verdicts import training_remark
from lmworks.language_model import LanguageModel
from lmworks.loading import identity, load, must_learn_text
from lmworks.models.adapted import has_adapters
from lmworks.models.config import ModelConfig
from lmworks.models.precision import fast_dtype
from lmworks.objectives.distillation import Distillation
from lmworks.objectives.predicting import predictions_by
from lmworks.text.splits import Split, data_hash
from lmworks.tokens.batch import Row
from lmworks.tokens.rows import Rows
from lmworks.tokens.shards import tokenizer_hash
from lmworks.training.loop import TrainingResult, train
from lmworks.training.processes import refuse_ranks

Say = Callable[[str], None]


@dataclass(frozen=True)
class DistillResult:
    """What a run made."""

    folder: Path
    model: LanguageModel
    """The student."""
    recipe: DistillRecipe
    texts: list[BesideTeacher]
    """Each text with student and teacher: cross-entropies and KL, by document."""
    costs: list[Measurement]
    """Parameters and bytes of both, and the CPU time of a written token."""
    training: TrainingResult
    asked: int
    """Tokens that the teacher was asked for; 0 where all was in the cache, or no samples are kept."""
    remarks: list[str]
    """Why the figures may mislead: leaks, too few steps, a loss that did not fall."""

    @property
    def measurements(self) -> list[Measurement]:
        """All figures."""
        return [*(figure for one in self.texts for figure in one.measurements), *self.costs]


@checked
@resumable
def distill(
    teacher: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    layers: int | None = None,
    student: str | os.PathLike[str] | None = None,
    recipe: str | Path | DistillRecipe = "distill",
    changes: Sequence[str] = (),
    resume: bool = False,
    say: Say = lambda line: None,
) -> DistillResult:
    """Train a student on `data` and on its teacher's predictions, and write a model directory to `out`.

    The student has `layers` of the teacher's layers, or is a model of any family with the teacher's vocabulary;
    arguments left out come from the recipe. Raises LmworksError with one sentence; Stopped when it was interrupted,
    after saving what `resume` needs.
    """
    refuse_ranks("lmworks distill")
    chosen = with_arguments(recipe, changes, teacher, data, layers, student)
    for one in filter(None, (chosen.teacher.reference, chosen.student.reference)):
        config = None if is_adapter(Path(one)) else must_learn_text(one)  # an adapter is merged
        if config is not None and one == chosen.teacher.reference:
            must_be_part(chosen, config)
    name = chosen.student.reference or chosen.teacher.reference
    folder = Path(out) if out is not None else Path("models") / f"{Path(name).stem}-student"
    run = open_run(folder, chosen, resume, say, chosen.teacher.reference, chosen.student.reference)

    started = time.time()
    parts = read_text(chosen, name, say)
    leak = leak_of(chosen, parts, say)
    sides = {"text": parts.train, "held_out": parts.held_out}
    hashes = {side: (chosen.data.text, data_hash(documents)) for side, documents in sides.items()}
    start_run(run, chosen, hashes, resume, started)
    master = load(chosen.teacher.reference, dtype=chosen.teacher.dtype or fast_dtype())
    if has_adapters(master.network):
        merge_adapters(master.network)
    model = student_of(chosen, master)
    say(f"student        {_size(model)} of the teacher's {_size(master)}")

    rows = _rows(chosen, master, rows_of(chosen, model, parts, say), say)
    say_few_steps(chosen.training, len(rows), say)
    taught, asked = _taught(chosen, master, model, rows, say)
    network = model.network.requires_grad_(True)
    objective = _objective(chosen, master)
    training = train(network, objective, taught, chosen.training, run, resume=resume)
    network.requires_grad_(False)

    texts = {HELD_OUT: parts.held_out} | general_text(chosen, say)
    settings = chosen.evaluation
    found = [
        beside(model, master, documents, name, window=settings.window, tokens=settings.tokens)
        for name, documents in texts.items()
    ]
    costs = [*_sizes(model, master), *writing_costs(model, master)]
    figures = [*(figure for one in found for figure in one.measurements), *costs]
    remarks = [one for one in (leak, training_remark(logged_losses(run))) if one]
    facts = _facts(chosen, model, parts, figures, training_facts(training, run)) | provenance(run)
    save_result(run, folder, model, facts | {"remarks": remarks})
    return DistillResult(folder, model, chosen, found, costs, training, asked, remarks)


def _facts(
    recipe: DistillRecipe,
    model: LanguageModel,
    parts: Split,
    figures: Sequence[Measurement],
    training: dict[str, Any],
) -> dict[str, Any]:
    """What lmworks.json says."""
    return {
        "teacher": {"reference": recipe.teacher.reference, "sha256": identity(recipe.teacher.reference)},
        "recipe": recipe.model_dump(mode="json"),
        "data": data_facts(parts),
        "measurements": [figure.to_json() for figure in figures],
        "training": training,
        "seeds": [recipe.training.seed],
        "dtype": str(model.network.dtype).removeprefix("torch."),
    }


def student_of(recipe: DistillRecipe, teacher: LanguageModel) -> LanguageModel:
    """What will be trained. ConfigError for a teacher that does not write, another vocabulary, or a part that the
    teacher has not."""
    reference = recipe.teacher.reference
    teacher.must_write()
    if teacher.translates:
        raise ConfigError(f"{reference} is an encoder-decoder, and students learn from decoders; take a decoder")
    settings = recipe.student
    if settings.reference is not None:
        model = load(settings.reference, dtype=recipe.teacher.dtype or fast_dtype())
        model.must_write()
        if model.tokenizer.words != teacher.tokenizer.words:
            raise ConfigError(
                f"the student {settings.reference} has another vocabulary than its teacher {reference}, whose "
                "predictions would be of other tokens; take two models with one tokenizer"
            )
        if has_adapters(model.network):
            merge_adapters(model.network)
        return model
    must_be_part(recipe, teacher.config)
    network = teacher.network
    network = network if settings.layers is None else shallower(network, settings.layers)
    network = network if settings.hidden_dim is None else narrower(network, settings.hidden_dim)
    return LanguageModel(network, teacher.tokenizer, reference=reference)


def must_be_part(recipe: DistillRecipe, teacher: ModelConfig) -> None:
    """ConfigError for a student that has more layers, or wider ones, than a teacher of this config."""
    settings = recipe.student
    try:
        if settings.layers is not None:
            must_be_shallower(teacher, settings.layers)
        if settings.hidden_dim is not None:
            must_be_narrower(teacher, settings.hidden_dim)
    except ConfigError as error:
        raise error.inside(("student",)) from None


def _rows(recipe: DistillRecipe, teacher: LanguageModel, rows: list[Row], say: Say) -> list[Row]:
    """The rows that are learnt: some of the text's, as many as `tokens` allows, and what the teacher writes."""
    settings, seed = recipe.teaching, recipe.training.seed
    rows = random.Random(seed).sample(rows, len(rows))
    if settings.tokens is not None:
        kept, total = 0, 0
        while kept < len(rows) and total < settings.tokens:
            total += sum(len(piece.tokens) for piece in rows[kept])
            kept += 1
        if kept < len(rows):
            say(f"learnt         {kept:,} of these rows, by teaching.tokens")
        rows = rows[:kept]
    if not settings.written:
        return rows
    wanted = max(1, round(len(rows) * settings.written / (1 - settings.written)))
    return [*rows, *rows_written(teacher, wanted, recipe.training.context, seed)]


def _taught(
    recipe: DistillRecipe, teacher: LanguageModel, student: LanguageModel, rows: list[Row], say: Say
) -> tuple[Rows | list[Row], int]:
    """The rows with what the teacher says of them, where samples are kept; and of how many tokens it was asked."""
    settings = recipe.teaching
    if not settings.share or not settings.samples:
        return rows, 0
    depends_on = {
        "teacher": identity(recipe.teacher.reference),
        "runner": f"{teacher.runner.name}, {teacher.network.dtype}",
        "tokenizer": tokenizer_hash(teacher.tokenizer),
        "vocabulary": (size := min(student.config.vocab_size, teacher.config.vocab_size)),
        "temperature": settings.temperature,
        "samples": settings.samples,
        "seed": recipe.training.seed,
    }
    most = settings.cache_mb * 1e6
    lessons = Lessons(lessons_folder(depends_on, rows, most), rows, size, settings.samples)
    try:
        lessons.must_fit(most)
    except ConfigError as error:
        raise error.inside(("teaching",)) from None
    asked = lessons.complete(teacher, settings.temperature, recipe.training.seed)
    say(
        f"lessons        {lessons.tokens:,} predictions of the teacher, {amounts.size(lessons.bytes)} in "
        f"{lessons.folder}{'' if asked else '; they were there'}"
    )
    return TaughtRows(rows, lessons), asked


def _objective(recipe: DistillRecipe, teacher: LanguageModel) -> Distillation:
    settings = recipe.teaching
    live = predictions_by(teacher.network) if not settings.samples else None
    width = teacher.network.head_weight.shape[1] if settings.states else None
    return Distillation(live, settings.share, settings.temperature, settings.states, width)


def _size(model: LanguageModel) -> str:
    return f"{amounts.counted(model.config.layers, 'layer')}, {_parameters(model) / 1e6:.1f} M parameters"


def _parameters(model: LanguageModel) -> int:
    return sum(one.numel() for one in model.network.parameters())


def _sizes(student: LanguageModel, teacher: LanguageModel) -> list[Measurement]:
    """Parameters of both, and what they take."""
    figures = []
    for who, model in (("student", student), ("teacher", teacher)):
        size = sum(one.numel() * one.element_size() for one in model.network.parameters())
        figures += [
            Measurement(name=f"{who}, parameters", value=_parameters(model)),
            Measurement(name=f"{who}, weights as they are trained", value=size / 1e6, unit="MB"),
        ]
    return figures
