"""Groups of options: where they stand in the help, what reaches the verb, and what is refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer

from lmworks.basics.errors import ConfigError
from lmworks.cli.option_groups import Options
from lmworks.cli.verb import verb

TOLD: dict[str, Any] = {}


@dataclass(frozen=True, kw_only=True)
class Limits(Options):
    """How long, and how often."""

    longest: Annotated[int, typer.Option(help="Seconds.")] = 60
    set_: Annotated[list[str] | None, typer.Option("--set", help="A change.")] = None


@verb("Use it")
def tried(
    model: Annotated[str, typer.Argument(help="A model.")],
    *,
    first: Annotated[bool, typer.Option("--first")] = False,
    limits: Limits,
    last: Annotated[bool, typer.Option("--last")] = False,
) -> None:
    """Try it."""
    TOLD.update(model=model, limits=limits, last=last)


def test_a_group_stands_in_the_help_where_its_parameter_stands():
    options = [one.name for one in tried.command().params]
    assert options == ["model", "first", "longest", "set_", "last"]


def test_the_verb_gets_the_group_with_what_was_given_and_the_defaults_of_the_rest():
    tried.command().main(["m", "--set", "a=1", "--set", "b=2", "--last"], standalone_mode=False)
    assert TOLD.pop("limits") == Limits(longest=60, set_=["a=1", "b=2"])
    assert TOLD.pop("model") == "m" and TOLD.pop("last") is True


def test_what_is_given_is_named_as_it_is_typed():
    assert Limits(set_=["a=1"]).given() == {"--set": ["a=1"]}
    Limits().refuse("{} goes with a text")
    with pytest.raises(ConfigError, match=r"^--longest goes with a text$"):
        Limits(longest=3, set_=["a=1"]).refuse("{} goes with a text")
