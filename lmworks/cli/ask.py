"""lmworks ask: an answer from an index, with verbatim citations, or that its documents do not say it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.cli.filtering import FilterOptions
from lmworks.cli.option_groups import Options
from lmworks.cli.options import Json
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.grounding.answer import GroundedAnswer
    from lmworks.grounding.index import Index


@dataclass(frozen=True, kw_only=True)
class QuestionsOptions(Options):
    """Many questions, with the answers that are expected."""

    questions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A .csv or .jsonl file: question, answer (empty where the documents do not say it), file (a path, a "
            "name or a pattern).",
        ),
    ] = None
    out: Annotated[
        Path | None, typer.Option(help="Keep every answer in this file (JSON lines); started again, it goes on.")
    ] = None
    beside: Annotated[Path | None, typer.Option(help="Such a file of an earlier run: what is better and worse.")] = None

    def must_be_unset(self) -> None:
        """ConfigError for what is about many questions."""
        from lmworks.basics.errors import ConfigError

        if self.out is not None or self.beside is not None:
            raise ConfigError("--out and --beside are about the questions of a file; give --questions too")


@verb("Use documents", place=3)
def ask(  # noqa: PLR0913, PLR0917 (each is an option that people know by name)
    index: Annotated[
        str,
        typer.Argument(help="The folder of an index, a model built with one, or postgresql://user@host/database#name."),
    ],
    question: Annotated[
        str | None, typer.Argument(help="A question; - reads it from standard input.", show_default=False)
    ] = None,
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
    min_right: Annotated[
        float | None,
        typer.Option(
            help="Refuse an answer that is less likely to be right than this, such as 0.85; not with --model."
        ),
    ] = None,
    show_prompt: Annotated[bool, typer.Option("--show-prompt", help="Show what the model was given.")] = False,
    json_: Json = False,
    *,
    only: FilterOptions,
    many: QuestionsOptions,
) -> None:
    """Answer a question from the documents of an index, with verbatim citations; or say that they do not answer it.

    With --questions FILE all of a file are asked, and the answers counted: right, wrong, refused."""
    import sys

    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError
    from lmworks.grounding.index import open_index

    if question is None and many.questions is None:
        raise ConfigError('say what to ask: lmworks ask INDEX "...", or --questions FILE')
    if question is not None and many.questions is not None:
        raise ConfigError("a question and --questions FILE were given; leave one of them out")
    if many.questions is not None and (only_context or show_prompt):
        raise ConfigError("--only-context and --show-prompt are about one question; leave --questions out")
    if question is not None:
        many.must_be_unset()
    opened = open_index(index)
    known = None
    if graph is not None:
        from lmworks.grounding.graph.graph import open_graph  # needs the extra graph

        known = open_graph(graph).facts
    how: dict[str, Any] = {"model": model, "way": way, "k": k, "rerank": rerank, "where": only.filter(), "facts": known}
    how["min_right"] = min_right
    if question is None:
        _ask_all(opened, many, how, json_)
        return
    text = sys.stdin.read() if question == "-" else question
    with progress.shown():
        answer = opened.ask(text, only_context=only_context, **how)
    _show(answer, opened, only_context, show_prompt, json_)


def _ask_all(index: Index, many: QuestionsOptions, how: dict[str, Any], json_: bool) -> None:
    """Ask the questions of a file, and show what became of them."""
    from lmworks.basics import progress
    from lmworks.cli.options import as_json

    assert many.questions is not None
    with progress.shown():
        judged = index.judge(many.questions, out=many.out, before=many.beside, **how)
    if json_:
        as_json(judged.to_json())
    else:
        typer.echo(judged.table)


def _show(answer: GroundedAnswer, index: Index, only_context: bool, show_prompt: bool, json_: bool) -> None:
    """One answer, or what it would be made from."""
    from lmworks.cli.options import as_json
    from lmworks.grounding.telling import facts_of, lines_of, placed

    if json_:
        facts = facts_of(answer, index) | {"passages": [placed(one, index) for one in answer.passages]}
        as_json(facts | ({"prompt": answer.prompt} if show_prompt or only_context else {}))
        return
    if only_context:
        typer.echo(answer.prompt)
        return
    if show_prompt:
        typer.echo((answer.prompt or "no model was asked: the answer is a span of the documents") + "\n")
    typer.echo("\n".join(lines_of(answer, index)))
    rate = answer.false_refusals
    if answer.probably_right is not None and not answer.refused:
        # Beside how likely the answer is right, how sure it is that there is one would only seem to contradict it.
        if rate is not None:
            typer.echo(f"refusals  {rate:.0%} of answerable questions are refused, too")
        return
    if not answer.confidence:  # no figure of the gate's refused it
        return
    limit = f"refused below {answer.threshold:.0%}; how often that is wrong was not measured in this language"
    if rate is not None:
        limit = f"refusing below {answer.threshold:.0%} also refuses {rate:.0%} of answerable questions"
    typer.echo(f"\nsure      {answer.confidence:.0%} that the documents answer this at all; {limit}")
