"""The forty silent errors by their numbers: which checks look for each in a user's files, or which test holds it.

for one in silent_errors(): print(one.number, one.checks or one.test)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lmworks.basics.config import read_toml
from lmworks.basics.declared import declared
from lmworks.checks.result import Check

ALL = 40
"""As many as docs/silent-errors.md has."""


@dataclass(frozen=True)
class SilentError:
    """One of them."""

    number: int
    checks: tuple[str, ...]
    """The names of the checks that look for it."""
    of: tuple[str, ...]
    """What these look at: model, text, recipe, ..."""
    what: str = ""
    """The error in words, where no check looks for it."""
    test: str = ""
    """The test of lmworks that holds it, where no file of a user's can have it."""


def silent_errors() -> list[SilentError]:
    """All of them, in order."""
    held = {int(number): one for number, one in read_toml(Path(__file__).with_name("held.toml")).items()}
    checks = declared("lmworks.checks", Check).values()
    found = []
    for number in range(1, ALL + 1):
        own = [one for one in checks if number in one.pitfalls]
        subjects = dict.fromkeys(subject for one in own for subject in (one.of or ("recipe",)))
        what, test = held.get(number, ("", ""))
        found.append(SilentError(number, tuple(one.name for one in own), tuple(subjects), what, test))
    return found
