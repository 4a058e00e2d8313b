"""Words: everything that the claims' pages say by themselves; each language is one file of `languages/`.

english = Words.of("en")                # or Words.of("en", FOLDER) for those of other pages
english("tally", measured=33, all=50, parts=201)
english.group("titles")["12"]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmworks.basics.config import read_toml
from lmworks.basics.errors import ConfigError
from lmworks.lab import registry
from lmworks.lab.verdict import FAILS, HOLDS, OPEN, SAME, UNTESTED, Verdict

FOLDER = Path(__file__).parent / "languages"
FIRST = "en"
"""The language whose pages lie at the top of the site."""
KEYS: dict[Verdict, str] = {HOLDS: "holds", FAILS: "fails", SAME: "same", OPEN: "open", UNTESTED: "untested"}
"""What a verdict is called in these files, in style sheets and in addresses."""


@dataclass(frozen=True)
class Words:
    """The words of one language."""

    code: str
    """As in the `lang` attribute: en, de."""
    said: Mapping[str, Any]
    folder: Path = FOLDER
    """Where its file lies."""

    @classmethod
    def of(cls, code: str, folder: Path | None = None) -> Words:
        """The words of a language; ConfigError where there is no file of it in the folder (`FOLDER` unless given)."""
        folder = folder or FOLDER
        if code not in languages(folder):
            raise ConfigError(f"{code!r} is not a language of these pages; there are {', '.join(languages(folder))}")
        return cls(code, read_toml(folder / f"{code}.toml"), folder)

    def __call__(self, key: str, **facts: Any) -> str:
        """A text with its facts put in; ConfigError for one that the file lacks."""
        return str(self._entry(key)).format(**facts).strip()

    def group(self, key: str) -> Mapping[str, str]:
        """A table of the file: titles, themes, verdicts, filters."""
        found = self._entry(key)
        assert isinstance(found, Mapping)
        return found

    def _entry(self, key: str) -> Any:
        if key not in self.said:
            raise ConfigError(f"{self.folder / self.code}.toml has no {key!r}; write it as in {FIRST}.toml")
        return self.said[key]

    def verdict(self, verdict: Verdict) -> str:
        """The word for a verdict."""
        return self.group("verdicts")[KEYS[verdict]]

    def count(self, verdicts: Sequence[Verdict]) -> str:
        """How many parts hold, and what is said of the others: "3 of 4 parts hold, 1 open"."""
        said = self._entry("count")
        n, holds = len(verdicts), sum(one == HOLDS for one in verdicts)
        if n == 1:
            return str(said["one"] if holds else said[KEYS[verdicts[0]]][0])
        if holds == n:
            return str(said["all"]).format(n=n)
        first = str(said["some"][holds > 1] if holds else said["none"]).format(holds=holds, n=n)
        others = Counter(one for one in verdicts if one != HOLDS)
        rest = (f"{others[one]} {said[key][others[one] > 1]}" for one, key in KEYS.items() if one in others)
        return ", ".join([first, *rest])


def languages(folder: Path | None = None) -> tuple[str, ...]:
    """The codes of all languages that have a file in the folder (`FOLDER` unless given), the first one first."""
    known = sorted(path.stem for path in (folder or FOLDER).glob("*.toml"))
    return (FIRST, *(one for one in known if one != FIRST))


def titles() -> dict[int, str]:
    """What each claim is called in English: by its title, or where it has none, by its experiment's name."""
    given = Words.of(FIRST).group("titles")
    return {n: given.get(str(n), one.name.capitalize()) for n, one in registry.experiments().items()}
