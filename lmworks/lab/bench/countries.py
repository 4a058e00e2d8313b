"""Questions on countries with their answers, from the file of world-countries alone, and a text on each country.

world = World.read()
for asked in world.single(20, seed=0): print(asked.question, asked.answer, asked.steps)
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lmworks.text.registry import content

Country = dict[str, Any]
DATA = "world-countries"
WAYS = {
    "capital": "What is the capital of {country}?",
    "currency": "Which currency is used in {country}?",
    "region": "In which region is {country}?",
    "currency_of_capital": "What currency is used in the country whose capital is {city}?",
    "language_of_capital": "Which language is spoken in the country whose capital is {city}?",
    "capital_of_border": "What is the capital of the country that borders {country}?",
    "currency_of_border_of_capital": "Which currency is used in the country that borders the country whose capital is "
    "{city}?",
    "capital_of_border_of_border": "What is the capital of the country that borders the neighbour of {country}?",
    "language_of_border_of_capital": "Which language is spoken in the country that borders the country whose capital "
    "is {city}?",
}
"""How each is asked here; other ways to ask are tried in benchmarks/countries.py."""
STEPS = {name: 1 + name.count("_of_") for name in WAYS}
NOT_THERE = ("Wakanda", "Genovia", "Narnia", "Ruritania", "Elbonia", "Latveria", "Zubrowka", "Krakozhia")
NOT_TOLD = ("population", "president", "national anthem", "climate", "prime minister", "flag")


@dataclass(frozen=True)
class CountryQuestion:
    """A question, its one answer, and how many facts it takes; no answer and no facts where there is none."""

    question: str
    answer: str
    steps: int


class World:
    """The countries, asked in Python."""

    def __init__(self, countries: list[Country]) -> None:
        self.countries = countries
        self.by_code = {one["cca3"]: one for one in countries}

    @classmethod
    def read(cls) -> Self:
        """Those of the registry's file."""
        return cls(json.loads(content(DATA)))

    def name(self, one: Country) -> str:
        """What a country is called."""
        return str(one["name"]["common"])

    def names(self, some: list[Country]) -> list[str]:
        """What they are called."""
        return [self.name(one) for one in some]

    def capital(self, one: Country) -> list[str]:
        """Its capitals."""
        return [" ".join(city.split()) for city in one["capital"] or []]

    def currency(self, one: Country) -> list[str]:
        """Its currencies."""
        return [held["name"] for held in dict(one["currencies"] or {}).values()]

    def language(self, one: Country) -> list[str]:
        """Its languages."""
        return list(dict(one["languages"] or {}).values())

    def border(self, one: Country) -> list[Country]:
        """Its neighbours."""
        return [self.by_code[code] for code in one["borders"]]

    def where(self, kind: Callable[[Country], list[str]], value: str) -> list[Country]:
        """The countries of which something is true."""
        return [one for one in self.countries if value in kind(one)]

    def questions(self) -> Iterator[tuple[str, dict[str, str], list[str]]]:
        """What is asked, of what, and every answer."""
        for one in self.countries:
            yield from self._of_country(one, {"country": self.name(one)})
            for city in self.capital(one):
                yield from self._of_city(self.where(self.capital, city), {"city": city})
        for value in sorted({money for one in self.countries for money in self.currency(one)}):
            yield "with_currency", {"currency": value}, self.names(self.where(self.currency, value))
        for value in sorted({tongue for one in self.countries for tongue in self.language(one)}):
            yield "with_language", {"language": value}, self.names(self.where(self.language, value))
        for value in sorted({one["subregion"] for one in self.countries} - {""}):
            held = [one for one in self.countries if one["subregion"] == value]
            yield "in_subregion", {"subregion": value}, self.names(held)

    def _of_country(self, one: Country, slots: dict[str, str]) -> Iterator[tuple[str, dict[str, str], list[str]]]:
        near = self.border(one)
        far = [other for neighbour in near for other in self.border(neighbour)]
        same = [other for money in self.currency(one) for other in self.where(self.currency, money)]
        english = dict(dict(one["demonyms"] or {}).get("eng") or {})
        yield "capital", slots, self.capital(one)
        yield "currency", slots, self.currency(one)
        yield "language", slots, self.language(one)
        yield "border", slots, self.names(near)
        yield "region", slots, [one["region"]] if one["region"] else []
        yield "demonym", slots, [word for word in english.values() if word]
        yield "domain", slots, one["tld"]
        yield "calling", slots, one["callingCodes"]
        yield "area", slots, [str(one["area"])]
        yield "capital_of_border", slots, [city for other in near for city in self.capital(other)]
        yield "currency_of_border", slots, [money for other in near for money in self.currency(other)]
        yield "same_currency", slots, [name for name in self.names(same) if name != self.name(one)]
        yield "language_of_border_of_border", slots, [tongue for other in far for tongue in self.language(other)]
        yield "capital_of_border_of_border", slots, [city for other in far for city in self.capital(other)]
        yield "capital_of_same_currency", slots, [city for other in same for city in self.capital(other)]
        if near:
            yield "count_border", slots, [str(len(near))]
        if self.language(one):
            yield "count_language", slots, [str(len(self.language(one)))]

    def _of_city(self, of: list[Country], slots: dict[str, str]) -> Iterator[tuple[str, dict[str, str], list[str]]]:
        near = [other for one in of for other in self.border(one)]
        yield "of_capital", slots, self.names(of)
        yield "currency_of_capital", slots, [money for one in of for money in self.currency(one)]
        yield "language_of_capital", slots, [tongue for one in of for tongue in self.language(one)]
        yield "region_of_capital", slots, [one["region"] for one in of]
        yield "border_of_capital", slots, self.names(near)
        yield "currency_of_border_of_capital", slots, [money for other in near for money in self.currency(other)]
        yield "language_of_border_of_capital", slots, [tongue for other in near for tongue in self.language(other)]

    def single(self, each: int, seed: int) -> list[CountryQuestion]:
        """Questions with one answer, as many of each number of steps, and as many that have none."""
        draw, by_steps = random.Random(seed), dict[int, list[CountryQuestion]]()
        for what, slots, answers in self.questions():
            if what in WAYS and len(set(answers)) == 1:
                asked = CountryQuestion(WAYS[what].format(**slots), answers[0], STEPS[what])
                by_steps.setdefault(asked.steps, []).append(asked)
        found = [
            one for steps in sorted(by_steps) for one in draw.sample(by_steps[steps], min(each, len(by_steps[steps])))
        ]
        return found + [self._without(draw) for _ in range(each)]

    def _without(self, draw: random.Random) -> CountryQuestion:
        """A question on a country that does not exist, or on what the file does not tell."""
        if draw.random() < 0.5:
            way = draw.choice([WAYS["capital"], WAYS["currency"], WAYS["capital_of_border"]])
            return CountryQuestion(way.format(country=draw.choice(NOT_THERE)), "", 0)
        country = self.name(draw.choice(self.countries))
        return CountryQuestion(f"What is the {draw.choice(NOT_TOLD)} of {country}?", "", 0)

    def write_texts(self, folder: Path) -> None:
        """A text on each country: what the file tells of it, in sentences."""
        folder.mkdir(parents=True, exist_ok=True)
        for one in self.countries:
            name, facts = self.name(one), []
            for words, values in (
                ("The capital of {} is {}.", self.capital(one)),
                ("The currency of {} is the {}.", self.currency(one)),
                ("The languages spoken in {} are {}.", self.language(one)),
                ("{} borders {}.", self.names(self.border(one))),
                ("{} is in the region {}.", [one["region"]] if one["region"] else []),
            ):
                if values:
                    facts.append(words.format(name, " and ".join(values)))
            (folder / f"{one['cca3']}.md").write_text(f"# {name}\n\n{' '.join(facts)}\n", encoding="utf-8")
