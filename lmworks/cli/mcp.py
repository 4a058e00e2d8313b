"""lmworks mcp: the documents of an index as tools of an assistant or an editor (Model Context Protocol)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lmworks.basics.amounts import counted
from lmworks.cli.verb import verb


@verb("Use documents", place=4)
def mcp(
    index: Annotated[
        str,
        typer.Argument(help="The folder of an index, a model built with one, or postgresql://user@host/database#name."),
    ],
    settings: Annotated[
        bool, typer.Option("--settings", help="Show what to write into the client's settings, and end.")
    ] = False,
) -> None:
    """Let an assistant or an editor search, ask and read the documents of an index, as tools (Model Context Protocol).

    The client starts this command itself, and speaks with it on standard input and output. A server offers the same
    tools at /mcp: lmworks serve MODEL --mcp."""
    import sys

    from lmworks.basics.extras import require
    from lmworks.cli.options import as_json
    from lmworks.grounding.index import open_index

    if settings:
        open_index(index)
        as_json(_settings(index))
        return
    require("mcp.server.lowlevel", "mcp")
    opened = open_index(index)
    from lmworks.basics.terminal import for_shell
    from lmworks.serving.mcp import speak

    if sys.stdin.isatty():
        say = f"what to tell it: lmworks mcp {for_shell(index)} --settings"
        held = counted(len(opened), "chunk")
        typer.echo(f"{index} ({held}) waits for a client, which starts this command; {say}", err=True)
    speak(opened)


def _settings(index: str) -> dict[str, Any]:
    """A server of Claude Desktop's, Cursor's and their likes' settings; VS Code calls the first key "servers"."""
    import shutil
    import sys

    folder = Path(index).resolve() if Path(index).exists() else None
    command = Path(shutil.which(sys.argv[0]) or sys.argv[0]).absolute()
    server = {"command": str(command), "args": ["mcp", str(folder or index)]}
    return {"mcpServers": {folder.name if folder else "documents": server}}
