"""The strings below settings, read from the source."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, create_model

from lmworks.basics.config import Config
from lmworks.basics.meanings import meanings
from lmworks.generation.strategies import Sample
from lmworks.models.config import ModelConfig


class Base(Config):
    """A base."""

    first: int = 1
    """What the base
    says of it."""
    second: int = 2
    """Said by the base."""
    silent: int = 3


class Child(Base):
    """A child."""

    second: int = 3
    """Said by the child."""
    third: int = Field(4, description="Said by the field.")
    """Not read."""


def test_the_nearest_class_that_says_something_is_heard():
    assert meanings(Child) == {
        "first": "What the base says of it.",
        "second": "Said by the child.",
        "silent": "",
        "third": "Said by the field.",
    }


def test_classes_within_functions_and_those_that_have_no_source():
    class Local(Config):
        """One of a function."""

        here: int = 1
        """Said here."""

    made = create_model("Made", __base__=Local, more=(int, 2))
    assert meanings(Local) == {"here": "Said here."} and meanings(made) == {"here": "Said here.", "more": ""}
    scope: dict[str, type[Config]] = {"Config": Config}
    exec("class Typed(Config):\n    typed: int = 1\n    'Not in a file.'\n", scope)
    assert meanings(scope["Typed"]) == {"typed": ""}


def test_they_are_those_that_pydantic_reads():
    class Read(BaseModel):
        """As pydantic does it, when the class is made."""

        model_config = ConfigDict(use_attribute_docstrings=True)

        one: int = 1
        """A string of

            several lines, "quoted"."""
        two: str = "x"
        # a comment
        """Below a comment."""

    told = {name: " ".join(field.description.split()) for name, field in Read.model_fields.items()}
    for field in Read.model_fields.values():
        field.description = None
    assert meanings(Read) == told and all(told.values())
    assert all(meanings(Sample).values()) and all(meanings(ModelConfig).values())
