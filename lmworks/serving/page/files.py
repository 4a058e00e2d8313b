"""The chat page as files: one HTML page in each language, and its scripts.

    files()["index.de.html"], files()["main.js"]

The page talks to the server by OpenAI's API alone, so that these files work in front of any server that speaks it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from pathlib import Path
from typing import get_args

import jinja2
from markupsafe import Markup

from lmworks.basics.meanings import meanings
from lmworks.generation.strategies import Sample
from lmworks.lab.site.words import Words, languages
from lmworks.serving.api.requests import NAMES
from lmworks.serving.lab.verdicts import verdicts

HERE = Path(__file__).parent
LANGUAGES, SCRIPTS = HERE / "languages", HERE / "scripts"
LATER = ("next.js", "inside.js", "pictures.js")
"""Scripts that are fetched when they are first needed."""
CLAIMS = {6: "temperature", 12: "top-k and top-p"}
"""What the next token's view lets people try."""
SLIDERS = (
    ("temperature", 0.7, 0, 2, 0.05, 1),
    ("top_p", 0.95, 0.05, 1, 0.01, 1),
    ("min_p", 0, 0, 0.5, 0.01, 0),
    ("repetition_penalty", 1, 1, 2, 0.05, 1),
)
"""Name, value, least, most and step of a slider, and the value that is a server's own and is not sent."""
COMMENT = re.compile(r"^(//|/\*\*).*$| // [^\"'`]*$")
"""A line that is a comment, or a comment at the end of one; what may be the end of a text in quotes is left."""
SHOWN = {*(name for name, *_ in SLIDERS), "top_k", "seed"}
"""Settings of `Sample` with a control of their own."""
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' height='32' "
    "rx='7' fill='%231c5d99'/%3E%3Cpath d='M7 22h3V10H7zM13 22h3v-8h-3zM19 22h3v-5h-3z' fill='%23fff'/%3E%3C/svg%3E"
)


@functools.cache
def files() -> dict[str, bytes]:
    """Every file by its name; pages are index.CODE.html."""
    pages = {f"index.{code}.html": _page(code).encode() for code in languages(LANGUAGES)}
    return pages | {
        path.name: _lean(path.read_text(encoding="utf-8")).encode() for path in sorted(SCRIPTS.glob("*.js"))
    }


def _lean(script: str) -> str:
    """A script without indentation and comments: 18 % less to send."""
    lines = (COMMENT.sub("", line.strip()) for line in script.splitlines())
    return "\n".join(line for line in lines if line)


def policy() -> str:
    """The page's Content-Security-Policy: its own scripts and its own server, nothing else, and no HTML from text."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self'; style-src 'sha256-{digest}'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )


def more() -> list[tuple[str, str, str, str]]:
    """The other settings that are numbers, those of any filter that is declared among them: name in requests, label,
    what it does, step."""
    found, said = [], meanings(Sample)
    for name, field in Sample.model_fields.items():
        kinds = {field.annotation, *get_args(field.annotation)}
        if name not in SHOWN and kinds & {int, float}:
            label, step = name.replace("_", " ").capitalize(), "1" if int in kinds else "any"
            found.append((NAMES.get(name, name), label, said[name], step))
    return found


def _page(code: str) -> str:
    words = Words.of(code, LANGUAGES)
    said = json.dumps(dict(words.group("script")), ensure_ascii=False).replace("<", "\\u003c")
    return _template().render(
        t=words,
        languages=[(one, Words.of(one, LANGUAGES)("language")) for one in languages(LANGUAGES)],
        words=Markup(said),
        style=Markup(_style()),
        icon=ICON,
        scripts=[path.name for path in sorted(SCRIPTS.glob("*.js")) if path.name not in LATER],
        sliders=SLIDERS,
        more=more(),
        claims=verdicts(CLAIMS),
    )


@functools.cache
def _style() -> str:
    from lmworks.lab.site import words

    colours = Path(words.__file__).with_name("colours.css").read_text(encoding="utf-8")
    return colours + (HERE / "page.css").read_text(encoding="utf-8").strip()


def _template() -> jinja2.Template:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return made.get_template("page.html")
