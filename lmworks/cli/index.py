"""lmworks index: make an index of a folder of documents, or bring one up to date."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.basics.amounts import counted
from lmworks.basics.terminal import for_shell
from lmworks.cli.embed import tell as tell_vectors
from lmworks.cli.left_out import left_out
from lmworks.cli.option_groups import Options
from lmworks.cli.options import Json, reads_text
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.grounding.index import Index
    from lmworks.grounding.self_test.outcome import SelfTestOutcome


@dataclass(frozen=True, kw_only=True)
class IndexOptions(Options):
    """How documents are indexed."""

    embedder: Annotated[
        str | None,
        typer.Option(
            help="The model whose vectors stand for chunks and questions, minilm unless given. With a CLIP, images are "
            "indexed by it, beside texts by minilm."
        ),
    ] = None
    tokens: Annotated[int | None, typer.Option(min=16, help="Tokens of a chunk, at most; 160 unless given.")] = None
    language: Annotated[
        str | None,
        typer.Option(
            help="Whose stems words are cut to: none, english, german, ...; each document's own unless given."
        ),
    ] = None
    prompts: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="QUERY PASSAGE",
            help="What is put before a question and before a chunk ('query: ' 'passage: ' for E5); what the embedder's "
            "folder says unless given.",
        ),
    ] = None

    def chosen(self) -> dict[str, Any]:
        """The settings of an index that are given."""
        given = {"embedder": self.embedder, "longest": self.tokens, "language": self.language}
        given |= dict(zip(("query_prompt", "passage_prompt"), self.prompts or (), strict=False))
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class SelfTestOptions(Options):
    """Whether the index is tested, and by what."""

    test: Annotated[
        bool,
        typer.Option("--test", help="Ask it questions made from its own documents; it then searches by what is best."),
    ] = False
    questions: Annotated[int, typer.Option(min=1, help="How many, at most, with --test.")] = 200
    seed: Annotated[int, typer.Option(help="Which questions, with --test.")] = 0


@verb("Use documents", place=1)
@reads_text
def index(
    text: Annotated[
        str | None,
        typer.Argument(help="A file or folder, python-reference, or a name of the data registry.", show_default=False),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="Folder of the index, or postgresql://user@host/database#name; indexes/NAME unless given. "
            "One that exists is updated.",
            show_default=False,
        ),
    ] = None,
    *,
    settings: IndexOptions,
    tested: SelfTestOptions,
    json_: Json = False,
) -> None:
    """Find passages in a folder of documents, and images by a CLIP: index it, or take over what changed in it since.

    --test says how well passages are found."""
    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError
    from lmworks.cli.options import as_json
    from lmworks.grounding.index import located

    if text is None and out is None:
        raise ConfigError("say what to index: lmworks index FOLDER, or --out INDEX to bring one up to date")
    target = out or str(Path("indexes") / Path(located(str(text))).stem)
    if (before := _vectors_of(target)) is not None:  # made anew
        embedder, text = settings.embedder or before["model"], text or before.get("reference")
        _refuse_chunks(settings, tested, embedder)
        if text is None:
            raise ConfigError(f"say what to embed: lmworks index FOLDER --embedder {embedder}")
        tell_vectors(text, target, embedder, json_)
        return
    with progress.shown():
        made = _made(text, target, settings.chosen())
        outcome = _tested(made, tested.questions, tested.seed) if tested.test else None
    if json_:
        as_json(_facts(made) | ({} if outcome is None else {"test": outcome.to_json()}))
    else:
        _tell(made, outcome)


def _refuse_chunks(settings: IndexOptions, tested: SelfTestOptions, embedder: str) -> None:
    """ConfigError for options that are about the chunks of texts."""
    from lmworks.basics.errors import ConfigError

    given = settings.given() | tested.given()
    if used := [name for name in ("--tokens", "--language", "--prompts", "--test") if name in given]:
        raise ConfigError(f"{', '.join(used)}: a folder of vectors by {embedder} has no chunks; leave it out")


def _vectors_of(target: str) -> dict[str, Any] | None:
    """What a folder of vectors, which is made anew, says of itself; None for anything else."""
    if not (Path(target) / "vectors.json").is_file():
        return None
    from lmworks.models.files.model_folder import read_json

    return read_json(Path(target) / "vectors.json")


def _made(text: str | None, target: str, chosen: dict[str, Any]) -> Index:
    """The index that lies there, brought up to date; a new one of a text where there is none."""
    from lmworks.basics.errors import ConfigError
    from lmworks.grounding.images import reads_images
    from lmworks.grounding.index import Index, IndexSettings, build, located, storage_of

    storage = storage_of(target)
    place = storage.place
    if not storage.exists():
        if text is None:
            raise ConfigError(f"{place} holds no index; say what to index: lmworks index FOLDER --out {place}")
        return build(text, target, IndexSettings(**chosen))
    index = Index(storage)
    if reads_images(chosen.get("embedder", "")):
        chosen = {**chosen, "images": chosen["embedder"]}
        del chosen["embedder"]
    if text is not None and index.reference not in (located(text), str(Path(text).resolve())):
        raise ConfigError(f"{place} is an index of {index.reference}; give another --out for {text}")
    for name, value in chosen.items():
        if (made := getattr(index.settings, name)) != value:
            option = "tokens" if name == "longest" else name.replace("_", "-")
            raise ConfigError(
                f"{place} was made with {option.replace('-', ' ')} {made}, and not {value}; give another --out, or no "
                f"--{option}"
            )
    index.update()
    return index


def _tested(index: Index, questions: int, seed: int) -> SelfTestOutcome:
    from lmworks.grounding.self_test.run import self_test  # imports torch, which a wrong path should not wait for

    return self_test(index, questions, seed)


def _facts(index: Index) -> dict[str, Any]:
    changes = index.changes
    return {
        "index": index.place,
        "chunks": len(index),
        **({} if index.images is None else {"images": len(index.images)}),
        "languages": index.languages,
        "added": changes.added,
        "changed": changes.changed,
        "deleted": changes.deleted,
        "skipped": [f"{one.path}: {one.reason}" for one in changes.skipped],
    }


def _tell(index: Index, outcome: SelfTestOutcome | None) -> None:
    changes = index.changes
    for line in left_out(changes.skipped):
        typer.echo(f"skipped   {line}", err=True)
    files = ", ".join(
        f"{len(names)} {kind}"
        for kind, names in (("added", changes.added), ("changed", changes.changed), ("deleted", changes.deleted))
        if names
    )
    typer.echo(f"files     {files or 'as they were'}")
    holds = [index.counts] if index.counts else []
    holds += [] if index.images is None else [counted(len(index.images), "image")]
    typer.echo(f"index     {index.place} ({'; '.join(holds) or '0 chunks'})")
    if outcome is not None:
        typer.echo(f"\n{outcome.table}\n")
    elif index.tested and index.tested.get("index") != index.digest:
        typer.echo(f"note      it has changed since it was tested; lmworks index --out {for_shell(index.place)} --test")
    there = for_shell(index.place)
    ask = f'lmworks ask {there} "..."     ' if index.counts or index.images is None else ""
    typer.echo(f'next      {ask}lmworks search {there} "..."')
