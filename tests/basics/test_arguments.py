"""Arguments of the Python API: a wrong one is one sentence before anything runs, and what is as good as right is
taken."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import pytest

import lmworks as lm
from lmworks.basics.arguments import checked
from lmworks.basics.config import Config
from lmworks.basics.errors import ArgumentError, ConfigError, LmworksError


class Taste(Config):
    """Settings."""

    sweet: float = 0.0
    """How sweet."""


class Spiced(Taste):
    """More of them."""

    hot: int = 0
    """How hot."""


class Cook(Protocol):
    """Who cooks."""

    def cook(self) -> None: ...


class Named:
    """A class with a name for people."""

    given_as = "a name that people know"


@checked
def meal(
    dish: str,
    guests: int = 1,
    *,
    share: float | None = None,
    warm: bool = True,
    courses: Sequence[str] = (),
    order: Literal["fast", "slow"] = "slow",
    taste: Taste | None = None,
    recipe: str | os.PathLike[str] | None = None,
    cook: Cook | None = None,
    say: Callable[[str], None] | None = None,
    prices: Mapping[str, float] | None = None,
    tables: Iterable[int] = (),
    named: Named | None = None,
    bill: Annotated[float, "euros"] = 0.0,
    unknown: Nowhere | None = None,  # type: ignore[name-defined]  # noqa: F821
) -> list[str]:
    """A dinner."""
    return list(courses)


@pytest.mark.parametrize(
    "given, words",
    [
        ({"dish": 3}, "dish is 3; give a string"),
        ({"dish": b"soup"}, "dish is b'soup'; give a string"),
        ({"guests": 2.5}, "guests is 2.5; give a whole number"),
        ({"guests": "2"}, "guests is '2'; give a whole number"),
        ({"guests": True}, "guests is True; give a whole number"),
        ({"share": False}, "share is False; give a number"),
        ({"guests": None}, "guests is None; give a whole number"),
        ({"share": "much"}, "share is 'much'; give a number"),
        ({"warm": "no"}, "warm is 'no'; give True or False"),
        ({"courses": "soup"}, "courses is 'soup'; give a list of strings, such as ['soup']"),
        ({"courses": {"soup": 1}}, "courses is a dict; give a list of strings"),
        ({"courses": None}, "courses is None; give a list of strings"),
        ({"order": "medium"}, "order is 'medium'; give 'fast' or 'slow'"),
        ({"taste": Taste}, "taste is the class Taste; give a Taste"),
        ({"recipe": 7}, "recipe is 7; give a string or a path"),
        ({"cook": object()}, "cook is an object; give a Cook"),
        ({"say": "loud"}, "say is 'loud'; give a function"),
        ({"prices": [1.0]}, "prices is a list; give a dict"),
        ({"tables": 4}, "tables is 4; give a list of whole numbers"),
        ({"named": "x" * 99}, "named is a str; give a name that people know"),
        ({"bill": "none"}, "bill is 'none'; give a number"),
        ({"gests": 3}, "there is no argument gests; did you mean 'guests'? there are dish, guests, share"),
        ({"hot": 3}, "hot is a setting of Spiced; give taste=Spiced(hot=3)"),
        ({"sweet": 3}, "sweet is a setting of Taste; give taste=Taste(sweet=3)"),
    ],
)
def test_a_wrong_argument_is_one_sentence(given: dict[str, Any], words: str):
    with pytest.raises(ArgumentError) as caught:
        meal(**({"dish": "soup"} | given))
    assert str(caught.value).startswith(words) and "\n" not in str(caught.value)
    assert isinstance(caught.value, TypeError) and isinstance(caught.value, ConfigError)


def test_what_is_missing_or_too_much_is_said():
    with pytest.raises(ArgumentError, match="missing a required argument: 'dish'"):
        meal()  # type: ignore[call-arg]
    with pytest.raises(ArgumentError, match="too many positional arguments"):
        meal("soup", 2, 3)  # type: ignore[misc]


def test_what_is_as_good_as_right_is_taken():
    class Here:
        def cook(self) -> None: ...

    numbers = {"guests": np.int64(2), "share": np.float32(0.5), "warm": np.bool_(True), "bill": 3}
    others = {"recipe": Path("x"), "cook": Here(), "say": print, "prices": {}, "unknown": 3, "tables": {1, 2}}
    assert meal("soup", **numbers, **others, taste=Spiced(hot=1), courses=np.array(["soup"])) == ["soup"]
    assert meal("soup", courses=(name for name in ("soup", "cake"))) == ["soup", "cake"]  # and is not used up
    assert meal("soup", courses={"soup": 1}.keys()) == ["soup"]


def test_a_checked_function_is_still_itself():
    assert meal.__doc__ == "A dinner." and list(inspect.signature(meal).parameters)[:2] == ["dish", "guests"]


def test_settings_take_no_values_without_names():
    with pytest.raises(ArgumentError, match=r"Taste takes its settings by their names, and 0\.8 comes"):
        Taste(0.8)  # type: ignore[call-arg]


def test_every_public_function_checks_its_arguments_and_says_what_it_does():
    for name in lm.__all__:
        found = getattr(lm, name)
        if inspect.isfunction(found):
            assert inspect.unwrap(found) is not found, f"lm.{name} is not @checked"
        assert name == "__version__" or inspect.getdoc(found), name


def test_completion_shows_what_is_public_before_it_is_used():
    assert {"load", "Sample", "LmworksError"} <= set(dir(lm)) and lm.LmworksError is LmworksError
    assert not {"importlib", "TYPE_CHECKING", "wait_briefly"} & set(dir(lm))
