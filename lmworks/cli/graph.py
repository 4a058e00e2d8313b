"""lmworks graph: facts of files in one graph, asked in English or in SPARQL; each answer cites them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from lmworks.basics.amounts import counted
from lmworks.basics.terminal import for_shell
from lmworks.cli.options import Json, as_json, reads_text, table
from lmworks.cli.verb import Verb

graph = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Load facts into a graph, and ask it.")
GRAPH = Verb("graph", "Use documents", 5, graph)

Folder = Annotated[Path, typer.Argument(help="The folder of a graph.")]
At = Annotated[str | None, typer.Option("--endpoint", help="Run the queries at this SPARQL 1.1 endpoint.")]
SHOWN = 12
"""Facts that are printed below an answer."""


@graph.command()
def load(
    file: Annotated[
        str | None,
        typer.Argument(
            help="A .ttl, .nt, .rdf, .csv or .json file, or a name of the data registry.", show_default=False
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the graph; graphs/NAME unless given.")] = None,
    mapping: Annotated[
        str | None,
        typer.Option(help="Which fields say what: a TOML file (lmworks explain graph), or countries, which ships."),
    ] = None,
    embedder: Annotated[
        str | None,
        typer.Option(
            help="The model whose vectors stand for names, minilm unless given; none for words alone.",
            show_default=False,
        ),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Instead of a file: a SPARQL 1.1 endpoint, whose catalog is made here.")
    ] = None,
    json_: Json = False,
) -> None:
    """Bring the facts of a file into a graph, in place of those that it gave before."""
    from dataclasses import asdict

    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError
    from lmworks.grounding.graph.mapping import RecordMapping
    from lmworks.grounding.graph.store import load as load_file
    from lmworks.grounding.graph.store import load_endpoint

    if (file is None) == (endpoint is None):
        raise ConfigError("say what to load: lmworks graph load FILE, or --endpoint URL --out DIR")
    if endpoint and mapping is not None:
        raise ConfigError(f"--mapping {mapping} is for the records of a file; an endpoint holds RDF, so leave it out")
    folder = out or Path("graphs") / Path(file or urlsplit(str(endpoint)).hostname or "").stem
    told = None if mapping is None else RecordMapping.read(mapping)
    using = None if embedder == "none" else embedder or ""
    with progress.shown():
        done = load_file(file, folder, told, using) if file else load_endpoint(str(endpoint), folder, using)
    if json_:
        as_json({"graph": str(folder), **asdict(done)})
        return
    if not done.changed:
        typer.echo(f"facts     {done.triples:,} of {file}, as they were")
    else:
        records = f", from {counted(done.records, 'record')}" if done.records else ""
        typer.echo(f"facts     {done.triples:,} of {file or endpoint}{records}")
    if done.replaced:
        typer.echo(f"replaced  the facts of {done.replaced}")
    if done.skipped:
        typer.echo(f"skipped   {counted(done.skipped, 'record')} without a name")
    if done.dangling:
        typer.echo(f"dangling  {done.dangling:,} values refer to no record")
    typer.echo(f"graph     {folder} ({counted(done.total, 'fact')})")
    typer.echo(f'next      lmworks graph ask {for_shell(folder)} "..."')


@graph.command()
@reads_text
def extract(
    text: Annotated[str, typer.Argument(help="A file or folder, or a name of the data registry.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the graph; graphs/NAME unless given.")] = None,
    sure: Annotated[float, typer.Option(min=0, max=1, help="Probability above which a relation is a fact.")] = 0.8,
    json_: Json = False,
) -> None:
    """Find entities and the relations between them in English text; each fact cites its sentence."""
    from dataclasses import asdict

    from lmworks.basics import progress
    from lmworks.grounding.graph.extract import extract as extract_text
    from lmworks.grounding.index import located

    folder = out or Path("graphs") / Path(located(text)).stem
    with progress.shown():
        done = extract_text(text, folder, sure)
    if json_:
        as_json({"graph": str(folder), **asdict(done)})
        return
    typer.echo(f"documents {done.documents:,}, of which {done.unchanged:,} are as they were")
    typer.echo(f"sentences {done.sentences:,} read, {done.too_long:,} left out as too long")
    typer.echo(f"entities  {done.entities:,}, in {_share(done.with_entity, done.sentences)} of the sentences")
    typer.echo(f"facts     {done.facts:,} of {done.pairs:,} pairs, in {_share(done.with_fact, done.sentences)} of them")
    typer.echo(f"graph     {folder}")
    typer.echo(f'next      lmworks graph ask {for_shell(folder)} "..."')


@graph.command()
def ask(
    folder: Folder,
    question: Annotated[str, typer.Argument(help="A question in English.")],
    show_query: Annotated[bool, typer.Option("--show-query", help="Show the SPARQL that was run.")] = False,
    endpoint: At = None,
    json_: Json = False,
) -> None:
    """Answer a question from the facts and cite them, or say that they do not answer it."""
    from dataclasses import asdict

    from lmworks.grounding.graph.graph import open_graph

    answer = open_graph(folder, endpoint).ask(question)
    if json_:
        as_json(asdict(answer))
        return
    typer.echo(answer.text)
    if answer.reason:
        typer.echo(f"          {answer.reason}")
    if answer.read_as and not answer.refused:
        typer.echo(f"read as   {answer.read_as}")
    for number, one in enumerate(answer.triples[:SHOWN], 1):
        typer.echo(f"[{number}] {one.with_file()}")
        if one.sentence:
            typer.echo(f'    "{" ".join(one.sentence.split())}"')
    if len(answer.triples) > SHOWN:
        typer.echo(f"    and {counted(len(answer.triples) - SHOWN, 'fact')} more (--json)")
    if show_query and answer.query:
        typer.echo(f"\n{answer.query}")


@graph.command()
def query(
    folder: Folder,
    sparql: Annotated[str, typer.Argument(help="A SPARQL 1.1 query: SELECT, ASK, CONSTRUCT or DESCRIBE.")],
    endpoint: At = None,
    json_: Json = False,
) -> None:
    """Run a SPARQL query on a graph; it is ended after 5 seconds."""
    from dataclasses import asdict

    from lmworks.grounding.graph.graph import open_graph

    found = open_graph(folder, endpoint).query(sparql)
    if json_:
        as_json(asdict(found))
        return
    table(found.variables, [["" if one is None else str(one) for one in row] for row in found.rows])
    if found.more:
        typer.echo(f"and more; only the first {len(found.rows):,} rows are read")


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"
