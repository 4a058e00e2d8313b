"""lmworks search: the passages of an index that answer a query best, and the images that words describe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.cli.filtering import FilterOptions
from lmworks.cli.options import Json
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.grounding.index import Index
    from lmworks.grounding.passage import Passage


@verb("Use documents", place=2)
def search(
    index: Annotated[
        str,
        typer.Argument(
            help="The folder of an index or of vectors (lmworks embed), or postgresql://user@host/database#name."
        ),
    ],
    query: Annotated[str, typer.Argument(help="Words or a question; of images, also the path of one.")],
    k: Annotated[int, typer.Option("-k", help="How many passages or images.")] = 5,
    keywords: Annotated[bool, typer.Option("--keywords", help="By keywords alone.")] = False,
    vectors: Annotated[bool, typer.Option("--vectors", help="By vectors alone.")] = False,
    rerank: Annotated[
        bool | None,
        typer.Option("--rerank/--no-rerank", help="Put the best into a cross-encoder's order; as its test chose."),
    ] = None,
    images: Annotated[
        bool | None,
        typer.Option("--images/--passages", help="Of an index with images: these alone, or passages alone."),
    ] = None,
    json_: Json = False,
    *,
    only: FilterOptions,
) -> None:
    """Show the passages of an index that fit a query best, with the place of each; then the images, where it has some.

    Of a folder of vectors, the images or texts that are nearest."""
    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError
    from lmworks.cli.options import as_json

    among = only.filter()
    if (Path(index) / "vectors.json").is_file():
        if keywords or vectors or rerank is not None or among is not None or images is not None:
            raise ConfigError(
                f"{index} holds vectors alone; leave out --keywords, --vectors, --rerank, --images and filters"
            )
        _near(index, query, k, json_)
        return
    from lmworks.grounding.index import By, open_index
    from lmworks.grounding.passage import Kind
    from lmworks.grounding.telling import ReadOnce, placed
    from lmworks.text.images.reading import is_image

    if keywords and vectors:
        raise ConfigError("--keywords and --vectors together are the usual way; leave out both")
    with progress.shown():
        opened = open_index(index)
        if opened.images is not None and is_image(query):
            if keywords or rerank or images is False:
                raise ConfigError(
                    f"{query} is an image, and finds images; leave out --keywords, --rerank and --passages"
                )
            found = opened.images.search(Path(query), k, among)
        elif is_image(query):
            raise ConfigError(f"{query} is an image, and {index} is an index of texts alone; search it by words")
        else:
            by: By = "keywords" if keywords else "vectors" if vectors else "hybrid"
            kind: Kind | None = None if images is None else "image" if images else "passage"
            found = opened.search(query, k, by, rerank=rerank, where=among, kind=kind)
    if json_:
        texts = ReadOnce(opened)
        as_json([placed(one, texts) for one in found])
    elif found:
        _show(found, opened)
    elif keywords:
        typer.echo("no passage holds one of these words")
    elif among is not None:
        typer.echo("no document fits the filters (--path, --since, --until, --where)")
    else:
        typer.echo(f"the index holds no {'image' if images else 'passage'}")


def _show(found: Sequence[Passage], index: Index) -> None:
    """Passages with their places, then images."""
    from lmworks.grounding.telling import where

    passages = [one for one in found if one.kind == "passage"]
    for number, one in enumerate(passages, 1):
        typer.echo(f"[{number}] {one.score:.3f}  {where(one, index)}")
        typer.echo("    " + " ".join(one.text.split()) + "\n")
    if passages and len(found) > len(passages):
        typer.echo("images (their scores do not compare with those of passages)")
    for number, one in enumerate(found[len(passages) :], 1):
        typer.echo(f"[{number}] {one.score:.3f}  {one.file}" + (f"  ({one.caption})" if one.caption else ""))


def _near(folder: str, query: str, k: int, json_: bool) -> None:
    """What of a folder of vectors is nearest."""
    from lmworks.basics import progress
    from lmworks.cli.options import as_json, say
    from lmworks.jobs.embedding import search as run

    with progress.shown():
        found = run(folder, query, k, say)
    if json_:
        as_json([asdict(one) for one in found])
        return
    for number, one in enumerate(found, 1):
        typer.echo(f"[{number}] {one.score:.3f}  {one.source}" + (f"  ({one.text})" if one.text else ""))
