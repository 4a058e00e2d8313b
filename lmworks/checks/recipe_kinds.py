"""Of which verb a recipe is, and what each kind of recipe names: texts, images, models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lmworks.basics.config import merge, overrides
from lmworks.basics.extras import require
from lmworks.basics.recipe_file import RecipeFile
from lmworks.grounding.graph.mapping import RecordMapping
from lmworks.jobs import image_recipes
from lmworks.jobs.captions_recipe import CaptionsRecipe
from lmworks.jobs.contrast_recipe import ContrastRecipe
from lmworks.jobs.distill_recipe import DistillRecipe
from lmworks.jobs.forget_recipe import ForgetRecipe
from lmworks.jobs.fusion import must_be_made
from lmworks.jobs.fusion_recipe import FusionRecipe
from lmworks.jobs.image_classes_recipe import ImageClassesRecipe
from lmworks.jobs.planning.recipes import trains_from_nothing
from lmworks.jobs.prefer_recipe import PreferRecipe
from lmworks.jobs.recipe import Recipe
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.loading import load_tokenizer
from lmworks.models.files.references import resolve
from lmworks.models.relatives.vector_files import read_vectors
from lmworks.text.corpus.recipe import CorpusRecipe
from lmworks.text.images.reading import Images
from lmworks.text.sources import listing

OF_IMAGES = image_recipes.KINDS
WHOLE: tuple[type[RecipeFile], ...] = (TrainRecipe, Recipe, PreferRecipe, CorpusRecipe)
"""Kinds of recipes that are checked in all. Of the others the settings are, and what they name."""
KINDS: tuple[type[RecipeFile], ...] = (*WHOLE, *OF_IMAGES, DistillRecipe, ForgetRecipe, RecordMapping)
MARKS: tuple[tuple[type[RecipeFile], frozenset[str]], ...] = (
    (CorpusRecipe, frozenset({"sources"})),
    (ForgetRecipe, frozenset({"tasks"})),
    (DistillRecipe, frozenset({"teacher", "student", "teaching"})),
    (RecordMapping, frozenset({"properties", "thing", "records", "aliases"})),
)
"""Keys that recipes of one kind alone have: what a file is of is said by the first of these that it holds."""
Look = Callable[[], object]
"""LmworksError where what is named is not here."""


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe by name or path, and what is changed in it."""

    name: str
    changes: Sequence[str] = ()

    @property
    def kind(self) -> type[RecipeFile]:
        """Of which verb it is; ConfigError where there is no such file."""
        for kind in KINDS:
            if self.name in kind.shipped():
                return kind
        path = Path(self.name)
        keys = Recipe.tables(path).keys()
        if (of_images := image_recipes.image_recipe(self.name)) is not None:
            return of_images
        if (marked := next((kind for kind, own in MARKS if own & keys), None)) is not None:
            return marked
        if trains_from_nothing(path):
            return TrainRecipe
        return PreferRecipe if {"loss", *PreferRecipe.choices["loss"]} & keys else Recipe

    @property
    def verb(self) -> str:
        """The command that runs it."""
        return "train" if self.kind in OF_IMAGES else self.kind.kind

    @property
    def lacks_student(self) -> bool:
        """Is it one of `distill` that leaves to the command line what becomes the student?"""
        if self.kind is not DistillRecipe:
            return False
        tables = DistillRecipe.tables(DistillRecipe.path_of(self.name))
        return not merge(tables, overrides(self.changes)).get("student")

    def read(self) -> RecipeFile:
        """The recipe; ConfigError for unknown keys and values that make no sense."""
        return self.kind.read(self.name, list(self.changes))


def named_by(recipe: RecipeFile) -> dict[str, Look]:
    """What a recipe names, each with a look whether it is here."""
    named: dict[str, Look] = {text: partial(listing, text) for text in _texts(recipe)}
    named |= {images: partial(Images, images) for images in _images(recipe)}
    named |= {model: partial(resolve, model) for model in _models(recipe)}
    if isinstance(recipe, TrainRecipe):
        if isinstance(recipe.tokenizer, str):
            named[recipe.tokenizer] = partial(load_tokenizer, recipe.tokenizer)
        if recipe.embedding.source not in ("random", "glove"):
            named[recipe.embedding.source] = partial(read_vectors, recipe.embedding.source)
    if isinstance(recipe, CorpusRecipe):
        named["the extra `corpus`"] = partial(_packages, recipe)
    if isinstance(recipe, FusionRecipe):
        named[recipe.image_tokens] = partial(must_be_made, recipe)
    return named


def _texts(recipe: RecipeFile) -> Iterator[str]:
    if isinstance(recipe, TrainRecipe | Recipe | DistillRecipe):
        yield recipe.data.text
    elif isinstance(recipe, CorpusRecipe):
        yield from recipe.sources
    elif isinstance(recipe, ForgetRecipe):
        yield from (task.text for task in recipe.tasks.values())


def _images(recipe: RecipeFile) -> Iterator[str]:
    if isinstance(recipe, OF_IMAGES):
        yield recipe.data.images
    if isinstance(recipe, ImageClassesRecipe) and recipe.data.test is not None:
        yield recipe.data.test


def _models(recipe: RecipeFile) -> Iterator[str]:
    named: tuple[str | None, ...] = ()
    if isinstance(recipe, Recipe):
        named = (recipe.model.reference,)
    elif isinstance(recipe, ForgetRecipe):
        named = (recipe.build.model.reference,)
    elif isinstance(recipe, DistillRecipe):
        named = (recipe.teacher.reference, recipe.student.reference)
    elif isinstance(recipe, CaptionsRecipe):
        named = (recipe.model.language_model, recipe.model.image_model)
    elif isinstance(recipe, ContrastRecipe):
        named = (recipe.model.text_model, recipe.model.image_model)
    yield from (one for one in named if one is not None)


def _packages(recipe: CorpusRecipe) -> None:
    """LmworksError that names the package or model that is missing."""
    require("datatrove", "corpus")
    from lmworks.text.corpus.steps import require_everything

    require_everything(recipe)
