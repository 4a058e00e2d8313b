"""Write the claims' pages into a folder, all of them or none.

export(Path("site"))        # open site/index.html
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lmworks.basics.errors import ConfigError
from lmworks.basics.files import directory_written_whole
from lmworks.lab import store
from lmworks.lab.site.benches import stories
from lmworks.lab.site.claims import claims
from lmworks.lab.site.pages import site

MADE = 'content="lmworks lab"'
"""What our front page says of itself."""


def export(folder: Path, folders: Sequence[Path] = (store.SHIPPED,)) -> dict[str, int]:
    """Write every page; the bytes of each file by its path.

    Results are those of the first of `folders` that has one. The live benches have their model where it is on this
    machine (`benches.stories`). ConfigError for a folder that holds anything else than an
    earlier export: it is replaced as a whole.
    """
    files = site(claims(folders))
    _must_be_ours(folder, files)
    with directory_written_whole(folder) as temporary:
        for name, content in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return {name: len(content) for name, content in files.items()}


def _must_be_ours(folder: Path, files: dict[str, bytes]) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"{folder} is a file; give a folder for the pages")
    held = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    front = folder / "index.html"
    ours = front.is_file() and MADE in front.read_text(encoding="utf-8", errors="replace")[:4000]
    others = [name for name in held if not ours or (name not in files and not _once_ours(name))]
    if others:
        raise ConfigError(
            f"{folder} holds what is no page of the lab ({others[0]}), and would be replaced as a whole; give a folder "
            "that is new, empty, or an earlier export"
        )


def _once_ours(name: str) -> bool:
    """Whether an earlier export may have written this file: q51.html, fr/index.html."""
    parts = name.split("/")
    last = parts[-1]
    stem, _, ending = last.partition(".")
    page = ending in ("html", "json", "csv") and len(stem) == 3 and stem[0] == "q" and stem[1:].isdecimal()
    return (
        len(parts) <= 2
        and (page or last in ("index.html", "all.html", stories.FILE))
        and all(len(one) == 2 for one in parts[:-1])
    )
