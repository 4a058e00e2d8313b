"""lmworks explain: what each setting means, from the lines beside the setting itself."""

from __future__ import annotations

from typing import Annotated

import typer

from lmworks.cli.options import Json, as_json, table


def explain(
    what: Annotated[str, typer.Argument(help="recipe, model or sample.")] = "recipe",
    json_: Json = False,
) -> None:
    """Every setting of a recipe, a network or a sampling strategy, and what it means."""
    from lmworks.basics.errors import ConfigError

    if what == "recipe":
        from lmworks.recipe import Recipe as kind
    elif what == "model":
        from lmworks.models.config import ModelConfig as kind
    elif what == "sample":
        from lmworks.generation.strategies import Sample as kind
    else:
        raise ConfigError(f"explain does not know {what!r}; it knows recipe, model and sample")
    lines = kind.explain()
    if json_:
        as_json(lines)
    else:
        table(["setting", "meaning"], [[name, meaning] for name, meaning in lines.items()])
