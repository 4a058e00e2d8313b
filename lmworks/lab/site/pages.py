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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from lmworks.lab import page as handbook
from lmworks.lab.site import drawing, numbers, strip
from lmworks.lab.site.claims import OTHERS, Claim, themes
from lmworks.lab.site.words import FIRST, KEYS, Words, languages
from lmworks.lab.verdict import PartResult

HERE = Path(__file__).parent
SYMBOLS = {"holds": "✓", "fails": "✗", "same": "=", "open": "?", "untested": "–", "missing": "·"}
"""A verdict's symbol, beside its colour and its word."""
ADDRESS = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,;:)]")


@functools.cache
def _templates() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"linked": linked, "value": _value, "options": _options}
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
        "exceptions": handbook.exceptions,
        "took": handbook.took,
        "example": _example,
    }
    return made


def linked(text: str) -> Markup:
    """A text whose web addresses are links."""
    parts, last = [], 0
    for found in ADDRESS.finditer(text):
        shown = found[0].removeprefix("https://").removeprefix("http://")
        parts += [escape(text[last : found.start()]), Markup('<a href="{}">{}</a>').format(found[0], shown)]
        last = found.end()
    return Markup("").join([*parts, escape(text[last:])])


def table(rows: Sequence[numbers.Number]) -> dict[str, dict[str, numbers.Number]]:
    """A figure's numbers by place and series."""
    found: dict[str, dict[str, numbers.Number]] = {}
    for one in rows:
        found.setdefault(one.at, {}).setdefault(one.series, one)
    return found


def sureness(part: PartResult, words: Words) -> str:
    """Interval, items, seeds, chance and bound of a part's figure, in the page's language."""
    figure, said = part.figure, []
    assert figure is not None
    if figure.interval and figure.interval[0] != figure.interval[1]:
        low, high = map(figure.alike, figure.interval)
        said.append(f"{words('interval')} {low} … {high}")
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


def _value(value: Any) -> str:
    """A parameter's value as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _example(recipe: dict[str, Any]) -> str:
    """A parameter that is a number, to show how one is changed; empty where there is none."""
    plain = [name for name, value in recipe.items() if type(value) is int and name != "seeds"]
    return f"{plain[-1]}={recipe[plain[-1]]}" if plain else ""


def _options(recipe: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, _value(value)) for name, value in recipe.items() if value is not None]


def site(claims: Sequence[Claim], served: bool = False) -> dict[str, bytes]:
    """Every file of the site by its path."""
    made: dict[str, bytes] = {}
    for code in languages():
        one = Pages(claims, Words.of(code), served)
        folder = "" if code == FIRST else f"{code}/"
        made |= {f"{folder}{name}": text.encode() for name, text in one.all().items()}
    for claim in claims:
        if claim.source is not None and claim.finding is not None:
            made[f"{claim.stem}.json"] = claim.source.read_bytes()
        if claim.finding is not None and claim.finding.chart is not None:
            text = numbers.csv(numbers.numbers(claim.finding), bool(claim.finding.chart.categories))
            made[f"{claim.stem}.csv"] = text.encode()
    return made


class Pages:
    """The pages of one language."""

    def __init__(self, claims: Sequence[Claim], words: Words, served: bool = False) -> None:
        self.claims, self.words, self.served = claims, words, served

    def all(self) -> dict[str, str]:
        """Front, claims and the one file, by their names."""
        return {
            "index.html": self.front(),
            "all.html": self.whole(),
            **{f"{one.stem}.html": self.claim(index) for index, one in enumerate(self.claims)},
        }

    def front(self) -> str:
        """Every claim by theme."""
        return self._page("front.html", "index.html", title=self.words("site"))

    def claim(self, index: int, controls: Sequence[Any] = ()) -> str:
        """The page of the claim at that place. `controls` are the parameters that may be changed where it is served."""
        one = self.claims[index]
        around = {
            "before": self.claims[index - 1] if index else None,
            "after": self.claims[index + 1] if index + 1 < len(self.claims) else None,
        }
        title = f"{one.number}. {self.title(one)}"
        return self._page("claim.html", f"{one.stem}.html", title=title, claim=one, controls=controls, **around)

    def whole(self) -> str:
        """All claims in one file that can be sent to somebody."""
        return self._page("whole.html", "all.html", title=self.words("site"))

    def title(self, claim: Claim) -> str:
        """What a claim is called in this language."""
        return self.words.group("titles").get(str(claim.number)) or claim.name.capitalize()

    def _page(self, template: str, path: str, **facts: Any) -> str:
        groups = [(name, [one for one in self.claims if one.theme == name]) for name in (*themes(), OTHERS)]
        style, script = _asset("site.css"), _asset("site.js")
        return (
            _templates()
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
                controls=facts.pop("controls", ()),
                style=Markup(style),
                script=Markup(script),
                hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
                **facts,
            )
        )


def _address(code: str, here: str, path: str) -> str:
    """The same page in another language, from a page of this one."""
    return f"{'' if here == FIRST else '../'}{'' if code == FIRST else f'{code}/'}{path}"


@functools.cache
def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").strip()
