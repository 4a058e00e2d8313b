"""What the pages show of each claim: read from the registry and the stored results, so that later claims come by
themselves."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmworks.basics.config import read_toml
from lmworks.basics.errors import DataError
from lmworks.evaluation.measurement import Measurement
from lmworks.lab import registry, store
from lmworks.lab.finding import Finding
from lmworks.lab.verdict import HOLDS

State = Literal["measured", "older", "doubt", "unreadable", "not_run", "no_experiment"]
OTHERS = "others"


@dataclass(frozen=True)
class Claim:
    """One claim and what is known of it."""

    number: int
    name: str
    """The experiment's name, where a language has no title of its own for it."""
    says: str
    """What people say; empty where there is no experiment."""
    theme: str
    state: State
    finding: Finding | None = None
    source: Path | None = None
    """The file of the finding."""

    @property
    def stem(self) -> str:
        """What its files are called: q06."""
        return f"q{self.number:02d}"

    @property
    def headline(self) -> str:
        """What was found, in a plain sentence; empty where nothing was."""
        return "" if self.finding is None else self.finding.headline

    @property
    def key(self) -> Measurement | None:
        """The figure that a reader wants first: that of the first part."""
        return None if self.finding is None else self.finding.parts[0].figure

    @property
    def verdicts(self) -> list[str]:
        """What the front can be filtered by; a claim has as many as its parts show."""
        from lmworks.lab.site.words import KEYS

        if self.finding is None:
            return ["missing"]
        found = [KEYS[one.verdict] for one in self.finding.parts]
        some = {"open" if one == "untested" else one for one in found} - {"holds"}
        return sorted(some) if any(one.verdict != HOLDS for one in self.finding.parts) else ["holds"]


def themes() -> dict[str, list[int]]:
    """The claims of each theme, in the order of the front page."""
    return read_toml(Path(__file__).parent / "themes.toml")


def claims(folders: Sequence[Path] = (store.SHIPPED,)) -> list[Claim]:
    """Every claim by its number: those of the registry and those that are named as open. A result is that of the first
    folder that has one."""
    known, theme_of = registry.experiments(), {number: name for name, all_ in themes().items() for number in all_}
    found = []
    for number in sorted({*known, *theme_of}):
        theme = theme_of.get(number, OTHERS)
        if number not in known:
            found.append(Claim(number, str(number), "", theme, "no_experiment"))
        else:
            found.append(_claim(known[number], theme, folders))
    return found


def _claim(one: registry.Listing, theme: str, folders: Sequence[Path]) -> Claim:
    place = store.place_of(one.question, folders)
    if place is None:
        return Claim(one.question, one.name, one.claim, theme, "not_run")
    source = store.path_of(place[0], one.question, place[1])
    finding, state = _finding(source, _stamp(source), _stamp(store.items_of(place[0], one.question, place[1])))
    if finding is None:
        return Claim(one.question, one.name, one.claim, theme, state)
    return Claim(one.question, one.name, finding.claim, theme, state, finding, source)


@functools.lru_cache(maxsize=256)
def _finding(source: Path, *stamps: object) -> tuple[Finding | None, State]:
    """A stored result and whether it can be trusted, read once as long as neither it nor its log changes."""
    try:
        finding = store.read(source)
    except DataError:
        return None, "unreadable"
    if finding.version == 1:
        return finding, "older"
    return finding, "doubt" if store.doubts(source.parent, finding.question, finding.scale) else "measured"


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        now = path.stat()
    except OSError:
        return None
    return now.st_mtime_ns, now.st_size
