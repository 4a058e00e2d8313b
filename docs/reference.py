"""The pages of the handbook that come from declarations: one page a verb, settings, recipes, one page a room.

python docs/reference.py        # writes them to docs/reference, as docs/conf.py does before Sphinx starts
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmworks.basics.meanings import meanings
from lmworks.cli.explain import explained, parts
from lmworks.cli.verb import HEADINGS, Verb, verbs

DOCS = Path(__file__).parent
HOUSE = DOCS.parent / "lmworks"
TRANSCRIPTS = DOCS / "transcripts"
"""One file a verb, `ask.txt`: what is typed and what comes; tests/docs/test_handbook.py runs each."""
SMALL = "models/small"


def write(folder: Path) -> None:
    """Write every page into a folder that holds nothing else; pages that are as they were are left alone."""
    pages = {f"verbs/{name}.md": text for name, text in verb_pages().items()}
    pages |= {f"rooms/{name}.md": text for name, text in room_pages().items()}
    pages |= {"settings.md": settings_page(), "recipes.md": recipes_page()}
    for path in [*folder.rglob("*.md")] if folder.is_dir() else ():
        if path.relative_to(folder).as_posix() not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def verb_pages() -> dict[str, str]:
    """A page a verb, and `all`, which has them under their headings."""
    known, told = verbs(), _pages_that_tell()
    pages = {name: _verb_page(one, told.get(name, [])) for name, one in known.items()}
    under = {heading: [one for one in known.values() if one.heading == heading] for heading in HEADINGS}
    lists = (
        f"## {heading}\n\n" + "\n".join(f"- [`{one.name}`]({one.name}.md): {_first(one.help)}" for one in of)
        for heading, of in under.items()
    )
    pages["all"] = "# Verbs\n\n" + "\n\n".join(lists) + _toctree(known)
    return pages


def _verb_page(one: Verb, told: list[str]) -> str:
    command = one.command()
    below: Mapping[str, Any] = getattr(command, "commands", {})
    text = [f"# {one.name}", _prose(one.run.info.help if below else one.run.__doc__)]  # type: ignore[union-attr]
    if told:
        text.append("More: " + ", ".join(f"[](../../{name}.md)" for name in told) + ".")
    transcript = TRANSCRIPTS / f"{one.name}.txt"
    if transcript.is_file():
        shown = transcript.read_text(encoding="utf-8").rstrip()
        text.append(f"```console\n{shown}\n```")
        if SMALL in shown:
            text.append(f"`{SMALL}` was trained in a moment by `lmworks train small.toml`, and knows next to nothing.")
    if below:
        for name, part in below.items():
            text += [f"## {one.name} {name}", _prose(part.help), *_options(part, f"{one.name} {name}")]
    else:
        text += _options(command, one.name)
    return "\n\n".join(text) + "\n"


def _options(command: Any, name: str) -> Iterator[str]:
    context = command.make_context(name, [], resilient_parsing=True)
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f"```text\nlmworks {name} {pieces}\n```"
    groups: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None:
            continue
        kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
        heading = getattr(parameter, "rich_help_panel", None) or kind
        groups.setdefault(heading, []).append(_item(*record))
    for heading, items in groups.items():
        yield f"**{heading}**"
        yield "\n".join(items)


def settings_page() -> str:
    """Every class of settings and every part that declares some."""
    text = [
        "# Settings",
        "What recipes, networks and verbs take, from the lines beside each setting. In a recipe they stand in TOML; on "
        "the command line `--set name=value` changes one; `lmworks explain NAME` prints the same.",
    ]
    kinds: dict[str, tuple[str, Any]] = {name: (kind.__doc__ or "", kind) for name, kind in explained().items()}
    for name, part in parts().items():
        kinds.setdefault(name, (getattr(part, "summary", part.settings.__doc__ or ""), part.settings))
    shown: dict[Any, str] = {}
    for name, (summary, kind) in sorted(kinds.items(), key=lambda one: (one[0] not in explained(), one[0])):
        text += [f"## {name}", _prose(summary)]
        if kind in shown:
            text.append(f"Its settings are those of [{shown[kind]}](#{shown[kind]}).")
        else:
            shown[kind] = name
            said = meanings(kind)
            text.append("\n".join(_setting(key, field, said[key]) for key, field in kind.model_fields.items()))
    return "\n\n".join(text) + "\n"


def _setting(name: str, field: Any, meaning: str) -> str:
    simple = isinstance(field.default, (str, int, float)) and field.default != ""
    return _item(f"{name} = {json.dumps(field.default)}" if simple else name, meaning)


def recipes_page() -> str:
    """Every shipped recipe with what its first lines say, under the verb that takes it."""
    text = [
        "# Recipes",
        "A run is one TOML file. These ship with lmworks; a verb takes one by its name, and `--set name=value` changes "
        "a setting. What each setting means is among the [settings](settings.md).",
    ]
    for folder in sorted(path for path in (HOUSE / "recipes").iterdir() if any(path.glob("*.toml"))):
        text.append(f"## {folder.name}")
        for path in sorted(folder.glob("*.toml")):
            text += [f"### {path.stem}", f"```toml\n{path.read_text(encoding='utf-8').rstrip()}\n```"]
    return "\n\n".join(text) + "\n"


def room_pages() -> dict[str, str]:
    """A page a room, from its docstring and the first sentence of each of its files; and `all`."""
    rooms = sorted(path.parent for path in HOUSE.glob("*/__init__.py"))
    pages = {room.name: _room_page(room) for room in rooms}
    lines = "\n".join(
        f"- [`{room.name}`]({room.name}.md): {_first(_docstring(room / '__init__.py'))}" for room in rooms
    )
    about = "Each folder of `lmworks/`: what it holds, file by file. A room imports only from rooms above it."
    pages["all"] = f"# Rooms\n\n{about}\n\n{lines}" + _toctree(pages)
    return pages


def _room_page(room: Path) -> str:
    text = [f"# {room.name}", _prose(_docstring(room / "__init__.py"))]
    folders = [room, *sorted({path.parent for path in room.rglob("*.py")} - {room})]
    for folder in folders:
        files = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
        if folder != room:
            text.append(f"## {folder.relative_to(room).as_posix()}/")
            about = _docstring(folder / "__init__.py")
            text += [_prose(about)] if about else []
        text.append("\n".join(_item(path.name, _first(_docstring(path))) for path in files))
    return "\n\n".join(filter(None, text)) + "\n"


def _pages_that_tell() -> dict[str, list[str]]:
    """The handwritten pages on which a verb is typed, those with most of it first, at most three."""
    told: dict[str, dict[str, int]] = {}
    for path in sorted(DOCS.glob("*.md")):
        if path.stem not in ("index", "verbs", "log", "lab", "benchmarks", "extending", "glossary"):
            for name in re.findall(r"lmworks ([a-z][a-z-]+)", path.read_text(encoding="utf-8")):
                counts = told.setdefault(name, {})
                counts[path.stem] = counts.get(path.stem, 0) + 1
    return {name: sorted(counts, key=lambda page: (-counts[page], page))[:3] for name, counts in told.items()}


def _docstring(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "") if path.is_file() else ""


def _prose(text: str | None) -> str:
    """A docstring as Markdown: indented blocks stay code, the rest is as it stands."""
    lines = (text or "").expandtabs().strip().splitlines()
    margins = [len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()]
    margin = min(margins, default=0)
    return "\n".join(
        line if line.startswith("    ") else _plain(line) for line in [*lines[:1], *(one[margin:] for one in lines[1:])]
    )


def _plain(text: str) -> str:
    """Text in which `<name>` is no HTML, but in code."""
    return re.sub(r"(`[^`]*`)|<", lambda found: found[1] or "&lt;", text)


def _first(text: str) -> str:
    """The first sentence, on one line."""
    return re.split(r"(?<=\.) ", " ".join(text.split("\n\n", maxsplit=1)[0].split()), maxsplit=1)[0]


def _item(name: str, meaning: str) -> str:
    return f"- `{name}`: {_plain(' '.join(meaning.split()))}"


def _toctree(names: Mapping[str, Any]) -> str:
    return "\n\n```{toctree}\n:hidden:\n\n" + "\n".join(name for name in names if name != "all") + "\n```\n"


if __name__ == "__main__":
    write(DOCS / "reference")
    sys.exit()
