"""lmworks prompt: which way of asking a model for the class of a text is best, and how much it matters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.basics.terminal import for_shell
from lmworks.cli.options import Compress, Json, as_json, reads_text, table
from lmworks.cli.verb import Verb

if TYPE_CHECKING:
    from lmworks.evaluation.prompts.search import FoundPrompt

prompt = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Search for a prompt that tells classes apart.")
PROMPT = Verb("prompt", "Measure it", 3, prompt)


@prompt.command()
@reads_text
def search(  # noqa: PLR0913, PLR0917 (each is an option that people know by name)
    data: Annotated[
        str,
        typer.Argument(help="Texts with their classes: sst2-dev, ag-news, or records with `prompt` and `response`."),
    ],
    model: Annotated[str, typer.Option(help="An alias (smollm2), a directory, a .gguf file or hf:org/name.")],
    words: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=WORD,...", help="Words for the classes, their own names unless given; may be repeated."
        ),
    ] = None,
    names: Annotated[
        str,
        typer.Option(metavar="TEXT,LABEL", help="What a text and its class are called, for example review,sentiment."),
    ] = "text,label",
    formats: Annotated[
        Path | None, typer.Option(help="A JSON list of formats with {text} in each; ten that ship unless given.")
    ] = None,
    shots: Annotated[str, typer.Option(help="Numbers of solved examples.")] = "0,4",
    orders: Annotated[int, typer.Option(help="Orders of the same examples.")] = 2,
    dev: Annotated[int, typer.Option(help="Texts on which prompts are compared.")] = 50,
    test: Annotated[int, typer.Option(help="Other texts, on which the best is measured.")] = 200,
    seed: Annotated[int, typer.Option(help="Draws the texts, examples and orders.")] = 0,
    out: Annotated[str | None, typer.Option(help="Folder of the scores and of the best; prompts/DATA.")] = None,
    compress: Compress = None,
    json_: Json = False,
) -> None:
    """Try formats, words, examples and their orders on some texts, and measure the best on others. Started again, it
    goes on. The best is saved for `lmworks evaluate MODEL DATA --prompt FILE`."""
    from lmworks.basics import progress
    from lmworks.evaluation.prompts.search import PromptSpace, labelled
    from lmworks.evaluation.prompts.search import search as run
    from lmworks.loading import load
    from lmworks.text.sources import read

    pairs = labelled(read(data).documents)
    space = PromptSpace(
        words=[_words(one, {label for _, label in pairs}) for one in words or ()],
        shots=_numbers(shots),
        orders=orders,
        names=_names(names),
        **({} if formats is None else {"formats": _formats(formats)}),
    )
    space.plan(pairs, dev, test, seed)  # a mistake is reported before the model is loaded
    folder = out or str(Path("prompts") / Path(data).stem)
    with progress.shown():
        found = run(load(model, compress=compress), pairs, space, dev=dev, test=test, seed=seed, out=folder)
    path = Path(folder) / "prompt.json"
    if json_:
        as_json({"model": model, "data": data, "saved": str(path), "prompt": found.winner.model_dump()} | found.facts)
        return
    _show(found)
    print(f"saved   {path}\nnext    lmworks evaluate {for_shell(model)} TEXT --prompt {for_shell(path)}")
    print(f"        on other texts: the prompt was chosen by some of {data}")


def _show(found: FoundPrompt) -> None:
    winner, spread = found.winner, found.spread
    table(
        ["of the best prompt", ""],
        [
            ["format", repr(winner.format)],
            ["words", ", ".join(f"{label}={word}" for label, word in winner.words.items())],
            ["examples", str(len(winner.examples))],
            ["calibrated", "yes" if winner.calibrated else "no"],
        ],
    )
    print()
    table(
        ["", "figure"],
        [
            [f"best of {found.tried} on dev", str(found.dev)],
            ["the same on test", str(found.test)],
            ["optimism, dev minus test", str(found.optimism)],
            [f"{'without' if winner.calibrated else 'with'} calibration, on test", str(found.other)],
            [f"{len(spread.values)} formats on test", f"{spread.values[-1]:.2f} ... {spread.best:.2f}"],
            ["MaxP, AvgP, CPS", f"{spread.best:.2f}, {spread.average:.2f}, {spread.combined:.2f}"],
        ],
    )


def _words(said: str, labels: set[str]) -> dict[str, str]:
    from lmworks.basics.errors import ConfigError

    given = dict(part.partition("=")[::2] for part in said.split(","))
    words = {label.strip(): word.strip() for label, word in given.items()}
    if set(words) != labels:
        raise ConfigError(
            f"--words {said} does not name each class once; write CLASS=WORD for {', '.join(sorted(labels)[:5])}"
        )
    return dict(sorted(words.items()))


def _names(said: str) -> tuple[str, str]:
    from lmworks.basics.errors import ConfigError

    text, _, label = (part.strip() for part in said.partition(","))
    if not text or not label or "," in label:
        raise ConfigError(f"--names is {said}; give two, for example review,sentiment")
    return text, label


def _numbers(said: str) -> list[int]:
    from lmworks.basics.errors import ConfigError

    parts = [part.strip() for part in said.split(",")]
    if not all(part.isdecimal() and len(part) < 4 for part in parts):
        raise ConfigError(f"--shots is {said}; give numbers from 0 on, for example 0,4")
    return [int(part) for part in parts]


def _formats(path: Path) -> list[str]:
    import json

    from lmworks.basics.errors import ConfigError
    from lmworks.basics.files import regular

    try:
        value = json.loads(regular(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        value = None
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise ConfigError(f"{path} holds no formats; write a JSON list of texts with {{text}} in each")
    return value
