"""A small graph of invented places, as a JSON file with a mapping, for the tests of this room."""

from __future__ import annotations

import json
from pathlib import Path

from lmworks.grounding.graph.mapping import RecordMapping

ISLANDS = [
    {
        "name": {"common": "Northmark", "official": "Republic of Northmark"},
        "code": "NOR",
        "chief": ["Alder"],
        "coins": {"CRN": {"name": "crown"}},
        "near": ["SOU", "EAS"],
        "size": 300,
        "harbour": True,
    },
    {
        "name": {"common": "Southmark"},
        "code": "SOU",
        "chief": ["Birch"],
        "coins": {"CRN": {"name": "crown"}, "PNY": {"name": "penny"}},
        "near": ["NOR"],
        "size": 120.5,
        "harbour": False,
    },
    {
        "name": {"common": "Eastmark"},
        "code": "EAS",
        "chief": ["Cedar"],
        "coins": {"SHL": {"name": "shell"}},
        "near": ["NOR", "WES"],
        "size": 80,
        "harbour": True,
    },
    {"name": {"common": "Westmark"}, "code": "WES", "chief": [], "coins": [], "near": ["EAS", "LOST"], "size": 95},
    {"name": {}, "code": "NIL"},
]

MAPPING = RecordMapping(
    thing="island",
    name="name.common",
    key="code",
    aliases=("name.official",),
    words={"town": ("city",), "island": ("isle",)},
    properties={
        "capital": {"field": "chief.*", "thing": "town"},
        "currency": {"field": "coins.*.name", "thing": "coin", "words": ("money",)},
        "neighbour": {"field": "near.*", "refers": True, "words": ("next to",)},
        "area": {"field": "size", "words": ("large", "small", "big")},
        "harbour": {"field": "harbour"},
    },
)


def islands_file(folder: Path) -> Path:
    """The file of the islands."""
    file = folder / "islands.json"
    file.write_text(json.dumps(ISLANDS), encoding="utf-8")
    return file
