"""Settings that depend on the part that one of them names."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass

import pytest
from pydantic import Field, SerializeAsAny

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.basics.part_settings import PartSettings


class Drink(PartSettings):
    """What is drunk."""

    named_by = "kind"
    kind: str = "water"
    """What it is."""
    litres: float = 0.2
    """How much."""

    @classmethod
    def parts(cls):
        return KINDS


class Tea(Drink):
    minutes: int = Field(default=3, gt=0)
    """How long it draws."""
    sugar: bool = False
    """Sweetened."""


class Coffee(Drink):
    minutes: int = 2
    """How long it brews."""


class Idle(Drink):
    others_are_idle = True


@dataclass(frozen=True)
class Kind:
    name: str
    summary: str
    settings: type[Config]


KINDS = {
    kind.name: kind
    for kind in (
        Kind("water", "from the tap", Drink),
        Kind("tea", "leaves", Tea),
        Kind("tea+milk", "with milk", Tea),
        Kind("coffee", "beans", Coffee),
    )
}


class Meal(Config):
    drink: SerializeAsAny[Drink] = Drink()


def test_the_part_that_is_named_says_what_may_be_set():
    tea = Meal(drink={"kind": "tea", "minutes": 5}).drink
    assert type(tea) is Tea and tea.minutes == 5 and tea.litres == 0.2
    assert type(Meal().drink) is Drink and type(Drink(kind="tea+milk")) is Tea


def test_what_is_dumped_copied_or_pickled_is_the_settings_of_the_part():
    meal = Meal(drink={"kind": "tea", "minutes": 5})
    assert meal.model_dump() == {"drink": {"kind": "tea", "litres": 0.2, "minutes": 5, "sugar": False}}
    assert Meal(**meal.model_dump()) == meal == Meal(drink=meal.drink)
    for other in (copy.deepcopy(meal.drink), pickle.loads(pickle.dumps(meal.drink))):
        assert other == meal.drink and type(other) is Tea


def test_another_part_takes_what_was_said_and_its_own_defaults():
    assert Drink(kind="tea", litres=0.3).but(kind="coffee") == Coffee(kind="coffee", litres=0.3, minutes=2)
    assert Drink(kind="tea", minutes=9).but(kind="coffee", litres=0.1) == Coffee(kind="coffee", litres=0.1, minutes=9)
    assert Drink(kind="tea").but(minutes=1) == Tea(kind="tea", minutes=1)


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"kind": "tee"}, "drink.kind is 'tee'; did you mean 'tea'? it can be water, tea, tea+milk, coffee"),
        ({"kind": "tea", "minutes": 0}, "drink.minutes is 0; it should be greater than 0"),
        ({"kind": "tea", "minuts": 1}, "drink.minuts is not a setting; did you mean drink.minutes?"),
        ({"minutes": 4}, "drink.minutes is for drink.kind tea and coffee, and drink.kind is 'water'; leave it out"),
        (
            {"kind": "coffee", "sugar": True},
            "drink.sugar is for drink.kind tea, and drink.kind is 'coffee'; leave it out",
        ),
    ],
)
def test_what_the_part_does_not_take_is_refused(values, sentence):
    with pytest.raises(ConfigError) as raised:
        Meal(drink=values)
    assert str(raised.value) == sentence


def test_what_another_part_has_by_default_is_left_out():
    """Recipes saved with older models hold the settings of all parts."""
    assert Drink(kind="water", minutes=2, sugar=False) == Drink()
    assert Idle(kind="water", minutes=40) == Drink()


@pytest.mark.parametrize(
    ("minutes", "sentence"),
    [
        ("long", "drink.minutes is 'long'; it should be a whole number"),
        ([3], "drink.minutes is [3]; it should be a whole number"),
    ],
)
def test_an_idle_setting_has_to_be_one_that_its_part_takes(minutes: object, sentence: str):
    class IdleMeal(Config):
        drink: SerializeAsAny[Idle] = Idle()

    with pytest.raises(ConfigError) as raised:
        IdleMeal(drink={"kind": "water", "minutes": minutes})
    assert str(raised.value) == sentence


def test_settings_are_explained_with_the_parts_that_have_them():
    assert Meal.explain() == {
        "drink.kind": "What it is. water: from the tap; tea: leaves; tea+milk: with milk; coffee: beans.",
        "drink.litres": "How much.",
        "drink.minutes": "tea: How long it draws. coffee: How long it brews.",
        "drink.sugar": "tea: Sweetened.",
    }
