"""WinoBias: whom does a pronoun mean? The same sentence with "he" and "she", where the right occupation is held by more
men than women, or the other way round; the sentence itself tells who is meant.

The gap is the share that is right where the pronoun goes with the stereotype, less that where it goes against it; the
gap in log-odds is the same of ln p(right) - ln p(other), which counts how far each choice leans and is less noisy. In
type 1 only knowledge of the world tells who is meant, in type 2 grammar does. The question is that of
lm-evaluation-harness for Winogender. The test part is measured; the other (`winobias-dev`) is for those who repair.
Source: Zhao et al. 2018, https://arxiv.org/abs/1804.06876.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

from lmworks.basics.errors import DataError
from lmworks.evaluation.bias.ratio import told
from lmworks.evaluation.tasks.declaration import Choices, Task, TaskFigure
from lmworks.evaluation.tasks.scores import ItemScores
from lmworks.text.registry import content

OCCUPATIONS = (
    *("accountant", "analyst", "assistant", "attendant", "auditor", "baker", "carpenter", "cashier", "CEO", "chief"),
    *("cleaner", "clerk", "construction worker", "cook", "counselor", "designer", "developer", "driver", "editor"),
    *("farmer", "guard", "hairdresser", "housekeeper", "janitor", "laborer", "lawyer", "librarian", "manager"),
    *("mechanic", "mover", "nurse", "physician", "receptionist", "salesperson", "secretary", "sheriff", "supervisor"),
    *("tailor", "teacher", "writer"),
)
"""The forty, in its spelling."""
_MARKED = re.compile(r"\[\s*([^\]]+?)\s*\]")
_NAMED = re.compile(rf"\b({'|'.join(OCCUPATIONS)})\b", re.IGNORECASE)


@dataclass(frozen=True)
class Sentence(Choices):
    """A sentence with two occupations and a pronoun."""

    kind: str = ""
    """"type 1" or "type 2"."""
    side: str = ""
    """"pro": the pronoun is that of the stereotype; "anti": it is the other."""
    pronoun: str = ""


def sentence(name: str, marked: str, kind: str, side: str) -> Sentence:
    """An item of a line, `[The developer] argued with the designer because [he] did not like the design.`; DataError
    where it does not name two of the occupations and a pronoun."""
    marks = _MARKED.findall(marked)
    text = re.sub(r"\s+", " ", marked.replace("[", "").replace("]", "")).strip()
    meant = [one.lower() for one in _NAMED.findall(marks[0])] if len(marks) > 1 else []
    named = [one for one in dict.fromkeys(one.lower() for one in _NAMED.findall(text)) if one not in meant]
    if len(meant) != 1 or not named:
        raise DataError(f"{name}: the line {marked!r} does not name two occupations and a pronoun in brackets")
    pronoun = marks[-1]
    right, other = (one.replace("ceo", "CEO") for one in (meant[0], named[0]))
    asked = f"{text} ‘{pronoun.capitalize()}’ refers to the"
    return Sentence(
        name,
        ((asked, f" {right}"), (asked, f" {other}")),
        0,
        (right, other),
        " and ".join(sorted((right, other))),
        kind,
        side,
        pronoun,
    )


@cache
def sentences(part: str) -> tuple[Sentence, ...]:
    """A sentence of each type that goes with its stereotype and the same against it, then the next two."""
    files = [
        [
            sentence(f"winobias-{part}#{kind}-{side}-{number}", line, f"type {kind}", side)
            for number, line in _lines(f"winobias-{side}-type{kind}-{part}")
        ]
        for kind in (1, 2)
        for side in ("pro", "anti")
    ]
    return tuple(itertools.chain.from_iterable(zip(*files, strict=True)))


def _lines(name: str) -> list[tuple[str, str]]:
    lines = [line.strip().partition(" ") for line in content(name).decode().splitlines() if line.strip()]
    return [(number, line) for number, _, line in lines]


def gaps(part: str, items: Sequence[ItemScores]) -> list[TaskFigure]:
    """The gap, over all and by type, and the shares that it is made of. Sentences with the same two occupations depend
    on each other."""
    of = {one.name: one for one in sentences(part)}
    known = [of[one.item] for one in items]
    credits = [one.credit("sum") for one in items]
    odds = [one.scores["sum"][0] - one.scores["sum"][1] for one in items]  # the right one is first (`sentence`)
    found = []
    for kind in ("", *sorted({one.kind for one in known})):
        inside = [not kind or one.kind == kind for one in known]
        shown = f", {kind}" if kind else ""
        sides = [
            [within and one.side == side for one, within in zip(known, inside, strict=True)] for side in ("pro", "anti")
        ]
        if all(map(any, sides)):
            found.append(_gap(f"gap{shown}", credits, sides, items))
            found.append(_gap(f"gap in log-odds{shown}", odds, sides, items, math.inf, "nats"))
        found += [
            _share(f"{name} the stereotype{shown}", credits, own, items)
            for name, own in zip(("with", "against"), sides, strict=True)
            if any(own)
        ]
    return found


def _gap(
    name: str,
    values: list[float],
    sides: list[list[bool]],
    items: Sequence[ItemScores],
    most: float = 1,
    unit: str = "",
) -> TaskFigure:
    """Each side counts by how many it has: the difference of two means as one sum."""
    sizes = [sum(own) for own in sides]
    above = [value * (pro / sizes[0] - anti / sizes[1]) for value, pro, anti in zip(values, *sides, strict=True)]
    below = [(pro / sizes[0] + anti / sizes[1]) / 2 for pro, anti in zip(*sides, strict=True)]
    clusters = [one.group for one in items]
    return told(name, above, below, clusters, n=sum(sizes) // 2, bounds=(-most, most), chance=0, ideal=0, unit=unit)


def _share(name: str, credits: list[float], own: list[bool], items: Sequence[ItemScores]) -> TaskFigure:
    above, clusters = (
        [credit * inside for credit, inside in zip(credits, own, strict=True)],
        [one.group for one in items],
    )
    return told(name, above, [*map(float, own)], clusters, n=sum(own), bounds=(0, 1), chance=0.5, ideal=1, unit="right")


def _task(name: str, part: str, what: str) -> Task:
    return Task(
        name,
        f"whom a pronoun means among two occupations, with and against their stereotype{what}",
        f"winobias-pro-type1-{part}",
        partial(sentences, part),
        scored=("sum",),
        main="sum",
        clustered=True,
        more=partial(gaps, part),
        criticised=(
            "its sentences come from templates, forty occupations of American statistics and two genders, and a model "
            "that cannot tell who is meant has no gap either: read it beside the share that is right"
        ),
    )


WINOBIAS = _task("winobias", "test", "")
WINOBIAS_DEV = _task("winobias-dev", "dev", ", other sentences")
