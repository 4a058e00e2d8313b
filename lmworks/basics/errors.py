"""Errors that are sentences for the user: what was wrong, where, and what to do about it.

The command line prints the sentence and exits with 1; nobody sees a traceback for a mistake of their own.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LmworksError(Exception):
    """Anything that the user can put right; its text is one complete sentence."""


class DataError(LmworksError):
    """Text, a data set or a document that cannot be used."""


class ModelError(LmworksError):
    """A model directory, a weight file or a tokenizer that cannot be used."""


class QueueFull(LmworksError):
    """More requests wait than there may; `seconds` is when to ask again."""

    def __init__(self, problem: str, seconds: float = 1.0) -> None:
        super().__init__(problem)
        self.seconds = seconds


class EngineClosed(LmworksError):
    """An engine that takes no more requests, or was closed before this one was answered."""


class KernelError(LmworksError):
    """Kernels cannot be compiled here, or not be kept; what PyTorch can run, it runs."""


class Stopped(LmworksError):
    """The user stopped the work (Ctrl-C or SIGTERM); what was done so far is saved where the text says. `resume` means
    that the same command goes on with --resume."""

    def __init__(self, problem: str, *, resume: bool = False) -> None:
        super().__init__(problem)
        self.resume = resume


class ConfigError(LmworksError, ValueError):
    """A setting that is unknown, of the wrong kind or contradicts another.

    `problem` may name settings as `{at}name`; `{at}` becomes the path of the section that holds them, so
    that a mistake deep inside a recipe is reported by its whole path.
    """

    def __init__(self, problem: str, at: tuple[str, ...] = ()) -> None:
        super().__init__(problem)
        self.problem, self.at = problem, at

    def __str__(self) -> str:
        return self.problem.replace("{at}", "".join(f"{part}." for part in self.at))

    def inside(self, section: tuple[str, ...]) -> ConfigError:
        """The same problem, seen from the section around it."""
        return type(self)(self.problem, section + self.at)


class ArgumentError(ConfigError, TypeError):
    """An argument of a function that is missing, unknown, or of the wrong kind."""


class UnknownSettingError(ConfigError):
    """Settings that nobody knows: several of them are told together."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "did you mean 'dora'? ", for the middle of an error; empty where no known name is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}? " if close else ""
