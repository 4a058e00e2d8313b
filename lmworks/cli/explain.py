"""lmworks explain: what each setting means, from the lines beside the setting itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.cli.options import Json, as_json, table

if TYPE_CHECKING:
    from lmworks.basics.config import Config

KINDS = {
    "recipe": ("lmworks.recipe", "Recipe"),
    "train": ("lmworks.training_recipe", "TrainRecipe"),
    "space": ("lmworks.sweeping.space", "Dimension"),
    "corpus": ("lmworks.text.corpus.recipe", "CorpusRecipe"),
    "tokenizer": ("lmworks.tokens.trainer", "TokenizerConfig"),
    "model": ("lmworks.models.config", "ModelConfig"),
    "experts": ("lmworks.models.config", "ExpertSettings"),
    "recurrent": ("lmworks.models.recurrent_config", "RecurrentConfig"),
    "sample": ("lmworks.generation.strategies", "Sample"),
}


def explain(
    what: Annotated[
        str,
        typer.Argument(
            help="recipe (of build), train, space (of sweep), corpus, tokenizer, model, experts, recurrent or sample."
        ),
    ] = "recipe",
    json_: Json = False,
) -> None:
    """Every setting of a recipe, a network or a sampling strategy, and what it means."""
    import importlib

    from lmworks.basics.errors import ConfigError

    if what not in KINDS:
        raise ConfigError(f"explain does not know {what!r}; it knows {', '.join(KINDS)}")
    module, name = KINDS[what]
    kind: type[Config] = getattr(importlib.import_module(module), name)
    lines = kind.explain()
    if json_:
        as_json(lines)
    else:
        table(["setting", "meaning"], [[name, meaning] for name, meaning in lines.items()])
