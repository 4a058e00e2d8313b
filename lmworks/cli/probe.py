"""lmworks probe: from which layer on a few numbers of a model's states tell the classes of texts."""

from __future__ import annotations

from typing import Annotated

import typer

from lmworks.cli.options import Base, Json, Model, as_json, reads_text, table
from lmworks.cli.verb import verb

SHOWN = 4
"""Numbers of a state that are named."""


@verb("Measure it", place=7)
@reads_text
def probe(
    model: Model,
    data: Annotated[
        str,
        typer.Argument(help="Texts with their classes: sst2-dev, ag-news, or records with `prompt` and `response`."),
    ],
    units: Annotated[int, typer.Option(help="Numbers of a state that a probe sees.")] = 8,
    limit: Annotated[int, typer.Option(min=1, help="Texts that are read; a third of them are told.")] = 300,
    seed: Annotated[int, typer.Option(help="Draws the texts.")] = 0,
    base: Base = None,
    json_: Json = False,
) -> None:
    """Show after which layer a few numbers of a model's states tell the classes of texts, beside control labels. That
    they can be read off is not that the model uses them."""
    from lmworks.basics import progress

    progress.at_once(f"loading {model}")
    from lmworks.evaluation.probing import must_be_probed
    from lmworks.evaluation.probing import probe as run
    from lmworks.evaluation.prompts.examples import mixed
    from lmworks.evaluation.prompts.search import labelled
    from lmworks.loading import load
    from lmworks.text.sources import read

    must_be_probed(units, limit)
    pairs = mixed(list(dict(labelled(read(data).documents)).items()), seed)[:limit]
    must_be_probed(units, len(pairs))
    with progress.shown():
        found = run(load(model, base=base, dtype="float32"), pairs, units=units, seed=seed)
    if json_:
        layers = [
            {"layer": one.layer, "units": one.units, "measurements": [m.to_json() for m in one.measurements]}
            for one in found
        ]
        as_json({"model": model, "data": data, "texts": len(pairs), "layers": layers})
        return
    rows = [
        [
            str(one.layer),
            f"{one.right.figure} ({one.right.certainty})",
            one.control.figure,
            f"{one.selectivity.figure} ({one.selectivity.certainty})",
            one.selectivity.remark,
            ", ".join(map(str, one.units[:SHOWN])) + ", ..." * (len(one.units) > SHOWN),
        ]
        for one in found
    ]
    table(["after layer", "classes", "control labels", "selectivity", "", "by the numbers"], rows)
