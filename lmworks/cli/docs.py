"""lmworks docs: the handbook, in the browser and without a network."""

from __future__ import annotations

from typing import Annotated

import typer

from lmworks.cli.verb import verb


@verb("Find out more", place=3)
def docs(
    page: Annotated[str | None, typer.Argument(help="A verb, or a page: adapting; the front if not given.")] = None,
    print_: Annotated[bool, typer.Option("--print", help="Print where it is, and open nothing.")] = False,
) -> None:
    """Open the handbook. It lies on this machine and needs no network."""
    import webbrowser

    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError, did_you_mean
    from lmworks.cli.verb import verbs
    from lmworks.jobs.handbook import handbook, written

    known = {*written(), *verbs()}
    if page is not None and page not in known:  # said before pages are made, which takes a minute
        hint = did_you_mean(page, known)
        raise ConfigError(f"the handbook has no page {page!r}; {hint}`lmworks docs` opens its front")
    with progress.shown():
        front = handbook()
    folders = (front.parent / "reference" / "rooms", front.parent, front.parent / "reference" / "verbs")
    pages = {path.stem: path for folder in folders for path in folder.glob("*.html") if path != front}
    address = (front if page is None else pages[page]).resolve().as_uri()
    typer.echo(address)
    if not print_ and not webbrowser.open(address):
        raise ConfigError(f"no browser could be started here; open {address} yourself")
