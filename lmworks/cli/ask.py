"""lmworks ask: an answer from an index, with verbatim citations, or that its documents do not say it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lmworks.cli.filtering import FilterOptions
from lmworks.cli.options import Json
from lmworks.cli.verb import verb


@verb("Use documents", place=3)
def ask(  # noqa: PLR0913 (each is an option that people know by name)
    index: Annotated[
        str,
        typer.Argument(help="The folder of an index, a model built with one, or postgresql://user@host/database#name."),
    ],
    question: Annotated[str, typer.Argument(help="A question; - reads it from standard input.")],
    model: Annotated[
        str | None, typer.Option(help="A model that chooses among the sentences found, or writes; none unless given.")
    ] = None,
    way: Annotated[
        str, typer.Option(help="extract: a span of the documents. write: a model's words, where a span supports them.")
    ] = "extract",
    k: Annotated[int, typer.Option("-k", min=1, help="How many passages are read.")] = 6,
    rerank: Annotated[
        bool | None,
        typer.Option("--rerank/--no-rerank", help="Put the best into a cross-encoder's order; as its test chose."),
    ] = None,
    graph: Annotated[Path | None, typer.Option(help="A graph whose facts are read beside the documents.")] = None,
    only_context: Annotated[
        bool, typer.Option("--only-context", help="Show what an answer would be made from, and make none.")
    ] = False,
    show_prompt: Annotated[bool, typer.Option("--show-prompt", help="Show what the model was given.")] = False,
    json_: Json = False,
    *,
    only: FilterOptions,
) -> None:
    """Answer a question from the documents of an index, with verbatim citations; or say that they do not answer it."""
    import sys

    from lmworks.basics import progress
    from lmworks.cli.options import as_json
    from lmworks.grounding.graph.graph import open_graph
    from lmworks.grounding.index import open_index
    from lmworks.grounding.telling import facts_of, lines_of

    opened = open_index(index)
    text = sys.stdin.read() if question == "-" else question
    known = None if graph is None else open_graph(graph).facts
    with progress.shown():
        answer = opened.ask(
            text,
            model,
            way,  # type: ignore[arg-type]
            k=k,
            rerank=rerank,
            where=only.filter(),
            only_context=only_context,
            facts=known,
        )
    if json_:
        facts = facts_of(answer, opened) | {"passages": [asdict(one) for one in answer.passages]}
        as_json(facts | ({"prompt": answer.prompt} if show_prompt or only_context else {}))
        return
    if only_context:
        typer.echo(answer.prompt)
        return
    if show_prompt:
        typer.echo((answer.prompt or "no model was asked: the answer is a span of the documents") + "\n")
    typer.echo("\n".join([*lines_of(answer, opened), ""]))
    limit = f"below {answer.threshold:.0%} it is refused, {answer.false_refusals:.0%} of answerable questions too"
    typer.echo(f"sure      {answer.confidence:.0%} that the documents answer this; {limit}")
