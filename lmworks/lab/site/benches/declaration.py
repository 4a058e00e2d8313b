"""What a bench declares: the claims that it explains, its controls, its scripts, and how its stored example is made.

    BENCH = Bench("sampling", claims=(6, 12), controls=(Control("temperature", "range", "1", 0, 2, 0.05),), ...)

The stored example is what a page shows before, or without, a model; `python -m lmworks.lab.site.benches.storing` makes
it. A script computes the same thing from the controls and draws both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lmworks.basics.declared import declared

if TYPE_CHECKING:
    from lmworks.lab.site.words import Words

HERE = Path(__file__).parent
Example = Mapping[str, Any]


@dataclass(frozen=True)
class Control:
    """One thing that a visitor changes; its label is the word `control_NAME` of the bench."""

    name: str
    kind: Literal["text", "range", "choice"]
    default: str
    low: float = 0
    high: float = 1
    step: float = 1
    choices: tuple[str, ...] = ()
    """Of a choice; what they are called are the words `choice_NAME`, where there are such."""
    live: bool = False
    """Whether it changes what the model computes: without one it stays as it is."""
    served: bool = False
    """Whether it asks the served model, and so stands on served pages alone."""


@dataclass(frozen=True)
class StaticTable:
    """What a page says without JavaScript."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Bench:
    """One bench."""

    name: str
    claims: tuple[int, ...]
    """Below which it stands."""
    scripts: tuple[str, ...]
    """Files of `scripts/`, in their order, after the kit that every bench has."""
    controls: tuple[Control, ...]
    example: Callable[[], Example]
    """Computes what is stored, with our own model."""
    table: Callable[[Example, Words], StaticTable]
    """The stored example as a table."""
    live: bool = False
    """Whether the script runs the small Llama itself."""

    @property
    def words(self) -> str:
        """The group of the language files that holds its words."""
        return f"bench_{self.name}"

    @property
    def place(self) -> Path:
        """The file of the stored example."""
        return HERE / "stored" / f"{self.name}.json"

    @cached_property
    def stored(self) -> Example:
        """The stored example."""
        found: Example = json.loads(self.place.read_text(encoding="utf-8"))
        return found


def benches() -> dict[str, Bench]:
    """Every bench by its name."""
    return declared("lmworks.lab.site.benches.kinds", Bench)


def benches_of(claim: int) -> list[Bench]:
    """Those below a claim."""
    return [one for one in benches().values() if claim in one.claims]


def script_of(shown: Sequence[Bench]) -> str:
    """The one script of a page with these benches."""
    names = dict.fromkeys(["kit.js", *(name for one in shown for name in one.scripts), "page.js"])
    parts = [(HERE / "scripts" / name).read_text(encoding="utf-8") for name in names]
    return '(() => {\n"use strict";\n' + "".join(parts) + "})();"
