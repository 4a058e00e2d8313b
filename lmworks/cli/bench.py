"""lmworks bench serve: what a server does under load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.cli.options import Json, as_json, table
from lmworks.cli.serve import must_be_installed
from lmworks.cli.verb import Verb

if TYPE_CHECKING:
    from lmworks.serving.load import Load

bench = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure what a server does under load.")
BENCH = Verb("bench", "Measure it", 3, bench)


@bench.callback()
def _verbs() -> None:
    """A verb below this one has to be named."""


@bench.command()
def serve(
    server: Annotated[
        str, typer.Argument(help="http://HOST:PORT of a server, or a model, which is then served for it.")
    ],
    concurrency: Annotated[str, typer.Option(help="Clients at once; several as 1,8,16.")] = "1,8,16",
    requests: Annotated[int, typer.Option(help="Requests at each concurrency.")] = 64,
    prompt_tokens: Annotated[int, typer.Option(help="Tokens of each prompt.")] = 128,
    max_tokens: Annotated[int, typer.Option(help="Tokens of the longest answer; the shortest has half of them.")] = 128,
    temperature: Annotated[float, typer.Option(help="How answers are drawn, with top-p 0.95; 0 for greedy.")] = 0.8,
    api_key: Annotated[str | None, typer.Option(help="The server's key.")] = None,
    json_: Json = False,
) -> None:
    """Ask a server with several clients at once: time to the first token, between pieces, tokens per second."""
    import asyncio
    from dataclasses import asdict

    from lmworks.basics import progress

    must_be_installed()
    clients = _numbers(concurrency)
    if "://" not in server:
        progress.at_once(f"starting a server of {server}")
    from lmworks.serving.load import answer_lengths, measure
    from lmworks.serving.run import served

    loads: list[Load] = []
    with served(server) as address, progress.shown():
        least, longest = answer_lengths(max_tokens)
        progress.end_line()
        typer.echo(
            f"sends   {requests:,} requests by {_in_turn(clients)} at once: prompts of {prompt_tokens:,} tokens, "
            f"answers of {least:,} to {longest:,}",
            err=True,
        )
        for number in clients:
            load = measure(
                address,
                concurrency=number,
                seed=1000 * number,
                temperature=temperature,
                requests=requests,
                prompt_tokens=prompt_tokens,
                max_tokens=max_tokens,
                key=api_key,
            )
            loads.append(asyncio.run(load))
    if json_:
        as_json([asdict(load) | {"tokens_per_second": load.tokens_per_second} for load in loads])
        return
    columns = (
        "clients",
        "tokens/s",
        "first token p50",
        "p95",
        "p99",
        "between pieces p50",
        "p95",
        "p99",
        "failed",
        "told to wait",
    )
    table(columns, [_row(load) for load in loads])


def _numbers(text: str) -> list[int]:
    from lmworks.basics.errors import ConfigError

    try:
        return [int(one) for one in text.split(",")]
    except ValueError:
        raise ConfigError(f"--concurrency is {text!r}; give numbers, as 1,8,16") from None


def _in_turn(clients: list[int]) -> str:
    """How many clients ask, as "1, then 8, then 16 clients"."""
    return f"{', then '.join(map(str, clients))} client{'s' if clients != [1] else ''}"


def _row(load: Load) -> list[str]:
    first, between = load.first_token, load.between_pieces
    times = [
        f"{1000 * one:,.0f} ms" for one in (first.p50, first.p95, first.p99, between.p50, between.p95, between.p99)
    ]
    return [f"{load.concurrency}", f"{load.tokens_per_second:,.0f}", *times, f"{load.failed}", f"{load.refused}"]
