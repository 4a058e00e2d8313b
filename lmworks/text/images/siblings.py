"""Emoji that differ in nothing but who is shown: man, woman or person, and the tone of the skin.

A model that has seen the man astronaut has all but seen the woman: such siblings stand on one side of a split, and
none is a negative for another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

TONES = frozenset({"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"})
"""What gives an emoji a tone of skin."""
_PEOPLE = frozenset({"1f468", "1f469", "1f9d1", "1f466", "1f467", "1f9d2", "1f474", "1f475", "1f9d3"})
"""Man, woman, person; boy, girl, child; old man, old woman, older person."""
_NOTHING = frozenset({"fe0f", "200d", "2640", "2642", "27a1"}) | TONES
"""Joins, how it is drawn, the signs for female and male, an arrow to the right."""
_WHO = frozenset(
    [
        *["man", "woman", "person", "men", "women", "people", "boy", "girl", "child", "adult"],
        *["mrs", "mx", "santa", "and", "s"],
    ]
)
_ALIKE = {"princess": "prince", "mermaid": "merperson", "merman": "merperson", "superheroine": "superhero"}


def siblings(labels: Mapping[str, str]) -> dict[str, str]:
    """The family of each emoji, by its code ("1f468-200d-1f680"), given their labels ("man astronaut"): the first code
    of all that its code or its label, who is shown left out, has in common with."""
    first: dict[object, str] = {}
    parent: dict[str, str] = {code: code for code in labels}

    def root(code: str) -> str:
        while parent[code] != code:
            parent[code] = parent[parent[code]]
            code = parent[code]
        return code

    for code, label in sorted(labels.items()):
        for key in (_of_code(code), _of_label(label)):
            if key:
                older, newer = sorted((root(first.setdefault(key, code)), root(code)))
                parent[newer] = older
    return {code: root(code) for code in labels}


def _of_code(code: str) -> tuple[str, ...]:
    """The code with every person the same, and each number of them as two."""
    parts = ["person" if part in _PEOPLE else part for part in code.split("-") if part not in _NOTHING]
    return tuple(parts) if parts.count("person") < 2 else tuple(dict.fromkeys(parts))


def _of_label(label: str) -> str:
    """The label without who is shown: after a colon too, as in "kiss: man, man"."""
    words = [_ALIKE.get(word, word) for word in re.findall(r"[^\W_]+", label.lower()) if word not in _WHO]
    return " ".join(words)
