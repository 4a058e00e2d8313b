"""lmworks ask: an answer from an index, with verbatim citations, or that its documents do not say it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.cli.options import Json
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.grounding.answer import Answer, Citation


@verb("Use documents", place=3)
def ask(
    index: Annotated[str, typer.Argument(help="The folder of an index, or postgresql://user@host/database#name.")],
    question: Annotated[str, typer.Argument(help="A question; - reads it from standard input.")],
    model: Annotated[
        str | None, typer.Option(help="A model that chooses among the sentences found, or writes; none unless given.")
    ] = None,
    way: Annotated[
        str, typer.Option(help="extract: a span of the documents. write: a model's words, where a span supports them.")
    ] = "extract",
    k: Annotated[int, typer.Option("-k", min=1, help="How many passages are read.")] = 6,
    graph: Annotated[Path | None, typer.Option(help="A graph whose facts are read beside the documents.")] = None,
    only_context: Annotated[
        bool, typer.Option("--only-context", help="Show what an answer would be made from, and make none.")
    ] = False,
    show_prompt: Annotated[bool, typer.Option("--show-prompt", help="Show what the model was given.")] = False,
    json_: Json = False,
) -> None:
    """Answer a question from the documents of an index, with verbatim citations; or say that they do not answer it."""
    import sys

    from lmworks.cli.options import as_json
    from lmworks.grounding.graph.graph import open_graph
    from lmworks.grounding.index import open_index

    opened = open_index(index)
    text = sys.stdin.read() if question == "-" else question
    facts = None if graph is None else open_graph(graph).facts
    answer = opened.ask(text, model, way, k=k, only_context=only_context, facts=facts)  # type: ignore[arg-type]
    if json_:
        as_json(_facts(answer, show_prompt or only_context))
        return
    if only_context:
        typer.echo(answer.prompt)
        return
    if show_prompt:
        typer.echo((answer.prompt or "no model was asked: the answer is a span of the documents") + "\n")
    _print(opened, answer)


def _facts(answer: Answer, with_prompt: bool) -> dict[str, Any]:
    """What --json prints: spans by file and offset."""
    facts = {
        "answer": answer.text,
        "refused": answer.refused,
        "confidence": round(answer.confidence, 4),
        "reason": answer.reason,
        "citations": [asdict(one) for one in answer.citations],
        "passages": [asdict(one) for one in answer.passages],
    }
    return facts | ({"prompt": answer.prompt} if with_prompt else {})


def _print(index: Any, answer: Answer) -> None:
    """The answer and what it stands on; or a refusal with the nearest passage as a hint."""
    from lmworks.grounding.place import place_of

    typer.echo(answer.text + "\n")
    for one in answer.citations:
        typer.echo(f"[{one.number}] {place_of(one, index.document(one.file))}\n    {_marked(one)}\n")
    if answer.refused:
        typer.echo(f"why       {answer.reason}")
        if answer.passages:
            nearest = answer.passages[0]
            typer.echo(f"nearest   {place_of(nearest, index.document(nearest.file))}")
    typer.echo(f"sure      {answer.confidence:.0%} that the documents answer this")


def _marked(citation: Citation) -> str:
    """The cited sentences in one line, with the answer between » and « where it is a part of them."""
    start, end = citation.answer or (citation.start, citation.end)
    if (start, end) == (citation.start, citation.end):
        return " ".join(citation.text.split())
    first, last = start - citation.start, end - citation.start
    return " ".join(f"{citation.text[:first]}»{citation.text[first:last]}«{citation.text[last:]}".split())
