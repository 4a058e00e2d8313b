"""Checks of a recipe before it is run, with its own text, tokenizer and network (docs/silent-errors.md)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch

from lmworks.basics.amounts import counted
from lmworks.basics.errors import LmworksError
from lmworks.basics.recipe_file import RecipeFile
from lmworks.checks import data, network, shards, templates, training
from lmworks.checks.recipe_kinds import WHOLE, NamedRecipe, named_by
from lmworks.checks.result import CheckResult, Difference, NotApplicableError, Outcome, check, checks_of
from lmworks.jobs.recipe import Recipe
from lmworks.jobs.tasks.task import PackedText, Task, task_of
from lmworks.jobs.train import network_of, objective_of, rows_of
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.language_model import LanguageModel
from lmworks.loading import load, load_tokenizer
from lmworks.objectives import Objective
from lmworks.text.corpus.folder import corpus_of, read_split
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import Split
from lmworks.tokens.batch import Example, pack
from lmworks.tokens.rows import ExampleRows, Rows, ShardRows
from lmworks.tokens.shards import Shards
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import train_tokenizer
from lmworks.training.loop import steps_of
from lmworks.training.settings import TrainingConfig

MOST_TEXT = 20_000_000
"""Bytes of a text that a recipe is tried with: a larger one yields a batch, and any vocabulary, all the more."""
FEW = 2
"""Blocks of the network that is tried: what is checked does not depend on how many there are."""
SHORT = 32
"""Tokens of the rows that it is tried with."""
LEAST = 4
"""A run fails that validates on less than one part in LEAST of what was asked for: a text that the same hash has split
before has next to nothing below the bound."""
NOISE = 0.02
"""Deviation of what is added to each weight of that network."""
CHEAP = 20_000_000
"""Parameters up to which a short run is made twice: some seconds."""


class PreparedRun:
    """What a recipe of `lmworks train` makes before its first step, each thing when it is asked for."""

    def __init__(self, recipe: TrainRecipe, folder: Path) -> None:
        self.recipe, self.folder = recipe, folder

    @cached_property
    def parts(self) -> Split:
        """The text as the run will split it, each part up to MOST_TEXT."""
        data = self.recipe.data
        _, whole = read_split(data.text, data.held_out, data.hold_out, data.validation)
        return Split(_first(whole.train), _first(whole.held_out), whole.duplicates)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The one that the recipe names, or one trained by it."""
        wanted = self.recipe.tokenizer
        if isinstance(wanted, str):
            return load_tokenizer(wanted)
        return train_tokenizer((one.text for one in self.parts.train), wanted)

    @cached_property
    def task(self) -> Task:
        """What the recipe's kind of objective brings."""
        return task_of(self.recipe)

    @cached_property
    def packed(self) -> PackedText:
        """The training text, packed."""
        self.task.write(self.parts.train, self.tokenizer, self.folder / "train")
        return self.task.open(self.folder / "train", self.tokenizer)

    @cached_property
    def rows(self) -> Rows:
        """The rows to train on."""
        return rows_of(self.recipe, self.packed, self.tokenizer)

    @cached_property
    def few_rows(self) -> Rows:
        """The rows of `small`."""
        return rows_of(self.small, self.packed, self.tokenizer)

    @property
    def objective(self) -> Objective:
        """What is minimised."""
        return objective_of(self.recipe, self.tokenizer)

    @cached_property
    def small(self) -> TrainRecipe:
        """The recipe with a few blocks and short rows."""
        recipe = self.recipe
        model = recipe.model | {"layers": min(int(recipe.model["layers"]), FEW)}
        if model.get("window_layers"):
            model["window_layers"] = _few(model["window_layers"])
        if (model.get("experts") or {}).get("layers"):
            model["experts"] = model["experts"] | {"layers": _few(model["experts"]["layers"])}
        context = min(SHORT, recipe.training.context)
        return recipe.but(model=model, training=recipe.training.but(context=context, rows=2), dtype="float32")

    @cached_property
    def model(self) -> LanguageModel:
        """The network of `small` with the tokenizer, answering. Every weight is moved a little: where a part begins at
        zero, nothing before it would have a gradient."""
        made = network_of(self.small, self.tokenizer, self.packed).eval()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in made.parameters():
                weight.add_(NOISE * torch.randn(weight.shape, generator=generator).to(weight.device))
        return LanguageModel(made, self.tokenizer)

    def uneven_rows(self) -> Rows:
        """Three rows, of SHORT tokens, a half and a quarter; the first three where rows are not cut from a stream."""
        rows = self.few_rows
        if not isinstance(rows, ShardRows):
            return rows
        whole = [rows.row(place % len(rows))[0] for place in range(3)]
        return ExampleRows(
            [
                (Example(one.tokens[:size], one.supervised[:size], one.source),)
                for one, size in zip(whole, (SHORT, SHORT // 2, SHORT // 4), strict=True)
            ]
        )


@check("recipe makes sense")
def valid(named: NamedRecipe) -> Outcome:
    """Every key known, every value possible, no two at odds."""
    if named.lacks_student:
        raise NotApplicableError(
            "it leaves the student to the command line; check it with --set student.layers=NUMBER or "
            "student.reference=MODEL"
        )
    recipe = named.read()
    return Outcome(
        f"{named.name}, for `lmworks {named.verb}`",
        [Difference("the recipe and what is possible", 0, 0, "keys")],
        "" if isinstance(recipe, WHOLE) else "of this kind of recipe only the settings are checked, and what they name",
    )


@check("what it names is here")
def references(recipe: RecipeFile) -> Outcome:
    """Texts, images, models, tokenizers and vectors that the recipe names."""
    named = named_by(recipe)
    if not named:
        raise NotApplicableError("it names none")
    missing = []
    for look in named.values():
        try:
            look()
        except LmworksError as error:
            missing.append(str(error))
    return Outcome(
        ", ".join(named),
        [
            Difference(
                "what the recipe names and what is here",
                len(missing),
                0,
                "references",
                sentence="not all that it names is here",
            )
        ],
        "; ".join(missing),
    )


@check("the vocabulary is possible")
def vocabulary(trial: PreparedRun) -> Outcome:
    """The tokenizer, trained on the recipe's text."""
    size = sum(len(one.text.encode()) for one in trial.parts.train)
    tokenizer = trial.tokenizer
    return Outcome(
        f"{counted(tokenizer.vocab_size, 'token')} of {counted(size, 'byte')} of training text",
        [Difference("the vocabulary and the recipe's", 0, 0, "tokens")],
    )


@check("the text yields a batch", 3)
def yields_a_batch(trial: PreparedRun) -> Outcome:
    """Rows of the packed text against the rows of a batch."""
    wanted, got = trial.recipe.training.rows, len(trial.rows)
    epochs = _steps_a_pass(trial.recipe.training, got)
    return Outcome(
        f"{trial.packed.tokens:,} tokens in {got:,} rows of {trial.recipe.training.context}, {wanted} to a batch",
        [Difference("the rows of a batch and those that there are", max(wanted - got, 0), 0, "rows")],
        epochs,
    )


@check("the warm-up leaves steps", 24)
def warmup(planned: tuple[TrainingConfig, int]) -> Outcome:
    """Steps of the run against those in which the rate still rises."""
    config, rows = planned
    steps = steps_of(config, rows)
    if steps is None:
        raise NotApplicableError(f"the clock ends the run, and {config.warmup:.0%} of its time is warm-up")
    rising = round(config.warmup * steps)
    return Outcome(
        f"{counted(steps, 'step')}, {rising:,} of them warm-up",
        [Difference("the warm-up and a part of the run", max(rising - steps + 1, 0), 0, "steps too many")],
    )


@check("enough is held out", 9)
def validates(trial: PreparedRun) -> Outcome:
    """The held-out text against the share that was asked for."""
    settings = trial.recipe.data
    train, kept = (sum(len(one.text.encode()) for one in side) for side in (trial.parts.train, trial.parts.held_out))
    documents = counted(len(trial.parts.held_out), "document")
    compared = f"{documents}, {kept:,} bytes: {kept / (train + kept):.1%} of the text"
    if settings.validation is not None:
        return Outcome(compared, [], f"{settings.validation} validates")
    if corpus_of(settings.text) is not None:
        return Outcome(compared, [], "as `lmworks corpus` split it")
    missing = max(settings.held_out / LEAST - kept / (train + kept), 0)
    difference = Difference(
        f"a {LEAST}th of the share that was asked for ({settings.held_out:g}) and what is held out",
        missing,
        0,
        "of the text",
    )
    return Outcome(compared, [difference])


@check("labels are what is to be predicted", 7)
def labels(trial: PreparedRun) -> Outcome:
    """The labels of a batch against what the objective says that they are: the next tokens, those that were masked."""
    objective = trial.objective
    few = [trial.rows.batch([place]) for place in range(min(4, len(trial.rows)))]
    prepared = [objective.prepare(batch, [place]) for place, batch in enumerate(few)]
    found = (training.label_difference(objective, *pair) for pair in zip(few, prepared, strict=True))
    worst = max(found, key=lambda one: one.value)
    return Outcome(f"{counted(sum(batch.supervised for batch in prepared), 'label')} of {len(few)} rows", [worst])


@check("any split of a step gives the same gradient", 19)
def split_step(trial: PreparedRun) -> Outcome:
    """Rows of unequal length at once and one by one, through the recipe's objective."""
    rows = trial.uneven_rows()
    places = range(min(3, len(rows)))
    sizes = ", ".join(str(int((rows.batch([place]).documents >= 0).sum())) for place in places)
    return Outcome(
        f"rows of {sizes} tokens, {FEW} blocks at most, float32",
        training.split_differences(trial.model.network, trial.objective, rows, places),
    )


@check("norms and biases do not decay", 24)
def decay(trial: PreparedRun) -> Outcome:
    """The optimiser's groups."""
    config = trial.recipe.training
    return Outcome(
        f"{config.optimiser}'s groups",
        training.group_differences(trial.model.network, config),
        f"weight_decay {config.weight_decay:g}",
    )


@check("resumed is straight", 20)
def resumed(trial: PreparedRun) -> Outcome:
    """Four steps at once, and two and two."""
    parameters = sum(one.numel() for one in trial.model.network.parameters())
    if parameters > CHEAP:
        raise NotApplicableError(f"{parameters / 1e6:.0f} M parameters, even with {FEW} blocks: not cheap enough")
    small = trial.small.training.but(accumulate=min(trial.small.training.accumulate, 2))
    return Outcome(
        f"{training.STEPS} steps of {small.optimiser}, {FEW} blocks at most",
        training.resume_differences(trial.model.network, trial.objective, trial.few_rows, small),
    )


def check_recipe(name: str, changes: Sequence[str] = ()) -> Iterator[CheckResult]:
    """Every check of a recipe; what others rest on comes first, and they are left out where it fails."""
    named = NamedRecipe(name, changes)
    yield (first := valid(named))
    if first.status != "ok":
        return
    recipe = named.read()
    yield (found := references(recipe))
    if found.status == "FAILED":
        return
    if isinstance(recipe, TrainRecipe):
        yield from _check_training(recipe)
    elif isinstance(recipe, Recipe):
        yield from _check_building(recipe)


def _check_training(recipe: TrainRecipe) -> Iterator[CheckResult]:
    with _trial(recipe) as trial:
        for prepares in (vocabulary, yields_a_batch):
            yield (result := prepares(trial))
            if result.status == "FAILED":
                return
        yield validates(trial)
        yield warmup((recipe.training, len(trial.rows)))
        if isinstance(trial.packed, Shards):
            yield shards.bytes_of_tokens(shards.TokenizedShards(trial.packed, trial.tokenizer))
        yield labels(trial)
        if trial.model.config.arrangement == "decoder":
            yield templates.loss_by_hand(trial.model)
        yield network.dropout(trial.model)
        yield split_step(trial)
        yield decay(trial)
        yield resumed(trial)


def _check_building(recipe: Recipe) -> Iterator[CheckResult]:
    model = load(recipe.model.reference, dtype=recipe.model.dtype)
    prepared = data.prepare(read(recipe.data.text), model)
    yield from (one(prepared) for one in checks_of("text of a model"))
    if prepared.examples:
        rows = pack(prepared.examples, min(recipe.training.context, model.longest))
        yield warmup((recipe.training, len(rows)))


def _first(documents: Sequence[Document]) -> list[Document]:
    """Documents up to MOST_TEXT."""
    chosen: list[Document] = []
    size = 0
    for document in documents:
        if size > MOST_TEXT:
            break
        chosen.append(document)
        size += len(document.text.encode())
    return chosen


def _few(layers: Sequence[int]) -> list[int] | None:
    """Those that the small network has; all of its own where that is none."""
    return [layer for layer in layers if layer < FEW] or None


@contextmanager
def _trial(recipe: TrainRecipe) -> Iterator[PreparedRun]:
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():  # training draws, and sets the seed
        yield PreparedRun(recipe, Path(folder))


def _steps_a_pass(config: TrainingConfig, rows: int) -> str:
    steps = steps_of(config, rows)
    if steps is None or not rows:
        return ""
    return f"{steps * config.rows * config.accumulate / rows:.1f} passes over the text"
