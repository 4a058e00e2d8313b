"""lmworks explain: what each setting means, from the lines beside the setting itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from lmworks.cli.options import Json, as_json, table
from lmworks.cli.verb import verb

KINDS = {
    "recipe": ("lmworks.jobs.recipe", "Recipe"),
    "train": ("lmworks.jobs.training_recipe", "TrainRecipe"),
    "space": ("lmworks.jobs.sweeping.space", "Dimension"),
    "corpus": ("lmworks.text.corpus.recipe", "CorpusRecipe"),
    "tokenizer": ("lmworks.tokens.trainer", "TokenizerConfig"),
    "model": ("lmworks.models.config", "ModelConfig"),
    "experts": ("lmworks.models.config", "ExpertSettings"),
    "recurrent": ("lmworks.models.relatives.recurrent_config", "RecurrentConfig"),
    "sample": ("lmworks.generation.strategies", "Sample"),
    "compress": ("lmworks.cli.compress", "compress"),
    "export": ("lmworks.cli.export", "export"),
}


@verb("Find out more", place=2)
def explain(
    what: Annotated[
        str,
        typer.Argument(
            help="recipe (of build), train, space (of sweep), corpus, tokenizer, model, experts, recurrent, sample, or the verb compress or export."
        ),
    ] = "recipe",
    json_: Json = False,
) -> None:
    """Say what each setting of a recipe, a network or a verb means."""
    import importlib

    from lmworks.basics.config import Config
    from lmworks.basics.errors import ConfigError

    if what not in KINDS:
        raise ConfigError(f"explain does not know {what!r}; it knows {', '.join(KINDS)}")
    module, name = KINDS[what]
    kind = getattr(importlib.import_module(module), name)
    lines = kind.explain() if isinstance(kind, type) and issubclass(kind, Config) else _options(kind)
    if json_:
        as_json(lines)
    else:
        table(["setting", "meaning"], [[name, meaning] for name, meaning in lines.items()])


def _options(verb: Callable[..., Any]) -> dict[str, str]:
    """What a verb can be told, in the words of its own help."""
    found: dict[str, str] = {}
    for name, hint in get_type_hints(verb, include_extras=True).items():
        for said in getattr(hint, "__metadata__", ()):
            names = (said.default, *(said.param_decls or ()))  # beside an annotation the first name stands as a default
            own = [one for one in names if isinstance(one, str) and one.startswith("--")]
            is_option = isinstance(said, typer.models.OptionInfo)
            label = own[0] if own else f"--{name.replace('_', '-')}" if is_option else name
            found[label] = said.help
    return found
