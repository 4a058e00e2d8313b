"""The pages as text: the front, one page a claim, and all claims in one file, in each language.

    files = site(claims())
    files["q06.html"]

Every page is one file: style, script and charts lie in it, and it asks for nothing from elsewhere.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from lmworks.basics.errors import LmworksError
from lmworks.lab import page as handbook
from lmworks.lab.chart import Chart
from lmworks.lab.finding import Finding
from lmworks.lab.site import controls, drawing, numbers, strip
from lmworks.lab.site.benches import stories
from lmworks.lab.site.benches.declaration import Bench, benches_of, script_of
from lmworks.lab.site.claims import OTHERS, Claim, themes
from lmworks.lab.site.words import FIRST, KEYS, Words, languages
from lmworks.lab.verdict import PartResult

HERE = Path(__file__).parent
SYMBOLS = {"holds": "✓", "fails": "✗", "same": "=", "open": "?", "untested": "–", "missing": "·"}
"""A verdict's symbol, beside its colour and its word."""
MARKED = re.compile(
    r"(?P<address>https?://[^\s<>\"']+[^\s<>\"'.,;:)])|`(?P<code>[^`]+)`|(?P<hyphened>\b(?:\w-\w+|\w+-\w{1,2}\b(?!-)))"
)
"""What is more than its letters in a text: an address, `code`, and "top-k" or "n-grams", which are not to break."""


@functools.cache
def templates(*folders: Path) -> jinja2.Environment:
    """What fills the pages' templates, and those of other folders made of the same parts."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, HERE / "templates"]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"typeset": typeset, "options": _options}
    made.globals |= {
        "symbols": SYMBOLS,
        "keys": KEYS,
        "numbers": numbers.numbers,
        "svg": lambda *one: Markup(drawing.svg(*one)),
        "beyond": drawing.beyond,
        "swatch": lambda kind, number: Markup(drawing.swatch(kind, number)),
        "strip": lambda part: Markup(strip.strip(part)),
        "shapes": Markup(drawing.SYMBOLS),
        "rows": table,
        "sureness": sureness,
        "sentence": sentence,
        "sparse": sparse,
        "exceptions": handbook.exceptions,
        "took": handbook.took,
        "example": _example,
        "data": _data,
        "words_of": _words_of,
    }
    return made


def typeset(text: str) -> Markup:
    """A text with its web addresses as links, its `code` as code, and short words with a hyphen kept on a line."""
    parts, last = [], 0
    for found in MARKED.finditer(text):
        parts += [escape(text[last : found.start()]), _marked(found)]
        last = found.end()
    return Markup("").join([*parts, escape(text[last:])])


def _marked(found: re.Match[str]) -> Markup:
    address, code, hyphened = found["address"], found["code"], found["hyphened"]
    if address:
        return Markup('<a href="{}">{}</a>').format(address, re.sub("^https?://", "", address))
    if code:
        return Markup("<code>{}</code>").format(code)
    return Markup('<span class="kept-whole">{}</span>').format(hyphened)


def table(rows: Sequence[numbers.Number]) -> dict[str, dict[str, numbers.Number]]:
    """A figure's numbers by place and series, along the axis."""
    found: dict[str, dict[str, numbers.Number]] = {}
    for one in sorted(rows, key=lambda one: one.x):
        found.setdefault(one.at, {}).setdefault(one.series, one)
    return found


def sparse(chart: Chart) -> bool:
    """Would most cells be empty in a table with a column for each series?"""
    filled, names = sum(len(one.x) for one in chart.series), len(chart.series)
    return chart.kind == "bars" and 2 * filled <= names * len(chart.categories)


def sureness(part: PartResult, words: Words) -> str:
    """Interval, items, seeds, chance and bound of a part's figure, in the page's language."""
    figure, said = part.figure, []
    assert figure is not None
    if figure.interval and figure.interval[0] != figure.interval[1]:
        low, high = map(figure.alike, figure.interval)
        said.append(f"{words('interval')} {low}\u00a0…\u00a0{high}")
    if figure.n > max(len(figure.seeds), 1):
        said.append(words("items", n=f"{figure.n:,}"))
    if figure.seeds:
        said.append(words("seeds", n=len(figure.seeds)))
    if figure.chance is not None and not figure.difference:
        said.append(f"{words('chance')} {figure.alike(figure.chance)}")
    bounds = strip.Bounds.of(part.rule)
    if bounds is not None:
        said.append(words("holds_if", bound=bounds.said))
        if bounds.margin:
            said.append(words("margin", size=bounds.margin))
    return " · ".join(said)


def sentence(text: str) -> str:
    """A text that begins as a sentence does and ends as one."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _example(recipe: dict[str, Any]) -> str:
    """A parameter that is a number, to show how one is changed; empty where there is none."""
    plain = [name for name, value in recipe.items() if type(value) is int and name != "seeds"]
    return f"{plain[-1]}={recipe[plain[-1]]}" if plain else ""


def _data(value: Any) -> Markup:
    """A value as JSON that can stand in a script element."""
    return Markup(json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))


def _words_of(words: Words, group: str) -> dict[str, str]:
    """What a bench's script says: its words but those that stand in the page already."""
    said = {**words.group("bench"), **words.group(group)}
    return {key: text for key, text in said.items() if key not in ("title", "intro") and not key.startswith("control_")}


def _options(recipe: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, controls.written(value)) for name, value in recipe.items() if value is not None]


def compared(stored: Finding | None, new: Finding, asked: Sequence[str] = ()) -> dict[str, Any]:
    """What differs between a stored result and a new one: parameters that were `asked` for and others (the scale's
    defaults), and each part by what it says."""
    earlier = {} if stored is None else stored.recipe
    names = dict.fromkeys([*earlier, *new.recipe])
    changed = [
        (name, *(controls.written(one[name]) if name in one else "" for one in (earlier, new.recipe)))
        for name in names
        if earlier.get(name) != new.recipe.get(name)
    ]
    before = {} if stored is None else {one.says: one for one in stored.parts}
    after = {one.says: one for one in new.parts}
    parts = [(says, before.get(says), after.get(says)) for says in dict.fromkeys([*after, *before])]
    return {
        "changed": [one for one in changed if one[0] in asked],
        "scaled": [f"{name}={value}" for name, _, value in changed if name not in asked],
        "parts": parts,
    }


def site(claims: Sequence[Claim]) -> dict[str, bytes]:
    """Every file of the site by its path; with the model of the live benches where it is on this machine."""
    return {name: make() for name, make in files(claims).items()}


def files(claims: Sequence[Claim], served: bool = False) -> dict[str, Callable[[], bytes]]:
    """What makes each file of the site, by its path."""
    made: dict[str, Callable[[], bytes]] = {}
    alive = not stories.missing()
    if alive:
        made[stories.FILE] = stories.script
    for code in languages():
        one = Pages(claims, Words.of(code), served, alive)
        folder = "" if code == FIRST else f"{code}/"
        made[f"{folder}index.html"] = functools.partial(_encoded, one.front)
        made[f"{folder}all.html"] = functools.partial(_encoded, one.whole)
        for index, claim in enumerate(claims):
            made[f"{folder}{claim.stem}.html"] = functools.partial(_encoded, one.claim, index)
    for claim in claims:
        if claim.source is not None:
            made[f"{claim.stem}.json"] = claim.source.read_bytes
        if claim.finding is not None and claim.finding.chart is not None:
            made[f"{claim.stem}.csv"] = functools.partial(_encoded, numbers.as_csv, claim.finding)
    return made


def _encoded(make: Callable[..., str], *arguments: Any) -> bytes:
    return make(*arguments).encode()


class Pages:
    """The pages of one language."""

    def __init__(self, claims: Sequence[Claim], words: Words, served: bool = False, alive: bool = False) -> None:
        self.claims, self.words, self.served = claims, words, served
        self.alive = alive
        """Whether the file with the live benches' model lies beside the pages."""

    def front(self) -> str:
        """Every claim by theme."""
        return self._page("front.html", "index.html", title=self.words("site"))

    def claim(self, index: int) -> str:
        """The page of the claim at that place; served, with what may be changed."""
        one = self.claims[index]
        around = {
            "before": self.claims[index - 1] if index else None,
            "after": self.claims[index + 1] if index + 1 < len(self.claims) else None,
        }
        title = f"{one.number}. {self.title(one)}"
        shown = benches_of(one.number)
        facts = {"claim": one, "fields": self._fields(one), "benches": shown, **around}
        return self._page("claim.html", f"{one.stem}.html", shown, title=title, **facts)

    def beside(self, claim: Claim, new: Finding, result: str, asked: Sequence[str] = ()) -> str:
        """A new result beside the stored one, as a part of the claim's page. `result` is the address of its file,
        `asked` names what the visitor changed. A headline is written for the defaults, and not shown here."""
        mine = Claim(claim.number, claim.name, claim.says, claim.theme, "measured", new)
        return self._page(
            "beside.html",
            "",
            title="",
            claim=claim,
            mine=mine,
            result=result,
            compared=compared(claim.finding, new, asked),
        )

    def whole(self) -> str:
        """All claims in one file that can be sent to somebody."""
        return self._page("whole.html", "all.html", title=self.words("site"))

    def title(self, claim: Claim) -> str:
        """What a claim is called in this language."""
        return self.words.group("titles").get(str(claim.number)) or claim.name.capitalize()

    def _fields(self, claim: Claim) -> list[controls.Control]:
        if not self.served or claim.state == "no_experiment":
            return []
        try:
            return controls.controls(claim.number)
        except LmworksError:  # an extra is missing here: the page says how to run it elsewhere
            return []

    def _page(self, template: str, path: str, shown: Sequence[Bench] = (), **facts: Any) -> str:
        groups = [(name, [one for one in self.claims if one.theme == name]) for name in (*themes(), OTHERS)]
        scripts = [asset("site.js"), *([script_of(shown)] if shown else [])]
        allowed = [f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts]
        weights = stories.FILE if self.alive and any(one.live for one in shown) else ""
        return (
            templates()
            .get_template(template)
            .render(
                t=self.words,
                path=path,
                up="" if self.words.code == FIRST else "../",
                languages=[
                    (code, _address(code, self.words.code, path), Words.of(code)("language")) for code in languages()
                ],
                claims=self.claims,
                groups=[(name, some) for name, some in groups if some],
                name_of=self.title,
                served=self.served,
                style=style("site.css", *(["bench.css"] if shown else [])),
                scripts=[Markup(one) for one in scripts],
                allowed=Markup(" ".join([*allowed, *(["'self'"] if weights else [])])),
                weights=weights,
                **facts,
            )
        )


def _address(code: str, here: str, path: str) -> str:
    """The same page in another language, from a page of this one."""
    return f"{'' if here == FIRST else '../'}{'' if code == FIRST else f'{code}/'}{path}"


def style(*sheets: str) -> Markup:
    """The colours, and these sheets."""
    return Markup("\n".join(map(asset, ("colours.css", *sheets))))


@functools.cache
def asset(name: str) -> str:
    """A style sheet or script that lies in the pages."""
    return (HERE / name).read_text(encoding="utf-8").strip()
