"""lmworks tokens: train a tokenizer, look at its pieces, compare several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.basics.amounts import counted
from lmworks.basics.terminal import for_shell
from lmworks.cli.options import Json, as_json, reads_text, table
from lmworks.cli.verb import Verb

if TYPE_CHECKING:
    from lmworks.tokens.inspection import Piece

tokens = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Train, inspect or compare tokenizers.")
TOKENS = Verb("tokens", "Make a model", 3, tokens)

Reference = "A tokenizer's folder, or a model: an alias (smollm2), a directory, a .gguf file or hf:org/name."
_SHADES = ("black on bright_cyan", "black on bright_yellow")
_KINDS = {"bytes": "black on bright_magenta", "special": "black on bright_green", "unknown": "white on red"}


@tokens.command()
@reads_text
def train(
    text: Annotated[
        str, typer.Argument(help="A file or folder, python-reference, or a name of the data registry (wikitext2).")
    ],
    kind: Annotated[str, typer.Option(help="byte, character, word, bpe, wordpiece or unigram.")] = "bpe",
    vocab_size: Annotated[
        int | None, typer.Option(help="Tokens in all; 4,096 unless given. byte and character take none.")
    ] = None,
    special: Annotated[
        list[str] | None, typer.Option(help="A special token instead of the usual ones; may be repeated.")
    ] = None,
    chat_template: Annotated[str | None, typer.Option(help="chatml, or a file with a Jinja template.")] = None,
    byte_fallback: Annotated[
        bool, typer.Option(help="character and unigram: bytes, not <unk>, for what has no token.")
    ] = True,
    out: Annotated[str | None, typer.Option(help="Where it goes; tokenizers/NAME-KIND unless given.")] = None,
    json_: Json = False,
) -> None:
    """Train a tokenizer on a text and save it, so that transformers loads it too."""
    import sys
    from pathlib import Path

    from lmworks.basics import progress
    from lmworks.basics.files import directory_written_whole
    from lmworks.jobs.runs import say_replaced
    from lmworks.text.sources import read
    from lmworks.tokens.folder import refuse_foreign_files
    from lmworks.tokens.inspection import compare
    from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer

    settings: dict[str, Any] = {
        "kind": kind,
        "vocab_size": vocab_size,
        "special_tokens": tuple(special) if special else None,
        "chat_template": _template(chat_template),
        "byte_fallback": byte_fallback,
    }
    config = TokenizerConfig(**settings)
    with progress.shown():
        reading = read(text)
        for skipped in reading.skipped[:5]:
            print(f"skipped   {skipped.path}: {skipped.reason}", file=sys.stderr)
        texts = [document.text for document in reading.documents]
        name = f"{reading.name.replace('/', '-')}-{kind}"
        folder = Path(out or f"tokenizers/{name}")
        refuse_foreign_files(folder)
        say_replaced(folder, lambda line: print(line, file=sys.stderr))
        tokenizer = train_tokenizer(texts, config, name)
    with directory_written_whole(folder) as temporary:
        tokenizer.save(temporary)
    figures = next(iter(compare({str(folder): tokenizer}, {reading.name: texts})))
    if json_:
        as_json({"folder": str(folder), "config": config.model_dump(), **figures.to_json()})
        return
    typer.echo(
        f"{kind}: {tokenizer.vocab_size:,} tokens; on this text {figures.bytes_per_token:.2f} bytes a token, "
        f"{figures.tokens_per_word:.2f} tokens a word, {figures.unknown_rate:.2%} unknown"
    )
    typer.echo(f"saved   {folder}\nnext    lmworks tokens inspect {for_shell(folder)} TEXT")


@tokens.command()
def inspect(
    model: Annotated[str, typer.Argument(help=Reference)],
    text: Annotated[str, typer.Argument(help="The text itself.")],
    json_: Json = False,
) -> None:
    """A text's pieces in colour, each with its id."""
    from lmworks.loading import load_tokenizer
    from lmworks.tokens.inspection import inspect as pieces_of

    pieces = pieces_of(load_tokenizer(model), text)
    if json_:
        as_json({"tokenizer": model, "bytes": len(text.encode()), "pieces": [vars(piece) for piece in pieces]})
        return
    _show(pieces)
    counts = {kind: sum(piece.kind == kind for piece in pieces) for kind in ("special", "bytes", "unknown")}
    named = "".join(f", {count:,} {kind}" for kind, count in counts.items() if count)
    typer.echo(f"\n{counted(len(pieces), 'token')} for {counted(len(text.encode()), 'byte')}{named}")


@tokens.command()
@reads_text
def compare(
    models: Annotated[list[str], typer.Argument(metavar="A B ...", help=Reference)],
    text: Annotated[
        list[str],
        typer.Option(help="A file or folder, python-reference, or a name of the data registry; may be repeated."),
    ],
    json_: Json = False,
) -> None:
    """Tokens per word, bytes per token and unknown rate of tokenizers on the same texts, one a language say."""
    from lmworks.basics import progress
    from lmworks.loading import load_tokenizer
    from lmworks.text.sources import read
    from lmworks.tokens.inspection import compare as figures_of

    with progress.shown():
        tokenizers = {model: load_tokenizer(model) for model in models}
        texts = {reference: [one.text for one in read(reference).documents] for reference in text}
        figures = list(figures_of(tokenizers, texts))
    if json_:
        as_json([one.to_json() for one in figures])
        return
    table(
        ["text", "tokenizer", "vocabulary", "tokens/word", "bytes/token", "unknown", "words", "documents"],
        [
            [
                one.text,
                one.tokenizer,
                f"{one.vocab_size:,}",
                f"{one.tokens_per_word:.2f}",
                f"{one.bytes_per_token:.2f}",
                f"{one.unknown_rate:.2%}",
                f"{one.words:,}",
                f"{one.documents:,}",
            ]
            for one in figures
        ],
    )


def _template(given: str | None) -> str | None:
    """The word chatml as it is, or what the file holds."""
    from pathlib import Path

    from lmworks.basics.errors import ConfigError
    from lmworks.text.plain import UnreadableError, read_text

    if given is None or given == "chatml":
        return given
    try:
        return read_text(Path(given))
    except (UnreadableError, OSError) as error:
        raise ConfigError(
            f"--chat-template {given} cannot be read ({error}); write chatml, or give a file with a Jinja template"
        ) from None


def _show(pieces: list[Piece]) -> None:
    from rich.text import Text

    from lmworks.basics.terminal import console

    line = Text()
    for place, piece in enumerate(pieces):
        line.append(piece.text, style=_KINDS.get(piece.kind, _SHADES[place % 2]))
        line.append(f" {piece.id} ", style="dim")
        if piece.text.endswith("⏎"):
            line.append("\n")
    screen = console(highlight=False, markup=False)
    screen.print(line, soft_wrap=not screen.is_terminal)
