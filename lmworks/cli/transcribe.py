"""lmworks transcribe: what recordings say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.cli.options import Beams, Json
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.generation.transcript import Transcript
    from lmworks.tokens.speech import Task

MOST_BEAMS = 16
KINDS = (".txt", ".srt", ".vtt", ".json")
"""What a transcript is written as, by the suffix of its file."""
TASKS = ("transcribe", "translate")


@verb("Use it", place=44)
def transcribe(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Recordings: WAV; FLAC, Ogg and MP3 with lmworks[audio].")
    ],
    model: Annotated[
        str, typer.Option(help="A model that hears: whisper (English), a directory or hf:org/name.")
    ] = "whisper",
    language: Annotated[
        str | None, typer.Option(help="Code of the language that is spoken (de); told by the sound unless given.")
    ] = None,
    task: Annotated[
        str, typer.Option(help="transcribe, or translate: English of whatever is spoken, by models that learnt it.")
    ] = "transcribe",
    beams: Beams = None,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="A line for each segment, with its times.")] = False,
    out: Annotated[
        str | None,
        typer.Option(help="Write it to this file: .txt, .srt or .vtt (subtitles), .json. For one recording."),
    ] = None,
    compress: Annotated[
        str | None,
        typer.Option(
            help="How the network runs on a CPU: int4, int8 or bf16, compiled; none, in PyTorch, in float32. Unless "
            "given, bf16 where it can be compiled."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Write down what recordings say."""
    from lmworks.basics import progress
    from lmworks.basics.errors import DataError
    from lmworks.cli.options import as_json

    path = None if out is None else Path(out)
    _check(files, path, task, beams)

    from lmworks.hearing_model import hearing
    from lmworks.loading import load

    facts: list[dict[str, Any]] = []
    wrong = 0
    wanted: Task = "translate" if task == "translate" else "transcribe"
    try:
        with progress.shown():
            listener = hearing(load(model, compress=compress))
            for file in files:
                try:
                    transcript = listener.transcribe(file, language=language, task=wanted, beams=beams or 1)
                except DataError as error:  # the others are worth writing down
                    if len(files) == 1:
                        raise
                    typer.echo(f"lmworks: {error}", err=True)
                    wrong += 1
                    continue
                if path is not None:
                    _write(transcript, path, timestamps, tell=not json_)
                elif not json_:
                    _show(transcript, file if len(files) > 1 else None, timestamps)
                facts.append({"file": file, **transcript.facts()})
        if wrong:
            raise DataError(f"{wrong} of {len(files)} recordings could not be read, as said above")
    finally:
        if json_ and facts:  # what was written down before it was stopped, too
            as_json(facts)


def _check(files: list[str], path: Path | None, task: str, beams: int | None) -> None:
    """ConfigError for options that do not fit together, and DataError for a file that is not there, before the model
    is fetched; LmworksError for an --out that cannot be written, before hours are listened to."""
    from lmworks.basics.errors import ConfigError
    from lmworks.basics.files import must_be_a_writable_file

    if path is not None and len(files) > 1:
        raise ConfigError(
            f"--out {path} takes one recording, and there are {len(files)}; leave --out away, or give one of them"
        )
    if path is not None and path.suffix.lower() not in KINDS:
        raise ConfigError(f"--out {path} names no kind of transcript; end it with one of {', '.join(KINDS)}")
    if path is not None:
        must_be_a_writable_file(path)
    if beams is not None and not 1 <= beams <= MOST_BEAMS:
        raise ConfigError(f"--beams is {beams}; give a number from 1 to {MOST_BEAMS}")
    if task not in TASKS:
        raise ConfigError(f"--task is {task!r}; it is one of {', '.join(TASKS)}")
    _must_be_there(files)


def _write(transcript: Transcript, path: Path, timestamps: bool, tell: bool) -> None:
    """Write it to a file, and tell so."""
    from lmworks.basics.amounts import counted
    from lmworks.basics.files import written_whole

    with written_whole(path) as temporary:
        temporary.write_text(_content(transcript, path.suffix.lower(), timestamps), encoding="utf-8")
    if tell:
        typer.echo(f"wrote   {path} ({counted(len(transcript.segments), 'segment')}, {transcript.seconds:,.1f} s)")


def _must_be_there(files: list[str]) -> None:
    """DataError for a file that is not there."""
    from lmworks.basics.errors import DataError

    for file in files:
        if not Path(file).is_file():
            what = "is a folder; give its files" if Path(file).is_dir() else "is not there; give another path"
            raise DataError(f"{file} {what}")


def _content(transcript: Transcript, suffix: str, timestamps: bool) -> str:
    """The content of a file; a text has times where they are asked for, all others have some."""
    import json

    if suffix == ".srt":
        return transcript.srt()
    if suffix == ".vtt":
        return transcript.vtt()
    if suffix == ".json":
        return json.dumps(transcript.facts(), indent=2, ensure_ascii=False) + "\n"
    return f"{transcript.lines() if timestamps else transcript}\n"


def _show(transcript: Transcript, file: str | None, timestamps: bool) -> None:
    """Print it, under the name of its file where there are several."""
    if file is not None:
        typer.echo(f"{file}:")
    typer.echo((transcript.lines() if timestamps else transcript.text) or "(nobody speaks)")
